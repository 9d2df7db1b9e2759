/** Trains value probes of all layers side by side, in one pass over the store per epoch. */
import { throwIfAborted } from '../native/errors.js';
import { mulberry32 } from '../util/random.js';
import type { LayerMoments, TrajectoryData } from './data.js';
import { groupByRows, rowsAtATime } from './data.js';
import type { ProbeHead, ProbeTarget, ProbeWeights } from './trainer.js';
import { ProbeTrainer, initialWeights } from './trainer.js';

/** One probe to be trained. */
export interface ProbeJob {
  /** Unique name, "value", "linear", "shuffled" …, together with the layer. */
  readonly name: string;
  /** Layer of the model, one of the data's. */
  readonly layer: number;
  /** Hidden units; 0 is a linear probe. */
  readonly hidden: number;
  readonly head: ProbeHead;
  readonly target: ProbeTarget;
  /** λ of `td-lambda`. */
  readonly lambda: number;
  /** z-scored with the training split's statistics, or raw. */
  readonly inputs: 'zscore' | 'raw';
  /** Trained on rewards that were shuffled over all trajectories: the null. */
  readonly shuffledRewards: boolean;
  /** Only these coordinates as inputs. */
  readonly neurons?: Int32Array;
}

/** A trained probe, as of its best epoch. */
export interface TrainedProbe extends ProbeJob {
  readonly weights: ProbeWeights;
  /** x' = (x − mean) · scale; zeros and ones for raw inputs. [inputs] */
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  /** Mean loss per epoch. */
  readonly trainLoss: readonly number[];
  readonly validationLoss: readonly number[];
  /** Epoch (from 0) whose weights these are: the lowest validation loss. */
  readonly bestEpoch: number;
}

/** How to train. */
export interface TrainOptions {
  readonly gamma: number;
  readonly learningRate: number;
  /** Scale of the first layer's initial weights, 1 is torch's. */
  readonly initScale: number;
  readonly weightDecay: number;
  /** Whole trajectories per mini-batch. */
  readonly batchTrajectories: number;
  readonly maxEpochs: number;
  /** Epochs without a lower validation loss after which a probe is finished. */
  readonly patience: number;
  readonly seed: number;
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: TrainProgress) => void) | undefined;
}

/** Where training stands. */
export interface TrainProgress {
  readonly epoch: number;
  readonly maxEpochs: number;
  /** Share of the epoch done, 0..1. */
  readonly share: number;
  /** Probes that are still getting better. */
  readonly active: number;
}

/** The defaults: the paper's, but for the learning rate (its 1e-4 needs ten times the steps that a thousand trajectories give). */
export const TRAIN_DEFAULTS = {
  gamma: 1 - 1e-5,
  learningRate: 1e-3,
  initScale: 0.1,
  weightDecay: 0.01,
  batchTrajectories: 4,
  maxEpochs: 50,
  patience: 3,
} as const;

/** Seeded permutation of 0..count-1 (Fisher–Yates). */
export function permutation(count: number, seed: number): Int32Array {
  const random = mulberry32(seed);
  const out = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [out[i], out[j]] = [out[j] as number, out[i] as number];
  }
  return out;
}

/** Rewards dealt out anew over all trajectories: what is learned from them can only be chance. */
export function shuffledRewards(rewards: Float32Array, seed: number): Float32Array {
  const order = permutation(rewards.length, seed ^ 0x5f3759df);
  return Float32Array.from(order, (i) => rewards[i] as number);
}

/** Coordinates that never move get weight 0 instead of dividing by nothing. */
const MIN_STD = 1e-6;

/** Normalisation of a probe's inputs. */
export function normalisation(job: Pick<ProbeJob, 'inputs' | 'neurons'>, moments: LayerMoments): { mean: Float32Array; scale: Float32Array } {
  const { mean, std } = moments;
  const pick = (values: Float32Array): Float32Array => (job.neurons === undefined ? values : Float32Array.from(job.neurons, (j) => values[j] as number));
  if (job.inputs === 'raw') {
    return { mean: pick(new Float32Array(mean.length)), scale: pick(new Float32Array(mean.length).fill(1)) };
  }
  return { mean: pick(mean), scale: pick(Float32Array.from(std, (value, j) => (value > MIN_STD * Math.max(1, Math.abs(mean[j] ?? 0)) ? 1 / value : 0))) };
}

interface Live {
  job: ProbeJob;
  trainLoss: number[];
  validationLoss: number[];
  bestEpoch: number;
  best: ProbeWeights | undefined;
}

/**
 * Trains `jobs` together: every mini-batch of whole trajectories is read once and given to all of them. After every epoch
 * the validation loss decides: a probe is finished when it has not got better for `patience` epochs and ends with the weights
 * of its best one, whatever is trained beside it. The order of mini-batches depends on `seed` alone. With `data.stateTargets` jobs must not
 * have shuffled rewards. Errors: NON_FINITE when a probe
 * diverges, ABORTED, those of reading. Cost per epoch: reads the training and validation states once; 4 · rows · inputs · hidden
 * floating-point operations per probe for training.
 */
