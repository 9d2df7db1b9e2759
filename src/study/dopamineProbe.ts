/** The dopamine probe: a small network from the features of a step to its prediction error. */
import { RewardLensError } from '../native/errors.js';
import type { LayerMoments } from '../probe/data.js';
import { measureMoments } from '../probe/data.js';
import { memoryData } from '../probe/memory.js';
import type { ProbeJob, TrainedProbe } from '../probe/train.js';
import { shuffledRewards, trainProbes } from '../probe/train.js';
import type { Zscore } from '../rpe/features.js';
import { aucEstimate } from '../stats/auc.js';
import { correlationEstimate, spearman } from '../stats/correlation.js';
import type { Numbers } from '../stats/estimate.js';
import { orNull } from '../stats/estimate.js';
import { mean } from '../stats/moments.js';
import type { DopamineData, DopamineItem, DopamineStep, DopamineTrajectory, ErrorSource, Part } from './dopamineData.js';
import { BASELINES, stepFeatures } from './dopamineData.js';
import type { DopamineLayer, DopamineScore } from '../report/dopamineSchema.js';
import { predictor } from './predict.js';

/** What a probe learns from. */
export interface DopamineTraining {
  readonly mode: Zscore;
  /** Steps with |δ| up to this are left out of training. */
  readonly threshold: number;
  readonly hidden: number;
  readonly seed: number;
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((share: number, note: string) => void) | undefined;
}

/** Names of the probes. */
export const DOPAMINE_PROBES = { main: 'dopamine', linear: 'linear', shuffled: 'shuffled errors' } as const;

/** One step is one state; the validation loss stops it. */
const TRAINING = { gamma: 1, learningRate: 1e-3, initScale: 0.1, weightDecay: 0.01, batchTrajectories: 16, maxEpochs: 100, patience: 8 } as const;
/** Fewer large steps than this are no training set. */
const MIN_STEPS = { train: 20, validation: 5, test: 5 } as const;
/** Bytes of features held at a time. */
const FEATURE_BYTES = 512 * 1024 * 1024;

/** Large steps: what is learned from, indices into all items. */
export function largeItems(items: readonly DopamineItem[], threshold: number): number[] {
  return [...items.keys()].filter((i) => Math.abs((items[i] as DopamineItem).error) > threshold);
}

/** Refuses too few steps to learn from. Errors: INVALID_ARGUMENT saying what to change. */
export function requireSteps(items: readonly DopamineItem[], threshold: number): void {
  const large = largeItems(items, threshold);
  for (const part of ['train', 'validation', 'test'] as const) {
    const own = large.filter((i) => items[i]?.part === part).length;
    if (own < MIN_STEPS[part]) {
      throw new RewardLensError('INVALID_ARGUMENT', `threshold: expected at least ${MIN_STEPS[part]} ${part} steps with |δ| above it, got ${own} at ${threshold}: value more trajectories, cut finer steps, or lower it`, {
        details: { part, steps: own, threshold },
      });
    }
  }
}

/** The best layer's probes with everything that ranking needs. */
export interface FittedLayer {
  /** Index into the data's layers. */
  readonly index: number;
  readonly main: TrainedProbe;
  readonly linear: TrainedProbe;
  /** Of the large training steps' features. */
  readonly moments: LayerMoments;
  /** [items, width]. */
  readonly features: Float32Array;
  /** What the main probe says of every item. */
  readonly predictions: Float32Array;
}

/** All layers' numbers, and the best layer's probes. */
export interface FittedDopamine {
  readonly layers: DopamineLayer[];
  readonly best: FittedLayer;
}

/**
 * Trains the probe of every layer, with a linear one and one on shuffled errors beside it. Held-out steps are judged; validation steps stop training and
 * choose the layer. Errors: INVALID_ARGUMENT for too few steps, those of reading and training. Cost: one forward pass over the store per 512 MiB of features.
 */
