/** Which neurons the dopamine probe needs: ranking, pruning with controls, surprise groups, overlaps. */
import { throwIfAborted } from '../native/errors.js';
import { predictSets } from '../probe/trainer.js';
import { pruningSets } from '../rank/pruning.js';
import { order, ranks, weightScores } from '../rank/scores.js';
import type { Contrast } from '../rpe/surprise.js';
import { contrast, surpriseGroups } from '../rpe/surprise.js';
import { correlationEstimate, spearman } from '../stats/correlation.js';
import { orNull } from '../stats/estimate.js';
import { hypergeometricUpperTail } from '../stats/hypergeometric.js';
import { mean, quantile } from '../stats/moments.js';
import type { TrainedProbe } from '../probe/train.js';
import type { DopamineData, DopamineItem, DopamineTrajectory } from './dopamineData.js';
import { layersOf } from './dopamineData.js';
import type { Dopamine, DopamineNeuron, DopaminePruning, SurpriseCell } from '../report/dopamineSchema.js';
import type { DopamineTraining, FittedLayer } from './dopamineProbe.js';
import { largeItems } from './dopamineProbe.js';

const TABLE_ROWS = 50;

/** Scores of every neuron by probe weights (main and linear) and by the rank correlation of its feature with δ on large training steps. */
export function dopamineScores(best: FittedLayer, items: readonly DopamineItem[], threshold: number): Map<string, Float64Array> {
  const width = best.moments.mean.length;
  const train = largeItems(items, threshold).filter((i) => items[i]?.part === 'train');
  const errors = train.map((i) => (items[i] as DopamineItem).error);
  const weights = ({ mean: inputs, hidden, weights: { w1, w2 } }: TrainedProbe): Float64Array => weightScores({ inputs: inputs.length, hidden, w1, w2 });
  const univariate = Float64Array.from({ length: width }, (_, c) => {
    const value = spearman(train.map((i) => best.features[i * width + c] as number), errors);
    return Number.isNaN(value) ? 0 : Math.abs(value);
  });
  return new Map([['l1-zscore', weights(best.main)], ['linear', weights(best.linear)], ['univariate', univariate]]);
}

/** Large held-out steps, indices into all items. */
export function heldOut(items: readonly DopamineItem[], threshold: number): number[] {
  return largeItems(items, threshold).filter((i) => items[i]?.part === 'test');
}

/** The best neurons by the main probe's weights. */
export function dopamineTable(best: FittedLayer, items: readonly DopamineItem[], scores: ReadonlyMap<string, Float64Array>, { threshold, seed }: { threshold: number; seed: number }): DopamineNeuron[] {
  const width = best.moments.mean.length;
  const test = heldOut(items, threshold);
  const [errors, groups] = [test.map((i) => (items[i] as DopamineItem).error), test.map((i) => (items[i] as DopamineItem).group)];
  const rankOf = new Map([...scores].map(([name, values]) => [name, ranks(values)]));
  return [...order(scores.get('l1-zscore') as Float64Array).subarray(0, TABLE_ROWS)].map((neuron, i) => ({
    neuron,
    rank: i + 1,
    scores: Object.fromEntries([...scores].map(([name, values]) => [name, orNull(values[neuron] as number)])),
    ranks: Object.fromEntries([...rankOf].map(([name, values]) => [name, values[neuron] as number])),
    spearman: correlationEstimate('spearman', test.map((at) => best.features[at * width + neuron] as number), errors, groups, { seed, resamples: 500 }),
  }));
}

/** Spearman of the probe with δ on large held-out steps when only some inputs are kept, against random and magnitude-matched sets. */
export async function dopaminePruning(best: FittedLayer, items: readonly DopamineItem[], scores: Float64Array, options: Pick<DopamineTraining, 'threshold' | 'seed' | 'threads' | 'signal'> & { draws: number }): Promise<DopaminePruning[]> {
  const width = best.moments.mean.length;
  const test = heldOut(items, options.threshold);
  const [errors, groups] = [test.map((i) => (items[i] as DopamineItem).error), test.map((i) => (items[i] as DopamineItem).group)];
  const { mean: centre, scale } = best.main;
  const x = new Float32Array(test.length * width);
  test.forEach((i, row) => x.set(best.features.subarray(i * width, (i + 1) * width).map((value, c) => (value - (centre[c] as number)) * (scale[c] as number)), row * width));
  const points: DopaminePruning[] = [];
  for (const { share, kept, top, random, matched } of pruningSets({ scores, rms: best.moments.rms, seed: options.seed, draws: options.draws })) {
    throwIfAborted('pruning the dopamine probe', options.signal);
    const sets = [top, ...random, ...matched.map(({ neurons }) => neurons)];
    const values = await predictSets(best.main, x, test.length, sets.map((set) => Int32Array.from(set)), options.threads);
    const row = (s: number): Float32Array => values.subarray(s * test.length, (s + 1) * test.length);
    const bandOf = (first: number, draws: number): DopaminePruning['random'] => {
      const known = Array.from({ length: draws }, (_, i) => spearman(row(first + i), errors)).filter((value) => !Number.isNaN(value));
      return { mean: orNull(mean(known)), low: orNull(quantile(known, 0.025)), high: orNull(quantile(known, 0.975)), draws };
    };
    points.push({
      share,
      kept,
      top: correlationEstimate('spearman', row(0), errors, groups, { seed: options.seed, resamples: 1000 }),
      random: bandOf(1, random.length),
      matched: bandOf(1 + random.length, matched.length),
    });
  }
  return points;
}

