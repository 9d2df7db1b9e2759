/** Held-out numbers of trained probes: AUC by layer and place, calibration, baselines. */
import { shuffledRewards } from '../probe/train.js';
import type { TrainedProbe } from '../probe/train.js';
import type { TrajectoryData } from '../probe/data.js';
import type { ByPlace, Place } from '../probe/places.js';
import { PLACES, aucByPlace, byPlace } from '../probe/places.js';
import type { Split } from '../probe/split.js';
import type { Sink } from '../rank/sinks.js';
import { LINEAR, SHUFFLED } from '../report/facts.js';
import type { Baseline, DatasetResult, LayerResult } from '../report/schema.js';
import { auc, aucDifference, aucEstimate } from '../stats/auc.js';
import { brier, calibrationCurve, expectedCalibrationError } from '../stats/calibration.js';
import type { Estimate, Numbers } from '../stats/estimate.js';
import { orNull } from '../stats/estimate.js';
import type { ActivationStore } from '../store/reader.js';
import type { ProbeValues } from './predict.js';
import { predictPlaces } from './predict.js';

/** Name of the probe that everything is about; the other names are variants of it. */
export const MAIN_PROBE = 'value';
/** Variants with a meaning of their own in tables. */
export const VARIANTS = { linear: LINEAR, shuffled: SHUFFLED, raw: 'raw inputs', zscore: 'z-scored inputs' } as const;

/** Trajectories of one part of the split, with what they are judged by. */
interface Part {
  rewards: Float32Array;
  shuffled: Float32Array;
  problems: string[];
  /** Per probe, in the order of the probes. */
  values: ProbeValues[];
}

/** Values and rewards of the held-out and the validation trajectories. */
export interface Evaluation {
  readonly probes: readonly TrainedProbe[];
  readonly test: Part;
  readonly validation: Part;
}

/** Runs every probe over the held-out and the validation trajectories. Cost and errors: as `predictPlaces`. */
export async function evaluateProbes(
  data: TrajectoryData,
  split: Split,
  probes: readonly TrainedProbe[],
  options: { seed: number; threads: number; signal?: AbortSignal | undefined },
): Promise<Evaluation> {
  const shuffled = shuffledRewards(data.rewards, options.seed);
  const part = async (trajectories: readonly number[]): Promise<Part> => ({
    rewards: Float32Array.from(trajectories, (i) => data.rewards[i] as number),
    shuffled: Float32Array.from(trajectories, (i) => shuffled[i] as number),
    problems: trajectories.map((i) => data.problems[i] as string),
    values: await predictPlaces(data, probes, trajectories, options),
  });
  return { probes, test: await part(split.test), validation: await part(split.validation) };
}

function find(evaluation: Evaluation, name: string, layer: number): number {
  return evaluation.probes.findIndex((probe) => probe.name === name && probe.layer === layer);
}

/** Rewards that a probe is to be judged by: the null is judged by the shuffled ones, as it was trained. */
const rewardsFor = (probe: TrainedProbe, part: Part): Float32Array => (probe.shuffledRewards ? part.shuffled : part.rewards);

/** Results per layer. `sinks`: by layer of the data. */
export function layerResults(evaluation: Evaluation, data: TrajectoryData, sinks: readonly (readonly Sink[])[]): LayerResult[] {
  const { probes, test, validation } = evaluation;
  return data.layers.map((layer, l) => {
    const main = find(evaluation, MAIN_PROBE, layer);
    const probe = probes[main] as TrainedProbe;
    const { places, deciles } = test.values[main] as ProbeValues;
    const validated = (validation.values[main] as ProbeValues).places;
    const variants = probes.flatMap((variant, i) =>
      variant.layer !== layer || i === main ? [] : [[variantName(variant.name), aucByPlace((test.values[i] as ProbeValues).places, rewardsFor(variant, test), test.problems)] as const],
    );
    return {
      site: data.site,
      layer,
      epochs: probe.trainLoss.length,
      bestEpoch: probe.bestEpoch,
      trainLoss: [...probe.trainLoss],
      validationLoss: [...probe.validationLoss],
      auc: aucByPlace(places, test.rewards, test.problems),
      deciles: deciles.map((values) => aucEstimate(values, test.rewards, test.problems)),
      brier: byPlace((place) => orNull(brier(places[place], test.rewards))),
      validationAuc: byPlace((place) => orNull(auc(validated[place], validation.rewards))),
      variants: Object.fromEntries(variants),
      sinks: [...(sinks[l] ?? [])],
    };
  });
}

