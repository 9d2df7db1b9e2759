/** Sign-flip tests of many quantities of the same items at once. */
import { invalidArgument } from '../native/errors.js';
import { mulberry32 } from '../util/random.js';
import type { Numbers } from './estimate.js';

/** Number of random sign patterns of {@link signFlipsMaxT}. */
export const MAX_T_FLIPS = 1999;

/** Adjusted p-values, and the smallest that this number of items can give. */
export interface MaxT {
  readonly p: number[];
  readonly least: number;
}

/**
 * Two-sided p-values of the mean of every quantity being 0, adjusted for their number: `values[i]` holds all quantities of item i, NaN where
 * it has none. With no effect the signs of an item's values, flipped together, are as likely one way as the other (Fisher 1935); the
 * statistic is |Σ x| / √Σ x², which orders as |t| does, and a quantity's p is the share of patterns whose largest statistic over all
 * quantities is at least its own (single-step max-T, Westfall & Young 1993): the chance of any p ≤ α among quantities without effect is at
 * most α, whatever their dependence, which it uses. All 2^(n−1) patterns when they are at most `flips`, else random ones and
 * (1 + extreme)/(1 + flips) (Phipson & Smyth 2010). 1 for quantities that are all 0 or missing. INVALID_ARGUMENT for items of unequal lengths. O(items × quantities × patterns).
 */
export function signFlipsMaxT(values: readonly Numbers[], { seed = 0, flips = MAX_T_FLIPS }: { seed?: number; flips?: number } = {}): MaxT {
  const count = values[0]?.length ?? 0;
  const rows = values.map((row, i) => {
    if (row.length !== count) {
      throw invalidArgument(`values[${i}]`, `${count} quantities, as the first item has`, row.length);
    }
    return Float64Array.from(row, (value) => (Number.isNaN(value) ? 0 : value));
  });
  const scale = new Float64Array(count);
  for (const row of rows) {
    row.forEach((value, q) => (scale[q] = (scale[q] as number) + value * value));
  }
  const inverse = scale.map((sum) => (sum > 0 ? 1 / Math.sqrt(sum) : 0));
  const exact = rows.length - 1 <= Math.log2(flips);
  const patterns = exact ? 2 ** Math.max(0, rows.length - 1) : flips;
  const random = mulberry32(seed);
  const observed = statistics(rows, inverse, () => 1);
  // a sum in another order may differ in the last bits: such a tie must count against the effect
  const bounds = observed.map((value) => value - 1e-9);
  const extreme = new Float64Array(count);
  for (let pattern = 0; pattern < patterns; pattern++) {
    // the first item's sign is free: patterns and their opposites give the same statistics
    const largest = statistics(rows, inverse, (i) => (exact ? (i === 0 || ((pattern >> (i - 1)) & 1) === 0 ? 1 : -1) : random() < 0.5 ? 1 : -1)).reduce((a, b) => (b > a ? b : a), 0);
    for (let q = 0; q < count; q++) {
      extreme[q] = (extreme[q] as number) + (largest >= (bounds[q] as number) ? 1 : 0);
    }
  }
  const [more, all] = exact ? [0, patterns] : [1, patterns + 1];
  return { p: Array.from(extreme, (hits, q) => (inverse[q] === 0 ? 1 : (more + hits) / all)), least: 1 / all };
}

function statistics(rows: readonly Float64Array[], inverse: Float64Array, sign: (item: number) => number): Float64Array {
  const sums = new Float64Array(inverse.length);
  rows.forEach((row, i) => {
    const s = sign(i);
    for (let q = 0; q < sums.length; q++) {
      sums[q] = (sums[q] as number) + s * (row[q] as number);
    }
  });
  for (let q = 0; q < sums.length; q++) {
    const value = (sums[q] as number) * (inverse[q] as number);
    sums[q] = value < 0 ? -value : value;
  }
  return sums;
}
