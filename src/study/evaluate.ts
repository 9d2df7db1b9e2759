/** Held-out numbers of trained probes: AUC by layer and place, calibration, baselines. */
import { shuffledRewards } from '../probe/train.js';
import type { TrainedProbe } from '../probe/train.js';
import type { TrajectoryData } from '../probe/data.js';
import type { ByPlace, Place } from '../probe/places.js';
import { PLACES, aucByPlace, byPlace, placeIndices } from '../probe/places.js';
import type { Split } from '../probe/split.js';
import type { Sink } from '../rank/sinks.js';
import { LINEAR, LINEAR_PLACED, SHUFFLED } from '../report/facts.js';
import type { Baseline, DatasetResult, LayerResult } from '../report/schema.js';
import { auc, aucDifference, aucEstimate } from '../stats/auc.js';
import { brier, calibrationCurve, expectedCalibrationError } from '../stats/calibration.js';
import type { Estimate, Numbers } from '../stats/estimate.js';
import { orNull } from '../stats/estimate.js';
import { mean } from '../stats/moments.js';
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
export function layerResults(evaluation: Evaluation, data: TrajectoryData, sinks: readonly (readonly Sink[])[], shown: readonly Place[]): LayerResult[] {
  const { probes, test, validation } = evaluation;
  const only = (places: ByPlace<Estimate>): ByPlace<Estimate> => byPlace((place) => (shown.includes(place) ? places[place] : NOTHING(places[place].n)));
  return data.layers.map((layer, l) => {
    const main = find(evaluation, MAIN_PROBE, layer);
    const probe = probes[main] as TrainedProbe;
    const { places, deciles } = test.values[main] as ProbeValues;
    const validated = (validation.values[main] as ProbeValues).places;
    const variants = probes.flatMap((variant, i) =>
      variant.layer !== layer || i === main ? [] : [[variantName(variant.name), only(aucByPlace((test.values[i] as ProbeValues).places, rewardsFor(variant, test), test.problems))] as const],
    );
    return {
      site: data.site,
      layer,
      epochs: probe.trainLoss.length,
      bestEpoch: probe.bestEpoch,
      trainLoss: [...probe.trainLoss],
      validationLoss: [...probe.validationLoss],
      auc: only(aucByPlace(places, test.rewards, test.problems)),
      deciles: deciles.map((values) => (shown.length === 1 ? NOTHING(test.rewards.length) : aucEstimate(values, test.rewards, test.problems))),
      brier: byPlace((place) => (shown.includes(place) ? orNull(brier(places[place], test.rewards)) : null)),
      validationAuc: byPlace((place) => (shown.includes(place) ? orNull(auc(validated[place], validation.rewards)) : null)),
      variants: Object.fromEntries(variants),
      sinks: [...(sinks[l] ?? [])],
    };
  });
}

/** Name of a probe in tables. */
export function variantName(name: string): string {
  return (VARIANTS as Readonly<Record<string, string>>)[name] ?? name;
}

/**
 * The layer with the highest validation AUC at a place (default the middle, or s_0 where it is all there is): held-out numbers have no
 * say. Index into `layers`.
 */
export function chooseLayer(layers: readonly LayerResult[], place?: Place): number {
  const by = place ?? (layers.some(({ validationAuc }) => validationAuc.middle !== null) ? 'middle' : 's0');
  return layers.reduce((best, { validationAuc }, i) => ((validationAuc[by] ?? -1) > (layers[best]?.validationAuc[by] ?? -1) ? i : best), 0);
}

/** One score per trajectory and place, NaN where there is none. */
type Scores = ByPlace<Float64Array>;

