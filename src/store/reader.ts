/** Reads a rollout folder, ours or another program's. */
import type { FileHandle } from 'node:fs/promises';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { z } from 'zod';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { parseJson } from '../util/json.js';
import type { Segment, StoreInfo } from './format.js';
import { FILES, lineSchema, shardPath, siteRowBytes, storeSchema } from './format.js';
import { openLine, readLines } from './journal.js';

/** What is kept in memory of a trajectory; texts and tokens stay in the file at `offset`. */
export interface TrajectoryEntry {
  readonly problem: string;
  /** What must not straddle a split: the prompt's checksum where it was recorded (equal prompts under other ids count as one problem), else the problem. */
  readonly group: string;
  readonly sample: number;
  readonly reward: number | null;
  readonly check: string;
  readonly rowsCrc32: string | undefined;
  /** All segments, from the first stored position on. */
  readonly allRows: readonly Segment[];
  /** Segments from s_0 on. */
  readonly rows: readonly Segment[];
  /** Number of states s_0 … : rows from s_0 on. */
  readonly stateCount: number;
  readonly promptLength: number;
  /** Mean natural-log probability of the tokens sampled before the middle and before the last state, NaN when there are none. */
  readonly meanLogProbability: { readonly middle: number; readonly last: number };
  readonly verdict: string;
  readonly finishReason: string;
  /** Sampled tokens; the number of states when they were not recorded. */
  readonly tokenCount: number;
  /** Entropy (nats) of the first token's distribution, NaN when it was not recorded. */
  readonly firstEntropy: number;
  /** Byte range of its line in trajectories.jsonl. */
  readonly offset: number;
  readonly bytes: number;
}

function firstIssue(error: z.ZodError, value: unknown, where: string): RewardLensError {
  const issue = error.issues[0] as z.core.$ZodIssue;
  const received = issue.path.reduce<unknown>((here, key) => (here as Record<PropertyKey, unknown> | undefined)?.[key], value);
  return invalidArgument(`${where}: ${issue.path.map(String).join('.') || 'the record'}`, issue.message, received);
}

