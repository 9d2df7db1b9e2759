/** Numbers as people read them. A number that is not there is an en dash. */
import type { Band, Estimate } from './schema.js';

/** What stands where no number can be given. */
export const NONE = '–';

/** Fixed decimals with a true minus sign; −0 is 0. */
export function fixed(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) {
    return NONE;
  }
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace('-', '') : text.replace('-', '−');
}

/** As {@link fixed} with a sign. */
export function signed(value: number | null | undefined, digits = 3): string {
  const text = fixed(value, digits);
  return value !== null && value !== undefined && value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

/** A share in per cent: 73.1 %. */
export function percent(share: number | null | undefined, digits = 1): string {
  return share === null || share === undefined ? NONE : `${fixed(100 * share, digits)} %`;
}

/** Digits that matter for numbers of any size: 0.00123, 4.57, 389. */
export function significant(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) {
    return NONE;
  }
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? rounded.toExponential(digits - 1) : String(rounded);
  return text.replaceAll('-', '−');
}

/** As many digits in every row of a column: 0.0781, 1.60, −1.00; large numbers without decimals. */
export function aligned(value: number): string {
  const size = Math.abs(value);
  return size !== 0 && size < 0.01 ? significant(value) : fixed(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 || size === 0 ? 2 : 3);
}

/** 0.781 [0.702, 0.853]; the bracket is left out when there is no interval. */
export function withInterval({ value, low, high }: Omit<Estimate, 'n'>, show: (x: number | null) => string = fixed): string {
  return value === null || low === null || high === null ? show(value) : `${show(value)} [${show(low)}, ${show(high)}]`;
}

/** A control's mean with the percentiles of its draws. */
export function withDraws({ mean, low, high }: Band, digits = 3): string {
  return withInterval({ value: mean, low, high }, (x) => fixed(x, digits));
}

/** Wall time: 4.2 s, 2 min 5 s, 1 h 2 min. */
export function seconds(value: number): string {
  if (value < 60) {
    return `${value.toFixed(1)} s`;
  }
  const whole = Math.round(value);
  return whole < 3600 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** A share kept, for tables and axes: 100 %, 5 %, 0.52 %. */
export function shareText(share: number): string {
  return `${significant(100 * share, 2)} %`;
}
