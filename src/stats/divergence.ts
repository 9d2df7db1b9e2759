/** How far one next-token distribution is from another, from raw scores (logits). */
import type { Numbers } from './estimate.js';

/**
 * ln Σ exp(x_i), computed from the largest x_i on, in double precision: ln p_i = x_i − this. −∞ among the scores is a
 * probability of 0; NaN when any score is.
 */
export function logPartition(logits: Numbers): number {
  let largest = -Infinity;
  for (let i = 0; i < logits.length; i++) {
    const x = logits[i] as number;
    if (!(x <= largest)) {
      largest = x; // NaN as well: it must not be lost
    }
  }
  if (!Number.isFinite(largest)) {
    return largest;
  }
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    sum += Math.exp((logits[i] as number) - largest);
  }
  return largest + Math.log(sum);
}

/**
 * KL(p ‖ q) = Σ p_i (ln p_i − ln q_i) in nats of the distributions behind two rows of scores, with their
 * {@link logPartition}s. Never below 0; ∞ where q rules out what p allows. One pass, double precision.
 */
export function klDivergence(p: Numbers, pPartition: number, q: Numbers, qPartition: number): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const lnP = (p[i] as number) - pPartition;
    const share = Math.exp(lnP);
    if (share > 0) {
      sum += share * (lnP - ((q[i] as number) - qPartition));
    }
  }
  return sum < 0 ? 0 : sum;
}
