/** Confidence that asks the model again: P(True) and self-consistency, on held-out trajectories. */
import { join } from 'node:path';
import type { AnswerGroup, SameAnswer } from '../apply/answers.js';
import { agreementShare, groupAnswers, majorityShare } from '../apply/answers.js';
import type { Belief, Question } from '../apply/pTrue.js';
import { askWhetherTrue, prepareQuestion } from '../apply/pTrue.js';
import { toScoreItem } from '../dataset/scoreItem.js';
import type { Problem } from '../dataset/types.js';
import type { Model } from '../model/model.js';
import type { Session } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import { runRollout } from '../rollout/rollout.js';
import type { RunProgress } from '../run/engine.js';
import type { Manifest } from '../run/manifest.js';
import type { SamplingOptions } from '../run/request.js';
import { mean } from '../stats/moments.js';
import type { TrajectoryRecord } from '../store/format.js';
import type { Score } from './confidenceScores.js';
import type { WorkOptions } from './options.js';
import type { ProbedFolder } from './probedFolder.js';
import { Judge } from './sample.js';
import { readRecords } from './valuesInput.js';

/** Sub-folder with the answers sampled for self-consistency: a rollout without activations, resumed like any other. */
export const SAMPLES_FOLDER = 'confidence';

/** A held-out trajectory with everything that asking the model again needs. */
export interface AskedRecord extends TrajectoryRecord {
  readonly promptTokens: Int32Array;
}

/** How the rollout sampled. */
export interface SampledHow {
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  readonly maxTokens: number;
  readonly stop: readonly string[];
  readonly seed: number;
  /** Were prompts written by the model's chat template? */
  readonly chat: boolean;
  readonly model: string;
}

/** How the trajectories of a folder were sampled. Errors: INVALID_ARGUMENT for a store of another program. */
export function sampledHow({ directory, rollout }: Pick<ProbedFolder, 'directory' | 'rollout'>): SampledHow {
  if (rollout === undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${directory}' holds no rollout of this program: how its answers were sampled is not known`, { details: { directory } });
  }
  const { sampling, maxTokens, stop, seed, template, model } = rollout.inputs as unknown as SampledHow & { template: string };
  return { sampling, maxTokens, stop, seed, model, chat: template.startsWith('chat-') };
}

/** Refuses another model than the one that the folder's answers were sampled from. Errors: INVALID_ARGUMENT. */
export function requireModel({ model }: Manifest, sha256: string, directory: string): void {
  if (model.sha256 !== sha256) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${model.path}' is not the model that the answers in '${directory}' were sampled from: their checksums differ`, { details: { model: model.path } });
  }
}

/** Prompt tokens of records. Errors: INVALID_ARGUMENT when the model makes another number of tokens of a prompt than the rollout did. */
export function withPromptTokens(model: Model, records: readonly Partial<TrajectoryRecord>[]): AskedRecord[] {
  return records.map((record) => {
    const { problem, prompt, promptLength } = record;
    const tokens = [true, false].map((addSpecial) => (prompt === undefined ? new Int32Array() : model.tokenize(prompt, { addSpecial }))).find(({ length }) => length === promptLength);
    if (tokens === undefined) {
      throw new RewardLensError('INVALID_ARGUMENT', `the prompt of problem '${problem}' has ${promptLength ?? 'an unknown number of'} tokens in the folder, and another number with '${model.info.path}'`, { details: { problem } });
    }
    return { ...(record as TrajectoryRecord), promptTokens: tokens };
  });
}

/** Sampled tokens without the end-of-generation token. */
const answerTokens = ({ tokens, finishReason }: TrajectoryRecord): readonly number[] => (finishReason === 'eog' ? tokens.slice(0, -1) : tokens);

/** P(True) of every record. Cost: its text and the question once through the model. */
export async function pTrueScore(
  session: Session,
  records: readonly AskedRecord[],
  { question, chat }: { question: Question; chat: boolean },
  work: WorkOptions,
): Promise<{ score: Score; text: string; mass: number; run: RunProgress }> {
  const asked = prepareQuestion(session.model, question, chat);
  const texts = records.map((record) => Int32Array.of(...record.promptTokens, ...answerTokens(record)));
  const { beliefs, run } = await askWhetherTrue(session, texts, asked, { signal: work.signal, onProgress: (done, total) => work.onProgress?.('asking P(True)', done / total, `${done}/${total}`) });
  const tokens = mean(texts.map(({ length }) => length + asked.tokens.length));
  const answering = mean(records.map(({ promptTokens, tokens: sampled }) => promptTokens.length + sampled.length - 1));
  return {
    score: { name: 'P(True)', known: 'after', probability: 'own', values: beliefs.map(({ pTrue }: Belief) => pTrue), cost: { tokens, extra: tokens - answering } },
    text: asked.text,
    mass: mean(beliefs.map(({ mass }) => mass)),
    run,
  };
}

