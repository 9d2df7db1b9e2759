/** Temporal-difference errors of a trajectory's values. */
import type { Numbers } from '../stats/estimate.js';

/**
 * δ_t = γ V(s_{t+1}) − V(s_t) for t < T and δ_T = r − V(s_T), for values V(s_0) … V(s_T): as many errors as values. The
 * last is null when the reward is unknown (null). Σ γ^t δ_t = γ^T r − V(s_0). Source: Sutton & Barto (2018), equation
 * 6.5, with no reward before the end.
 */
export function tdErrors(values: Numbers, reward: number | null, gamma: number): (number | null)[] {
  return Array.from({ length: values.length }, (_, t) => {
    const value = values[t] as number;
    if (t < values.length - 1) {
      return gamma * (values[t + 1] as number) - value;
    }
    return reward === null ? null : reward - value;
  });
}
