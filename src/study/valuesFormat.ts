/** values.json and values.jsonl: values of states by Monte-Carlo and by the probe (docs/dopamine.md). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { RewardLensError } from '../native/errors.js';
import { parseResult } from '../report/parse.js';
import type { Values } from '../report/valuesSchema.js';
import { VALUES_FORMAT, VALUES_VERSION, valuesSchema } from '../report/valuesSchema.js';
import { openLine, readLines } from '../store/journal.js';
import { parseJson } from '../util/json.js';
import { fileHash } from './stage.js';

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
  /** Expected squared error of each of `tdErrors`, by the chance of the continuations; null with fewer than two behind it. */
  variances: nullableNumbers,
  /** V of the probe in front of each step and its δ per step; V of every state s_0 … s_{n−1}, and δ per token: γ V(s_{t+1}) − V(s_t), and r − V at the last, to six digits. */
  probe: z.object({ layer: z.int(), values: z.array(z.number()), tdErrors: nullableNumbers, states: z.array(z.number()), tokenErrors: nullableNumbers }).nullable(),
});
export type TrajectoryValues = z.infer<typeof trajectoryValuesSchema>;

/**
 * Reads both files. Errors: IO when `rewardlens values` has not been run; STORE_CORRUPT, INVALID_ARGUMENT naming file, line and field, or when the
 * two do not belong together (a run was killed between them, lines were lost).
 */
export async function readValues(directory: string): Promise<{ summary: Values; trajectories: TrajectoryValues[] }> {
  const path = join(directory, VALUES_FILES.summary);
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new RewardLensError('IO', `'${directory}' has no values of its states; run \`rewardlens values ${directory}\``, { cause, details: { directory } });
  });
  const summary = parseResult(valuesSchema, parseJson(text, path), path, { format: VALUES_FORMAT, version: VALUES_VERSION, again: again(directory) });
  const trajectories: TrajectoryValues[] = [];
  const lines = join(directory, VALUES_FILES.trajectories);
  for await (const line of readLines(lines)) {
    const opened = openLine(line.text);
    const parsed = 'value' in opened ? trajectoryValuesSchema.safeParse(opened.value) : undefined;
    if (parsed?.success !== true) {
      const issue = 'fault' in opened ? opened.fault : `${parsed?.error.issues[0]?.path.join('.') ?? ''}: ${parsed?.error.issues[0]?.message ?? ''}`;
      throw new RewardLensError('STORE_CORRUPT', `${lines}:${line.number}: ${issue}; ${again(directory)}`, { details: { path: lines, line: line.number } });
    }
    trajectories.push(parsed.data);
  }
  await requireLines(directory, summary, trajectories.length);
  return { summary, trajectories };
}

async function requireLines(directory: string, { counts, linesSha256 }: Values, found: number): Promise<void> {
  const [path, lines] = [join(directory, VALUES_FILES.summary), join(directory, VALUES_FILES.trajectories)];
  if (found !== counts.trajectories || linesSha256 !== (await fileHash(lines))) {
    const got = found === counts.trajectories ? 'those of another run' : `${found}`;
    throw new RewardLensError('STORE_CORRUPT', `'${lines}' is not that of '${path}': expected its ${counts.trajectories} trajectories, got ${got}; ${again(directory)}`, { details: { path: lines } });
  }
}

const again = (directory: string): string => `run \`rewardlens values ${directory}\` again with the flags it had, which makes no continuation anew`;
