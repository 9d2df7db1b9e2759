/** Means, spreads and percentiles. */
import { invalidArgument } from '../native/errors.js';
import { checkFinite, type Numbers } from './estimate.js';

/** Arithmetic mean; NaN for no values. */
export function mean(values: Numbers): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    sum += values[i] as number;
  }
  return sum / values.length;
}

/**
 * The `share` quantile (0..1) with linear interpolation between order statistics (type 7 of Hyndman & Fan 1996, the
 * default of NumPy and R). NaN for no values.
 */
export function quantile(values: Numbers, share: number): number {
  if (!(share >= 0 && share <= 1)) {
    throw invalidArgument('share', 'a number from 0 to 1', share);
  }
  checkFinite('values', values);
  const sorted = Float64Array.from(values).sort();
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)];
  const high = sorted[Math.ceil(at)];
  return low === undefined || high === undefined ? NaN : low + (at - Math.floor(at)) * (high - low);
}

/** {@link quantile} at one half. */
export function median(values: Numbers): number {
  return quantile(values, 0.5);
}

/**
 * Statistics of every column over rows that come in pieces (Welford 1962): one pass, stable for columns whose mean is
 * large against their spread, 24 bytes a column.
 */
export class ColumnMoments {
  readonly columns: number;
  /** Rows seen. */
  count = 0;
  /** Mean of each column so far. */
  readonly mean: Float64Array;
  /** Largest |value| of each column so far. */
  readonly maxAbs: Float64Array;
  private readonly squares: Float64Array;

  constructor(columns: number) {
    this.columns = columns;
    this.mean = new Float64Array(columns);
    this.maxAbs = new Float64Array(columns);
    this.squares = new Float64Array(columns);
  }

  /** Adds rows: `[rows, columns]` row-major. INVALID_ARGUMENT for a length that is no multiple of `columns`. */
  push(rows: Numbers): void {
    if (rows.length % this.columns !== 0) {
      throw invalidArgument('rows', `a multiple of ${this.columns} values`, rows.length);
    }
    for (let offset = 0; offset < rows.length; offset += this.columns) {
      this.count++;
      for (let c = 0; c < this.columns; c++) {
        const value = rows[offset + c] as number;
        const before = value - (this.mean[c] as number);
        const mean = (this.mean[c] as number) + before / this.count;
        this.mean[c] = mean;
        this.squares[c] = (this.squares[c] as number) + before * (value - mean);
        this.maxAbs[c] = Math.max(this.maxAbs[c] as number, Math.abs(value));
      }
    }
  }

  /** Population standard deviation (divisor n, as for z-scores) of each column; NaN before the first row. */
  std(): Float64Array {
    return this.squares.map((sum) => Math.sqrt(sum / this.count));
  }

  /** Root mean square of each column; NaN before the first row. */
  rms(): Float64Array {
    return this.squares.map((sum, c) => Math.sqrt(sum / this.count + (this.mean[c] as number) ** 2));
  }
}