/** Texts that the check reads as the given answer, for checks that know more than one way to write one. */
const WRITTEN: Readonly<Record<string, (answer: string) => string>> = { gsm8k: (answer) => `#### ${answer}`, math: (answer) => `\\boxed{${answer}}` };

/** Are two answers the same to the check? Others than numbers and formulas are compared as texts. */
export function sameBy(judge: Judge, check: string): SameAnswer {
  const write = WRITTEN[check];
  return async (a, b) => (write === undefined ? a === b : (await judge.score(check, { text: write(a), gold: b })).verdict === 'correct');
}

/** The problem of each prompt: equal prompts under other ids have the same answers. */
function problemsByPrompt(records: readonly AskedRecord[]): Map<string, Problem & { tokens: Int32Array }> {
  const out = new Map<string, Problem & { tokens: Int32Array }>();
  for (const { problem, prompt, promptTokens, gold, check, choices } of records) {
    if (!out.has(prompt)) {
      const options = choices === undefined ? {} : { choices: choices as NonNullable<Problem['choices']> };
      out.set(prompt, { id: problem, question: prompt, answer: gold, check, source: {}, tokens: promptTokens, ...options });
    }
  }
  return out;
}

/** Answers sampled for every prompt, in order of their number. Those found in the folder are not sampled again. */
async function sampleAnswers(session: Session, folder: ProbedFolder, records: readonly AskedRecord[], how: SampledHow & { samples: number }, judge: Judge, work: WorkOptions): Promise<{ byPrompt: Map<string, TrajectoryRecord[]>; run: RunProgress | undefined }> {
  const directory = join(folder.directory, SAMPLES_FOLDER);
  const problems = problemsByPrompt(records);
  const totals = await runRollout(session, {
    directory,
    problems: [...problems.values()],
    prompt: ({ question }) => ({ text: question, tokens: problems.get(question)?.tokens as Int32Array }),
    samples: how.samples,
    maxTokens: how.maxTokens,
    sampling: how.sampling,
    stop: how.stop,
    seed: how.seed + 1, // other samples than those that are judged
    judge: (problem, text) => judge.score(problem.check, toScoreItem(problem, text)),
    capture: undefined,
    dtype: 'f16',
    inputs: { model: how.model, for: 'confidence' },
    about: {},
    signal: work.signal,
    onProgress: ({ finished, total }) => work.onProgress?.('sampling answers', finished / total, `${finished}/${total}`),
  });
  const byPrompt = new Map([...problems.keys()].map((prompt): [string, TrajectoryRecord[]] => [prompt, []]));
  for (const record of await readRecords(directory)) {
    if (record.sample < how.samples) {
      byPrompt.get(record.prompt)?.push(record);
    }
  }
  byPrompt.forEach((list) => list.sort((a, b) => a.sample - b.sample));
  return { byPrompt, run: totals.run };
}

/** Outcome of {@link consistencyScores}. */
export interface ConsistencyScores {
  readonly scores: readonly Score[];
  readonly unread: number;
  readonly total: number;
  readonly run: RunProgress | undefined;
}

/** Self-consistency: share of the majority among new samples, and share of them that agree with the answer that is judged. Cost: the samples. */
export async function consistencyScores(session: Session, folder: ProbedFolder, records: readonly AskedRecord[], how: SampledHow & { samples: number }, work: WorkOptions): Promise<ConsistencyScores> {
  await using judge = new Judge();
  const { byPrompt, run } = await sampleAnswers(session, folder, records, how, judge, work);
  const groups = new Map<string, AnswerGroup[]>();
  const majority: number[] = [];
  const agreement: number[] = [];
  for (const { prompt, check, extracted } of records) {
    const samples = byPrompt.get(prompt) ?? [];
    const same = sameBy(judge, check);
    const own = groups.get(prompt) ?? (await groupAnswers(samples, same));
    groups.set(prompt, own);
    majority.push(majorityShare(own, samples.length));
    agreement.push(await agreementShare(own, samples.length, extracted, same));
  }
  const sampled = (prompt: string): number => (byPrompt.get(prompt) ?? []).reduce((sum, { tokens }) => sum + tokens.length - 1, 0);
  const extra = mean(records.map(({ prompt }) => sampled(prompt)));
  const asking = mean(records.map(({ promptTokens }) => promptTokens.length));
  const answering = mean(records.map(({ tokens }) => tokens.length - 1));
  const score = (name: string, values: number[], tokens: number): Score => ({ name, known: 'after', probability: 'own', values, cost: { tokens, extra } });
  const all = [...byPrompt.values()].flat();
  return {
    scores: [
      score(`majority share of ${how.samples} samples`, majority, asking + extra),
      score(`agreement with ${how.samples} samples`, agreement, asking + answering + extra),
    ],
    unread: all.filter(({ extracted }) => extracted === null).length,
    total: all.length,
    run,
  };
}
