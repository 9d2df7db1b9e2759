/** values.json and values.jsonl: values of states by Monte-Carlo and by the probe (docs/dopamine.md). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { openLine, readLines } from '../store/journal.js';
import { parseJson } from '../util/json.js';

export const VALUES_FORMAT = 'rewardlens.values';
export const VALUES_VERSION = 1;
/** Files inside a rollout folder. */
export const VALUES_FILES = { summary: 'values.json', trajectories: 'values.jsonl', journal: 'continuations.jsonl' } as const;

const count = z.int().min(0);
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: count });
const nullableNumbers = z.array(z.number().nullable());

/** One line of values.jsonl: a trajectory with the value in front of each of its steps. */
export const trajectoryValuesSchema = z.object({
  problem: z.string(),
  sample: count,
  /** What must not straddle a split, as in the store. */
  group: z.string(),
  /** Part of the value probe's split; null without a probe. */
  part: z.enum(['train', 'validation', 'test']).nullable(),
  reward: z.number().nullable(),
  finishReason: z.string(),
  /** Tokens [begin, end) of the completion, and their text. */
  steps: z.array(z.object({ begin: count, end: count, text: z.string() })),
  /** In front of each step: mean reward of the continuations, Wilson interval, how many were judged, how many not. */
  values: z.array(estimate.extend({ unknown: count, tokens: count })),
  /** What each step changed, from `values`; the last ends in the reward. Null where a value or the reward is not known. */
  tdErrors: nullableNumbers,
  /** Sampling variance of each `tdErrors`; null with fewer than two continuations behind it. */
  variances: nullableNumbers,
  /** V of the probe in front of each step, and its δ per step. */
  probe: z.object({ layer: z.int(), values: z.array(z.number()), tdErrors: nullableNumbers }).nullable(),
});
export type TrajectoryValues = z.infer<typeof trajectoryValuesSchema>;

/** Contents of values.json. */
export const valuesSchema = z.object({
  format: z.literal(VALUES_FORMAT),
  version: z.literal(VALUES_VERSION),
  manifest: z.record(z.string(), z.unknown()),
  settings: z.object({
    /** "line", "regex:…": how completions were cut. */
    steps: z.string(),
    counts: z.object({ min: count, max: count, width: z.number() }),
    budget: count.nullable(),
    limit: count.nullable(),
    gamma: z.number(),
    seed: count,
    maxTokens: count,
    sampling: z.record(z.string(), z.unknown()),
    stop: z.array(z.string()),
  }),
  /** SHA-256 of trajectories.jsonl as it was. */
  trajectoriesSha256: z.string(),
  counts: z.object({
    trajectories: count,
    steps: count,
    /** States in front of steps; those that differ, as trajectories of one problem share some. */
    states: count,
    distinctStates: count,
    /** States without any judged continuation. */
    withoutValue: count,
    continuations: z.object({ made: count, found: count, unknown: count }),
  }),
  tokens: z.object({
    /** Of all continuations that count, those found included. */
    sampled: count,
    /** Prompt tokens of the continuations made by this run: read by the model, and taken from a cache instead. */
    computed: count,
    shared: count,
  }),
  /** The budget ended it. */
  exhausted: z.boolean(),
  /** Mean width of the states' 95 % intervals. */
  meanWidth: z.number().nullable(),
  tdErrors: z.object({
    known: count,
    mean: z.number().nullable(),
    deviation: z.number().nullable(),
    /** Share of δ above 0.3 in size. */
    large: z.number().nullable(),
    /** Share of the variance of δ that is noise of the continuations: nothing can be correlated with δ beyond √(1 − this). */
    noise: z.number().nullable(),
    /** Largest |Σ γ^k δ_k − (γ^T r − V(s_0))| over trajectories: rounding. */
    telescopeGap: z.number().nullable(),
  }),
  /** The probe against the continuations, on held-out trajectories. */
  probe: z.object({ layer: z.int(), states: count, spearman: estimate, pearson: estimate }).nullable(),
  seconds: z.number(),
});
export type Values = z.infer<typeof valuesSchema>;

/** Reads both files. Errors: IO when `rewardlens values` has not been run; STORE_CORRUPT, INVALID_ARGUMENT naming file, line and field. */
export async function readValues(directory: string): Promise<{ summary: Values; trajectories: TrajectoryValues[] }> {
  const path = join(directory, VALUES_FILES.summary);
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new RewardLensError('IO', `'${directory}' has no values of its states; run \`rewardlens values ${directory}\``, { cause, details: { directory } });
  });
  const summary = valuesSchema.safeParse(parseJson(text, path));
  if (!summary.success) {
    throw invalidArgument(`${path}: ${summary.error.issues[0]?.path.join('.') ?? ''}`, summary.error.issues[0]?.message ?? 'a result of values', text.slice(0, 80));
  }
  const trajectories: TrajectoryValues[] = [];
  const lines = join(directory, VALUES_FILES.trajectories);
  for await (const line of readLines(lines)) {
    const opened = openLine(line.text);
    const parsed = 'value' in opened ? trajectoryValuesSchema.safeParse(opened.value) : undefined;
    if (parsed?.success !== true) {
      const issue = 'fault' in opened ? opened.fault : `${parsed?.error.issues[0]?.path.join('.') ?? ''}: ${parsed?.error.issues[0]?.message ?? ''}`;
      throw new RewardLensError('STORE_CORRUPT', `${lines}:${line.number}: ${issue}`, { details: { path: lines, line: line.number } });
    }
    trajectories.push(parsed.data);
  }
  return { summary: summary.data, trajectories };
}
