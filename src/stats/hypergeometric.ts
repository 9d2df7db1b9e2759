/** Chance that two random sets share as many members as were seen. */
import { invalidArgument } from '../native/errors.js';

/**
 * P(X ≥ `overlap`) when `drawn` of `population` members are drawn without replacement and `marked` of all are marked (the
 * upper tail of the hypergeometric distribution; one-sided test for overlap). Probabilities are summed as ratios to the
 * mode's (p(x + 1)/p(x) is a quotient of small integers), so no factorial is formed and small p-values keep their
 * relative precision down to 1e-300; below that 0. Cost: O(min(drawn, marked)). Errors: INVALID_ARGUMENT.
 */
export function hypergeometricUpperTail(overlap: number, population: number, marked: number, drawn: number): number {
  check('population', population, 0, Infinity);
  check('marked', marked, 0, population);
  check('drawn', drawn, 0, population);
  check('overlap', overlap, 0, Infinity);
  const least = Math.max(0, drawn + marked - population);
  const most = Math.min(drawn, marked);
  if (overlap <= least) {
    return 1;
  }
  if (overlap > most) {
    return 0;
  }
  const up = (x: number): number => ((marked - x) * (drawn - x)) / ((x + 1) * (population - marked - drawn + x + 1));
  const mode = Math.min(most, Math.max(least, Math.floor(((drawn + 1) * (marked + 1)) / (population + 2))));
  const weights = new Float64Array(most - least + 1);
  weights[mode - least] = 1;
  for (let x = mode; x < most; x++) {
    weights[x + 1 - least] = (weights[x - least] as number) * up(x);
  }
  for (let x = mode; x > least; x--) {
    weights[x - 1 - least] = (weights[x - least] as number) / up(x - 1);
  }
  const sum = (from: number): number => weights.subarray(from - least).reduceRight((a, b) => a + b, 0);
  return Math.min(1, sum(overlap) / sum(least));
}

function check(parameter: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw invalidArgument(parameter, `an integer in ${low}..${high}`, value);
  }
}
