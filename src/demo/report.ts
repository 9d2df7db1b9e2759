/** What the demo prints. */
import type { RunProgress } from '../run/engine.js';
import type { Problem } from '../rollout/dataset.js';
import type { GenerateResult } from '../run/generate.js';
import { wilson } from '../stats/proportion.js';

/** A problem with its completion and verdict. */
export interface Answer {
  problem: Problem;
  dataSet: string;
  arm: string;
  result: GenerateResult;
  verdict: 'correct' | 'wrong' | 'unknown';
}

/** Outcome of one arm. */
export interface ArmSummary {
  arm: string;
  correct: number;
  unknown: number;
  total: number;
  share: number;
  low: number;
  high: number;
  /** Completions that equal those of the first arm, token for token. */
  sameAsFirst: number;
  meanTokens: number;
  /** Completions that ended by themselves rather than by the token limit. */
  ended: number;
  /** Values written by the arm's edits, and the number computed beforehand. */
  changed: number;
  expected: number;
}

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;

function speed(progress: RunProgress, seconds: number): string {
  const tokens = progress.promptTokens + progress.completionTokens;
  return `${tokens} tokens in ${seconds.toFixed(1)} s: ${Math.round(tokens / seconds)} tokens/s in ${progress.decodeCalls} forward passes`;
}

/** Numbers per arm; the first arm is the reference for `sameAsFirst`. */
export function summarise(arms: readonly string[], answers: readonly Answer[]): ArmSummary[] {
  const of = (arm: string): Answer[] => answers.filter((answer) => answer.arm === arm);
  const reference = of(arms[0] ?? '');
  return arms.map((arm) => {
    const own = of(arm);
    const edits = own.flatMap(({ result }) => result.edits);
    const correct = own.filter(({ verdict }) => verdict === 'correct').length;
    return {
      arm,
      correct,
      total: own.length,
      unknown: own.filter(({ verdict }) => verdict === 'unknown').length,
      ...wilson(correct, own.length),
      sameAsFirst: own.filter(({ result }, i) => result.tokens.join() === reference[i]?.result.tokens.join()).length,
      meanTokens: own.reduce((sum, { result }) => sum + result.tokens.length, 0) / own.length,
      ended: own.filter(({ result }) => result.finishReason === 'eog').length,
      changed: edits.reduce((sum, edit) => sum + edit.changed + edit.shared, 0),
      expected: edits.reduce((sum, edit) => sum + edit.expected + edit.shared, 0),
    };
  });
}

/** Accuracy per data set of the first pass. */
export function printAnswers(answers: readonly Answer[], progress: RunProgress, seconds: number): void {
  console.log(`${answers.length} problems, sampled at temperature 1 (95 % Wilson intervals)`);
  for (const dataSet of new Set(answers.map((answer) => answer.dataSet))) {
    const own = answers.filter((answer) => answer.dataSet === dataSet);
    const correct = own.filter(({ verdict }) => verdict === 'correct').length;
    const { share, low, high } = wilson(correct, own.length);
    console.log(`  ${dataSet.padEnd(18)} ${String(correct).padStart(3)}/${own.length}  ${percent(share).padStart(7)}  [${percent(low)}, ${percent(high)}]`);
  }
  console.log(`  ${speed(progress, seconds)}\n`);
}

/** One line per arm. */
export function printArms(summaries: readonly ArmSummary[], progress: RunProgress, seconds: number): void {
  const count = summaries[0]?.total ?? 0;
  console.log(`The same ${count} problems and seeds under ${summaries.length} arms, side by side in one batch`);
  console.log(`  ${'arm'.padEnd(26)} ${'correct'.padEnd(28)} same text  unparsable  ended  tokens  values edited (expected)`);
  for (const arm of summaries) {
    const accuracy = `${percent(arm.share)} [${percent(arm.low)}, ${percent(arm.high)}]`;
    const same = `${arm.sameAsFirst}/${arm.total}`;
    console.log(
      `  ${arm.arm.padEnd(26)} ${accuracy.padEnd(28)} ${same.padStart(9)} ${String(arm.unknown).padStart(11)} ${String(arm.ended).padStart(6)} ${arm.meanTokens.toFixed(1).padStart(7)}  ${arm.changed} (${arm.expected})`,
    );
  }
  console.log(`  ${speed(progress, seconds)}, ${progress.sharedTokens} prompt tokens shared`);
}
