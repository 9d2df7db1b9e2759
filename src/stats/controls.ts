/** One observed effect against the distribution of the same effect over control draws. */
import { invalidArgument } from '../native/errors.js';
import { checkFinite, type Numbers } from './estimate.js';
import { mean } from './moments.js';

/** Which observed values speak for an effect: those below the draws, or those above. */
export type Direction = 'less' | 'greater';

/**
 * One-sided p-value of `observed` among `draws`: (1 + draws at least as extreme) / (1 + draws) (Phipson & Smyth 2010).
 * Never 0: the smallest that N draws can give is 1/(N + 1). Valid when, with no effect, the observed set is
 * exchangeable with the draws. Values that differ by rounding alone count as equal. 1 without draws.
 */
export function rankPValue(observed: number, draws: Numbers, direction: Direction): number {
  check(observed, draws);
  if (direction !== 'less' && direction !== 'greater') {
    throw invalidArgument('direction', "'less' or 'greater'", direction);
  }
  const sign = direction === 'less' ? -1 : 1;
  // a mean of the same rewards in another order may differ in the last bits: such a tie must count against the effect
  const tie = 1e-12 * Math.max(1, Math.abs(observed));
  let extreme = 0;
  for (let i = 0; i < draws.length; i++) {
    extreme += sign * ((draws[i] as number) - observed) >= -tie ? 1 : 0;
  }
  return (1 + extreme) / (1 + draws.length);
}

/**
 * (observed − mean of the draws) / standard deviation of the draws (divisor N − 1). Null when the draws have no spread
 * or are fewer than two. Descriptive: with few draws it is not normal, even if the draws are.
 */
export function standardisedEffect(observed: number, draws: Numbers): number | null {
  check(observed, draws);
  const centre = mean(draws);
  let squares = 0;
  for (let i = 0; i < draws.length; i++) {
    squares += ((draws[i] as number) - centre) ** 2;
  }
  const sd = Math.sqrt(squares / (draws.length - 1));
  // equal draws may leave a spread of rounding errors
  return sd > 1e-12 * Math.max(1, Math.abs(centre)) ? (observed - centre) / sd : null;
}

function check(observed: number, draws: Numbers): void {
  if (!Number.isFinite(observed)) {
    throw invalidArgument('observed', 'a finite number', observed);
  }
  checkFinite('draws', draws);
}
