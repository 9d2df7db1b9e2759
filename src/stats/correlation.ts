/** Correlation of two columns, with intervals that know that items of one problem belong together. */
import { invalidArgument } from '../native/errors.js';
import { mulberry32 } from '../util/random.js';
import { checkFinite, checkLength, orNull, type Estimate, type Numbers } from './estimate.js';
import { quantile } from './moments.js';

/** Bootstrap resamples of {@link correlationEstimate}. */
export const CORRELATION_RESAMPLES = 2000;

/** Fewer clusters give no interval: with three it covers 80 % (docs/metrics.md). */
const MIN_CLUSTERS = 4;

/** `pearson`: of the values; `spearman`: of their mid-ranks. */
export type CorrelationKind = 'pearson' | 'spearman';

/** Pearson's product-moment correlation; NaN when a column has no spread. INVALID_ARGUMENT for unequal lengths and values that are not finite. */
export function pearson(x: Numbers, y: Numbers): number {
  check(x, y);
  return pearsonAt(x, y, allOf(x.length));
}

/** Spearman's rank correlation, ties at their mean rank; NaN when a column has no spread. Errors as {@link pearson}. */
export function spearman(x: Numbers, y: Numbers): number {
  check(x, y);
  return pearson(midRanks(x), midRanks(y));
}

/** Rank of each value from 1, equal ones at the mean of their ranks. */
export function midRanks(values: Numbers): Float64Array {
  const levels = levelsOf(values);
  return ranksAt(levels, allOf(values.length));
}

/**
 * A correlation with a 95 % percentile bootstrap interval. Resampled are clusters (the problem of each item; default: every item by
 * itself), since items of one problem are not independent. Resamples without spread in a column are left out. `n`: number of
 * items. `low` and `high` are null for fewer than {@link MIN_CLUSTERS} clusters. Same seed, same interval. Errors as {@link pearson}. Cost: O(items × resamples).
 */
export function correlationEstimate(
  kind: CorrelationKind,
  x: Numbers,
  y: Numbers,
  clusters?: ArrayLike<unknown>,
  { seed = 0, resamples = CORRELATION_RESAMPLES }: { seed?: number; resamples?: number } = {},
): Estimate {
  check(x, y);
  const n = x.length;
  const members = clusterMembers(clusters ?? Array.from({ length: n }, (_, i) => i), n);
  const statistic = kind === 'pearson' ? (at: Int32Array) => pearsonAt(x, y, at) : spearmanAt(levelsOf(x), levelsOf(y));
  const value = orNull(statistic(allOf(n)));
  if (value === null || members.length < MIN_CLUSTERS) {
    return { value, low: null, high: null, n };
  }
  const draws = resampled(members, { seed, resamples }, statistic).filter((draw) => !Number.isNaN(draw));
  return { value, low: orNull(quantile(draws, 0.025)), high: orNull(quantile(draws, 0.975)), n };
}

/** Items of each cluster, in the order in which clusters come. INVALID_ARGUMENT for another number of names than items. */
export function clusterMembers(clusters: ArrayLike<unknown>, items: number): Int32Array[] {
  checkLength('clusters', clusters, items, 'item');
  const members = new Map<unknown, number[]>();
  for (let i = 0; i < items; i++) {
    const own = members.get(clusters[i]);
    if (own === undefined) {
      members.set(clusters[i], [i]);
    } else {
      own.push(i);
    }
  }
  return [...members.values()].map((own) => Int32Array.from(own));
}

/** `statistic` of the items of as many clusters as there are, drawn with replacement, `resamples` times. */
function resampled(members: readonly Int32Array[], { seed, resamples }: { seed: number; resamples: number }, statistic: (items: Int32Array) => number): Float64Array {
  if (!Number.isInteger(resamples) || resamples < 1) {
    throw invalidArgument('resamples', 'an integer of at least 1', resamples);
  }
  const random = mulberry32(seed);
  const longest = members.reduce((most, { length }) => Math.max(most, length), 0);
  const buffer = new Int32Array(longest * members.length);
  return Float64Array.from({ length: resamples }, () => {
    let count = 0;
    for (let draw = 0; draw < members.length; draw++) {
      const own = members[Math.floor(random() * members.length)] as Int32Array;
      buffer.set(own, count);
      count += own.length;
    }
    return statistic(buffer.subarray(0, count));
  });
}

function check(x: Numbers, y: Numbers): void {
  checkLength('y', y, x.length, 'value of x');
  checkFinite('x', x);
  checkFinite('y', y);
}

function allOf(count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => i);
}

function pearsonAt(x: Numbers, y: Numbers, at: Int32Array): number {
  let [meanX, meanY] = [0, 0];
  for (const i of at) {
    meanX += x[i] as number;
    meanY += y[i] as number;
  }
  meanX /= at.length;
  meanY /= at.length;
  let [xx, yy, xy] = [0, 0, 0];
  for (const i of at) {
    const [a, b] = [(x[i] as number) - meanX, (y[i] as number) - meanY];
    xx += a * a;
    yy += b * b;
    xy += a * b;
  }
  // rounding leaves a spread in equal values
  const tiny = (squares: number, mean: number): boolean => !(squares > at.length * (1e-14 * Math.max(Math.abs(mean), Number.MIN_VALUE)) ** 2);
  return tiny(xx, meanX) || tiny(yy, meanY) ? NaN : Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy)));
}

/** Each value as the number of distinct values below it: ranks of any resample then need no sorting. */
interface Levels {
  readonly level: Int32Array;
  readonly count: number;
}

function levelsOf(values: Numbers): Levels {
  const sorted = Float64Array.from(values).sort();
  const numbers = new Map<number, number>();
  for (const value of sorted) {
    if (!numbers.has(value + 0)) {
      numbers.set(value + 0, numbers.size);
    }
  }
  return { level: Int32Array.from({ length: values.length }, (_, i) => numbers.get((values[i] as number) + 0) as number), count: numbers.size };
}

function ranksAt({ level, count }: Levels, at: Int32Array): Float64Array {
  const seen = new Int32Array(count);
  for (const i of at) {
    seen[level[i] as number] = (seen[level[i] as number] as number) + 1;
  }
  const rank = new Float64Array(count);
  let below = 0;
  for (let l = 0; l < count; l++) {
    rank[l] = below + ((seen[l] as number) + 1) / 2;
    below += seen[l] as number;
  }
  return Float64Array.from(at, (i) => rank[level[i] as number] as number);
}

function spearmanAt(x: Levels, y: Levels): (at: Int32Array) => number {
  return (at) => pearsonAt(ranksAt(x, at), ranksAt(y, at), allOf(at.length));
}
