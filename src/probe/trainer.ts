/** The native trainer of value probes, typed. The equations and what was measured: docs/probe.md. */
import type { NativeProbeTrainer, NativeProbeWeights } from '../native/addon.js';
import { native } from '../native/addon.js';
import { RewardLensError, guard, guardAsync, invalidArgument } from '../native/errors.js';
import { mulberry32 } from '../util/random.js';

/**
 * What V(s_t) is trained towards, with r the reward and T the last state: `td0` γ V(s_{t+1}), at T r (semi-gradient: the
 * target is a constant); `td0-residual` the same with gradients through both sides; `td-lambda` the λ-return of the current
 * values; `mc` γ^{T−t} r; `terminal` r at T, no other state counts.
 */
export const PROBE_TARGETS = ['mc', 'td0', 'td0-residual', 'td-lambda', 'terminal'] as const;
export type ProbeTarget = (typeof PROBE_TARGETS)[number];
export type ProbeHead = 'sigmoid' | 'identity';

/** w1 [hidden, inputs] row-major, b1 [hidden], w2 [hidden], b2 [1], as of torch.nn.Linear; linear probes: w2 [inputs], b2 [1]. */
export type ProbeWeights = NativeProbeWeights;

/** One probe of a {@link ProbeTrainer}. */
export interface ProbeSpec {
  /** Index into the layers of a row. */
  readonly layer: number;
  /** Hidden units (ReLU); 0 is a linear probe. */
  readonly hidden: number;
  readonly head: ProbeHead;
  readonly target: ProbeTarget;
  /** λ of `td-lambda`. */
  readonly lambda: number;
  /** Which column of rewards it is trained on. */
  readonly rewardColumn: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  /** Inputs are (x − mean) · scale. [inputs] */
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  /** Coordinates that are inputs, in this order; default all. */
  readonly neurons?: Int32Array;
  readonly weights: ProbeWeights;
}

/** Parameters of a {@link ProbeTrainer}. */
export interface TrainerParams {
  /** Floats per layer of a row, layers of a row. */
  readonly width: number;
  readonly layers: number;
  /** Discount. */
  readonly gamma: number;
  /** Compute threads, 0 for all. */
  readonly threads: number;
  readonly probes: readonly ProbeSpec[];
}

/** States [rows, layers, width] row-major: half floats or floats. They must not change or be transferred while a call is on. */
export type ProbeRows = Uint16Array | Float32Array;

/**
 * Trains many probes on the same mini-batches, dealt out to the threads, with ggml's matrix products. Results do not depend on the
 * threads or on what is trained beside. One call at a time: another one meanwhile is BUSY. Errors of every call: DISPOSED,
 * INVALID_ARGUMENT naming the parameter, MEMORY_BUDGET, BACKEND. Memory: 16 bytes per weight (weight, two moments, gradient)
 * plus, per step, 4 · rows · (2 · inputs + hidden) bytes per probe at most.
 */
export class ProbeTrainer implements AsyncDisposable {
  #handle: NativeProbeTrainer | undefined;
  readonly #width: number;

  constructor(params: TrainerParams) {
    this.#width = params.width * params.layers;
    this.#handle = guard(() => new (native().NativeProbeTrainer)(params));
  }

  get #native(): NativeProbeTrainer {
    if (this.#handle === undefined) {
      throw new RewardLensError('DISPOSED', 'the probe trainer has been disposed');
    }
    return this.#handle;
  }

  /**
   * One AdamW step (β 0.9 and 0.999, ε 1e-8, decoupled weight decay on all parameters, as torch.optim.AdamW) of every
   * probe on whole trajectories: `lengths` states each, in row order, `rewards` [columns, trajectories]. Returns the loss of every
   * probe before the step: mean squared error over states. Errors: also NON_FINITE when a probe diverged. Cost: 4 · rows · inputs · hidden
   * floating-point operations per probe.
   */
  async step(rows: ProbeRows, lengths: Int32Array, rewards: Float32Array): Promise<Float32Array> {
    return guardAsync(guard(() => this.#native.step(rows, lengths, rewards)));
  }

  /** Losses as {@link step}, without a step. Cost: half of it. */
  async loss(rows: ProbeRows, lengths: Int32Array, rewards: Float32Array): Promise<Float32Array> {
    return guardAsync(guard(() => this.#native.loss(rows, lengths, rewards)));
  }

  /** V of every probe at every row, [probes, rows]. `count` must be the number of rows. */
  async predict(rows: ProbeRows, count: number): Promise<Float32Array> {
    if (count * this.#width !== rows.length) {
      throw invalidArgument('rows', `${count} rows of ${this.#width} values`, rows.length);
    }
    return guardAsync(guard(() => this.#native.predict(rows)));
  }

  /** A copy of a probe's weights. */
  weights(probe: number): ProbeWeights {
    return guard(() => this.#native.weights(probe));
  }

  /** Replaces a probe's weights; moments stay. */
  setWeights(probe: number, weights: ProbeWeights): void {
    guard(() => this.#native.setWeights(probe, weights));
  }

  /** Frees everything once work in flight is done. Idempotent. */
  async dispose(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

/**
 * Initial weights as torch.nn.Linear draws them: uniform in ±1/√(inputs of the layer), weights and biases alike, from a
 * seeded generator (not torch's own). `scale` makes the first layer's weights smaller (docs/probe.md says what for).
 */
export function initialWeights(inputs: number, hidden: number, seed: number, scale = 1): ProbeWeights {
  const random = mulberry32(seed);
  const draw = (count: number, fanIn: number): Float32Array => Float32Array.from({ length: count }, () => (2 * random() - 1) / Math.sqrt(fanIn));
  if (hidden === 0) {
    return { w1: new Float32Array(0), b1: new Float32Array(0), w2: draw(inputs, inputs), b2: draw(1, inputs) };
  }
  return { w1: draw(hidden * inputs, inputs).map((weight) => weight * scale), b1: draw(hidden, inputs), w2: draw(hidden, hidden), b2: draw(1, hidden) };
}

/** A probe whose inputs are taken as given. */
export interface BareProbe {
  readonly hidden: number;
  readonly head: ProbeHead;
  readonly weights: ProbeWeights;
}

const bare = ({ hidden, head, weights }: BareProbe, inputs: number): { inputs: number } & BareProbe => ({ inputs, hidden, head, weights });

/**
 * V [sets, n] of normalised rows `x` [n, inputs] when only the inputs of each set are kept and all others are set to 0, the
 * training mean of z-scored inputs. Errors: INVALID_ARGUMENT. Cost: n · kept · hidden multiplications per set.
 */
export async function predictSets(probe: BareProbe, x: Float32Array, n: number, sets: readonly Int32Array[], threads: number): Promise<Float32Array> {
  return guardAsync(guard(() => native().probePredictSets(bare(probe, x.length / n), x, n, [...sets], threads)));
}

/**
 * V [inputs, n] of normalised rows `x` [n, inputs] when one input at a time is dealt out anew: row r gets the input of row
 * `permutation[r]`. Errors: INVALID_ARGUMENT. Cost: inputs · n · hidden multiplications.
 */
export async function predictPermuted(probe: BareProbe, x: Float32Array, n: number, permutation: Int32Array, threads: number): Promise<Float32Array> {
  return guardAsync(guard(() => native().probePredictPermuted(bare(probe, x.length / n), x, n, permutation, threads)));
}
