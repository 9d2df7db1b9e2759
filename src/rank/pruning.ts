/**
 * Pruning curve: AUC of the probe when only a share of its inputs is kept, against random and magnitude-matched sets.
 */
import { throwIfAborted } from '../native/errors.js';
import { aucByPlace, byPlace, PLACES, type ByPlace, type Place } from '../probe/places.js';
import { auc } from '../stats/auc.js';
import { checkLength, orNull, type Estimate, type Numbers } from '../stats/estimate.js';
import { mean, quantile } from '../stats/moments.js';
import { mulberry32 } from '../util/random.js';
import { matchedNeurons, randomNeurons, topNeurons, type Excluded, type MatchedSet } from './sets.js';

/** Shares of inputs kept by default; a single neuron is added to any list of shares. */
export const PRUNING_SHARES: readonly number[] = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002];

/** The sets behind one point of the curve. */
export interface PruningSets {
  /** Share asked for (1/inputs for the single neuron); `kept` is the number that it came to. */
  share: number;
  kept: number;
  top: number[];
  random: number[][];
  matched: MatchedSet[];
}

/** Random sets on which the probe is trained anew too: what a refitted probe must be compared with. */
export const REFIT_DRAWS = 5;

/** What decides the sets. */
export interface PruningOptions {
  /** Score of each input, higher is more. */
  scores: Numbers;
  /** RMS of each input over training rows. */
  rms: Numbers;
  seed: number;
  /** Random and matched sets per point, default 20; one where only one such set exists. */
  draws?: number;
  shares?: readonly number[];
  /** Inputs that no set holds (sinks). Share 1 is then everything else. */
  exclude?: Excluded;
}

/** An AUC over draws of a control set: mean, 2.5 and 97.5 percentiles; null with one class only. */
export interface Band {
  mean: number | null;
  low: number | null;
  high: number | null;
  draws: number;
}

/** One point of the curve, as `study.json` stores it. */
export interface PruningPoint {
  share: number;
  kept: number;
  top: ByPlace<Estimate>;
  random: ByPlace<Band>;
  matched: ByPlace<Band>;
  refit?: ByPlace<Estimate>;
  refitRandom?: ByPlace<Band>;
}

/** What turns sets into AUCs; everything runs over the same n held-out trajectories. */
export interface PruningRun {
  /** Predictions of the trained probe at a place when only the inputs of each set are kept: `[sets, n]` row-major. */
  predict: (place: Place, sets: readonly (readonly number[])[]) => Promise<Float32Array>;
  /**
   * Predictions `[n]` of a probe trained anew on these inputs alone: on the top set, and on the first {@link REFIT_DRAWS} random ones.
   * Undefined for a set that was left out.
   */
  refit?: ((neurons: readonly number[]) => Promise<ByPlace<Numbers> | undefined>) | undefined;
  rewards: Numbers;
  /** Problem of each trajectory, for clustered intervals. */
  problems?: ArrayLike<unknown> | undefined;
  signal?: AbortSignal | undefined;
  /** Points done, and points in all. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Numbers of inputs kept: max(1, round(share × available)) for each share, then one. Shares that come to the same
 * number appear once, under the largest.
 */
export function keptCounts(
  available: number,
  shares: readonly number[] = PRUNING_SHARES,
): { share: number; kept: number }[] {
  const counts = new Map<number, number>();
  for (const share of [...shares].sort((a, b) => b - a).concat(1 / available)) {
    const kept = Math.max(1, Math.round(share * available));
    counts.set(kept, counts.get(kept) ?? share);
  }
  return Array.from(counts, ([kept, share]) => ({ share, kept }));
}

/** Sets of every point: the best by score, random ones, and ones matched to the best by RMS. Seeded. */
export function pruningSets({ scores, rms, seed, draws = 20, shares, exclude = [] }: PruningOptions): PruningSets[] {
  checkLength('rms', rms, scores.length, 'score');
  const excluded = new Set(exclude);
  const available = scores.length - excluded.size;
  const random = mulberry32(seed);
  const nextSeed = (): number => Math.floor(random() * 2 ** 32);
  return keptCounts(available, shares).map(({ share, kept }) => {
    const top = topNeurons(scores, kept, excluded);
    const seeds = Array.from({ length: draws }, nextSeed);
    // one where there is but one set: everything, or everything that was not kept
    const few = (only: boolean): number[] => (only ? seeds.slice(0, 1) : seeds);
    return {
      share,
      kept,
      top,
      random: few(kept === available).map((own) => randomNeurons(scores.length, kept, own, excluded)),
      matched: few(2 * kept >= available).map((own) => matchedNeurons(top, rms, { seed: own, exclude: excluded })),
    };
  });
}

/**
 * AUCs of every point at the three places. Cost: per point and place one call of `predict` with 1 + 2 × draws sets, and
 * `refit` of the top set and of {@link REFIT_DRAWS} random ones if given. ABORTED when `signal` fires, between calls; INVALID_ARGUMENT when `predict` returns another
 * shape.
 */
export async function pruningCurve(points: readonly PruningSets[], run: PruningRun): Promise<PruningPoint[]> {
  const curve: PruningPoint[] = [];
  for (const point of points) {
    curve.push(await pruningPoint(point, run));
    run.onProgress?.(curve.length, points.length);
  }
  return curve;
}

async function pruningPoint(point: PruningSets, run: PruningRun): Promise<PruningPoint> {
  const { share, kept, top, random, matched } = point;
  const { rewards, problems, predict, refit, signal } = run;
  const n = rewards.length;
  const sets = [top, ...random, ...matched.map(({ neurons }) => neurons)];
  const predictions = byPlace((): Float32Array => new Float32Array());
  for (const place of PLACES) {
    throwIfAborted('the pruning curve', signal);
    predictions[place] = await predict(place, sets);
    checkLength('result of predict', predictions[place], sets.length * n, 'set and trajectory');
  }
  const row = (place: Place, set: number): Float32Array => predictions[place].subarray(set * n, (set + 1) * n);
  const bands = (first: number, count: number): ByPlace<Band> =>
    byPlace((place) => band(Array.from({ length: count }, (_, i) => auc(row(place, first + i), rewards))));
  const result: PruningPoint = {
    share,
    kept,
    top: aucByPlace(byPlace((place) => row(place, 0)), rewards, problems),
    random: bands(1, random.length),
    matched: bands(1 + random.length, matched.length),
  };
  if (refit !== undefined) {
    throwIfAborted('the pruning curve', signal);
    const own = await refit(top);
    const controls = (await Promise.all(random.slice(0, REFIT_DRAWS).map((set) => refit(set)))).filter((values) => values !== undefined);
    if (own !== undefined) {
      result.refit = aucByPlace(own, rewards, problems);
      result.refitRandom = byPlace((place) => band(controls.map((values) => auc(values[place], rewards))));
    }
  }
  return result;
}

/** Mean and central 95 % of AUCs. */
function band(aucs: readonly number[]): Band {
  const known = aucs.filter((value) => !Number.isNaN(value));
  const [low, high] = [quantile(known, 0.025), quantile(known, 0.975)];
  return { mean: orNull(mean(known)), low: orNull(low), high: orNull(high), draws: aucs.length };
}
