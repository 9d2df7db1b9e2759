/** Surprise groups: trajectories whose outcome was not what their first value said, and which neurons tell them apart. */
import { invalidArgument } from '../native/errors.js';
import { clusterMembers } from '../stats/correlation.js';
import { SUCCESS_THRESHOLD } from '../stats/auc.js';
import { checkLength, type Numbers } from '../stats/estimate.js';
import { quantile } from '../stats/moments.js';
import { mulberry32 } from '../util/random.js';

/** Trajectories by V(s_0) and outcome; indices. Values in the middle are in no group. */
export interface SurpriseGroups {
  /** Lower and upper third of V(s_0). */
  readonly low: number;
  readonly high: number;
  /** Low value, success; high value, failure; and those that came out as expected. */
  readonly positive: readonly number[];
  readonly negative: readonly number[];
  readonly expectedSuccess: readonly number[];
  readonly expectedFailure: readonly number[];
}

/**
 * Groups by the outer thirds of V(s_0) (at most the lower, at least the upper border). Where both borders are one value nobody is in a group. Errors: INVALID_ARGUMENT.
 */
export function surpriseGroups(values: Numbers, rewards: Numbers): SurpriseGroups {
  checkLength('rewards', rewards, values.length, 'value');
  const [low, high] = values.length === 0 ? [NaN, NaN] : [quantile(values, 1 / 3), quantile(values, 2 / 3)];
  const pick = (isHigh: boolean, success: boolean): number[] =>
    low < high
      ? Array.from({ length: values.length }, (_, i) => i).filter((i) => {
          const value = values[i] as number;
          return (isHigh ? value >= high : value <= low) && (rewards[i] as number) > SUCCESS_THRESHOLD === success;
        })
      : [];
  return { low, high, positive: pick(false, true), negative: pick(true, false), expectedSuccess: pick(true, true), expectedFailure: pick(false, false) };
}

/** Two groups that are compared. */
export interface Contrast {
  /** Standardised difference of each column, a over b: difference of means by the pooled standard deviation; 0 for a column without spread. */
  readonly difference: Float64Array;
  /** Share of permutations in which any column differs as much (max-statistic: adjusted for all columns). */
  readonly p: Float64Array;
  /** Units in each group: the trajectories of one problem in one group are one. */
  readonly units: readonly [number, number];
}

/** Fewer units than this in a group say nothing. */
export const MIN_UNITS = 3;

/**
 * Compares the rows `a` and `b` of `rows` [n, columns] column by column. Rows of one cluster (problem) in one group are averaged first. p-values: two-sided
 * permutation test with the maximum over columns (Westfall & Young 1993), so that the chance of any false finding is p, whatever the
 * dependence of columns; never 0. Null with fewer than {@link MIN_UNITS} units in a group. Seeded. Cost: permutations × units × columns.
 */
export function contrast(
  rows: Float32Array,
  columns: number,
  groups: { a: readonly number[]; b: readonly number[]; clusters: readonly string[] },
  { permutations, seed }: { permutations: number; seed: number },
): Contrast | null {
  if (!Number.isInteger(permutations) || permutations < 1) {
    throw invalidArgument('permutations', 'an integer of at least 1', permutations);
  }
  const [a, b] = [units(rows, columns, groups.a, groups.clusters), units(rows, columns, groups.b, groups.clusters)];
  if (a.length < MIN_UNITS || b.length < MIN_UNITS) {
    return null;
  }
  const all = standardised([...a, ...b], columns);
  const labels = Int32Array.from({ length: all.length }, (_, i) => i);
  const difference = differences(all, columns, labels.subarray(0, a.length));
  const atLeast = new Int32Array(columns).fill(1);
  const random = mulberry32(seed);
  for (let permutation = 0; permutation < permutations; permutation++) {
    for (let i = labels.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [labels[i], labels[j]] = [labels[j] as number, labels[i] as number];
    }
    const most = differences(all, columns, labels.subarray(0, a.length)).reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    for (let c = 0; c < columns; c++) {
      atLeast[c] = (atLeast[c] as number) + (most >= Math.abs(difference[c] as number) * (1 - 1e-12) ? 1 : 0);
    }
  }
  return { difference, p: Float64Array.from(atLeast, (n) => n / (permutations + 1)), units: [a.length, b.length] };
}

/** Mean row of each cluster among `members`. */
function units(rows: Float32Array, columns: number, members: readonly number[], clusters: readonly string[]): Float64Array[] {
  return clusterMembers(members.map((i) => clusters[i]), members.length).map((own) => {
    const sum = new Float64Array(columns);
    for (const m of own) {
      const from = (members[m] as number) * columns;
      for (let c = 0; c < columns; c++) {
        sum[c] = (sum[c] as number) + (rows[from + c] as number) / own.length;
      }
    }
    return sum;
  });
}

/** Columns with mean 0 and mean square 1 over all units; zeros where there is no spread. */
function standardised(all: Float64Array[], columns: number): Float64Array[] {
  for (let c = 0; c < columns; c++) {
    const mean = all.reduce((sum, row) => sum + (row[c] as number), 0) / all.length;
    const std = Math.sqrt(all.reduce((sum, row) => sum + ((row[c] as number) - mean) ** 2, 0) / all.length);
    const scale = std > 1e-9 * Math.abs(mean) && std > 0 ? 1 / std : 0;
    all.forEach((row) => (row[c] = ((row[c] as number) - mean) * scale));
  }
  return all;
}

/** Standardised differences between the units `first` and all others, of standardised columns: their sum is 0, their sum of squares their number. */
function differences(all: readonly Float64Array[], columns: number, first: Int32Array): Float64Array {
  const sums = new Float64Array(columns);
  for (const i of first) {
    const row = all[i] as Float64Array;
    for (let c = 0; c < columns; c++) {
      sums[c] = (sums[c] as number) + (row[c] as number);
    }
  }
  const n = all.length;
  const [n1, n2] = [first.length, n - first.length];
  return sums.map((sum) => {
    const within = (n - (sum * sum) / n1 - (sum * sum) / n2) / (n - 2);
    const gap = sum / n1 + sum / n2;
    return gap === 0 ? 0 : gap / Math.sqrt(Math.max(within, 1e-12));
  });
}
