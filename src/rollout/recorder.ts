/** Takes rows from the engine to the activation store while sequences are still running. */
import { crc32 } from 'node:zlib';
import type { CaptureBlock, CapturePlan } from '../capture/plan.js';
import { captureBlocks } from '../capture/plan.js';
import type { CapturedChunk } from '../run/engine.js';
import type { Segment, StoreInfo } from '../store/format.js';
import { siteRowBytes } from '../store/format.js';
import type { ShardWriter } from '../store/shards.js';

/** Where the rows of one sequence went so far. */
interface Trail {
  segments: [number, number, number][];
  crc: number;
}

/** The store's description of what a capture plan reads. `widths`: floats per row of each site. */
export function storeInfoOf(plan: CapturePlan, layerCount: number, widths: ReadonlyMap<string, number>, dtype: StoreInfo['dtype']): StoreInfo {
  const blocks = captureBlocks(plan, layerCount);
  const sites = [...new Set(blocks.map(({ site }) => site))].map((site) => ({
    site,
    layers: blocks.filter((block) => block.site === site).map(({ layer }) => layer),
    width: plan.neurons?.length ?? widths.get(site) ?? 0,
  }));
  return { format: 'rewardlens.store', version: 1, dtype, sites, positions: plan.positions as StoreInfo['positions'] };
}

/**
 * Writes chunks of rows as they come, rows of different sequences mixed, and knows for every sequence where its rows are.
 * Memory: one chunk. Rows of a sequence that never finishes stay behind unreferenced.
 */
export class RowRecorder {
  readonly #writer: ShardWriter;
  readonly #info: StoreInfo;
  readonly #blocks: readonly CaptureBlock[];
  readonly #trails = new Map<number, Trail>();
  #chain: Promise<unknown> = Promise.resolve();

  constructor(writer: ShardWriter, info: StoreInfo, blocks: readonly CaptureBlock[]) {
    this.#writer = writer;
    this.#info = info;
    this.#blocks = blocks;
  }

  /** Stores one chunk; resolves when it is written. Errors: IO. */
  async add(chunk: CapturedChunk): Promise<void> {
    const rows = this.#interleave(chunk);
    const segment = await this.#exclusive(() => this.#writer.append(rows, chunk.rowCount));
    const trail = this.#trails.get(chunk.id) ?? { segments: [], crc: 0 };
    trail.crc = rows.reduce((crc, bytes) => crc32(bytes, crc), trail.crc);
    const last = trail.segments.at(-1);
    // A checksum runs segment by segment and, inside, site by site: only a store with one site may join segments.
    if (last !== undefined && rows.length === 1 && last[0] === segment[0] && last[2] === segment[1]) {
      last[2] = segment[2];
    } else {
      trail.segments.push([...segment]);
    }
    this.#trails.set(chunk.id, trail);
  }

  /** Segments and checksum of a finished sequence; forgets it. */
  take(id: number): { rows: Segment[]; rowsCrc32: string } {
    const trail = this.#trails.get(id);
    this.#trails.delete(id);
    return { rows: trail?.segments ?? [], rowsCrc32: (trail?.crc ?? 0).toString(16).padStart(8, '0') };
  }

  /** Brings what was written to the disk. */
  async sync(): Promise<void> {
    await this.#exclusive(() => this.#writer.sync());
  }

  async close(): Promise<void> {
    await this.#exclusive(() => this.#writer.close());
  }

  #exclusive<T>(body: () => Promise<T>): Promise<T> {
    const next = this.#chain.then(body);
    this.#chain = next.catch(() => undefined);
    return next;
  }

  /** Blocks [rows, width] per (site, layer) as rows [rows, layers, width] per site. */
  #interleave(chunk: CapturedChunk): Uint8Array[] {
    return this.#info.sites.map((block) => {
      const rowBytes = siteRowBytes(this.#info, block);
      const layerBytes = rowBytes / block.layers.length;
      const out = new Uint8Array(rowBytes * chunk.rowCount);
      this.#blocks.forEach(({ site, layer }, b) => {
        if (site !== block.site) {
          return;
        }
        const from = new Uint8Array(chunk.blocks[b] as ArrayBuffer);
        const offset = block.layers.indexOf(layer) * layerBytes;
        for (let row = 0; row < chunk.rowCount; row++) {
          out.set(from.subarray(row * layerBytes, (row + 1) * layerBytes), row * rowBytes + offset);
        }
      });
      return out;
    });
  }
}
