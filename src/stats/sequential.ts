/** Deciding a paired comparison before all its items are done, without more false alarms than promised. */
import normalCdf from '@stdlib/stats-base-dists-normal-cdf';
import normalQuantile from '@stdlib/stats-base-dists-normal-quantile';
import { invalidArgument } from '../native/errors.js';
import { mcnemar } from './paired.js';

/** One planned look at the data. */
export interface SequentialLook {
  /** Items seen by then. */
  items: number;
  /** `items` as a share of all. */
  share: number;
  /** Part of alpha spent up to and with this look. */
  spent: number;
  /** The comparison stops at |z| ≥ this. */
  z: number;
  /** The same as a two-sided p-value: stops at p ≤ `level`. */
  level: number;
}

/** `different`: decided. `undecided`: all items seen, no difference found. `continue`: go on. */
export type SequentialDecision = 'continue' | 'different' | 'undecided';

/** Grid intervals of the integration over the continuation region (even, for Simpson's rule). */
const GRID = 500;

/** Standard normal mass beyond this is below 1e-16. */
const BEYOND = 8.5;

/** The partial sums that have not crossed a boundary yet: places, and Simpson weight × density at each. */
interface Density {
  at: Float64Array;
  mass: Float64Array;
}

/**
 * Boundaries of a two-sided group-sequential test (Lan & DeMets 1983) at the given `looks`: items seen at each,
 * ascending, the last is the planned end. With each side's share α/2 spent as 2 (1 − Φ(z_{α/4}/√t)) at information
 * share t, which is close to O'Brien & Fleming (1979): next to nothing early, almost the whole level at the end. The
 * chance that a comparison without a difference is ever called `different` is `alpha` for normal data and less with the
 * exact test of {@link sequentialDecision}. Boundaries by recursive numerical integration (Armitage, McPherson & Rowe
 * 1969) to about 1e-6. For a sweep of m arms give α/m. About 10 ms a look.
 */
export function sequentialBoundaries(looks: readonly number[], alpha = 0.05): SequentialLook[] {
  checkPlan(looks, alpha);
  const all = looks[looks.length - 1] as number;
  const start = -normalQuantile(alpha / 4, 0, 1);
  const plan: SequentialLook[] = [];
  let density: Density = { at: new Float64Array(1), mass: Float64Array.of(1) };
  let [before, spentBefore] = [0, 0];
  for (const items of looks) {
    const share = items / all;
    const spent = 4 * normalCdf(-start / Math.sqrt(share), 0, 1);
    const sd = Math.sqrt(share - before);
    const z = boundary(density, sd, Math.sqrt(share), spent - spentBefore);
    plan.push({ items, share, spent, z, level: 2 * normalCdf(-z, 0, 1) });
    density = advance(density, sd, Math.min(z, BEYOND) * Math.sqrt(share));
    [before, spentBefore] = [share, spent];
  }
  return plan;
}

/**
 * What to do after `items` items with `b` and `c` discordant ones (see {@link mcnemar}), under the plan of
 * {@link sequentialBoundaries}: between looks always `continue`; at a look `different` when the exact McNemar p-value is
 * at most the look's level. Ask at every look, in order, and stop at the first `different`. The p-value at a stop is
 * not that of a fixed number of items: report the decision and its alpha, and expect the change to be overestimated.
 */
export function sequentialDecision(
  plan: readonly SequentialLook[],
  items: number,
  b: number,
  c: number,
): SequentialDecision {
  const last = plan[plan.length - 1];
  if (last === undefined || !(items <= last.items)) {
    throw invalidArgument('items', `at most ${last?.items ?? 0}, the planned number`, items);
  }
  if (!(b + c <= items)) {
    throw invalidArgument('b + c', `at most ${items}, the number of items`, b + c);
  }
  const look = plan.find((planned) => planned.items === items);
  if (look !== undefined && mcnemar(b, c) <= look.level) {
    return 'different';
  }
  return look === last ? 'undecided' : 'continue';
}

function checkPlan(looks: readonly number[], alpha: number): void {
  if (!(alpha > 0 && alpha < 1)) {
    throw invalidArgument('alpha', 'a number between 0 and 1', alpha);
  }
  looks.forEach((items, i) => {
    if (!Number.isSafeInteger(items) || items <= (looks[i - 1] ?? 0)) {
      throw invalidArgument(`looks[${i}]`, `an integer above ${looks[i - 1] ?? 0}`, items);
    }
  });
  if (looks.length === 0) {
    throw invalidArgument('looks', 'at least one number of items', looks.length);
  }
}

/** The z where the chance to cross at this look, and not before, is `spend`, by bisection. */
function boundary({ at, mass }: Density, sd: number, root: number, spend: number): number {
  const crossing = (z: number): number =>
    // both sides: the density is symmetric
    2 * at.reduce((sum, x, i) => sum + (mass[i] as number) * normalCdf((x - z * root) / sd, 0, 1), 0);
  let [low, high] = [0, 40];
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    [low, high] = crossing(middle) > spend ? [middle, high] : [low, middle];
  }
  return high;
}

/** Density after one more normal increment, within ±limit. */
function advance({ at, mass }: Density, sd: number, limit: number): Density {
  const step = (2 * limit) / GRID;
  const next = Float64Array.from({ length: GRID + 1 }, (_, i) => -limit + i * step);
  const weights = next.map((y, i) => {
    const simpson = (step / 3) * (i === 0 || i === GRID ? 1 : i % 2 === 0 ? 2 : 4);
    let density = 0;
    for (let j = 0; j < at.length; j++) {
      const distance = (y - (at[j] as number)) / sd;
      density += (mass[j] as number) * Math.exp((-distance * distance) / 2);
    }
    return (simpson * density) / (sd * Math.sqrt(2 * Math.PI));
  });
  return { at: next, mass: weights };
}
