/** dopamine.json: neurons that follow the prediction error (docs/dopamine.md). Changes of meaning raise `version`. */
import { z } from 'zod';
import { ZSCORES } from '../rpe/features.js';

export const DOPAMINE_FORMAT = 'rewardlens.dopamine';
export const DOPAMINE_VERSION = 2;
/** File inside a rollout folder. */
export const DOPAMINE_FILE = 'dopamine.json';

const count = z.int().min(0);
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: count });
const band = z.object({ mean: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), draws: count });
const numbers = z.array(z.number().nullable());

/** The baseline that is no fair rival: its sampling noise is in δ with a minus sign. */
export const NOISY_BASELINE = 'V before the step, by continuation (its noise is in δ)';

/** Where δ comes from: continuations, or the value probe. */
export const ERROR_SOURCES = ['mc', 'probe'] as const;

/** How something that predicts δ does on held-out steps; intervals are by problem. */
const score = z.object({
  /** "dopamine", "linear", "shuffled errors", or a baseline. */
  name: z.string(),
  /** Over all held-out steps. */
  all: z.object({ spearman: estimate, pearson: estimate }),
  /** Over those with |δ| above the threshold; `auc`: of telling better from worse than expected. */
  large: z.object({ spearman: estimate, pearson: estimate, auc: estimate }),
});
export type DopamineScore = z.infer<typeof score>;

const layerResult = z.object({
  layer: z.int(),
  epochs: count,
  bestEpoch: z.int(),
  /** On validation steps; the layer is chosen by this. */
  validationSpearman: z.number().nullable(),
  scores: z.array(score),
});
export type DopamineLayer = z.infer<typeof layerResult>;

const neuronRow = z.object({
  neuron: count,
  rank: count,
  /** "l1-zscore", "linear", "univariate". */
  scores: z.record(z.string(), z.number().nullable()),
  ranks: z.record(z.string(), count),
  /** Of the feature alone with δ on held-out steps above the threshold: its sign says which way the neuron goes. */
  spearman: estimate,
});
export type DopamineNeuron = z.infer<typeof neuronRow>;

const pruningPoint = z.object({ share: z.number(), kept: count, top: estimate, random: band, matched: band });
export type DopaminePruning = z.infer<typeof pruningPoint>;

const average = z.object({ events: count, offsets: z.array(z.int()), mean: numbers, low: numbers, high: numbers, n: z.array(count) });
const neuronEvents = z.object({
  neuron: count,
  /** Around steps that went better and worse than expected, and around states drawn at random in the same trajectories. */
  positive: average,
  negative: average,
  random: average,
});
export type DopamineEvents = z.infer<typeof neuronEvents>;

const surpriseCell = z.object({
  position: z.enum(['middle', 'last', 'mean']),
  /**
   * `surprise`: positive against negative surprise; `positive`: positive surprise against expected success; `negative`: negative surprise against expected failure. These three
   * set low against high V(s_0). At equal V(s_0), success against failure: `low`, `high`.
   */
  contrast: z.enum(['surprise', 'positive', 'negative', 'low', 'high']),
  units: z.tuple([count, count]).nullable(),
  /** Neurons with adjusted p < 0.05. */
  significant: count.nullable(),
  top: z.array(z.object({ neuron: count, difference: z.number(), p: z.number() })),
});
export type SurpriseCell = z.infer<typeof surpriseCell>;

const overlap = z.object({ a: z.string(), b: z.string(), size: count, shared: count, iou: z.number(), p: z.number() });

const example = z.object({
  problem: z.string(),
  sample: count,
  reward: z.number().nullable(),
  /** Text of each sampled token. */
  tokens: z.array(z.string()),
  /** z-score of the best neuron at the state that has read each token; null for the last, which none has. */
  trace: numbers,
  /** δ of each step, and what the probe says of it. */
  steps: z.array(z.object({ begin: count, end: count, error: z.number().nullable(), predicted: z.number().nullable() })),
});
export type DopamineExample = z.infer<typeof example>;

/** Contents of dopamine.json. */
export const dopamineSchema = z.object({
  format: z.literal(DOPAMINE_FORMAT),
  version: z.literal(DOPAMINE_VERSION),
  rewardlens: z.string(),
  trajectoriesSha256: z.string(),
  /** Of dopamine.safetensors: the best layer's probes. */
  probesSha256: z.string(),
  /** Of the values.jsonl that it is made from. */
  valuesSha256: z.string(),
  /** Settings of `values` that δ depends on. */
  values: z.record(z.string(), z.unknown()),
  settings: z.object({
    site: z.string(),
    error: z.enum(ERROR_SOURCES),
    zscore: z.enum(ZSCORES),
    threshold: z.number(),
    hidden: count,
    radius: count,
    neurons: count,
    examples: count,
    permutations: count,
    draws: count,
    seed: count,
  }),
  selfTest: z.object({ passed: z.boolean(), checks: z.array(z.object({ name: z.string(), passed: z.boolean(), expected: z.string(), observed: z.string() })) }),
  steps: z.object({
    all: z.object({ train: count, validation: count, test: count }),
    large: z.object({ train: count, validation: count, test: count }),
    testProblems: count,
    /** Share of the variance of δ that is noise of the continuations; null for δ of the probe. */
    noise: z.number().nullable(),
  }),
  layers: z.array(layerResult),
  /** The layer with the highest validation Spearman: what follows is about it. */
  bestLayer: z.int(),
  baselines: z.array(score),
  ranking: z.array(neuronRow),
  pruning: z.array(pruningPoint),
  events: z.array(neuronEvents),
  /** Held-out trajectories, right and wrong ones in turn, with the trace of the best neuron. */
  examples: z.array(example),
  surprise: z.object({
    /** What V(s_0) is. */
    source: z.enum(ERROR_SOURCES),
    low: z.number().nullable(),
    high: z.number().nullable(),
    groups: z.object({ positive: count, negative: count, expectedSuccess: count, expectedFailure: count }),
    cells: z.array(surpriseCell),
    /** Neurons that, over the mean of the response, differ by V(s_0) at equal outcome and by outcome at equal V(s_0), both as surprise does: higher, or lower, when things go better than expected. */
    both: z.array(count),
  }),
  /** Sets of equal size at the best layer: dopamine neurons of both kinds, and value neurons where there is a value probe. */
  overlaps: z.array(overlap),
  seconds: z.number(),
});
export type Dopamine = z.infer<typeof dopamineSchema>;
