/** Chance that two random sets share as many members as were seen. */
import { invalidArgument } from '../native/errors.js';

/** One group of members: how many there are, how many of them are marked, and how many are drawn. */
export interface Stratum {
  population: number;
  marked: number;
  drawn: number;
}

/** Chances of every possible overlap: `chances[i]` is that of `least + i`. They sum to 1. */
interface Distribution {
  least: number;
  chances: Float64Array;
}

/**
 * P(X ≥ `overlap`) when `drawn` of `population` members are drawn without replacement and `marked` of all are marked (the
 * upper tail of the hypergeometric distribution; one-sided test for overlap). Chances are summed as ratios to the
 * mode's (p(x + 1)/p(x) is a quotient of small integers), so no factorial is formed and small p-values keep their
 * relative precision down to 1e-300; below that 0. Cost: O(min(drawn, marked)). Errors: INVALID_ARGUMENT.
 */
export function hypergeometricUpperTail(overlap: number, population: number, marked: number, drawn: number): number {
  check('overlap', overlap, 0, Infinity);
  return upperTail(distribution({ population, marked, drawn }), overlap);
}

/**
 * P(X ≥ `overlap`) when members are drawn from every stratum apart and X is the number of marked ones among all drawn: a sum of independent
 * hypergeometric numbers, by convolution. Cost: O(overlap size²). Errors: INVALID_ARGUMENT.
 */
export function stratifiedUpperTail(overlap: number, strata: readonly Stratum[]): number {
  check('overlap', overlap, 0, Infinity);
  return upperTail(strata.map(distribution).reduce(convolve, { least: 0, chances: Float64Array.of(1) }), overlap);
}

function distribution({ population, marked, drawn }: Stratum): Distribution {
  check('population', population, 0, Infinity);
  check('marked', marked, 0, population);
  check('drawn', drawn, 0, population);
  const least = Math.max(0, drawn + marked - population);
  const most = Math.min(drawn, marked);
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
  const total = sumFrom(weights, 0);
  return { least, chances: weights.map((weight) => weight / total) };
}

/** From the end: the smallest terms of an upper tail first. */
const sumFrom = (values: Float64Array, from: number): number => values.subarray(from).reduceRight((a, b) => a + b, 0);

function upperTail({ least, chances }: Distribution, overlap: number): number {
  return overlap <= least ? 1 : Math.min(1, sumFrom(chances, overlap - least));
}

function convolve(a: Distribution, b: Distribution): Distribution {
  const chances = new Float64Array(a.chances.length + b.chances.length - 1);
  a.chances.forEach((p, i) => b.chances.forEach((q, j) => (chances[i + j] = (chances[i + j] as number) + p * q)));
  return { least: a.least + b.least, chances };
}

function check(parameter: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw invalidArgument(parameter, high === Infinity ? `an integer of at least ${low}` : `an integer in ${low}..${high}`, value);
  }
}
