/** Do two rankings name the same neurons, more than chance and more than their magnitudes make them? */
import { checkLength, type Numbers } from '../stats/estimate.js';
import { hypergeometricUpperTail, stratifiedUpperTail, type Stratum } from '../stats/hypergeometric.js';
import type { Excluded } from './sets.js';

/** What two sets of neurons of one layer share. */
export interface Overlap {
  /** Neurons in both. */
  shared: number;
  /** Shared over the size of the union (Jaccard). */
  iou: number;
  /** Mean of `shared` for random sets of these sizes, and P(at least as many) (hypergeometric). */
  expected: number;
  p: number;
  /** The same when the first set is drawn anew among neurons of like magnitude. */
  matchedExpected: number;
  pMatched: number;
  /** The least that `pMatched` can be for sets of these sizes and magnitudes: small sets cannot be told from their magnitudes. */
  leastMatched: number;
}

/** Neurons that count as alike in magnitude: as many as a matched control chooses among. */
export const STRATUM_SIZE = 16;

/**
 * Overlap of two sets of different neurons, none of them excluded. For the matched null, neurons are ordered by the
 * geometric mean of their RMS in both folders and cut into strata of about {@link STRATUM_SIZE}; the first set is
 * drawn anew with as many neurons from each stratum as it has. That two sets prefer large coordinates then explains nothing. Both
 * p-values are exact. `rmsA`, `rmsB` [neurons]. INVALID_ARGUMENT for unequal lengths.
 */
export function overlap(a: readonly number[], b: readonly number[], rmsA: Numbers, rmsB: Numbers, exclude: Excluded = []): Overlap {
  checkLength('rmsB', rmsB, rmsA.length, 'neuron');
  const [inA, inB, excluded] = [new Set(a), new Set(b), new Set(exclude)];
  const shared = a.filter((neuron) => inB.has(neuron)).length;
  const pool = Array.from({ length: rmsA.length }, (_, neuron) => neuron).filter((neuron) => !excluded.has(neuron));
  const size = (neuron: number): number => Math.log(Math.max(rmsA[neuron] as number, Number.MIN_VALUE)) + Math.log(Math.max(rmsB[neuron] as number, Number.MIN_VALUE));
  const bySize = [...pool].sort((i, j) => size(i) - size(j) || i - j);
  const count = Math.max(1, Math.round(pool.length / STRATUM_SIZE));
  const strata = Array.from({ length: count }, (_, s): Stratum => {
    const members = bySize.slice(Math.round((s * pool.length) / count), Math.round(((s + 1) * pool.length) / count));
    return { population: members.length, marked: members.filter((neuron) => inB.has(neuron)).length, drawn: members.filter((neuron) => inA.has(neuron)).length };
  });
  return {
    shared,
    iou: shared / Math.max(1, a.length + b.length - shared),
    expected: (a.length * b.length) / Math.max(1, pool.length),
    p: hypergeometricUpperTail(shared, pool.length, b.length, a.length),
    matchedExpected: strata.reduce((sum, { population, marked, drawn }) => sum + (marked * drawn) / Math.max(1, population), 0),
    pMatched: stratifiedUpperTail(shared, strata),
    leastMatched: stratifiedUpperTail(strata.reduce((sum, { marked, drawn }) => sum + Math.min(marked, drawn), 0), strata),
  };
}
