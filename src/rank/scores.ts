/** How much each input coordinate ("neuron") of a value probe matters, by five methods. Higher is more. */
import { invalidArgument } from '../native/errors.js';
import { auc, aucColumns } from '../stats/auc.js';
import { brier } from '../stats/calibration.js';
import { checkLength, type Numbers } from '../stats/estimate.js';

/**
 * `l1-zscore`, `l1-raw`: {@link weightScores} of a probe with a hidden layer, trained on z-scored or on raw inputs;
 * `linear`: the same of a linear probe; `permutation`: {@link permutationScores}; `univariate`: {@link
 * univariateScores}.
 */
export const RANKING_METHODS = ['l1-zscore', 'l1-raw', 'linear', 'permutation', 'univariate'] as const;
export type RankingMethod = (typeof RANKING_METHODS)[number];

/** Weights of a probe `inputs → hidden → 1`, or `inputs → 1` when `hidden` is 0; biases do not matter here. */
export interface ProbeWeights {
  readonly inputs: number;
  readonly hidden: number;
  /** `[hidden, inputs]` row-major. */
  readonly w1: Float32Array;
  /** `[hidden]`, or `[inputs]` of a linear probe. */
  readonly w2: Float32Array;
}

/**
 * Σ_h |w1[h, i]|, the L1 norm of the first-layer column of input i, or |w2[i]| of a linear probe: Float64Array
 * `[inputs]`. On raw inputs this is the ranking of Xu et al. (2026), and it depends on the units of each coordinate:
 * weights of a coordinate 100 times as large are 100 times smaller for the same effect.
 */
export function weightScores({ inputs, hidden, w1, w2 }: ProbeWeights): Float64Array {
  checkLength('w1', w1, hidden * inputs, 'hidden unit and input');
  checkLength('w2', w2, hidden === 0 ? inputs : hidden, hidden === 0 ? 'input' : 'hidden unit');
  if (hidden === 0) {
    return Float64Array.from(w2, Math.abs);
  }
  const scores = new Float64Array(inputs);
  for (let offset = 0; offset < w1.length; offset += inputs) {
    for (let i = 0; i < inputs; i++) {
      scores[i] = (scores[i] as number) + Math.abs(w1[offset + i] as number);
    }
  }
  return scores;
}

/** What permuting each input costs. Both: Float64Array `[inputs]`. */
export interface PermutationScores {
  /** AUC before minus AUC after; NaN with one class only. */
  aucDrop: Float64Array;
  /**
   * Mean squared error after minus before: finer than the drop of AUC, which cannot see changes that keep the order.
   */
  brierRise: Float64Array;
}

/**
 * Permutation importance (Breiman 2001): `reference` are the probe's predictions `[n]`, `permuted` those when input i
 * alone is permuted across the n items, `[inputs, n]` row-major. Of several permutations take the mean of the scores.
 */
export function permutationScores(
  reference: Numbers,
  permuted: Float32Array | Float64Array,
  rewards: Numbers,
): PermutationScores {
  const n = rewards.length;
  if (n === 0 || permuted.length % n !== 0) {
    throw invalidArgument('permuted', `a multiple of ${n} predictions, at least one item`, permuted.length);
  }
  const [aucBefore, brierBefore] = [auc(reference, rewards), brier(reference, rewards)];
  const score = (measure: (predictions: Numbers) => number): Float64Array =>
    Float64Array.from({ length: permuted.length / n }, (_, i) => measure(permuted.subarray(i * n, (i + 1) * n)));
  return {
    aucDrop: score((predictions) => aucBefore - auc(predictions, rewards)),
    brierRise: score((predictions) => brier(predictions, rewards) - brierBefore),
  };
}

/**
 * |AUC − 0.5| of every coordinate of `rows` (`[n, inputs]`) alone: no probe, no interaction, no units. See {@link
 * aucColumns}.
 */
export function univariateScores(rows: Numbers, inputs: number, rewards: Numbers): Float64Array {
  return aucColumns(rows, inputs, rewards).map((value) => Math.abs(value - 0.5));
}

/** Neurons from the highest score to the lowest; equal scores by number, NaN last. */
export function order(scores: Numbers): Int32Array {
  const key = Float64Array.from(scores, (score) => (Number.isNaN(score) ? -Infinity : score));
  return Int32Array.from(key, (_, i) => i).sort((a, b) => descending(key[a] as number, key[b] as number) || a - b);
}

/** Rank of each neuron, from 1 (highest score), in the order of {@link order}: no two are equal. */
export function ranks(scores: Numbers): Int32Array {
  const result = new Int32Array(scores.length);
  order(scores).forEach((neuron, i) => (result[neuron] = i + 1));
  return result;
}

/** Not b − a, which is NaN for two infinities. */
function descending(a: number, b: number): number {
  return a === b ? 0 : a > b ? -1 : 1;
}
