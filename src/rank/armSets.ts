/** Sets of neurons that an ablation compares: chosen by scores or by hand, and seeded draws of controls. */
import { invalidArgument } from '../native/errors.js';
import type { Numbers } from '../stats/estimate.js';
import { mulberry32 } from '../util/random.js';
import type { Excluded } from './sets.js';
import { bottomNeurons, matchedNeurons, randomNeurons, topNeurons } from './sets.js';

/**
 * Controls of which any number of sets can be drawn. `random`: every neuron equally likely; `random-no-sinks`: the same without
 * massive coordinates; `matched`: nearest RMS, without replacement; `spread`: the same by standard deviation.
 */
export const DRAWN_GROUPS = ['random', 'random-no-sinks', 'matched', 'spread'] as const;
export type DrawnGroup = (typeof DRAWN_GROUPS)[number];

/**
 * Controls that are the top of another score, one set each. `largest`: RMS; `wanda`: RMS × the weights that read the neuron;
 * `next-token`: weights of a probe of the sampled token's log-probability; `terminal`: of a probe of the last state's reward.
 */
export const SCORED_GROUPS = ['largest', 'wanda', 'next-token', 'terminal'] as const;
export type ScoredGroup = (typeof SCORED_GROUPS)[number];

/** `top`, `bottom`: by the ranking; `list`: neurons given by hand. */
export const ARM_GROUPS = ['top', 'bottom', 'list', ...DRAWN_GROUPS, ...SCORED_GROUPS] as const;
export type ArmGroup = (typeof ARM_GROUPS)[number];

/** One set of an arm. */
export interface ArmSet {
  /** `control`: one of several draws. */
  readonly role: 'set' | 'control';
  readonly group: ArmGroup;
  /** Number of the draw from 0; 0 for sets. */
  readonly draw: number;
  /** Ascending. */
  readonly neurons: readonly number[];
  /** Matched draws: neurons shared with the target because no others were left, and the largest ratio between partners. */
  readonly match?: { readonly shared: number; readonly worstRatio: number };
}

/** What decides the sets of one layer and share. */
export interface ArmSetOptions {
  readonly groups: readonly ArmGroup[];
  /** The sets that controls are compared with: neurons given by hand, or how many of the best. */
  readonly target: readonly number[] | number;
  /** Draws of every control, at most: see {@link armSets}. */
  readonly draws: number;
  readonly seed: number;
  /** Neurons that no set may hold. */
  readonly exclude?: Excluded;
}

/** Statistics of one layer's neurons [width]. What no group asks for may be left out. */
export interface ArmStatistics {
  readonly width: number;
  /** Higher is better. */
  readonly scores?: Numbers | undefined;
  readonly rms?: Numbers | undefined;
  readonly std?: Numbers | undefined;
  /** Massive coordinates. */
  readonly sinks?: readonly number[] | undefined;
  /** Scores of {@link SCORED_GROUPS} besides `largest`. */
  readonly others?: Readonly<Partial<Record<ScoredGroup, Numbers>>> | undefined;
}

/** A matched neuron is one of so many nearest within the caliper: more than in a pruning curve, for more different draws of few neurons. */
const NEAREST = 64;

/**
 * Largest ratio of sizes between partners; the wider ones only for a set that otherwise has too few different draws. A neuron without any alike
 * always gets the nearest one.
 */
const CALIPERS = [1.25, 1.5, 2];

/** Draws that may come out as an earlier one, one after the other, before a control counts as exhausted. */
const MISSES = 50;

/**
 * The sets of one layer: one of every group that is not drawn, and of every drawn one `draws` different sets, none of them the target
 * itself; random draws keep off the target as far as neurons last. Fewer draws when no more different ones are found. The
 * same seed gives the same sets, and the first draws do not depend on their number or on the other groups. Errors: INVALID_ARGUMENT
 * when there are fewer neurons than a set needs or a statistic is missing.
 */
export function armSets(statistics: ArmStatistics, options: ArmSetOptions): ArmSet[] {
  const { width, rms, std, sinks = [] } = statistics;
  const excluded = [...(options.exclude ?? [])];
  const needed = <T>(value: T | undefined, name: string): T => {
    if (value === undefined) {
      throw invalidArgument(name, 'values of every neuron', value);
    }
    return value;
  };
  const target = typeof options.target === 'number' ? topNeurons(needed(statistics.scores, 'scores'), options.target, excluded) : options.target;
  const count = target.length;
  const random = (seed: number, without: readonly number[]): Draw => {
    const off = [...without, ...target];
    return { neurons: randomNeurons(width, count, seed, width - new Set(off).size >= count ? off : without) };
  };
  const matched = (sizes: Numbers): Make[] =>
    CALIPERS.map((caliper) => (seed) => {
      const { neurons, shared, worstRatio } = matchedNeurons(target, sizes, { seed, exclude: excluded, nearest: NEAREST, caliper });
      return { neurons, match: { shared, worstRatio } };
    });
  const draw: Readonly<Record<DrawnGroup, () => Make[]>> = {
    random: () => [(seed) => random(seed, excluded)],
    'random-no-sinks': () => [(seed) => random(seed, [...excluded, ...sinks])],
    matched: () => matched(needed(rms, 'rms')),
    spread: () => matched(needed(std, 'std')),
  };
  return options.groups.flatMap((group): ArmSet[] => {
    if (isDrawn(group)) {
      return differentDraws(draw[group](), target, { draws: options.draws, seed: options.seed + 7919 * DRAWN_GROUPS.indexOf(group) }).map((set, i) => ({ role: 'control', group, draw: i, ...set }));
    }
    const scoresOf = (): Numbers => needed(group === 'largest' ? rms : statistics.others?.[group as ScoredGroup], group);
    const neurons =
      group === 'top' || group === 'list' ? target : group === 'bottom' ? bottomNeurons(needed(statistics.scores, 'scores'), count, excluded) : topNeurons(scoresOf(), count, excluded);
    return [{ role: 'set', group, draw: 0, neurons: ascending(neurons) }];
  });
}

const isDrawn = (group: ArmGroup): group is DrawnGroup => (DRAWN_GROUPS as readonly string[]).includes(group);

const ascending = (neurons: readonly number[]): number[] => [...neurons].sort((a, b) => a - b);

type Draw = Pick<ArmSet, 'neurons' | 'match'>;
type Make = (seed: number) => Draw;

/** Draws by the first way of making them, then, while there are too few, by the next. */
function differentDraws(makes: readonly Make[], target: readonly number[], { draws, seed }: { draws: number; seed: number }): Draw[] {
  const random = mulberry32(seed);
  const seen = new Set([String(ascending(target))]);
  const out: Draw[] = [];
  for (const make of makes) {
    for (let misses = 0; out.length < draws && misses < MISSES; ) {
      const made = make(Math.floor(random() * 2 ** 32));
      const neurons = ascending(made.neurons);
      if (seen.has(String(neurons))) {
        misses++;
        continue;
      }
      misses = 0;
      seen.add(String(neurons));
      out.push({ ...made, neurons });
    }
  }
  return out;
}

/** Mean share of neurons that two draws have in common, over all pairs of sets of equal size; NaN with fewer than two. */
export function meanOverlap(sets: readonly (readonly number[])[]): number {
  const uses = new Map<number, number>();
  sets.flat().forEach((neuron) => uses.set(neuron, (uses.get(neuron) ?? 0) + 1));
  const pairs = (n: number): number => (n * (n - 1)) / 2;
  const common = [...uses.values()].reduce((sum, n) => sum + pairs(n), 0);
  return common / (pairs(sets.length) * (sets[0]?.length ?? 0));
}
