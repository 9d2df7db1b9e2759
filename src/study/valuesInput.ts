/** Trajectories of a rollout folder as states that can be continued. */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Model } from '../model/model.js';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import type { RolloutFile } from '../rollout/folder.js';
import { readRolloutFile } from '../rollout/folder.js';
import type { ForkState } from '../rollout/values.js';
import type { Splitter, Step } from '../rpe/steps.js';
import { splitSteps } from '../rpe/steps.js';
import type { SamplingOptions } from '../run/request.js';
import type { TrajectoryRecord } from '../store/format.js';
import { FILES } from '../store/format.js';
import { openLine, readLines } from '../store/journal.js';

/** What decided a rollout's trajectories, as far as continuing them needs it. */
export interface RolloutInputs {
  readonly model: string;
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  readonly stop: readonly string[];
  readonly maxTokens: number;
}

/** One trajectory, cut into steps, with the state in front of each. */
export interface SteppedTrajectory {
  readonly record: TrajectoryRecord;
  /** As in the store: equal prompts are one group. */
  readonly group: string;
  readonly steps: readonly Step[];
  readonly states: readonly ForkState[];
}

/** Settings of the rollout in `directory`. Errors: IO when it is none, INVALID_ARGUMENT for one that does not say how it was sampled. */
export async function readRolloutInputs(directory: string): Promise<RolloutInputs> {
  const file: RolloutFile | undefined = await readRolloutFile(directory);
  if (file === undefined) {
    throw new RewardLensError('IO', `'${directory}' holds no rollout: '${join(directory, FILES.rollout)}' does not exist`, { details: { directory } });
  }
  const { model, sampling, stop, maxTokens } = file.inputs;
  if (typeof model !== 'string' || typeof sampling !== 'object' || sampling === null || !Array.isArray(stop) || typeof maxTokens !== 'number') {
    throw invalidArgument(join(directory, FILES.rollout), 'model, sampling, stop and maxTokens in "inputs"', file.inputs);
  }
  return { model, sampling, stop: stop.map(String), maxTokens };
}

/**
 * The records of trajectories.jsonl, ordered by problem and sample, the first `limit`. A torn last line is left out. Errors: STORE_CORRUPT; INVALID_ARGUMENT for
 * records without tokens.
 */
export async function readRecords(directory: string, limit?: number): Promise<TrajectoryRecord[]> {
  const path = join(directory, FILES.trajectories);
  const records: TrajectoryRecord[] = [];
  for await (const line of readLines(path)) {
    const opened = openLine(line.text);
    if ('fault' in opened) {
      if (!line.complete) {
        continue;
      }
      throw new RewardLensError('STORE_CORRUPT', `${path}:${line.number}: ${opened.fault}`, { details: { path, line: line.number } });
    }
    const record = opened.value as unknown as TrajectoryRecord;
    if (typeof record.prompt !== 'string' || !Array.isArray(record.tokens) || typeof record.gold !== 'string') {
      throw invalidArgument(`${path}:${line.number}`, 'a record with prompt, tokens and gold, as `rewardlens rollout` writes it', Object.keys(record).join(', '));
    }
    records.push(record);
  }
  if (records.length === 0) {
    throw invalidArgument(path, 'at least one trajectory', 0);
  }
  records.sort((a, b) => (a.problem === b.problem ? a.sample - b.sample : a.problem < b.problem ? -1 : 1));
  return records.slice(0, limit);
}

/** Bytes of tokens' texts as generated text has them (none for control tokens), each looked up once. */
export function pieceBytesOf(model: Model): (token: number) => Uint8Array {
  const known = new Map<number, Uint8Array>();
  return (token) => {
    const bytes = known.get(token) ?? model.tokenPiece(token, { special: false });
    known.set(token, bytes);
    return bytes;
  };
}

/** Tokens of a recorded prompt. Errors: INVALID_ARGUMENT when the model makes another number of tokens of it. Whether the rollout's template brought its own special tokens shows in their number. */
export function promptTokens(model: Model, { prompt, promptLength, problem }: Pick<TrajectoryRecord, 'prompt' | 'promptLength' | 'problem'>): Int32Array {
  const tokens = [true, false].map((addSpecial) => model.tokenize(prompt, { addSpecial })).find(({ length }) => length === promptLength);
  if (tokens === undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `the prompt of problem '${problem}' took ${promptLength} tokens in the rollout; this model's tokenizer makes another number of it`, { details: { problem } });
  }
  return tokens;
}

/** Cuts trajectories into steps. Errors: INVALID_ARGUMENT. */
export function stepTrajectories(model: Model, records: readonly TrajectoryRecord[], splitter: Splitter): SteppedTrajectory[] {
  const pieceBytes = pieceBytesOf(model);
  return records.map((record) => {
    const prompt = promptTokens(model, record);
    const steps = splitSteps(record.tokens.map(pieceBytes), splitter);
    const { problem, gold, check, choices } = record;
    const item = { problem, gold, check, ...(choices === undefined ? {} : { choices }) };
    const states = steps.map(({ begin }): ForkState => ({ tokens: Int32Array.from([...prompt, ...record.tokens.slice(0, begin)]), promptLength: prompt.length, item }));
    return { record, group: `prompt-${crc32(record.prompt).toString(16)}`, steps, states };
  });
}