export async function fitDopamine(data: DopamineData, items: readonly DopamineItem[], options: DopamineTraining): Promise<FittedDopamine> {
  requireSteps(items, options.threshold);
  const atOnce = Math.max(1, Math.floor(FEATURE_BYTES / (4 * data.width * Math.max(1, items.length))));
  const layers: DopamineLayer[] = [];
  let best: FittedLayer | undefined;
  let bestValue = -Infinity;
  for (let from = 0; from < data.layers.length; from += atOnce) {
    const group = Array.from({ length: Math.min(atOnce, data.layers.length - from) }, (_, i) => from + i);
    options.onProgress?.(from / data.layers.length, `layers ${group.map((l) => data.layers[l]).join(', ')}`);
    for (const fitted of await fitGroup(data, items, group, options)) {
      layers.push(fitted.result);
      const value = fitted.result.validationSpearman ?? -1;
      if (value > bestValue) {
        [best, bestValue] = [fitted.layer(), value];
      }
    }
  }
  return { layers, best: best as FittedLayer };
}

async function fitGroup(data: DopamineData, items: readonly DopamineItem[], group: readonly number[], options: DopamineTraining): Promise<{ result: DopamineLayer; layer: () => FittedLayer }[]> {
  const features = await stepFeatures(data, items, { layers: group, mode: options.mode, signal: options.signal });
  const columns = group.length * data.width;
  const rowOf = (i: number): Float32Array => features.subarray(i * columns, (i + 1) * columns);
  const layers = group.map((l) => data.layers[l] as number);
  const large = largeItems(items, options.threshold);
  const training = memoryData('dopamine', layers, data.width, large.map((i) => ({ problem: (items[i] as DopamineItem).group, reward: (items[i] as DopamineItem).error, states: rowOf(i) })));
  const partOf = (part: Part): number[] => [...large.keys()].filter((k) => items[large[k] as number]?.part === part);
  const split = { train: partOf('train'), validation: partOf('validation') };
  const moments = await measureMoments(training, split.train, options.signal);
  const job: Omit<ProbeJob, 'name' | 'layer'> = { hidden: options.hidden, head: 'identity', target: 'mc', lambda: 1, inputs: 'zscore', shuffledRewards: false };
  const jobs = layers.flatMap((layer): ProbeJob[] => [
    { ...job, name: DOPAMINE_PROBES.main, layer },
    { ...job, name: DOPAMINE_PROBES.linear, layer, hidden: 0 },
    { ...job, name: DOPAMINE_PROBES.shuffled, layer, shuffledRewards: true },
  ]);
  const probes = await trainProbes(training, split, moments, jobs, { ...TRAINING, seed: options.seed, threads: options.threads, signal: options.signal });
  const shuffled = shuffledRewards(training.rewards, options.seed);
  await using trainer = predictor(training, probes, options.threads);
  const predictions = await trainer.predict(features, items.length);
  const valuesOf = (p: number): Float32Array => predictions.subarray(p * items.length, (p + 1) * items.length);
  return group.map((index, g) => {
    const [main, linear] = [probes[3 * g] as TrainedProbe, probes[3 * g + 1] as TrainedProbe];
    const validation = split.validation.map((k) => large[k] as number);
    return {
      result: {
        layer: data.layers[index] as number,
        epochs: main.trainLoss.length,
        bestEpoch: main.bestEpoch,
        validationSpearman: orNull(spearman(validation.map((i) => valuesOf(3 * g)[i] as number), validation.map((i) => (items[i] as DopamineItem).error))),
        scores: [
          scoreOf(DOPAMINE_PROBES.main, valuesOf(3 * g), items, options),
          scoreOf(DOPAMINE_PROBES.linear, valuesOf(3 * g + 1), items, options),
          nullScore(DOPAMINE_PROBES.shuffled, valuesOf(3 * g + 2), items, { large, shuffled }),
        ],
      },
      layer: () => {
        const own = new Float32Array(items.length * data.width);
        items.forEach((_, i) => own.set(rowOf(i).subarray(g * data.width, (g + 1) * data.width), i * data.width));
        return { index, main, linear, moments: moments[g] as LayerMoments, features: own, predictions: valuesOf(3 * g).slice() };
      },
    };
  });
}

