/** What a rollout folder says of itself, for the report. */
import type { DatasetResult } from '../report/schema.js';
import type { RolloutFile } from '../rollout/folder.js';
import { proportion } from '../stats/proportion.js';
import type { ActivationStore } from '../store/reader.js';

/** Counts and settings of a rollout. Stores of other programs have no `file`: what is not known is left empty. */
export function rolloutResult(store: ActivationStore, file: RolloutFile | undefined): DatasetResult['rollout'] {
  const { trajectories } = store;
  const count = (verdict: string): number => trajectories.filter((entry) => entry.verdict === verdict).length;
  const finishReasons: Record<string, number> = {};
  let samples = 0;
  let tokens = 0;
  let longest = 0;
  for (const entry of trajectories) {
    finishReasons[entry.finishReason] = (finishReasons[entry.finishReason] ?? 0) + 1;
    samples = Math.max(samples, entry.sample + 1);
    tokens += entry.tokenCount;
    longest = Math.max(longest, entry.tokenCount);
  }
  const lengths = trajectories.map((entry) => entry.promptLength).filter(Number.isFinite);
  const correct = count('correct');
  return {
    problems: new Set(trajectories.map((entry) => entry.problem)).size,
    samplesPerProblem: samples,
    trajectories: trajectories.length,
    correct,
    wrong: count('wrong'),
    unknown: count('unknown'),
    accuracy: proportion(correct, correct + count('wrong')),
    meanTokens: tokens / Math.max(1, trajectories.length),
    maxTokens: longest,
    finishReasons,
    promptLengths: { min: lengths.length === 0 ? 0 : lengths.reduce((a, b) => Math.min(a, b)), max: lengths.reduce((a, b) => Math.max(a, b), 0) },
    sampling: (file?.inputs.sampling as Record<string, unknown> | undefined) ?? {},
    seed: Number(file?.inputs.seed ?? 0),
    template: typeof file?.inputs.template === 'string' ? file.inputs.template : 'unknown',
  };
}
