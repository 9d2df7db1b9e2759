/** Which neurons a value probe needs: scores by every method, the table of the best, and pruning curves with controls. */
import { RewardLensError, throwIfAborted } from '../native/errors.js';
import type { LayerMoments, TrajectoryData } from '../probe/data.js';
import type { ByPlace, Place } from '../probe/places.js';
import { PLACES, byPlace, placeIndices } from '../probe/places.js';
import type { Split } from '../probe/split.js';
import type { TrainOptions, TrainedProbe } from '../probe/train.js';
import { permutation, trainProbes } from '../probe/train.js';
import { predictPermuted, predictSets } from '../probe/trainer.js';
import type { PruningSets } from '../rank/pruning.js';
import { REFIT_DRAWS, pruningCurve, pruningSets } from '../rank/pruning.js';
import type { RankingMethod } from '../rank/scores.js';
import { RANKING_METHODS, order, permutationScores, ranks, univariateScores, weightScores } from '../rank/scores.js';
import type { Sink } from '../rank/sinks.js';
import type { DatasetResult, NeuronRow } from '../report/schema.js';
import { aucEstimate } from '../stats/auc.js';
import { orNull } from '../stats/estimate.js';
import { toFloat32 } from '../util/half.js';
import { MAIN_PROBE } from './evaluate.js';
import type { ProbeValues } from './predict.js';
import { predictPlaces } from './predict.js';

