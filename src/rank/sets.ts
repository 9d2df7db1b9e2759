/** Sets of neurons: the best, the worst, and the controls that they are compared with. */
import { invalidArgument } from '../native/errors.js';
import { checkFinite, type Numbers } from '../stats/estimate.js';
import { mean } from '../stats/moments.js';
import { mulberry32, pickRandom } from '../util/random.js';
import { order } from './scores.js';

/** Neurons that no set may hold, such as sinks. */
export type Excluded = Iterable<number>;

/**
 * The `count` neurons with the highest scores, best first, without the excluded. INVALID_ARGUMENT when there are fewer.
 */
export function topNeurons(scores: Numbers, count: number, exclude: Excluded = []): number[] {
  return take(allowed(order(scores), exclude), count);
}

/** The `count` neurons with the lowest scores, lowest first. As {@link topNeurons}. */
export function bottomNeurons(scores: Numbers, count: number, exclude: Excluded = []): number[] {
  return take(allowed(order(scores), exclude).reverse(), count);
}

/** `count` different neurons of 0..inputs-1 drawn evenly, ascending. As {@link topNeurons}. */
export function randomNeurons(inputs: number, count: number, seed: number, exclude: Excluded = []): number[] {
  const pool = allowed(new Array(inputs).keys(), exclude);
  return take(pickRandom(pool.length, count, seed).map((i) => pool[i] as number), count);
}

/** How a matched set is drawn. */
export interface MatchOptions {
  seed: number;
  /** Neurons that it may not hold besides the kept ones. */
  exclude?: Excluded;
  /** It is chosen among this many nearest, default 16: more variety, worse match. */
  nearest?: number;
  /** Ratio of RMS up to which a neuron counts as alike, default 1.25; beyond it only the nearest one is taken. */
  caliper?: number;
}

/** A magnitude-matched set and how well it matches. */
export interface MatchedSet {
  /** As many neurons as were kept; entry i stands for kept neuron i. */
  neurons: number[];
  /** Neurons that it shares with the kept set because no others were left. */
  shared: number;
  /** Mean and largest ratio of RMS between partners, the larger over the smaller: 1 is perfect. */
  meanRatio: number;
  worstRatio: number;
}

/**
 * Another set of the same size whose members have about the RMS of the kept ones: nearest neighbours on log RMS,
 * without replacement, within a caliper (Rosenbaum & Rubin 1985). Each kept neuron, the largest first because its likes
 * are rarest, gets at random one of the nearest unused neurons outside `kept` and `exclude`. When these run out (more
 * than half is kept) the smallest kept neurons stand for themselves and are counted in `shared`; `meanRatio` and
 * `worstRatio` say how far off partners are.
 */
export function matchedNeurons(
  kept: readonly number[],
  rms: Numbers,
  { seed, exclude = [], nearest = 16, caliper = 1.25 }: MatchOptions,
): MatchedSet {
  checkFinite('rms', rms);
  const size = Float64Array.from(rms, (value) => Math.log(Math.max(value, Number.MIN_VALUE)));
  const sizeOf = (neuron: number): number => size[neuron] as number;
  const bySize = (a: number, b: number): number => sizeOf(a) - sizeOf(b) || a - b;
  const pool = allowed(size.keys(), [...kept, ...exclude]).sort(bySize);
  const random = mulberry32(seed);
  const partners = new Map<number, number>();
  for (const neuron of [...kept].sort(bySize).reverse().slice(0, pool.length)) {
    const near = nearestPositions(pool, sizeOf, sizeOf(neuron), nearest);
    const alike = near.filter((at) => Math.abs(sizeOf(pool[at] as number) - sizeOf(neuron)) <= Math.log(caliper));
    const candidates = alike.length > 0 ? alike : near.slice(0, 1);
    const at = candidates[Math.floor(random() * candidates.length)] as number;
    partners.set(neuron, pool[at] as number);
    pool.splice(at, 1);
  }
  const neurons = kept.map((neuron) => partners.get(neuron) ?? neuron);
  const ratios = kept.map((neuron, i) => Math.exp(Math.abs(sizeOf(neurons[i] as number) - sizeOf(neuron))));
  return {
    neurons,
    shared: kept.length - partners.size,
    meanRatio: mean(ratios),
    worstRatio: Math.max(...ratios),
  };
}

/** Positions in `pool` (ascending by size) of the `count` members nearest to `target`, nearest first. */
function nearestPositions(
  pool: readonly number[],
  sizeOf: (neuron: number) => number,
  target: number,
  count: number,
): number[] {
  let [low, high] = [0, pool.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    [low, high] = sizeOf(pool[middle] as number) < target ? [middle + 1, high] : [low, middle];
  }
  const distance = (at: number): number => (at in pool ? Math.abs(sizeOf(pool[at] as number) - target) : Infinity);
  const positions: number[] = [];
  let below = low - 1;
  while (positions.length < Math.min(count, pool.length)) {
    positions.push(distance(below) <= distance(high) ? below-- : high++);
  }
  return positions;
}

function allowed(neurons: Iterable<number>, exclude: Excluded): number[] {
  const excluded = new Set(exclude);
  return [...neurons].filter((neuron) => !excluded.has(neuron));
}

function take(neurons: number[], count: number): number[] {
  if (!Number.isInteger(count) || count < 1 || count > neurons.length) {
    throw invalidArgument('count', `an integer from 1 to ${neurons.length} (the neurons that are not excluded)`, count);
  }
  return neurons.slice(0, count);
}