/** Reads and checks `store.json`. Errors: IO, INVALID_ARGUMENT naming the field. */
export async function readStoreInfo(directory: string): Promise<StoreInfo> {
  const path = join(directory, FILES.store);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new RewardLensError('IO', `'${directory}' is not an activation store: cannot read '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
  }
  const value = parseJson(text, path);
  const parsed = storeSchema.safeParse(value);
  if (!parsed.success) {
    throw firstIssue(parsed.error, value, path);
  }
  return parsed.data;
}

function cutSegments(segments: readonly Segment[], skip: number): Segment[] {
  const out: Segment[] = [];
  for (const [shard, begin, end] of segments) {
    const from = Math.min(end, begin + skip);
    skip -= from - begin;
    if (from < end) {
      out.push([shard, from, end]);
    }
  }
  return out;
}

/** Mean of the first `count` of what may be a list of numbers. */
function meanOf(values: unknown, count: number): number {
  const list = Array.isArray(values) ? (values as number[]).slice(0, count) : [];
  return list.length === 0 ? NaN : list.reduce((a, b) => a + b, 0) / list.length;
}

function toEntry(value: unknown, info: StoreInfo, where: string, place: { offset: number; bytes: number }): TrajectoryEntry {
  const parsed = lineSchema.safeParse(value);
  if (!parsed.success) {
    throw firstIssue(parsed.error, value, where);
  }
  const line = parsed.data;
  if (info.positions === 'all' && line.promptLength === undefined) {
    throw invalidArgument(`${where}: promptLength`, 'the number of prompt tokens, as the store holds rows of all positions', undefined);
  }
  const rows = cutSegments(line.rows ?? [], info.positions === 'all' ? (line.promptLength ?? 1) - 1 : 0);
  const stateCount = rows.reduce((sum, [, begin, end]) => sum + end - begin, 0);
  return {
    problem: line.problem,
    group: typeof line.prompt === 'string' ? `prompt-${crc32(line.prompt).toString(16)}` : line.problem,
    check: typeof line.check === 'string' ? line.check : 'unknown',
    rowsCrc32: typeof line.rowsCrc32 === 'string' ? line.rowsCrc32 : undefined,
    allRows: line.rows ?? [],
    sample: line.sample ?? 0,
    reward: line.reward,
    rows,
    stateCount,
    promptLength: line.promptLength ?? NaN,
    verdict: typeof line.verdict === 'string' ? line.verdict : line.reward === null ? 'unknown' : line.reward > 0.5 ? 'correct' : 'wrong',
    finishReason: typeof line.finishReason === 'string' ? line.finishReason : 'unknown',
    tokenCount: Array.isArray(line.tokens) ? line.tokens.length : stateCount,
    meanLogProbability: { middle: meanOf(line.logProbabilities, Math.floor((stateCount - 1) / 2)), last: meanOf(line.logProbabilities, stateCount - 1) },
    firstEntropy: Array.isArray(line.entropies) && line.entropies.length > 0 ? Number(line.entropies[0]) : NaN,
    ...place,
  };
}

/** An open store. Memory: a few hundred bytes per trajectory; rows are read when asked for. */
export class ActivationStore implements AsyncDisposable {
  readonly directory: string;
  readonly info: StoreInfo;
  /** Ordered by problem and sample. */
  readonly trajectories: readonly TrajectoryEntry[];
  readonly #files = new Map<string, Promise<{ file: FileHandle; dataStart: number }>>();

  private constructor(directory: string, info: StoreInfo, trajectories: readonly TrajectoryEntry[]) {
    this.directory = directory;
    this.info = info;
    this.trajectories = trajectories;
  }

  /**
   * Opens the store in `directory`. A torn last line is ignored. Errors: IO; INVALID_ARGUMENT naming file, line and field;
   * STORE_CORRUPT for a line whose checksum is wrong.
   */
  static async open(directory: string): Promise<ActivationStore> {
    const info = await readStoreInfo(directory);
    const path = join(directory, FILES.trajectories);
    const trajectories: TrajectoryEntry[] = [];
    for await (const line of readLines(path)) {
      const opened = openLine(line.text);
      if ('fault' in opened) {
        if (!line.complete) {
          continue;
        }
        throw new RewardLensError('STORE_CORRUPT', `${path}:${line.number}: ${opened.fault}; \`rewardlens rollout\` with the same arguments takes the line out and makes it again`, {
          details: { path, line: line.number },
        });
      }
      trajectories.push(toEntry(opened.value, info, `${path}:${line.number}`, { offset: line.offset, bytes: line.bytes }));
    }
    // Sequences finish in any order; what is computed from them must not depend on it.
    trajectories.sort((a, b) => (a.problem === b.problem ? a.sample - b.sample : a.problem < b.problem ? -1 : 1));
    return new ActivationStore(directory, info, trajectories);
  }

  /** A store for {@link readRows} alone: the trajectories are not read. */
  static forRows(directory: string, info: StoreInfo): ActivationStore {
    return new ActivationStore(directory, info, []);
  }

  /** The block of `site`. Errors: SITE_NOT_FOUND. */
  block(site: string): StoreInfo['sites'][number] {
    const block = this.info.sites.find((entry) => entry.site === site);
    if (block === undefined) {
      throw new RewardLensError('SITE_NOT_FOUND', `'${this.directory}' holds ${this.info.sites.map((entry) => entry.site).join(', ')}, not ${site}`);
    }
    return block;
  }

  /**
   * Rows of one site, [rows, layers, width] row-major: Uint16Array of half floats for an f16 store, else Float32Array.
   * Errors: STORE_CORRUPT when a shard is too short, IO.
   */
  async readRows(segments: readonly Segment[], site: string): Promise<Uint16Array | Float32Array> {
    const block = this.block(site);
    const bytesPerRow = siteRowBytes(this.info, block);
    const count = segments.reduce((sum, [, begin, end]) => sum + end - begin, 0);
    const out = new Uint8Array(count * bytesPerRow);
    let at = 0;
    for (const [shard, begin, end] of segments) {
      const { file, dataStart } = await this.#file(site, shard);
      const bytes = (end - begin) * bytesPerRow;
      for (let done = 0; done < bytes; ) {
        const { bytesRead } = await file.read(out, at + done, bytes - done, dataStart + begin * bytesPerRow + done);
        if (bytesRead === 0) {
          throw new RewardLensError('STORE_CORRUPT', `'${shardPath(this.directory, site, shard)}' is too short: rows ${begin}..${end} are missing`);
        }
        done += bytesRead;
      }
      at += bytes;
    }
    return this.info.dtype === 'f16' ? new Uint16Array(out.buffer) : new Float32Array(out.buffer);
  }

  /** The whole record of a trajectory: texts, tokens, log-probabilities. */
  async readRecord(entry: TrajectoryEntry): Promise<Record<string, unknown>> {
    const file = await open(join(this.directory, FILES.trajectories), 'r');
    try {
      const buffer = Buffer.alloc(entry.bytes);
      await file.read(buffer, 0, entry.bytes, entry.offset);
      const opened = openLine(buffer.toString('utf8'));
      if ('fault' in opened) {
        throw new RewardLensError('STORE_CORRUPT', `'${this.directory}': the record at byte ${entry.offset} changed while it was open`);
      }
      return opened.value;
    } finally {
      await file.close();
    }
  }

  #file(site: string, shard: number): Promise<{ file: FileHandle; dataStart: number }> {
    const path = shardPath(this.directory, site, shard);
    let opening = this.#files.get(path);
    if (opening === undefined) {
      opening = this.#openShard(path, site);
      this.#files.set(path, opening);
    }
    return opening;
  }

  async #openShard(path: string, site: string): Promise<{ file: FileHandle; dataStart: number }> {
    const block = this.block(site);
    let file: FileHandle | undefined;
    try {
      file = await open(path, 'r');
      const length = Buffer.alloc(8);
      await file.read(length, 0, 8, 0);
      const headerBytes = Number(length.readBigUInt64LE());
      const json = Buffer.alloc(Math.min(headerBytes, 1 << 20));
      await file.read(json, 0, json.length, 8);
      const header = JSON.parse(json.toString('utf8')) as Record<string, { dtype: string; shape: number[]; data_offsets: number[] } | undefined>;
      const tensor = header[site];
      const wanted = `${this.info.dtype.toUpperCase()} [rows, ${block.layers.length}, ${block.width}]`;
      if (tensor?.dtype.toLowerCase() !== this.info.dtype || tensor.shape.length !== 3 || tensor.shape[1] !== block.layers.length || tensor.shape[2] !== block.width) {
        throw new RewardLensError('STORE_CORRUPT', `'${path}': expected a tensor '${site}' of ${wanted}, got ${tensor === undefined ? 'none' : `${tensor.dtype} [${tensor.shape.join(', ')}]`}`);
      }
      return { file, dataStart: 8 + headerBytes + (tensor.data_offsets[0] ?? 0) };
    } catch (error) {
      await file?.close();
      throw error instanceof RewardLensError ? error : new RewardLensError('STORE_CORRUPT', `'${path}' cannot be read: ${(error as Error).message}`, { cause: error, details: { path } });
    }
  }

  async close(): Promise<void> {
    for (const opening of this.#files.values()) {
      await opening.then(({ file }) => file.close()).catch(() => undefined);
    }
    this.#files.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Checksum of a trajectory's rows as its record notes it: segment by segment, within a segment site by site. Hex.
 * Errors: as `readRows`.
 */
export async function rowsChecksum(store: Pick<ActivationStore, 'info' | 'readRows'>, segments: readonly Segment[]): Promise<string> {
  let value = 0;
  for (const segment of segments) {
    for (const { site } of store.info.sites) {
      const rows = await store.readRows([segment], site);
      value = crc32(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength), value);
    }
  }
  return value.toString(16).padStart(8, '0');
}