/** What to rank by, and how much work to spend on controls. */
export interface RankOptions {
  readonly method: RankingMethod;
  /** Draws of every control set. */
  readonly draws: number;
  readonly excludeSinks: boolean;
  /** Train the probe anew on the kept inputs at the best layer; how. */
  readonly refit: TrainOptions | undefined;
  readonly seed: number;
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What ranking works on. */
export interface RankInput {
  readonly data: TrajectoryData;
  readonly split: Split;
  readonly moments: readonly LayerMoments[];
  readonly probes: readonly TrainedProbe[];
  /** Massive coordinates by layer of the data. */
  readonly sinks: readonly (readonly Sink[])[];
  /** Index into the data's layers: the table of neurons and refitting are for this one. */
  readonly bestLayer: number;
}

const TABLE_ROWS = 50;

/** States [trajectories, layers, width] as the store has them. */
type States = Uint16Array | Float32Array;

/** States of some trajectories at one place. */
async function statesAt(data: TrajectoryData, trajectories: readonly number[], place: Place): Promise<States> {
  return data.readStates(trajectories, trajectories.map((i) => placeIndices(data.lengths[i] as number)[place]));
}

/** One layer (an index) of states [n, layers, width], widened: [n, width] in raw units. */
export function layerOf(data: Pick<TrajectoryData, 'layers' | 'width'>, states: States, layer: number): Float32Array {
  const { width } = data;
  const stride = data.layers.length * width;
  const count = states.length / stride;
  const out = new Float32Array(count * width);
  for (let i = 0; i < count; i++) {
    out.set(toFloat32(states.subarray(i * stride + layer * width, i * stride + (layer + 1) * width)), i * width);
  }
  return out;
}

/** Inputs as the probe sees them. */
function normalised(probe: TrainedProbe, rows: Float32Array): Float32Array {
  const width = probe.mean.length;
  return rows.map((value, i) => (value - (probe.mean[i % width] as number)) * (probe.scale[i % width] as number));
}

function probeOf(probes: readonly TrainedProbe[], name: string, layer: number): TrainedProbe | undefined {
  return probes.find((probe) => probe.name === name && probe.layer === layer);
}

/** {@link weightScores} of a trained probe. */
export function weightScoresOf(probe: TrainedProbe): Float64Array {
  return weightScores({ inputs: probe.mean.length, hidden: probe.hidden, w1: probe.weights.w1, w2: probe.weights.w2 });
}

/** Scores by methods that need weights only; which probe gives which method depends on how it was trained. */
export function weightMethods(probes: readonly TrainedProbe[], layer: number): Map<RankingMethod, Float64Array> {
  const out = new Map<RankingMethod, Float64Array>();
  for (const name of [MAIN_PROBE, 'raw', 'zscore']) {
    const probe = probeOf(probes, name, layer);
    if (probe !== undefined) {
      out.set(probe.inputs === 'zscore' ? 'l1-zscore' : 'l1-raw', weightScoresOf(probe));
    }
  }
  const linear = probes.find((probe) => probe.layer === layer && probe.hidden === 0 && !probe.shuffledRewards);
  if (linear !== undefined) {
    out.set('linear', weightScoresOf(linear));
  }
  return out;
}

/** Scores of a layer (an index) by methods that look at states: permutation on validation trajectories, one coordinate alone on training ones. */
export async function stateMethods(input: Pick<RankInput, 'data' | 'split' | 'probes'>, layer: number, options: Pick<RankOptions, 'seed' | 'threads'>): Promise<Map<RankingMethod, Float64Array>> {
  const { data, split, probes } = input;
  const probe = probeOf(probes, MAIN_PROBE, data.layers[layer] as number) as TrainedProbe;
  const rewardsOf = (part: readonly number[]): Float32Array => Float32Array.from(part, (i) => data.rewards[i] as number);
  const validation = normalised(probe, layerOf(data, await statesAt(data, split.validation, 'middle'), layer));
  const n = split.validation.length;
  const [reference] = [await predictSets(probe, validation, n, [Int32Array.from(probe.mean.keys())], options.threads)];
  const permuted = await predictPermuted(probe, validation, n, permutation(n, options.seed), options.threads);
  const train = layerOf(data, await statesAt(data, split.train, 'middle'), layer);
  return new Map<RankingMethod, Float64Array>([
    ['permutation', permutationScores(reference, permuted, rewardsOf(split.validation)).brierRise],
    ['univariate', univariateScores(train, data.width, rewardsOf(split.train))],
  ]);
}

/** Ranks the neurons of every layer and prunes its probe. Errors: those of reading, ABORTED. Cost: docs/probe.md. */
export async function rankNeurons(input: RankInput, options: RankOptions): Promise<Pick<DatasetResult, 'ranking' | 'pruning'>> {
  const { data, split, bestLayer } = input;
  const states = byPlace((): States => new Float32Array(0));
  for (const place of PLACES) {
    states[place] = await statesAt(data, split.test, place);
  }
  const scores = await Promise.all(data.layers.map(async (layer, l) => {
    const all = weightMethods(input.probes, layer);
    const needed = l === bestLayer || !all.has(options.method);
    return needed ? new Map([...all, ...(await stateMethods(input, l, options))]) : all;
  }));
  const pruning: DatasetResult['pruning'] = [];
  for (const [l, layer] of data.layers.entries()) {
    throwIfAborted('ranking', options.signal);
    pruning.push({ layer, points: await pruneLayer(input, { l, states, scores: methodScores(scores[l], options.method) }, options) });
    options.onProgress?.(l + 1, data.layers.length);
  }
  return { pruning, ranking: neuronTable(input, states, scores[bestLayer] as Map<RankingMethod, Float64Array>, options) };
}

function methodScores(scores: ReadonlyMap<RankingMethod, Float64Array> | undefined, method: RankingMethod): Float64Array {
  const found = scores?.get(method);
  if (found === undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `ranking by ${method} needs a probe that was not trained; run \`rewardlens probe\` with other --variants`, { details: { method } });
  }
  return found;
}

