/** What the statistics of this room take and give. */
import quantile from '@stdlib/stats-base-dists-normal-quantile';
import { invalidArgument } from '../native/errors.js';

/** Numbers in: a typed array or an array. */
export type Numbers = ArrayLike<number>;

/**
 * An estimate with its 95 % interval from `n` observations; null what cannot be given. The shape that `study.json`
 * stores.
 */
export interface Estimate {
  value: number | null;
  low: number | null;
  high: number | null;
  n: number;
}

/** The standard normal's 97.5 % quantile: half the width of a 95 % interval in standard errors. */
export const Z95 = quantile(0.975, 0, 1);

/** Throws INVALID_ARGUMENT unless `values` has `expected` entries, one per `of`. */
export function checkLength(parameter: string, values: ArrayLike<unknown>, expected: number, of: string): void {
  if (values.length !== expected) {
    throw invalidArgument(parameter, `${expected} values, one per ${of}`, values.length);
  }
}

/** Throws INVALID_ARGUMENT at the first value that is NaN or infinite. */
export function checkFinite(parameter: string, values: Numbers): void {
  // looked up once: three times as fast where globals are slow (vm contexts, as in jest)
  const isFinite = Number.isFinite;
  for (let i = 0; i < values.length; i++) {
    if (!isFinite(values[i])) {
      throw invalidArgument(`${parameter}[${i}]`, 'a finite number', values[i]);
    }
  }
}

/** The number, or null where there is none (NaN). */
export function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}
