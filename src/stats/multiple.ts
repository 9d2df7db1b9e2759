/** Many tests at once. */
import { invalidArgument } from '../native/errors.js';
import type { Numbers } from './estimate.js';

/**
 * Adjusted p-values of Holm (1979), in the order of `pValues`: adjusted p ≤ α exactly where Holm's step-down procedure
 * rejects, so that the chance of any false rejection among all is at most α, whatever the dependence. The i-th smallest
 * of m becomes the largest of (m − j + 1) p_j, j ≤ i, at most 1. INVALID_ARGUMENT for values outside [0, 1].
 */
export function holm(pValues: Numbers): number[] {
  const m = pValues.length;
  for (let i = 0; i < m; i++) {
    const p = pValues[i] as number;
    if (!(p >= 0 && p <= 1)) {
      throw invalidArgument(`pValues[${i}]`, 'a number from 0 to 1', p);
    }
  }
  const order = Array.from({ length: m }, (_, i) => i).sort((i, j) => (pValues[i] as number) - (pValues[j] as number));
  const adjusted = new Array<number>(m);
  let largest = 0;
  order.forEach((index, rank) => {
    largest = Math.max(largest, Math.min(1, (m - rank) * (pValues[index] as number)));
    adjusted[index] = largest;
  });
  return adjusted;
}
