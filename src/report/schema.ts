/** The result of a study: every number of its report (docs/study-format.md). Changes of meaning raise `version`. */
import { z } from 'zod';
import { ablationSchema } from './ablationSchema.js';
import { NO_SECTIONS, sectionsSchema } from './sectionsSchema.js';
import { transferSchema } from './transferSchema.js';

export const STUDY_FORMAT = 'rewardlens.study';
export const STUDY_VERSION = 2;

/** An estimate with its 95 % interval; `low`/`high` null where none can be given. `n`: trajectories behind it. */
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: z.number().int() });
export type Estimate = z.infer<typeof estimate>;

/** The three places of a trajectory that every AUC is given for: s_0, the middle state, the last state. */
const byPlace = z.object({ s0: estimate, middle: estimate, last: estimate });
export type ByPlace = z.infer<typeof byPlace>;
export const PLACES = ['s0', 'middle', 'last'] as const;
export type Place = (typeof PLACES)[number];

/** One bin of a calibration curve; `observed` is the share of reward with a Wilson interval. */
const calibrationBin = z.object({ low: z.number(), high: z.number(), meanPredicted: z.number().nullable(), observed: estimate });
export type CalibrationBin = z.infer<typeof calibrationBin>;

const layerResult = z.object({
  site: z.string(),
  layer: z.number().int(),
  epochs: z.number().int(),
  bestEpoch: z.number().int(),
  trainLoss: z.array(z.number()),
  validationLoss: z.array(z.number()),
  /** On held-out trajectories. */
  auc: byPlace,
  /** AUC per decile of the trajectory (the state at 5 %, 15 %, … 95 % of its length). */
  deciles: z.array(estimate),
  brier: z.object({ s0: z.number().nullable(), middle: z.number().nullable(), last: z.number().nullable() }),
  /** On validation trajectories; the best layer is chosen by this, never by the held-out numbers. */
  validationAuc: z.object({ s0: z.number().nullable(), middle: z.number().nullable(), last: z.number().nullable() }),
  /** The same probe trained in other ways, on the same trajectories: name ("linear", "shuffled rewards", "td0", …) to AUC. */
  variants: z.record(z.string(), byPlace),
  /** Coordinates with massive activations (attention sinks and the like). */
  sinks: z.array(z.object({ neuron: z.number().int(), rms: z.number(), ratioToMedian: z.number() })),
});
export type LayerResult = z.infer<typeof layerResult>;

/** One row of the table of top neurons; ranks count from 1 over all neurons of the layer. */
const neuronRow = z.object({
  neuron: z.number().int(),
  rank: z.number().int(),
  /** Score per method: "l1-zscore", "l1-raw", "linear", "permutation", "univariate". */
  scores: z.record(z.string(), z.number().nullable()),
  ranks: z.record(z.string(), z.number().int().nullable()),
  /** AUC of the raw coordinate alone on held-out trajectories, as measured (below 0.5: high means failure). */
  auc: byPlace,
  mean: z.number(),
  rms: z.number(),
  std: z.number(),
  sink: z.boolean(),
});
export type NeuronRow = z.infer<typeof neuronRow>;

/** A control set's AUC over its draws: mean and the 2.5 and 97.5 percentiles of the draws. */
const band = z.object({ mean: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), draws: z.number().int() });
export type Band = z.infer<typeof band>;

const pruningPoint = z.object({
  /** Share of the inputs kept. */
  share: z.number(),
  kept: z.number().int(),
  /** The best inputs by the default ranking. */
  top: byPlace,
  random: z.object({ s0: band, middle: band, last: band }),
  /** Sets of the same size whose inputs have the nearest RMS to the kept ones. */
  matched: z.object({ s0: band, middle: band, last: band }),
  /** The probe trained anew on the kept inputs only. */
  refit: byPlace.optional(),
  /** The same on random sets of the same size: what `refit` is to be compared with. */
  refitRandom: z.object({ s0: band, middle: band, last: band }).optional(),
});
export type PruningPoint = z.infer<typeof pruningPoint>;

const baseline = z.object({
  /** "prompt length", "mean token log-probability", "entropy of the first token", "linear probe", "shuffled rewards". */
  name: z.string(),
  auc: byPlace,
  /** AUC of the value probe minus this, paired on the same trajectories, with interval. Null where not comparable. */
  difference: z.object({ s0: estimate.nullable(), middle: estimate.nullable(), last: estimate.nullable() }),
});
export type Baseline = z.infer<typeof baseline>;