const NOTHING = { value: null, low: null, high: null, n: 0 };

/** Agreement of a prediction per item with δ, on held-out steps. */
export function scoreOf(name: string, predictions: Numbers, items: readonly DopamineItem[], { threshold, seed }: { threshold: number; seed: number }): DopamineScore {
  const test = [...items.keys()].filter((i) => items[i]?.part === 'test');
  const large = test.filter((i) => Math.abs((items[i] as DopamineItem).error) > threshold);
  return { name, all: correlations(predictions, items, test, seed), large: { ...correlations(predictions, items, large, seed), auc: signAuc(predictions, items, large) } };
}

function correlations(predictions: Numbers, items: readonly DopamineItem[], at: readonly number[], seed: number): DopamineScore['all'] {
  const [x, y, groups] = [at.map((i) => predictions[i] as number), at.map((i) => (items[i] as DopamineItem).error), at.map((i) => (items[i] as DopamineItem).group)];
  return { spearman: correlationEstimate('spearman', x, y, groups, { seed }), pearson: correlationEstimate('pearson', x, y, groups, { seed }) };
}

function signAuc(predictions: Numbers, items: readonly DopamineItem[], at: readonly number[]): DopamineScore['large']['auc'] {
  return aucEstimate(at.map((i) => predictions[i] as number), at.map((i) => ((items[i] as DopamineItem).error > 0 ? 1 : 0)), at.map((i) => (items[i] as DopamineItem).group));
}

/** The null is judged by the shuffled errors of the large steps, as it was trained. */
function nullScore(name: string, predictions: Numbers, items: readonly DopamineItem[], { large, shuffled }: { large: readonly number[]; shuffled: Float32Array }): DopamineScore {
  const dealt = items.map((item) => ({ ...item }));
  large.forEach((i, k) => ((dealt[i] as { error: number }).error = shuffled[k] as number));
  const test = large.filter((i) => items[i]?.part === 'test');
  return { name, all: { spearman: NOTHING, pearson: NOTHING }, large: { ...correlations(predictions, dealt, test, 0), auc: signAuc(predictions, dealt, test) } };
}

/**
 * What can be said of a step without a look inside, as predictors of δ: the sign is the one of the training steps, steps without a number get the
 * training mean. Baselines that no training step has are left out, and those that δ is made of when it comes from the probe: δ itself, and V before the step.
 */
export function baselineScores(data: DopamineData, items: readonly DopamineItem[], options: { threshold: number; seed: number; error: ErrorSource }): DopamineScore[] {
  const stepOf = ({ trajectory, step }: DopamineItem): DopamineStep => (data.trajectories[trajectory] as DopamineTrajectory).steps[step] as DopamineStep;
  const own: readonly string[] = options.error === 'probe' ? [BASELINES.probeChange, BASELINES.probeValue] : [];
  return Object.values(BASELINES).filter((name) => !own.includes(name)).flatMap((name) => {
    const values = items.map((item) => stepOf(item).baselines[name] ?? NaN);
    const train = [...items.keys()].filter((i) => items[i]?.part === 'train' && Number.isFinite(values[i]));
    if (train.length === 0) {
      return [];
    }
    const sign = spearman(train.map((i) => values[i] as number), train.map((i) => (items[i] as DopamineItem).error)) < 0 ? -1 : 1;
    const middle = mean(train.map((i) => values[i] as number));
    return [scoreOf(name, values.map((value) => sign * (Number.isFinite(value) ? value : middle)), items, options)];
  });
}
