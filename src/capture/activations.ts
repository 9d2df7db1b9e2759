/** Captured rows in memory. */
import ndarray from 'ndarray';
import type { NdArray } from 'ndarray';
import type { NativeChunk } from '../native/addon.js';
import { invalidArgument } from '../native/errors.js';
import type { Site } from '../model/sites.js';
import type { CaptureBlock } from './plan.js';

/** Rows [rowCount, width] of every captured (site, layer), with what each row is. One Float32Array per block. */
export interface Activations {
  readonly rowCount: number;
  readonly blocks: readonly CaptureBlock[];
  /** Request index of each row [rowCount]. */
  readonly sequence: Int32Array;
  /** Position in its sequence of each row [rowCount]. */
  readonly position: Int32Array;
  /** Token that was read at each row [rowCount]. */
  readonly tokens: Int32Array;
  /** Rows of one block as an ndarray view [rowCount, width]; no copy. Errors: INVALID_ARGUMENT when not captured. */
  get(site: Site, layer: number): NdArray<Float32Array>;
}

/** Collects chunks into arrays whose size is known beforehand (or an upper bound, trimmed by `finish`). */
export class ActivationBuffer {
  readonly #blocks: readonly CaptureBlock[];
  readonly #capacity: number;
  readonly #sequence: Int32Array;
  readonly #position: Int32Array;
  readonly #tokens: Int32Array;
  #data: Float32Array[] | undefined;
  #widths: Int32Array | undefined;
  #rowCount = 0;

  /** Memory: capacity × (12 + 4 × the sum of the blocks' widths) bytes, the widths known with the first chunk. */
  constructor(blocks: readonly CaptureBlock[], capacity: number) {
    this.#blocks = blocks;
    this.#capacity = capacity;
    this.#sequence = new Int32Array(capacity);
    this.#position = new Int32Array(capacity);
    this.#tokens = new Int32Array(capacity);
  }

  /** Copies a chunk's rows to row `start` on. `sequence` is the number to note for them. */
  add(chunk: NativeChunk, widths: Int32Array, start: number, sequence: number): void {
    this.#widths ??= widths;
    this.#data ??= [...widths].map((width) => new Float32Array(width * this.#capacity));
    this.#sequence.fill(sequence, start, start + chunk.rowCount);
    this.#position.set(chunk.positions, start);
    this.#tokens.set(chunk.tokens, start);
    chunk.blocks.forEach((block, i) => this.#data?.[i]?.set(new Float32Array(block), start * (widths[i] ?? 0)));
    this.#rowCount = Math.max(this.#rowCount, start + chunk.rowCount);
  }

  /** The activations collected so far; the buffer must not be used afterwards. */
  finish(): Activations {
    const rowCount = this.#rowCount;
    const data = this.#blocks.map((_, i) => {
      const width = this.#widths?.[i] ?? 0;
      return { width, values: this.#data?.[i]?.subarray(0, rowCount * width) ?? new Float32Array(0) };
    });
    return fromArrays(this.#blocks, rowCount, data, {
      sequence: this.#sequence.subarray(0, rowCount),
      position: this.#position.subarray(0, rowCount),
      tokens: this.#tokens.subarray(0, rowCount),
    });
  }
}

/** One set of activations from several with the same blocks, rows in the order given. Cost: copies everything once. */
export function concatActivations(parts: readonly Activations[]): Activations {
  const blocks = parts[0]?.blocks ?? [];
  const rowCount = parts.reduce((sum, part) => sum + part.rowCount, 0);
  const join = <T extends Float32Array | Int32Array>(out: T, pick: (part: Activations) => T): T => {
    let offset = 0;
    for (const part of parts) {
      const piece = pick(part);
      out.set(piece, offset);
      offset += piece.length;
    }
    return out;
  };
  const data = blocks.map(({ site, layer }) => {
    const width = parts.find((part) => part.rowCount > 0)?.get(site, layer).shape[1] ?? 0;
    return { width, values: join(new Float32Array(rowCount * width), (part) => part.get(site, layer).data) };
  });
  return fromArrays(blocks, rowCount, data, {
    sequence: join(new Int32Array(rowCount), (part) => part.sequence),
    position: join(new Int32Array(rowCount), (part) => part.position),
    tokens: join(new Int32Array(rowCount), (part) => part.tokens),
  });
}

function fromArrays(
  blocks: readonly CaptureBlock[],
  rowCount: number,
  data: readonly { width: number; values: Float32Array }[],
  rows: Pick<Activations, 'sequence' | 'position' | 'tokens'>,
): Activations {
  return {
    rowCount,
    blocks,
    ...rows,
    get(site, layer) {
      const index = blocks.findIndex((block) => block.site === site && block.layer === layer);
      const block = data[index];
      if (block === undefined) {
        throw invalidArgument('site, layer', `one of ${blocks.map(({ name }) => name).join(', ')}`, `${site}.${layer}`);
      }
      return ndarray(block.values, [rowCount, block.width]);
    },
  };
}