/** One trajectory for the coloured token view; arrays run over the completion's tokens. */
const exampleTrajectory = z.object({
  problem: z.string(),
  sample: z.number().int(),
  prompt: z.string(),
  gold: z.string(),
  verdict: z.enum(['correct', 'wrong', 'unknown']),
  reward: z.number().nullable(),
  /** Text of each sampled token; joined they are the completion. */
  tokens: z.array(z.string()),
  logProbabilities: z.array(z.number().nullable()),
  entropies: z.array(z.number().nullable()),
  /** V(s_t): the value before token t is sampled. */
  values: z.array(z.number()),
  /** δ_t = γ V(s_{t+1}) − V(s_t), and r − V(s_T) at the end: what token t changed. Null at the end when the reward is unknown. */
  tdErrors: z.array(z.number().nullable()),
});
export type ExampleTrajectory = z.infer<typeof exampleTrajectory>;

const datasetResult = z.object({
  name: z.string(),
  source: z.string(),
  format: z.string(),
  sha256: z.string(),
  check: z.string(),
  rollout: z.object({
    problems: z.number().int(),
    samplesPerProblem: z.number().int(),
    trajectories: z.number().int(),
    correct: z.number().int(),
    wrong: z.number().int(),
    unknown: z.number().int(),
    accuracy: estimate,
    meanTokens: z.number(),
    maxTokens: z.number().int(),
    finishReasons: z.record(z.string(), z.number().int()),
    promptLengths: z.object({ min: z.number().int(), max: z.number().int() }),
    sampling: z.record(z.string(), z.unknown()),
    seed: z.number().int(),
    template: z.string(),
  }),
  split: z.object({
    seed: z.number().int(),
    train: z.number().int(),
    validation: z.number().int(),
    test: z.number().int(),
    testProblems: z.number().int(),
    testAccuracy: estimate,
  }),
  probe: z.record(z.string(), z.unknown()),
  layers: z.array(layerResult),
  /** Index into `layers`: the highest validation AUC at the middle. */
  bestLayer: z.number().int(),
  baselines: z.array(baseline),
  calibration: z.array(z.object({ place: z.enum(PLACES), bins: z.array(calibrationBin), expectedError: z.number().nullable() })),
  ranking: z.object({ method: z.string(), layer: z.number().int(), neurons: z.array(neuronRow) }),
  pruning: z.array(z.object({ layer: z.number().int(), points: z.array(pruningPoint) })),
  examples: z.array(exampleTrajectory),
  /** Value neurons taken away on held-out problems, as in ablate.json; null when there was no sweep. */
  ablation: ablationSchema.nullable(),
  /** What the sweep left out and what qualifies it, or why there was none: sentences. */
  ablationNotes: z.array(z.string()),
  /** Results of `values`, `dopamine`, `interplay`, `confidence`, `search`. A file without them is one of a study that had none. */
  sections: sectionsSchema.default(NO_SECTIONS),
});
export type DatasetResult = z.infer<typeof datasetResult>;

export const studySchema = z.object({
  format: z.literal(STUDY_FORMAT),
  version: z.literal(STUDY_VERSION),
  title: z.string(),
  /** What is needed to reproduce every number: model hash, llama.cpp release, backend, seeds, command. */
  manifest: z.record(z.string(), z.unknown()),
  command: z.array(z.string()),
  selfTest: z.object({
    passed: z.boolean(),
    seconds: z.number(),
    checks: z.array(z.object({ name: z.string(), passed: z.boolean(), expected: z.string(), observed: z.string() })),
  }),
  datasets: z.array(datasetResult),
  /** How value neurons and probes carry over between data sets (and quantized copies), as in transfer.json; null when that was not compared. */
  transfer: transferSchema.nullable().default(null),
  /** Headline findings in words, one sentence each, the plain truth first. */
  findings: z.array(z.object({ dataset: z.string().nullable(), text: z.string() })),
  /** Wall seconds per stage, 0 for one that was taken from an earlier run. */
  durations: z.array(z.object({ stage: z.string(), dataset: z.string().nullable(), seconds: z.number(), reused: z.boolean() })),
});
/** Contents of `study.json`. */
export type Study = z.infer<typeof studySchema>;
