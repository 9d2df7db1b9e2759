/** Planning a sweep: items and draws that an effect needs. */
import { invalidArgument } from '../native/errors.js';
import { itemsForMcnemar, powerOfMcnemar } from './paired.js';

/** What is planned. */
export interface PowerQuestion {
  /** Items per arm. */
  readonly items: number;
  /** Expected accuracy of the base, between 0 and 1. */
  readonly accuracy: number;
  /** Share of the items whose outcome differs between base and arm. Default: as if both answered independently of each other. */
  readonly discordance?: number | undefined;
  /** Sets that are tested: the family of Holm's correction. Default 1. */
  readonly sets?: number;
  /** Two-sided level. Default 0.05. */
  readonly alpha?: number;
  /** Probability to find the effect. Default 0.8. */
  readonly power?: number;
}

/** One fall of accuracy and what it needs. */
export interface PowerRow {
  /** Fall of accuracy, 0..1. */
  readonly effect: number;
  /** Discordance that was taken for it. */
  readonly discordance: number;
  /** Items with which McNemar finds it: one set alone, and at Holm's first step over all sets. Null above a million. */
  readonly items: number | null;
  readonly itemsHolm: number | null;
  /** Power of the planned items, likewise. */
  readonly power: number;
  readonly powerHolm: number;
}

/** Answer to a {@link PowerQuestion}. */
export interface PowerTable {
  readonly rows: readonly PowerRow[];
  /** Smallest fall that the planned items find, alone and after Holm; null when not even the fall to 0 is. */
  readonly detectable: number | null;
  readonly detectableHolm: number | null;
  /** Draws of a control with which a rank p-value can reach alpha: one set alone, and after Holm over all sets. */
  readonly draws: number;
  readonly drawsHolm: number;
}

/** Falls of accuracy in a plan. */
export const PLANNED_EFFECTS: readonly number[] = [0.02, 0.05, 0.1, 0.2];

/** Draws with which the smallest of `sets` rank p-values can reach `alpha` after Holm: sets / (draws + 1) ≤ alpha. */
export function drawsForRank(sets: number, alpha = 0.05): number {
  return Math.ceil(sets / alpha - 1e-9) - 1;
}

/**
 * Items and draws for falls of 2, 5, 10 and 20 points; those that the base's accuracy leaves no room for are not listed.
 * Exact McNemar. With base and arm right independently with probabilities p and p − Δ the discordance is
 * p (1 − p + Δ) + (1 − p)(p − Δ): greedy answers, or the same seeds, differ less, so that fewer items do. A given discordance
 * is raised to Δ where it is smaller. Errors: INVALID_ARGUMENT. A second for small effects.
 */
export function planPower({ items, accuracy, discordance, sets = 1, alpha = 0.05, power = 0.8 }: PowerQuestion): PowerTable {
  requireShares({ accuracy, alpha, power, ...(discordance === undefined ? {} : { discordance }) });
  requireCounts({ items, sets });
  const corrected = alpha / sets;
  const discordanceOf = (fall: number): number =>
    discordance === undefined ? accuracy * (1 - accuracy + fall) + (1 - accuracy) * (accuracy - fall) : Math.max(discordance, fall);
  const powerOf = (fall: number, level: number): number => powerOfMcnemar(items, fall, discordanceOf(fall), level);
  const rows = PLANNED_EFFECTS.filter((effect) => effect <= accuracy).map((effect): PowerRow => {
    const own = discordanceOf(effect);
    return {
      effect,
      discordance: own,
      items: itemsForMcnemar(effect, own, { alpha, power }),
      itemsHolm: itemsForMcnemar(effect, own, { alpha: corrected, power }),
      power: powerOf(effect, alpha),
      powerHolm: powerOf(effect, corrected),
    };
  });
  const smallest = (level: number): number | null => detectableFall(items, discordanceOf, { alpha: level, power, most: accuracy });
  return { rows, detectable: smallest(alpha), detectableHolm: smallest(corrected), draws: drawsForRank(1, alpha), drawsHolm: drawsForRank(sets, alpha) };
}

/**
 * Smallest fall of accuracy that `items` items show with probability `power` when a fall goes with a certain discordance
 * (at least the fall itself): to 1e-4, rounded up. Null when not even the largest, `most` (default 1), is.
 */
export function detectableFall(
  items: number,
  discordanceOf: (fall: number) => number,
  { alpha = 0.05, power = 0.8, most = 1 }: { alpha?: number; power?: number; most?: number } = {},
): number | null {
  const enough = (fall: number): boolean => powerOfMcnemar(items, fall, discordanceOf(fall), alpha) >= power;
  let [low, high] = [0, Math.min(most, 0.999)];
  if (!enough(high)) {
    return null;
  }
  while (high - low > 1e-4) {
    const middle = (low + high) / 2;
    [low, high] = enough(middle) ? [low, middle] : [middle, high];
  }
  return high;
}

function requireShares(values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!(value > 0 && value < 1)) {
      throw invalidArgument(name, 'a number between 0 and 1', value);
    }
  }
}

function requireCounts(values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw invalidArgument(name, 'an integer from 1', value);
    }
  }
}
