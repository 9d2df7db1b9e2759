/** Writes activation shards: safetensors files that grow at the end, one tensor each, their header rewritten in place. */
import type { FileHandle } from 'node:fs/promises';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RewardLensError } from '../native/errors.js';
import type { Segment, StoreInfo } from './format.js';
import { FILES, rowBytes, shardPath, siteRowBytes } from './format.js';
import { makeFolder } from '../util/makeFolder.js';

/** Every shard begins with a header of this many bytes, length field included; JSON is padded with spaces. */
export const SHARD_HEADER_BYTES = 4096;
/** A shard is closed when it holds this many bytes over all sites. */
export const SHARD_BYTES = 1 << 30;

/** Header of a shard with `rows` rows, as safetensors wants it. */
export function shardHeader(info: StoreInfo, block: StoreInfo['sites'][number], rows: number): Buffer {
  const json = JSON.stringify({
    __metadata__: { format: 'rewardlens.shard', site: block.site, layers: block.layers.join(',') },
    [block.site]: {
      dtype: info.dtype === 'f16' ? 'F16' : 'F32',
      shape: [rows, block.layers.length, block.width],
      data_offsets: [0, rows * siteRowBytes(info, block)],
    },
  });
  const out = Buffer.alloc(SHARD_HEADER_BYTES, ' ');
  if (json.length + 8 > SHARD_HEADER_BYTES) {
    throw new RewardLensError('INVALID_ARGUMENT', `${block.site}: a shard's header holds at most ${SHARD_HEADER_BYTES - 8} bytes, ${block.layers.length} layers need ${json.length}`);
  }
  out.writeBigUInt64LE(BigInt(SHARD_HEADER_BYTES - 8), 0);
  out.write(json, 8, 'utf8');
  return out;
}

/** Highest shard number in the folder for a site, -1 when there is none. */
async function lastShard(directory: string, site: string): Promise<number> {
  const names = await readdir(join(directory, FILES.shards)).catch(() => [] as string[]);
  const numbers = names.filter((name) => name.startsWith(`${site}-`)).map((name) => Number(/-(\d+)\.safetensors$/.exec(name)?.[1] ?? -1));
  return Math.max(-1, ...numbers);
}

/** Bytes that the shards in the folder take, all sites. Errors: IO. */
export async function shardBytesOf(directory: string): Promise<number> {
  let bytes = 0;
  try {
    for (const name of await readdir(join(directory, FILES.shards))) {
      bytes += (await stat(join(directory, FILES.shards, name))).size;
    }
  } catch (error) {
    throw new RewardLensError('IO', `cannot list the activations in '${directory}': ${(error as Error).message}`, { cause: error, details: { directory } });
  }
  return bytes;
}

/** Appends rows of all sites side by side. One writer a folder; calls one after the other. */
export class ShardWriter {
  readonly #directory: string;
  readonly #info: StoreInfo;
  readonly #maxRows: number;
  #files: FileHandle[] = [];
  #shard: number;
  #rows: number;

  private constructor(directory: string, info: StoreInfo, place: { shard: number; rows: number }, shardBytes: number) {
    this.#directory = directory;
    this.#info = info;
    this.#maxRows = Math.max(1, Math.floor(shardBytes / rowBytes(info)));
    this.#shard = place.shard;
    this.#rows = place.rows;
  }

  /**
   * Opens the store for appending behind `end`, the last row that any finished trajectory owns ([shard, row]; undefined for
   * an empty store). Rows after it belong to nobody and are cut off. Errors: IO, STORE_CORRUPT when rows are missing.
   */
  static async open(directory: string, info: StoreInfo, end: { shard: number; row: number } | undefined, shardBytes = SHARD_BYTES): Promise<ShardWriter> {
    await makeFolder(join(directory, FILES.shards));
    const writer = new ShardWriter(directory, info, { shard: end?.shard ?? 0, rows: end?.row ?? 0 }, shardBytes);
    await writer.#openFiles();
    for (const block of info.sites) {
      for (let shard = writer.#shard + 1; shard <= (await lastShard(directory, block.site)); shard++) {
        const file = await open(shardPath(directory, block.site, shard), 'r+'); // begun, never used: empty it
        await file.truncate(SHARD_HEADER_BYTES);
        await file.write(shardHeader(info, block, 0), 0, SHARD_HEADER_BYTES, 0);
        await file.close();
      }
    }
    return writer;
  }

  /**
   * Appends `count` rows; `rows[i]` are the bytes of site i, [count, layers, width]. Returns where they are. They survive
   * the process being killed once this resolves. Errors: IO (disk full and the like).
   */
  async append(rows: readonly Uint8Array[], count: number): Promise<Segment> {
    if (this.#rows > 0 && this.#rows + count > this.#maxRows) {
      await this.#next();
    }
    const begin = this.#rows;
    await this.#guard(async () => {
      for (const [i, block] of this.#info.sites.entries()) {
        const bytes = rows[i] as Uint8Array;
        let at = SHARD_HEADER_BYTES + begin * siteRowBytes(this.#info, block);
        for (let done = 0; done < bytes.length; ) {
          const { bytesWritten } = await (this.#files[i] as FileHandle).write(bytes, done, bytes.length - done, at);
          done += bytesWritten;
          at += bytesWritten;
        }
      }
    });
    this.#rows += count;
    return [this.#shard, begin, this.#rows];
  }

  /** Brings headers and data to the disk: the open shards are then valid safetensors files. */
  async sync(): Promise<void> {
    await this.#guard(async () => {
      for (const [i, block] of this.#info.sites.entries()) {
        const file = this.#files[i] as FileHandle;
        await file.write(shardHeader(this.#info, block, this.#rows), 0, SHARD_HEADER_BYTES, 0);
        await file.sync();
      }
    });
  }

  async close(): Promise<void> {
    try {
      await this.sync();
    } finally {
      await this.discard();
    }
  }

  /** Closes the files without touching them further, after a failure. */
  async discard(): Promise<void> {
    const files = this.#files;
    this.#files = [];
    await Promise.all(files.map((file) => file.close().catch(() => undefined)));
  }

  async #next(): Promise<void> {
    await this.close();
    this.#shard++;
    this.#rows = 0;
    await this.#openFiles();
  }

  async #openFiles(): Promise<void> {
    for (const block of this.#info.sites) {
      const path = shardPath(this.#directory, block.site, this.#shard);
      await this.#guard(async () => {
        const file = await open(path, 'r+').catch(() => open(path, 'w+'));
        this.#files.push(file);
        const needed = SHARD_HEADER_BYTES + this.#rows * siteRowBytes(this.#info, block);
        const { size } = await file.stat();
        if (this.#rows > 0 && size < needed) {
          throw new RewardLensError('STORE_CORRUPT', `'${path}' has ${size} bytes; the trajectories refer to ${needed}`, { details: { path, size, needed } });
        }
        await file.truncate(needed);
        await file.write(shardHeader(this.#info, block, this.#rows), 0, SHARD_HEADER_BYTES, 0);
      });
    }
  }

  async #guard(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } catch (error) {
      throw error instanceof RewardLensError
        ? error
        : new RewardLensError('IO', `writing activations in '${this.#directory}' failed: ${(error as Error).message}`, { cause: error, details: { directory: this.#directory } });
    }
  }
}