const POSITIONS = ['middle', 'last', 'mean'] as const;
const CONTRASTS = { surprise: ['positive', 'negative'], positive: ['positive', 'expectedSuccess'], negative: ['negative', 'expectedFailure'], low: ['positive', 'expectedFailure'], high: ['expectedSuccess', 'negative'] } as const;
/** Which way surprise goes in each of the contrasts: up with good news. */
const BY_VALUE = { positive: 1, negative: -1 } as const;
const BY_OUTCOME = { low: 1, high: 1 } as const;
const SURPRISE_ROWS = 20;
const SIGNIFICANT = 0.05;

/** Surprise groups by V(s_0) and outcome, and the neurons of one layer that tell them apart; `ranking`: all neurons by the size of the difference of means between positive and
 * negative surprise, over the whole response. Cost: reads every trajectory once; permutations × trajectories × width, fifteen times. */
export async function dopamineSurprise(data: DopamineData, layer: number, options: { source: Dopamine['surprise']['source']; permutations: number; seed: number; signal?: AbortSignal | undefined }): Promise<{ surprise: Dopamine['surprise']; ranking: number[] }> {
  const known = [...data.trajectories.keys()].filter((i) => data.trajectories[i]?.reward !== null && data.trajectories[i]?.value !== null);
  const trajectories = known.map((i) => data.trajectories[i] as DopamineTrajectory);
  const groups = surpriseGroups(trajectories.map(({ value }) => value as number), trajectories.map(({ reward }) => reward as number));
  const rows = { middle: new Float32Array(known.length * data.width), last: new Float32Array(known.length * data.width), mean: new Float32Array(known.length * data.width) };
  for (const [k, i] of known.entries()) {
    throwIfAborted('comparing surprise groups', options.signal);
    const own = await layersOf(data, i, [layer]);
    const states = own.length / data.width;
    const rowOf = (s: number): Float32Array => own.subarray(s * data.width, (s + 1) * data.width);
    rows.middle.set(rowOf(Math.floor((states - 1) / 2)), k * data.width);
    rows.last.set(rowOf(states - 1), k * data.width);
    for (let s = 0; s < states; s++) {
      rowOf(s).forEach((value, c) => (rows.mean[k * data.width + c] = (rows.mean[k * data.width + c] as number) + value / states));
    }
  }
  const clusters = trajectories.map(({ group }) => group);
  let ranking: number[] = [];
  const means = new Map<string, Contrast>();
  const cells = POSITIONS.flatMap((position) =>
    Object.entries(CONTRASTS).map(([name, [a, b]]): SurpriseCell => {
      throwIfAborted('comparing surprise groups', options.signal);
      const found = contrast(rows[position], data.width, { a: groups[a], b: groups[b], clusters }, options);
      if (position === 'mean' && found !== null) {
        means.set(name, found);
      }
      const ranked = found === null ? [] : [...order(found.difference.map(Math.abs))];
      ranking = position === 'mean' && name === 'surprise' ? ranked : ranking;
      return {
        position,
        contrast: name as SurpriseCell['contrast'],
        units: found === null ? null : [...found.units],
        significant: found === null ? null : found.p.filter((p) => p < SIGNIFICANT).length,
        top: ranked.slice(0, SURPRISE_ROWS).map((neuron) => ({ neuron, difference: found?.difference[neuron] as number, p: found?.p[neuron] as number })),
      };
    }),
  );
  const { positive, negative, expectedSuccess, expectedFailure, low, high } = groups;
  const counts = { positive: positive.length, negative: negative.length, expectedSuccess: expectedSuccess.length, expectedFailure: expectedFailure.length };
  return { surprise: { source: options.source, low: orNull(low), high: orNull(high), groups: counts, cells, both: surprised(means, data.width) }, ranking };
}

/** Neurons that differ by V(s_0) and by outcome, each at equal values of the other, in the same direction. */
function surprised(found: ReadonlyMap<string, Contrast>, width: number): number[] {
  const way = (neuron: number, signs: Readonly<Record<string, number>>, direction: number): boolean =>
    Object.entries(signs).some(([name, sign]) => ((found.get(name)?.p[neuron] ?? 1) < SIGNIFICANT) && Math.sign(found.get(name)?.difference[neuron] ?? 0) === sign * direction);
  return Array.from({ length: width }, (_, neuron) => neuron).filter((neuron) => [1, -1].some((direction) => way(neuron, BY_VALUE, direction) && way(neuron, BY_OUTCOME, direction)));
}

/** Overlap of every two rankings' first `size` neurons, with the chance of as much between random sets. */
export function rankingOverlaps(rankings: Readonly<Record<string, readonly number[]>>, width: number, size: number): Dopamine['overlaps'] {
  const sets = Object.entries(rankings).filter(([, ranking]) => ranking.length >= size).map(([name, ranking]) => [name, new Set(ranking.slice(0, size))] as const);
  return sets.flatMap(([a, first], i) =>
    sets.slice(i + 1).map(([b, second]) => {
      const shared = [...first].filter((neuron) => second.has(neuron)).length;
      return { a, b, size, shared, iou: shared / (2 * size - shared), p: hypergeometricUpperTail(shared, width, size, size) };
    }),
  );
}
