/** A session: one llama.cpp context over a model, in which one run at a time processes many sequences. */
import type { NativeEvent, NativeRun, NativeRunParams, NativeSession } from '../native/addon.js';
import { native } from '../native/addon.js';
import { RewardLensError, guard, guardAsync, invalidArgument } from '../native/errors.js';
import type { Model } from './model.js';
import type { SiteInfo } from './sites.js';
import { inComputationOrder } from './sites.js';

/** KV cache element types of llama.cpp. */
export type CacheType = 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_0' | 'q4_1' | 'iq4_nl' | 'q5_0' | 'q5_1';

/** Options of {@link Model.createSession}; llama.cpp's flags in brackets. */
export interface SessionOptions {
  /** Tokens per sequence, prompt and completion (`-c` is per sequence here); rounded up to a multiple of 256. Default 2048. */
  contextLength?: number;
  /** Sequences side by side (`--parallel`), 1..256. Default 1. */
  parallel?: number;
  /** Most rows of one forward pass (`-ub`). Default 512. */
  ubatch?: number;
  /** Compute threads (`-t`). Default: hardware threads. */
  threads?: number;
  /**
   * Flash attention (`-fa`). Default 'auto': llama.cpp's choice on a GPU, off on the CPU (unless the V cache is quantized),
   * because there a sequence's numbers would depend on how many others are in the batch.
   */
  flashAttention?: boolean | 'auto';
  /** KV cache types (`-ctk`, `-ctv`). Default f16. */
  cacheTypeK?: CacheType;
  cacheTypeV?: CacheType;
}

/** One llama.cpp context and its compute threads. One run at a time: concurrent use is BUSY. */
export class Session implements AsyncDisposable {
  readonly model: Model;
  /** Settings that change numbers. */
  readonly numerics: Required<Pick<SessionOptions, 'flashAttention' | 'cacheTypeK' | 'cacheTypeV'>>;
  #handle: NativeSession | undefined;
  #sites: Promise<SiteInfo[]> | undefined;
  readonly #onDispose: () => void;

  /** Use {@link Model.createSession}. */
  constructor(model: Model, options: SessionOptions, onDispose: () => void) {
    this.model = model;
    this.#onDispose = onDispose;
    this.numerics = { flashAttention: options.flashAttention ?? 'auto', cacheTypeK: options.cacheTypeK ?? 'f16', cacheTypeV: options.cacheTypeV ?? 'f16' };
    const params = {
      contextLength: integer('contextLength', options.contextLength ?? 2048),
      parallel: integer('parallel', options.parallel ?? 1),
      ubatch: integer('ubatch', options.ubatch ?? 512),
      threads: integer('threads', options.threads ?? 0),
      flashAttention: flashAttention(this.numerics.flashAttention),
      cacheTypeK: this.numerics.cacheTypeK,
      cacheTypeV: this.numerics.cacheTypeV,
      offloadKqv: true,
    };
    this.#handle = guard(() => new (native().NativeSession)(model.handle, params));
  }

  /** The addon's object. Errors: DISPOSED. */
  get handle(): NativeSession {
    if (this.#handle === undefined) {
      throw new RewardLensError('DISPOSED', 'the session has been disposed');
    }
    return this.#handle;
  }

  /** Actual sizes: tokens per sequence (rounded up), sequences, rows per pass, threads. */
  get info(): { contextLength: number; parallel: number; ubatch: number; threads: number } {
    return this.handle.info();
  }

  /**
   * Which sites this model has in which layers, layer by layer in {@link SITES} order. The first call decodes four
   * tokens to see the graph. Errors: BUSY while a run is on, DISPOSED.
   */
  async sites(): Promise<SiteInfo[]> {
    this.#sites ??= guardAsync(this.handle.sites()).then(inComputationOrder);
    try {
      return await this.#sites;
    } catch (error) {
      this.#sites = undefined;
      throw error;
    }
  }

  /** Starts a compiled run; use `generate` and `captureActivations`, which compile and check. Errors: BUSY, DISPOSED. */
  start(params: NativeRunParams, onEvents: (events: NativeEvent[]) => void): NativeRun {
    return guard(() => this.handle.start(params, onEvents));
  }

  /** Aborts a run in flight, waits for it and frees the context. Idempotent. */
  async dispose(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#onDispose();
    await handle?.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

function integer(name: string, value: number): number {
  if (!Number.isInteger(value) || Math.abs(value) > 0x7fffffff) {
    throw invalidArgument(name, 'an integer', value);
  }
  return value;
}

function flashAttention(value: boolean | 'auto'): -1 | 0 | 1 {
  return value === 'auto' ? -1 : value ? 1 : 0;
}
