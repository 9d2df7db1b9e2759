/** A rollout folder that may hold earlier work: what is finished, and whether it fits what is asked for now. */
import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import type { Segment, StoreInfo } from '../store/format.js';
import { FILES } from '../store/format.js';
import { Journal } from '../store/journal.js';
import type { Recovery } from '../store/journal.js';
import { ActivationStore, rowsChecksum } from '../store/reader.js';
import { parseJson } from '../util/json.js';

export const ROLLOUT_FORMAT = 'rewardlens.rollout';
export const ROLLOUT_VERSION = 1;

/** Contents of rollout.json. */
export interface RolloutFile {
  readonly format: typeof ROLLOUT_FORMAT;
  readonly version: typeof ROLLOUT_VERSION;
  /** What determines a trajectory besides its problem: a folder holds one kind only. */
  readonly inputs: Readonly<Record<string, unknown>>;
  /** Everything else worth knowing: data set, check, manifest; replaced by every run. */
  readonly about: Readonly<Record<string, unknown>>;
}

/** Writes a JSON file at once: beside itself, then swapped in. Errors: IO. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  try {
    await writeFile(`${path}.tmp`, `${JSON.stringify(value, undefined, 2)}\n`);
    await rename(`${path}.tmp`, path);
  } catch (error) {
    throw new RewardLensError('IO', `cannot write '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
  }
}

/** Reads rollout.json; undefined when there is none. Errors: IO, INVALID_ARGUMENT when it is something else. */
export async function readRolloutFile(directory: string): Promise<RolloutFile | undefined> {
  const path = join(directory, FILES.rollout);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return undefined;
    }
    throw new RewardLensError('IO', `cannot read '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
  }
  const value = parseJson(text, path) as Partial<RolloutFile> | null;
  if (value?.format !== ROLLOUT_FORMAT || value.version !== ROLLOUT_VERSION || typeof value.inputs !== 'object') {
    throw invalidArgument(path, `"format": "${ROLLOUT_FORMAT}", "version": ${ROLLOUT_VERSION}`, value?.format);
  }
  return value as RolloutFile;
}

/** Refuses a folder whose trajectories were made otherwise. Errors: INVALID_ARGUMENT naming what differs. */
function checkInputs(directory: string, before: RolloutFile['inputs'], now: RolloutFile['inputs']): void {
  for (const key of new Set([...Object.keys(before), ...Object.keys(now)])) {
    const [old, wanted] = [before[key], JSON.parse(JSON.stringify(now[key] ?? null)) as unknown];
    if (!isDeepStrictEqual(old ?? null, wanted)) {
      throw new RewardLensError(
        'INVALID_ARGUMENT',
        `'${directory}' holds trajectories made with another ${key} (${JSON.stringify(old)}; now ${JSON.stringify(wanted)}); give another output folder`,
        { details: { directory, key, before: old, now: wanted } },
      );
    }
  }
}

/** Key of a trajectory in a folder. */
export const trajectoryKey = (problem: string, sample: number): string => `${sample}/${problem}`;

/** What an earlier run left. */
export interface FolderState {
  /** Keys of finished trajectories. */
  done: Set<string>;
  /** Last row that belongs to a finished trajectory. */
  end: { shard: number; row: number } | undefined;
  /** Records that were damaged, or whose rows were lost, and are to be made again. */
  damaged: number;
  /** A write that was cut off was removed. */
  torn: boolean;
}

/** One intact record, as far as resuming needs it. */
export interface OldRecord {
  problem: string;
  sample: number;
  prompt: string;
  gold: string;
  check: string;
  checkFingerprint?: string;
  seed: number;
  rows: Segment[];
  rowsCrc32?: string;
  verdict: string;
  finishReason: string;
  tokens: number[];
}

function laterEnd(end: FolderState['end'], rows: readonly Segment[]): FolderState['end'] {
  for (const [shard, , row] of rows) {
    if (end === undefined || shard > end.shard || (shard === end.shard && row > end.row)) {
      end = { shard, row };
    }
  }
  return end;
}

/** First pass: cuts a torn line off, takes out what is not intact, and finds the last row that any record refers to. */
async function firstPass(path: string): Promise<{ end: FolderState['end']; recovery: Recovery }> {
  let end: FolderState['end'];
  const recovery = await Journal.recover(path, (record) => {
    // Without checksum the seal itself was hit, or the line is not ours: a record is trusted whole or not at all.
    if (record.crc32 === undefined) {
      return false;
    }
    end = laterEnd(end, (record as unknown as OldRecord).rows);
    return true;
  });
  return { end, recovery };
}

/**
 * Makes the folder ready to be appended to: checks that it holds the same kind of trajectories, takes out torn and damaged
 * records and those of the last shard whose rows do not match their checksum (lost writes), and lists what is finished.
 * `fits` is asked for every intact record and may throw. Errors: IO, INVALID_ARGUMENT, STORE_CORRUPT.
 */
export async function openFolder(
  directory: string,
  wanted: { inputs: RolloutFile['inputs']; store: StoreInfo | undefined },
  fits: (record: OldRecord) => void,
): Promise<FolderState> {
  const before = await readRolloutFile(directory);
  if (before !== undefined) {
    checkInputs(directory, before.inputs, wanted.inputs);
  }
  const path = join(directory, FILES.trajectories);
  // rollout.json comes before the first record: without it the records are another program's, or nobody knows how they were made.
  if (before === undefined && (await stat(path).catch(() => undefined))?.size) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${path}' exists, but not '${join(directory, FILES.rollout)}', which says how its trajectories were made; give another output folder`, {
      details: { directory },
    });
  }
  const done = new Set<string>();
  const first = await firstPass(path);
  const lastShard = first.end?.shard ?? -1;
  let end: FolderState['end'];
  const store = wanted.store === undefined ? undefined : await lenientStore(directory, wanted.store);
  try {
    const recovery = await Journal.recover(path, async (value) => {
      const record = value as unknown as OldRecord;
      const key = trajectoryKey(record.problem, record.sample);
      if (done.has(key) || !(await rowsIntact(store, record, lastShard))) {
        return false;
      }
      fits(record);
      done.add(key);
      end = laterEnd(end, record.rows);
      return true;
    });
    return { done, end, damaged: first.recovery.damaged.length + recovery.damaged.length, torn: first.recovery.torn };
  } finally {
    await store?.close();
  }
}

/** The store for reading rows only: its journal may still be damaged. */
async function lenientStore(directory: string, info: StoreInfo): Promise<ActivationStore | undefined> {
  await writeJson(join(directory, FILES.store), info);
  return ActivationStore.forRows(directory, info);
}

async function rowsIntact(store: ActivationStore | undefined, record: OldRecord, lastShard: number): Promise<boolean> {
  if (store === undefined || !record.rows.some(([shard]) => shard === lastShard)) {
    return true;
  }
  try {
    return (await rowsChecksum(store, record.rows)) === record.rowsCrc32;
  } catch (error) {
    if (error instanceof RewardLensError && error.code === 'STORE_CORRUPT') {
      return false;
    }
    throw error;
  }
}
