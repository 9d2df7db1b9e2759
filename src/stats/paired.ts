/** What an arm changes against the base on the same items: size of the change, test, and power to see one. */
import binomialCdf from '@stdlib/stats-base-dists-binomial-cdf';
import normalCdf from '@stdlib/stats-base-dists-normal-cdf';
import tQuantile from '@stdlib/stats-base-dists-t-quantile';
import { invalidArgument } from '../native/errors.js';
import { mulberry32 } from '../util/random.js';
import { SUCCESS_THRESHOLD } from './auc.js';
import { checkFinite, checkLength, Z95, type Estimate, type Numbers } from './estimate.js';
import { mean, quantile } from './moments.js';

/** Items whose outcome differs between base and arm. */
export interface DiscordantPairs {
  /** Base right, arm wrong. */
  b: number;
  /** Base wrong, arm right. */
  c: number;
}

/** Number of bootstrap resamples of {@link accuracyChange}. */
export const RESAMPLES = 4000;

/**
 * Counts the items that only one of base and arm gets right; right is reward > 0.5. `base` and `arm` run over the same
 * items, one entry per item: entries of one problem are not independent, and the test on their counts is too sure.
 * INVALID_ARGUMENT for unequal lengths and rewards outside [0, 1].
 */
export function discordantPairs(base: Numbers, arm: Numbers): DiscordantPairs {
  checkRewards(base, arm);
  const pairs = { b: 0, c: 0 };
  for (let i = 0; i < base.length; i++) {
    const [before, after] = [(base[i] as number) > SUCCESS_THRESHOLD, (arm[i] as number) > SUCCESS_THRESHOLD];
    pairs.b += before && !after ? 1 : 0;
    pairs.c += !before && after ? 1 : 0;
  }
  return pairs;
}

/**
 * Exact two-sided p-value of McNemar's test (McNemar 1947): with no effect, each of the b + c discordant items goes
 * either way with probability 1/2, so p = min(1, 2 P(X ≤ min(b, c))), X binomial(b + c, 1/2). 1 when nothing differs.
 * Items must be independent. INVALID_ARGUMENT for anything but counts.
 */
export function mcnemar(b: number, c: number): number {
  checkCount('b', b, 0);
  checkCount('c', c, 0);
  return Math.min(1, 2 * binomialCdf(Math.min(b, c), b + c, 0.5));
}

/**
 * Mean change of the reward, arm minus base, with a 95 % bootstrap interval. `base` and `arm` hold rewards in [0, 1]
 * over the same entries. `items` names the item (problem) of each entry, when items have several (default: one each):
 * the change of an item is the mean over its entries, every item counts the same, and items are what is resampled.
 *
 * The interval is the expanded percentile interval (Hesterberg 2015): percentiles of `resamples` bootstrap means at
 * Φ(±√(n/(n−1)) t₀.₉₇₅,ₙ₋₁), which takes out the narrowness of the plain percentile interval at small n. Chosen over
 * that, and over BCa, by coverage (docs/metrics.md). When all items change by the same v (most often: none changes) the
 * bootstrap has no width; then v + w(±1 − v), w = z²/(n + z²), the score interval of Tango (1998) at v = −1, 0 and 1.
 *
 * `n`: number of items. All null without items. Same seed, same interval, whatever the order of `items`' names.
 * INVALID_ARGUMENT for unequal lengths and rewards outside [0, 1]. O(changed items × resamples): 100 items take a few ms.
 */
export function accuracyChange(
  base: Numbers,
  arm: Numbers,
  items?: ArrayLike<string | number>,
  { seed = 0, resamples = RESAMPLES }: { seed?: number; resamples?: number } = {},
): Estimate {
  checkRewards(base, arm);
  checkCount('resamples', resamples, 1);
  const changes = changesByItem(base, arm, items);
  const n = changes.length;
  const [first] = changes;
  if (first === undefined) {
    return { value: null, low: null, high: null, n };
  }
  if (isConstant(changes)) {
    const w = (Z95 * Z95) / (n + Z95 * Z95);
    return { value: first, low: first + w * (-1 - first), high: first + w * (1 - first), n };
  }
  return expandedPercentile(changes, resamples, seed);
}

/**
 * Mean change of any quantity of an item (completion length), arm minus base, with the interval of {@link accuracyChange}.
 * `low` and `high` are null when all changes are equal: without bounds on the quantity a bootstrap has nothing to go by.
 * INVALID_ARGUMENT for unequal lengths and numbers that are not finite.
 */
export function meanChange(base: Numbers, arm: Numbers, { seed = 0, resamples = RESAMPLES }: { seed?: number; resamples?: number } = {}): Estimate {
  checkLength('arm', arm, base.length, 'item of the base');
  checkFinite('base', base);
  checkFinite('arm', arm);
  checkCount('resamples', resamples, 1);
  const changes = changesByItem(base, arm, undefined);
  const [first] = changes;
  if (first === undefined || isConstant(changes)) {
    return { value: first ?? null, low: null, high: null, n: changes.length };
  }
  return expandedPercentile(changes, resamples, seed);
}