/** What can be said of trajectories without a look inside, at each place with what is known there. */
function outsideScores(store: ActivationStore, data: TrajectoryData, trajectories: readonly number[]): Map<string, Scores> {
  const entries = trajectories.map((i) => store.trajectories[data.entries[i] as number] as ActivationStore['trajectories'][number]);
  const of = (pick: (entry: (typeof entries)[number], place: Place) => number): Scores => byPlace((place) => Float64Array.from(entries, (entry) => pick(entry, place)));
  return new Map([
    ['prompt length', of((entry) => entry.promptLength)],
    ['entropy of the first token', of((entry) => entry.firstEntropy)],
    ['mean token log-probability so far', of((entry, place) => (place === 's0' ? NaN : entry.meanLogProbability[place]))],
    ['tokens so far', of((entry, place) => (place === 's0' ? NaN : placeIndices(entry.stateCount)[place]))],
  ]);
}

/**
 * A score as a predictor of success: its sign is the one that predicts on the training trajectories, and a trajectory that has none
 * (too short) gets the training mean. Undefined where no training trajectory has one.
 */
function asPredictor(own: Float64Array, training: Float64Array, trainingRewards: Numbers): Float64Array | undefined {
  const known = [...training.keys()].filter((i) => Number.isFinite(training[i]));
  if (known.length === 0) {
    return undefined;
  }
  const values = known.map((i) => training[i] as number);
  const sign = auc(values, known.map((i) => trainingRewards[i] as number)) < 0.5 ? -1 : 1;
  const middle = mean(values);
  return own.map((value) => sign * (Number.isFinite(value) ? value : middle));
}

const NOTHING = (n: number): Estimate => ({ value: null, low: null, high: null, n });

/** Baselines of one layer's value probe, with paired differences. `placed`: values of the linear probes of single places. */
export function baselineResults(evaluation: Evaluation, store: ActivationStore, data: TrajectoryData, split: Split, layer: number, placed: ByPlace<Float32Array>): Baseline[] {
  const { test } = evaluation;
  const shown = shownPlaces(store);
  const value = (test.values[find(evaluation, MAIN_PROBE, layer)] as ProbeValues).places;
  const row = (name: string, scores: (place: Place) => Numbers | undefined, rewards = test.rewards): Baseline => ({
    name,
    auc: byPlace((place) => {
      const own = shown.includes(place) ? scores(place) : undefined;
      return own === undefined ? NOTHING(rewards.length) : aucEstimate(own, rewards, test.problems);
    }),
    difference: byPlace((place) => {
      const own = shown.includes(place) && rewards === test.rewards ? scores(place) : undefined;
      return own === undefined ? null : aucDifference(value[place], own, rewards, test.problems);
    }),
  });
  const training = outsideScores(store, data, split.train);
  const trainingRewards = split.train.map((i) => data.rewards[i] as number);
  const outside = [...outsideScores(store, data, split.test)].map(([name, scores]) =>
    row(name, (place) => asPredictor(scores[place], (training.get(name) as Scores)[place], trainingRewards)),
  );
  const inside = evaluation.probes.flatMap((probe, i): Baseline[] =>
    probe.layer !== layer || probe.name === MAIN_PROBE ? [] : [row(variantName(probe.name), (place) => (test.values[i] as ProbeValues).places[place], rewardsFor(probe, test))],
  );
  return [...outside, row(LINEAR_PLACED, (place) => placed[place]), ...inside];
}

/** Places that mean something: a store of s_0 alone has one. */
export function shownPlaces(store: Pick<ActivationStore, 'info'>): readonly Place[] {
  return store.info.positions === 's0' ? ['s0'] : PLACES;
}

/** Calibration of one layer's value probe on held-out trajectories. */
export function calibrationResults(evaluation: Evaluation, layer: number, shown: readonly Place[]): DatasetResult['calibration'] {
  const { places } = evaluation.test.values[find(evaluation, MAIN_PROBE, layer)] as ProbeValues;
  return shown.map((place) => {
    const bins = calibrationCurve(places[place], evaluation.test.rewards);
    return { place, bins, expectedError: expectedCalibrationError(bins) };
  });
}
