/** Shares of successes. */
import { orNull, Z95, type Estimate } from './estimate.js';

/** A share k/n with its Wilson score interval (Wilson 1927) at 95 %, all in 0..1. n = 0 gives NaN. */
export function wilson(k: number, n: number): { share: number; low: number; high: number } {
  const z = Z95;
  const p = k / n;
  const centre = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { share: p, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/**
 * {@link wilson} as an estimate, null where n = 0. `k` may be a sum of rewards in [0, 1]: their variance is at most
 * that of successes with the same mean, so the interval is then too wide rather than too narrow. Several trajectories
 * of one problem count as independent: with them it is too narrow.
 */
export function proportion(k: number, n: number): Estimate {
  const { share, low, high } = wilson(k, n);
  return { value: orNull(share), low: orNull(low), high: orNull(high), n };
}
