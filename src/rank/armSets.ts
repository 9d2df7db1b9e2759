/** Sets of neurons that an ablation compares: the best, the worst, and seeded draws of controls. */
import type { Numbers } from '../stats/estimate.js';
import { mulberry32 } from '../util/random.js';
import type { Excluded } from './sets.js';
import { bottomNeurons, matchedNeurons, randomNeurons, topNeurons } from './sets.js';

/** `matched`: nearest RMS, without replacement; `spread`: the same by standard deviation; `largest`: the largest RMS. */
export const ARM_GROUPS = ['top', 'bottom', 'random', 'matched', 'spread', 'largest'] as const;
export type ArmGroup = (typeof ARM_GROUPS)[number];

/** One set of an arm. */
export interface ArmSet {
  readonly group: ArmGroup;
  /** Number of the draw; 0 for sets that are not drawn. */
  readonly draw: number;
  /** Ascending. */
  readonly neurons: readonly number[];
}

/** What decides the sets of one layer and share. */
export interface ArmSetOptions {
  readonly groups: readonly ArmGroup[];
  /** Neurons in each set. */
  readonly count: number;
  /** Draws of every control. */
  readonly draws: number;
  readonly seed: number;
  /** Neurons that no set may hold (sinks). */
  readonly exclude?: Excluded;
}

/** Statistics of one layer's neurons. */
export interface ArmStatistics {
  /** Higher is better. */
  readonly scores: Numbers;
  readonly rms: Numbers;
  readonly std: Numbers;
}

/**
 * The sets of one layer: one of every ranked group, `draws` of every drawn one; controls keep off the top set as far as
 * neurons last. The same seed gives the same sets. Errors: INVALID_ARGUMENT when there are fewer neurons than `count`.
 */
export function armSets({ scores, rms, std }: ArmStatistics, options: ArmSetOptions): ArmSet[] {
  const { count, draws, exclude = [] } = options;
  const excluded = [...exclude];
  const top = topNeurons(scores, count, excluded);
  const random = mulberry32(options.seed);
  const seeds = Array.from({ length: draws }, () => Math.floor(random() * 2 ** 32));
  const offTop = scores.length - new Set(excluded).size - top.length >= count ? [...excluded, ...top] : excluded;
  const make: Readonly<Record<ArmGroup, (seed: number) => readonly number[]>> = {
    top: () => top,
    bottom: () => bottomNeurons(scores, count, excluded),
    largest: () => topNeurons(rms, count, excluded),
    random: (seed) => randomNeurons(scores.length, count, seed, offTop),
    matched: (seed) => matchedNeurons(top, rms, { seed, exclude: excluded }).neurons,
    spread: (seed) => matchedNeurons(top, std, { seed, exclude: excluded }).neurons,
  };
  const drawn: readonly ArmGroup[] = ['random', 'matched', 'spread'];
  return options.groups.flatMap((group) =>
    (drawn.includes(group) ? seeds : [0]).map((seed, draw) => ({ group, draw, neurons: [...make[group](seed)].sort((a, b) => a - b) })),
  );
}