async function pruneLayer(
  input: RankInput,
  layer: { l: number; states: ByPlace<States>; scores: Float64Array },
  options: RankOptions,
): Promise<DatasetResult['pruning'][number]['points']> {
  const { data, split } = input;
  const { l } = layer;
  const probe = probeOf(input.probes, MAIN_PROBE, data.layers[l] as number) as TrainedProbe;
  const x = byPlace((place) => normalised(probe, layerOf(data, layer.states[place], l)));
  const exclude = options.excludeSinks ? (input.sinks[l] ?? []).map(({ neuron }) => neuron) : [];
  const points = pruningSets({ scores: layer.scores, rms: (input.moments[l] as LayerMoments).rms, seed: options.seed + l, draws: options.draws, exclude });
  const refits = l === input.bestLayer && options.refit !== undefined ? await refitPoints(input, probe, points, options.refit) : undefined;
  return pruningCurve(points, {
    predict: (place, sets) => predictSets(probe, x[place], split.test.length, sets.map((set) => Int32Array.from(set)), options.threads),
    refit: refits === undefined ? undefined : async (neurons) => refits.get(neurons),
    rewards: Float32Array.from(split.test, (i) => data.rewards[i] as number),
    problems: split.test.map((i) => data.problems[i] as string),
    signal: options.signal,
  });
}

/** Sets of up to this share of the neurons are trained anew: the large ones cost most and say least. */
const REFIT_SHARE = 0.2;

/**
 * Trains a probe on the kept inputs of every small point and on some of its random sets, all in the same passes. All inputs
 * need no training: that is the probe itself.
 */
async function refitPoints(
  { data, split, moments }: RankInput,
  probe: TrainedProbe,
  points: readonly PruningSets[],
  options: TrainOptions,
): Promise<Map<readonly number[], ByPlace<Float32Array>>> {
  const small = points.filter(({ kept }) => kept <= REFIT_SHARE * data.width);
  const sets = small.flatMap(({ top, random }) => [top, ...random.slice(0, REFIT_DRAWS)]);
  const jobs = sets.map((set, i) => ({ ...probe, name: `refit-${i}`, neurons: Int32Array.from(set) }));
  const refitted = await trainProbes(data, split, moments, jobs, options);
  const values = await predictPlaces(data, [...refitted, probe], split.test, options);
  const out = new Map(sets.map((set, i): [readonly number[], ByPlace<Float32Array>] => [set, (values[i] as ProbeValues).places]));
  const whole = points.find(({ kept }) => kept === data.width);
  [whole?.top, whole?.random[0]].forEach((set) => set !== undefined && out.set(set, (values.at(-1) as ProbeValues).places));
  return out;
}

function neuronTable(
  { data, split, moments, sinks, bestLayer }: RankInput,
  states: ByPlace<States>,
  scores: ReadonlyMap<RankingMethod, Float64Array>,
  options: RankOptions,
): DatasetResult['ranking'] {
  const rewards = Float32Array.from(split.test, (i) => data.rewards[i] as number);
  const problems = split.test.map((i) => data.problems[i] as string);
  const rows = byPlace((place) => layerOf(data, states[place], bestLayer));
  const own = methodScores(scores, options.method);
  const massive = new Set((sinks[bestLayer] ?? []).map(({ neuron }) => neuron));
  const rankOf = new Map([...scores].map(([method, values]) => [method, ranks(values)]));
  const { mean, rms, std } = moments[bestLayer] as LayerMoments;
  const columnOf = (place: Place, neuron: number): Float32Array => Float32Array.from(rewards, (_, i) => rows[place][i * data.width + neuron] as number);
  const neurons = [...order(own).subarray(0, TABLE_ROWS)].map((neuron, i): NeuronRow => ({
    neuron,
    rank: i + 1,
    scores: Object.fromEntries(RANKING_METHODS.map((method) => [method, orNull(scores.get(method)?.[neuron] ?? NaN)])),
    ranks: Object.fromEntries(RANKING_METHODS.map((method) => [method, rankOf.get(method)?.[neuron] ?? null])),
    auc: byPlace((place) => aucEstimate(columnOf(place, neuron), rewards, problems)),
    mean: mean[neuron] as number,
    rms: rms[neuron] as number,
    std: std[neuron] as number,
    sink: massive.has(neuron),
  }));
  return { method: options.method, layer: data.layers[bestLayer] as number, neurons };
}