export async function trainProbes(
  data: TrajectoryData,
  split: { train: readonly number[]; validation: readonly number[] },
  moments: readonly LayerMoments[],
  jobs: readonly ProbeJob[],
  options: TrainOptions,
): Promise<TrainedProbe[]> {
  const shuffled = shuffledRewards(data.rewards, options.seed);
  const norms = jobs.map((job) => normalisation(job, moments[data.layers.indexOf(job.layer)] as LayerMoments));
  await using trainer = new ProbeTrainer({
    width: data.width,
    layers: data.layers.length,
    gamma: options.gamma,
    threads: options.threads,
    probes: jobs.map((job, i) => ({
      layer: data.layers.indexOf(job.layer),
      hidden: job.hidden,
      head: job.head,
      target: job.target,
      lambda: job.lambda,
      rewardColumn: job.shuffledRewards ? 1 : 0,
      learningRate: options.learningRate,
      weightDecay: options.weightDecay,
      ...(norms[i] as { mean: Float32Array; scale: Float32Array }),
      ...(job.neurons === undefined ? {} : { neurons: job.neurons }),
      weights: initialWeights(job.neurons?.length ?? data.width, job.hidden, options.seed + 7919 * job.layer, options.initScale),
    })),
  });
  const lives = jobs.map((job): Live => ({ job, trainLoss: [], validationLoss: [], bestEpoch: -1, best: undefined }));
  for (let epoch = 0; epoch < options.maxEpochs; epoch++) {
    const active = lives.filter((live) => improves(live, epoch, options)).length;
    if (active === 0) {
      break;
    }
    await runEpoch(trainer, { data, shuffled, split, lives, epoch, active, options });
  }
  return lives.map((live, i) => ({
    ...live.job,
    ...(norms[i] as { mean: Float32Array; scale: Float32Array }),
    weights: live.best as ProbeWeights,
    trainLoss: live.trainLoss,
    validationLoss: live.validationLoss,
    bestEpoch: live.bestEpoch,
  }));
}

/** Has a probe not yet waited in vain for `patience` epochs? What it does afterwards no longer counts. */
function improves(live: Live, epoch: number, options: TrainOptions): boolean {
  return epoch - live.bestEpoch <= options.patience;
}

interface Epoch {
  data: TrajectoryData;
  shuffled: Float32Array;
  split: { train: readonly number[]; validation: readonly number[] };
  lives: Live[];
  epoch: number;
  active: number;
  options: TrainOptions;
}

const VALIDATION_ROWS = 2048;

async function runEpoch(trainer: ProbeTrainer, context: Epoch): Promise<void> {
  const { data, split, lives, epoch, options } = context;
  const order = permutation(split.train.length, options.seed + 1 + epoch).map((i) => split.train[i] as number);
  const batches = Array.from({ length: Math.ceil(order.length / options.batchTrajectories) }, (_, i) =>
    [...order.subarray(i * options.batchTrajectories, (i + 1) * options.batchTrajectories)],
  );
  const train = await averageLoss(context, batches, (...batch) => trainer.step(...batch), true);
  const validation = await averageLoss(context, [...groupByRows(data, split.validation, rowsAtATime(data, VALIDATION_ROWS))], (...batch) => trainer.loss(...batch), false);
  lives.forEach((live, i) => {
    if (!improves(live, epoch, options)) {
      return; // a probe's result does not depend on how long others take
    }
    const loss = validation[i] as number;
    live.trainLoss.push(train[i] as number);
    live.validationLoss.push(loss);
    if (live.bestEpoch < 0 || loss < (live.validationLoss[live.bestEpoch] as number)) {
      live.bestEpoch = epoch;
      live.best = trainer.weights(i);
    }
  });
}

type Step = (rows: Uint16Array | Float32Array, lengths: Int32Array, rewards: Float32Array) => Promise<Float32Array>;

/** What the trainer is told of a batch. A state with a target of its own is a trajectory of one state whose reward is the target. */
function batchTargets(data: TrajectoryData, shuffled: Float32Array, batch: readonly number[]): { lengths: Int32Array; rewards: Float32Array } {
  if (data.stateTargets !== undefined) {
    const targets = batch.flatMap((i) => [...(data.stateTargets?.[i] as Float32Array)]);
    return { lengths: new Int32Array(targets.length).fill(1), rewards: Float32Array.from(targets) };
  }
  const lengths = Int32Array.from(batch, (i) => data.lengths[i] as number);
  return { lengths, rewards: Float32Array.from([...batch.map((i) => data.rewards[i] as number), ...batch.map((i) => shuffled[i] as number)]) };
}

/**
 * Mean loss per probe over batches, weighted as the loss of a batch is made: by states, or by trajectories where only last
 * states count; the next batch is read while the trainer works on one.
 */
async function averageLoss(context: Epoch, batches: readonly number[][], step: Step, report: boolean): Promise<Float64Array> {
  const { data, shuffled, lives, epoch, active, options } = context;
  const sums = new Float64Array(lives.length);
  const isTerminal = (i: number): boolean => lives[i]?.job.target === 'terminal';
  let states = 0;
  let trajectories = 0;
  let next = batches[0] === undefined ? undefined : data.read(batches[0]);
  for (const [b, batch] of batches.entries()) {
    throwIfAborted('training the probes', options.signal);
    const rows = (await next) as Uint16Array | Float32Array;
    next = batches[b + 1] === undefined ? undefined : data.read(batches[b + 1] as number[]);
    next?.catch(() => undefined); // awaited in the next round; a failure of this step must not leave it unhandled
    const { lengths, rewards } = batchTargets(data, shuffled, batch);
    const losses = await step(rows, lengths, rewards);
    const count = lengths.reduce((a, c) => a + c, 0);
    states += count;
    trajectories += batch.length;
    losses.forEach((loss, i) => (sums[i] = (sums[i] as number) + loss * (isTerminal(i) ? batch.length : count)));
    if (report) {
      options.onProgress?.({ epoch, maxEpochs: options.maxEpochs, share: (b + 1) / batches.length, active });
    }
  }
  return sums.map((sum, i) => sum / (isTerminal(i) ? trajectories : states));
}
