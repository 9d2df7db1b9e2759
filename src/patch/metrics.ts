/** What the logits at the last position say: how much the answer is preferred, and how far a run is from the clean one. */
import { klDivergence, logPartition } from '../stats/divergence.js';

/** `logit-diff`: logit of the answer minus that of the wrong answer; `probability` of the answer; `kl`: KL(clean ‖ run), nats. */
export const PATCH_METRICS = ['logit-diff', 'probability', 'kl'] as const;
export type PatchMetric = (typeof PATCH_METRICS)[number];

/** The metrics of one run; the logit difference is null without a wrong answer. */
export type PatchValues = Readonly<Record<PatchMetric, number | null>>;

/**
 * Gaps between the clean and the corrupted run below which a pair says nothing about restoration: the ratio would be one of
 * rounding errors (an f16 cache moves a logit by some 1e-3). Logits; probability; nats.
 */
export const LEAST_GAP: Readonly<Record<PatchMetric, number>> = { 'logit-diff': 0.05, probability: 1e-3, kl: 1e-3 };

/** The clean run's logits [vocabulary], kept for the KL divergence of the pair's other runs. */
export interface CleanLogits {
  readonly logits: Float32Array;
  readonly partition: number;
}

/** Prepares the clean run's logits; keeps the array. */
export function cleanLogits(logits: Float32Array): CleanLogits {
  return { logits, partition: logPartition(logits) };
}

/** The metrics of a run's `logits` [vocabulary] against the clean run's. Token ids must lie in the vocabulary. Cost: two passes over it. */
export function measureLogits(logits: Float32Array, clean: CleanLogits, answer: number, wrong: number | undefined): PatchValues {
  const partition = logPartition(logits);
  const at = (token: number): number => logits[token] as number;
  return {
    'logit-diff': wrong === undefined ? null : at(answer) - at(wrong),
    probability: Math.exp(at(answer) - partition),
    kl: klDivergence(clean.logits, clean.partition, logits, partition),
  };
}

/** The run that is edited, and the one whose activations it gets. */
export interface PairValues {
  readonly clean: PatchValues;
  readonly corrupted: PatchValues;
}

/** `denoising`: clean activations into the corrupted run; `noising`: corrupted ones into the clean run. */
export const PATCH_MODES = ['denoising', 'noising'] as const;
export type PatchMode = (typeof PATCH_MODES)[number];

/**
 * The share of the way from the edited run to the run whose activations it got that the edit went: denoising
 * (m − corrupted)/(clean − corrupted), the restoration; noising (m − clean)/(corrupted − clean), which is 1 − restoration.
 * 0 is no effect, 1 all of it; nothing keeps it inside 0..1. Null where the metric is missing or the gap is below {@link LEAST_GAP}.
 */
export function effectOf(metric: PatchMetric, mode: PatchMode, value: number | null, base: PairValues): number | null {
  const [from, to] = mode === 'denoising' ? [base.corrupted[metric], base.clean[metric]] : [base.clean[metric], base.corrupted[metric]];
  return value === null || from === null || to === null || Math.abs(to - from) < LEAST_GAP[metric] ? null : (value - from) / (to - from) + 0; // not −0
}