/** Whether all changes are equal; equal rewards may give changes that differ in the last bit. */
function isConstant(changes: Float64Array): boolean {
  const first = changes[0] as number;
  return changes.every((change) => Math.abs(change - first) < 1e-12 * Math.max(1, Math.abs(first)));
}

function expandedPercentile(changes: Float64Array, resamples: number, seed: number): Estimate {
  const n = changes.length;
  const share = normalCdf(-Math.sqrt(n / (n - 1)) * tQuantile(0.975, n - 1), 0, 1);
  const means = bootstrapMeans(changes, resamples, seed);
  return { value: mean(changes), low: quantile(means, share), high: quantile(means, 1 - share), n };
}

/**
 * 95 % score interval of the change of accuracy from `b` items that only the base gets right and `c` that only the arm
 * does, of `n` (Tango 1998): all Δ that Rao's test of P(only arm) − P(only base) = Δ does not reject. Unlike a bootstrap it
 * knows that what was not seen may still happen: with one gain and no loss in 40 items a fall is not excluded. By bisection
 * of the closed form. INVALID_ARGUMENT for anything but counts and b + c > n. [−1, 1] without items.
 */
export function scoreInterval(b: number, c: number, n: number): { low: number; high: number } {
  checkCount('b', b, 0);
  checkCount('c', c, 0);
  checkCount('n', n, b + c);
  if (n === 0) {
    return { low: -1, high: 1 };
  }
  const change = (c - b) / n;
  const within = (delta: number): boolean => {
    const linear = (2 * n - c + b) * delta - b - c;
    const lost = (Math.sqrt(Math.max(0, linear * linear + 8 * n * b * delta * (1 - delta))) - linear) / (4 * n);
    const variance = n * (2 * lost + delta * (1 - delta));
    return (c - b - n * delta) ** 2 <= Z95 * Z95 * variance;
  };
  const edge = (outer: number): number => {
    let [inside, outside] = [change, outer];
    for (let i = 0; i < 60; i++) {
      const middle = (inside + outside) / 2;
      [inside, outside] = within(middle) ? [middle, outside] : [inside, middle];
    }
    return inside;
  };
  return { low: edge(-1), high: edge(1) };
}

/** Number of random sign patterns of {@link signFlipPValue}. */
export const SIGN_FLIPS = 9999;

/**
 * Two-sided p-value of the change of accuracy when items have several entries or rewards are not just right or wrong,
 * where {@link mcnemar} does not apply: with no effect each item's change (as in {@link accuracyChange}) is as likely as
 * its opposite (Fisher 1935). (1 + patterns of random signs whose |mean| is at least the observed) / (1 + `flips`)
 * (Phipson & Smyth 2010), so never below 1/(1 + flips): a sweep of m arms with Holm needs flips well above m/alpha. With
 * one right-or-wrong entry an item it is McNemar's p up to the random draws. O(changed items × flips).
 */
export function signFlipPValue(
  base: Numbers,
  arm: Numbers,
  items?: ArrayLike<string | number>,
  { seed = 0, flips = SIGN_FLIPS }: { seed?: number; flips?: number } = {},
): number {
  checkRewards(base, arm);
  checkCount('flips', flips, 1);
  const changes = changesByItem(base, arm, items).filter((change) => change !== 0);
  // sums of the same changes may differ in the last bits: such a tie must count against the effect
  const observed = Math.abs(changes.reduce((sum, change) => sum + change, 0)) - 1e-9;
  const random = mulberry32(seed);
  let extreme = 0;
  for (let flip = 0; flip < flips; flip++) {
    let sum = 0;
    for (let i = 0; i < changes.length; i++) {
      sum += random() < 0.5 ? (changes[i] as number) : -(changes[i] as number);
    }
    // either sign: not Math.abs, which is slow where globals are (vm contexts)
    extreme += sum >= observed || -sum >= observed ? 1 : 0;
  }
  return (1 + extreme) / (1 + flips);
}

/**
 * Probability that {@link mcnemar} gives p ≤ `alpha` (two-sided) on `n` items, when a share `discordance` of them
 * differs in outcome and the accuracy changes by ±`effect` = P(arm only) − P(base only), |effect| ≤ discordance. Exact
 * and unconditional (Schork & Williams 1980): the sum over m ~ binomial(n, discordance) discordant items of the chance
 * that binomial(m, (1 + effect/discordance)/2) falls into the test's rejection region. For a sweep with Holm give
 * `alpha` divided by the number of arms. 10 000 items take about 20 ms.
 */
