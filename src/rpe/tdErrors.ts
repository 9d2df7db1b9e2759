/** Temporal-difference errors per step, and what they must add up to. */
import { tdErrors } from '../probe/td.js';
import type { Numbers } from '../stats/estimate.js';

/**
 * What every step changed: δ_k = γ V(s_{k+1}) − V(s_k), and r − V(s_{n−1}) for the last, which ends the trajectory (its value is the reward, without
 * another discount, as for tokens). `values`: V in front of each of n steps; as many errors. Null where a value it needs is null, and at
 * the end for an unknown reward. Σ γ^k δ_k = γ^{n−1} r − V(s_0). Source: Xu et al. (2026), section on dopamine neurons; the equations are those of {@link tdErrors}.
 */
export function stepErrors(values: readonly (number | null)[], reward: number | null, gamma: number): (number | null)[] {
  return tdErrors(values.map((value) => value ?? NaN), reward, gamma).map((error) => (error === null || Number.isNaN(error) ? null : error));
}

/**
 * Σ γ^k δ_k − (γ^{n−1} r − V(s_0)): 0 but for rounding, whatever the values. Null when an error or the reward is unknown. Numbers
 * that do not telescope do not belong to one trajectory.
 */
export function telescopeGap(values: Numbers | readonly (number | null)[], errors: readonly (number | null)[], reward: number | null, gamma: number): number | null {
  const first = values[0];
  if (reward === null || first === undefined || first === null || errors.some((error) => error === null)) {
    return null;
  }
  const sum = errors.reduce<number>((total, error, k) => total + gamma ** k * (error as number), 0);
  return sum - (gamma ** (errors.length - 1) * reward - first);
}
