/** Shares of successes. */
import { orNull, Z95, type Estimate, type Numbers } from './estimate.js';

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

/**
 * Expected squared error of the mean of `rewards` as an estimate of what it is the mean of; null with fewer than two. Rewards of 0 and 1: over the posterior
 * of the share under Jeffreys' prior, Beta(½, ½), which holds whenever it was decided to stop: after eight successes of eight the sample variance is 0, though a share
 * of 0.9 ends there in 43 % of cases. Rewards in between: the sample variance over n.
 */
export function meanError(rewards: Numbers): number | null {
  const n = rewards.length;
  if (n < 2) {
    return null;
  }
  const own = Array.from(rewards);
  const sum = own.reduce((a, b) => a + b, 0);
  const centre = sum / n;
  if (own.some((reward) => reward !== 0 && reward !== 1)) {
    return own.reduce((squares, reward) => squares + (reward - centre) ** 2, 0) / (n - 1) / n;
  }
  const posterior = (sum + 0.5) / (n + 1);
  return (posterior * (1 - posterior)) / (n + 2) + (centre - posterior) ** 2;
}