export function powerOfMcnemar(n: number, effect: number, discordance: number, alpha = 0.05): number {
  checkCount('n', n, 0);
  checkShare('discordance', discordance);
  checkShare('alpha', alpha);
  if (!(Math.abs(effect) <= discordance)) {
    throw invalidArgument('effect', `a change within ±discordance (${discordance})`, effect);
  }
  const up = (1 + effect / discordance) / 2;
  // all but 1e-15 of the mass: beyond 8.5 standard deviations (and a margin for skewed, small means)
  const spread = 8.5 * Math.sqrt(n * discordance * (1 - discordance)) + 20;
  const from = Math.max(0, Math.floor(n * discordance - spread));
  const to = Math.min(n, Math.ceil(n * discordance + spread));
  let power = 0;
  let before = binomialCdf(from - 1, n, discordance);
  let critical = -1;
  for (let m = from; m <= to; m++) {
    // largest minority count that is rejected: never falls with m
    while (2 * (critical + 1) < m && 2 * binomialCdf(critical + 1, m, 0.5) <= alpha) {
      critical++;
    }
    const upTo = binomialCdf(m, n, discordance);
    power += (upTo - before) * (binomialCdf(critical, m, up) + binomialCdf(critical, m, 1 - up));
    before = upTo;
  }
  return power;
}

/** Assumptions of a plan: two-sided level (default 0.05) and probability to find the effect (default 0.8). */
export interface PowerPlan {
  alpha?: number;
  power?: number;
}

/** The most items that {@link itemsForMcnemar} looks at. */
const MOST_ITEMS = 1e6;

/**
 * Number of items that show a change of ±`effect` with probability `power`, by doubling and bisection of
 * {@link powerOfMcnemar}. Within some percent of the normal approximation of Connor (1987), at alpha 0.05 a little more,
 * because the exact test is conservative. Null above a million items, and for no effect.
 */
export function itemsForMcnemar(
  effect: number,
  discordance: number,
  { alpha = 0.05, power = 0.8 }: PowerPlan = {},
): number | null {
  checkShare('power', power);
  const enough = (n: number): boolean => powerOfMcnemar(n, effect, discordance, alpha) >= power;
  let high = 1;
  while (!enough(high)) {
    high *= 2;
    if (high > MOST_ITEMS || effect === 0) {
      return null;
    }
  }
  let low = high / 2;
  while (high - low > 1) {
    const middle = Math.ceil((low + high) / 2);
    [low, high] = enough(middle) ? [low, middle] : [middle, high];
  }
  return high;
}

function checkRewards(base: Numbers, arm: Numbers): void {
  checkLength('arm', arm, base.length, 'reward of the base');
  for (const [name, rewards] of Object.entries({ base, arm })) {
    for (let i = 0; i < rewards.length; i++) {
      const reward = rewards[i] as number;
      if (!(reward >= 0 && reward <= 1)) {
        throw invalidArgument(`${name}[${i}]`, 'a reward from 0 to 1', reward);
      }
    }
  }
}

function checkCount(parameter: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw invalidArgument(parameter, `an integer from ${least}`, value);
  }
}

function checkShare(parameter: string, value: number): void {
  if (!(value > 0 && value < 1)) {
    throw invalidArgument(parameter, 'a number between 0 and 1', value);
  }
}

/** Mean change of each item, in the order in which items first come. */
function changesByItem(base: Numbers, arm: Numbers, items: ArrayLike<string | number> | undefined): Float64Array {
  if (items === undefined) {
    return Float64Array.from(base, (reward, i) => (arm[i] as number) - reward);
  }
  checkLength('items', items, base.length, 'reward');
  const sums = new Map<string | number, { change: number; count: number }>();
  for (let i = 0; i < items.length; i++) {
    const item = items[i] as string | number;
    const { change, count } = sums.get(item) ?? { change: 0, count: 0 };
    sums.set(item, { change: change + (arm[i] as number) - (base[i] as number), count: count + 1 });
  }
  return Float64Array.from(sums.values(), ({ change, count }) => change / count);
}

/**
 * Means of n values drawn with replacement. Most items do not change: how many of the n draws hit one that does is binomial,
 * so it is drawn at once, by inversion, and only these draws are made one by one.
 */
function bootstrapMeans(values: Float64Array, resamples: number, seed: number): Float64Array {
  const random = mulberry32(seed);
  const { floor } = Math; // as in mulberry32
  const n = values.length;
  const changed = values.filter((value) => value !== 0);
  const m = changed.length;
  const sparse = m < n / 2;
  const cdf = sparse ? Float64Array.from({ length: n }, (_, hits) => binomialCdf(hits, n, m / n)) : new Float64Array(0);
  return Float64Array.from({ length: resamples }, () => {
    let sum = 0;
    for (let hits = sparse ? countBelow(cdf, random()) : n; hits > 0; hits--) {
      sum += (sparse ? changed[floor(random() * m)] : values[floor(random() * n)]) as number;
    }
    return sum / n;
  });
}

/** Number of entries of the ascending `cdf` that are at most `u`. */
function countBelow(cdf: Float64Array, u: number): number {
  let [low, high] = [0, cdf.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    [low, high] = (cdf[middle] as number) <= u ? [middle + 1, high] : [low, middle];
  }
  return low;
}
