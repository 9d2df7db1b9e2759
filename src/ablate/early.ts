/** Ending comparisons of a sweep that are decided before all their items have been run. */
import { discordantPairs } from '../stats/paired.js';
import type { SequentialLook } from '../stats/sequential.js';
import { sequentialBoundaries, sequentialDecision } from '../stats/sequential.js';
import type { Arm } from './arms.js';

/** Looks at the data, the last one at all items. */
const LOOKS = 5;
/** Chance that any comparison of the sweep is called decided although base and arm do not differ. */
const ALPHA = 0.05;
/** Groups whose sets are compared; a decision also ends the control draws of their cell. */
const TESTED: readonly string[] = ['top', 'list'];

/** What of an arm the rule needs. */
export type EarlyArm = Pick<Arm, 'role' | 'group' | 'site' | 'layer' | 'share' | 'kind' | 'positions'>;

/** The rule as it was applied: part of the result. */
export interface EarlyPlan {
  /** Items seen at each look. */
  readonly looks: number[];
  /** For the whole sweep, divided evenly over `comparisons`. */
  readonly alpha: number;
  readonly comparisons: number;
  /** An arm stops when its exact McNemar p-value against the base is at most this, look by look. */
  readonly levels: number[];
  readonly spending: 'Lan-DeMets, O’Brien-Fleming type';
}

const cellOf = ({ site, layer, share, kind, positions }: EarlyArm): string => JSON.stringify([site, layer, share, kind, positions]);

/** Looks of a sweep of these arms. With fewer items than looks there is one per item. Cost: about 10 ms a look. */
export function earlyLooks(arms: readonly EarlyArm[], items: number): SequentialLook[] {
  const looks = [...new Set(Array.from({ length: LOOKS }, (_, k) => Math.ceil((items * (k + 1)) / LOOKS)))].filter((n) => n > 0);
  return looks.length === 0 ? [] : sequentialBoundaries(looks, ALPHA / Math.max(1, comparisonsOf(arms)));
}

const comparisonsOf = (arms: readonly EarlyArm[]): number => arms.filter(({ group }) => TESTED.includes(group)).length;

/**
 * A group-sequential rule over the value sets (groups top and list) of a sweep: at every look each set is compared with
 * the base on all items so far (exact McNemar), and stops, with the control draws of its cell, once its p-value is at
 * or below the look's level of {@link sequentialBoundaries} at alpha divided by the number of value sets. Over the whole
 * sweep the chance to stop any comparison in which nothing differs is at most 5 %.
 */
export class EarlyRule {
  readonly plan: EarlyPlan;
  readonly #arms: readonly EarlyArm[];
  readonly #looks: readonly SequentialLook[];
  readonly #active: Set<number>;

  /** `arms[0]` is the base; `looks` are those of {@link earlyLooks} for these arms. */
  constructor(arms: readonly EarlyArm[], looks: readonly SequentialLook[]) {
    this.#arms = arms;
    this.#looks = looks;
    this.#active = new Set(arms.keys());
    this.plan = {
      looks: looks.map(({ items }) => items),
      alpha: ALPHA,
      comparisons: comparisonsOf(arms),
      levels: looks.map(({ level }) => level),
      spending: 'Lan-DeMets, O’Brien-Fleming type',
    };
  }

  /** Arms that take further items. */
  get active(): number[] {
    return [...this.#active];
  }

  /**
   * Looks at the rewards of base and arms on the first `items` items and returns the arms that stop here. `rewards(arm)`: those of
   * an arm by item, NaN where the pair is missing: it is left out, and the look is then not taken for that arm. Ask in order, once per look.
   */
  look(items: number, rewards: (arm: number) => readonly number[]): number[] {
    const base = rewards(0);
    const stopped: number[] = [];
    for (const arm of this.active) {
      const entry = this.#arms[arm] as EarlyArm;
      if (!TESTED.includes(entry.group)) {
        continue;
      }
      const own = rewards(arm);
      const complete = base.every((value, i) => !Number.isNaN(value) && !Number.isNaN(own[i] as number));
      const { b, c } = complete ? discordantPairs(base, own) : { b: 0, c: 0 };
      if (sequentialDecision(this.#looks, items, b, c) === 'different') {
        const cell = cellOf(entry);
        stopped.push(arm, ...this.active.filter((other) => this.#arms[other]?.role === 'control' && cellOf(this.#arms[other]) === cell));
      }
    }
    stopped.forEach((arm) => this.#active.delete(arm));
    return [...new Set(stopped)];
  }
}
