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
    const widths = this.#widths ?? new Int32Array(this.#blocks.length);
    const data = this.#data ?? this.#blocks.map(() => new Float32Array(0));
    const blocks = this.#blocks;
    return {
      rowCount,
      blocks,
      sequence: this.#sequence.subarray(0, rowCount),
      position: this.#position.subarray(0, rowCount),
      tokens: this.#tokens.subarray(0, rowCount),
      get(site, layer) {
        const index = blocks.findIndex((block) => block.site === site && block.layer === layer);
        if (index < 0) {
          throw invalidArgument('site, layer', `one of ${blocks.map((block) => block.name).join(', ')}`, `${site}.${layer}`);
        }
        const width = widths[index] ?? 0;
        return ndarray((data[index] as Float32Array).subarray(0, rowCount * width), [rowCount, width]);
      },
    };
  }
}