/** Name of a probe in tables. */
export function variantName(name: string): string {
  return (VARIANTS as Readonly<Record<string, string>>)[name] ?? name;
}

/** The layer with the highest validation AUC at the middle: held-out numbers have no say. Index into `layers`. */
export function chooseLayer(layers: readonly LayerResult[]): number {
  let best = 0;
  layers.forEach(({ validationAuc }, i) => {
    if ((validationAuc.middle ?? -1) > (layers[best]?.validationAuc.middle ?? -1)) {
      best = i;
    }
  });
  return best;
}

/** What predicts success without a look inside: one score per held-out trajectory and place, or none. */
type Scores = ByPlace<Numbers | undefined>;

function outsideScores(store: ActivationStore, data: TrajectoryData, trajectories: readonly number[]): [name: string, scores: Scores][] {
  const entries = trajectories.map((i) => store.trajectories[data.entries[i] as number] as ActivationStore['trajectories'][number]);
  const whole = (values: number[]): Numbers | undefined => (values.every(Number.isFinite) ? values : undefined);
  const length = whole(entries.map((entry) => -entry.promptLength));
  const entropy = whole(entries.map((entry) => -entry.firstEntropy));
  return [
    ['prompt length (shorter is better)', byPlace(() => length)],
    ['entropy of the first token (lower is better)', byPlace(() => entropy)],
    [
      'mean token log-probability so far',
      { s0: undefined, middle: whole(entries.map((entry) => entry.meanLogProbability.middle)), last: whole(entries.map((entry) => entry.meanLogProbability.last)) },
    ],
  ];
}

const NOTHING = (n: number): Estimate => ({ value: null, low: null, high: null, n });

/** Baselines of one layer's value probe, with paired differences. */
export function baselineResults(evaluation: Evaluation, store: ActivationStore, data: TrajectoryData, split: Split, layer: number): Baseline[] {
  const { test } = evaluation;
  const value = (test.values[find(evaluation, MAIN_PROBE, layer)] as ProbeValues).places;
  const outside = outsideScores(store, data, split.test).map(([name, scores]): Baseline => ({
    name,
    auc: byPlace((place) => (scores[place] === undefined ? NOTHING(test.rewards.length) : aucEstimate(scores[place], test.rewards, test.problems))),
    difference: byPlace((place) => (scores[place] === undefined ? null : aucDifference(value[place], scores[place], test.rewards, test.problems))),
  }));
  const inside = evaluation.probes.flatMap((probe, i): Baseline[] => {
    if (probe.layer !== layer || probe.name === MAIN_PROBE) {
      return [];
    }
    const { places } = test.values[i] as ProbeValues;
    return [
      {
        name: variantName(probe.name),
        auc: aucByPlace(places, rewardsFor(probe, test), test.problems),
        difference: byPlace((place) => (probe.shuffledRewards ? null : aucDifference(value[place], places[place], test.rewards, test.problems))),
      },
    ];
  });
  return [...outside, ...inside];
}

/** Calibration of one layer's value probe on held-out trajectories. */
export function calibrationResults(evaluation: Evaluation, layer: number): DatasetResult['calibration'] {
  const { places } = evaluation.test.values[find(evaluation, MAIN_PROBE, layer)] as ProbeValues;
  return PLACES.map((place: Place) => {
    const bins = calibrationCurve(places[place], evaluation.test.rewards);
    return { place, bins, expectedError: expectedCalibrationError(bins) };
  });
}
