/** Which states of a trajectory numbers are given for. A trajectory of n sampled tokens has states 0..n−1. */
import { invalidArgument } from '../native/errors.js';
import { aucEstimate } from '../stats/auc.js';
import type { Estimate, Numbers } from '../stats/estimate.js';

/** s0: the state before the first sampled token; middle; last: the state before the last sampled token. */
export const PLACES = ['s0', 'middle', 'last'] as const;
export type Place = (typeof PLACES)[number];

/** One thing for each place. */
export type ByPlace<T> = Record<Place, T>;

/** Builds one thing for each place. */
export function byPlace<T>(make: (place: Place) => T): ByPlace<T> {
  return { s0: make('s0'), middle: make('middle'), last: make('last') };
}

/** State of each place in a trajectory of `states` states: 0, ⌊(n − 1) / 2⌋ and n − 1. INVALID_ARGUMENT for none. */
export function placeIndices(states: number): ByPlace<number> {
  checkStates(states);
  return { s0: 0, middle: Math.floor((states - 1) / 2), last: states - 1 };
}

/**
 * The ten decile states, at 5 %, 15 %, … 95 % of the trajectory: state ⌊(2k + 1) n / 20⌋ for k = 0..9, the one that
 * lies over the middle of the k-th tenth when every state takes 1/n of the length. With fewer than ten states some come
 * twice.
 */
export function decileIndices(states: number): number[] {
  checkStates(states);
  return Array.from({ length: 10 }, (_, k) => Math.floor(((2 * k + 1) * states) / 20));
}

/** {@link aucEstimate} at each place: predictions, rewards and problems run over the same trajectories. */
export function aucByPlace(
  predictions: ByPlace<Numbers>,
  rewards: Numbers,
  problems?: ArrayLike<unknown>,
): ByPlace<Estimate> {
  return byPlace((place) => aucEstimate(predictions[place], rewards, problems));
}

function checkStates(states: number): void {
  if (!Number.isInteger(states) || states < 1) {
    throw invalidArgument('states', 'an integer of at least 1', states);
  }
}
