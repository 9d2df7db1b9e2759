/** Answering only what one is sure of: error among the most confident, as a function of the share that is answered. */
import { mulberry32 } from '../util/random.js';
import { checkFinite, checkLength, orNull, type Estimate, type Numbers } from './estimate.js';
import { quantile } from './moments.js';

/** One point: `risk` is the mean error (1 − reward) of the `coverage` share of items with the highest confidence. */
export interface RiskPoint {
  coverage: number;
  risk: number;
}

/** Bootstrap resamples of {@link aurcEstimate}. */
export const AURC_RESAMPLES = 1000;

/** Items from the most confident on; equally confident ones form a group. */
interface Ordered {
  /** Error of each item, and where each group begins, with the end. */
  errors: Float64Array;
  items: Int32Array;
  starts: number[];
}

function ordered(confidence: Numbers, rewards: Numbers): Ordered {
  checkLength('confidence', confidence, rewards.length, 'reward');
  checkFinite('confidence', confidence);
  checkFinite('rewards', rewards);
  const items = Int32Array.from({ length: rewards.length }, (_, i) => i).sort((a, b) => (confidence[b] as number) - (confidence[a] as number) || a - b);
  const starts = [...items.keys()].filter((at) => at === 0 || confidence[items[at] as number] !== confidence[items[at - 1] as number]);
  return { errors: Float64Array.from(items, (i) => 1 - (rewards[i] as number)), items, starts: [...starts, items.length] };
}

/**
 * Risk at coverage 1/n, 2/n … 1 when item i counts `weights[i]` times. Within a group of ties every order is as likely, so
 * risk is the mean over orders: no predictor gains by the order of the file.
 */
function risks({ errors, items, starts }: Ordered, weights?: Int32Array): number[] {
  const out: number[] = [];
  let seen = 0;
  let wrong = 0;
  for (let g = 0; g + 1 < starts.length; g++) {
    let count = 0;
    let error = 0;
    for (let at = starts[g] as number; at < (starts[g + 1] as number); at++) {
      const weight = weights?.[items[at] as number] ?? 1;
      count += weight;
      error += weight * (errors[at] as number);
    }
    for (let j = 1; j <= count; j++) {
      out.push((wrong + (error * j) / count) / (seen + j));
    }
    seen += count;
    wrong += error;
  }
  return out;
}

const average = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * The risk-coverage curve (El-Yaniv & Wiener 2010) at `points` evenly spaced coverages up to 1 (rounded up to whole
 * items): confidence and reward run over the same items. INVALID_ARGUMENT for unequal lengths and values that are not
 * finite; empty for no items.
 */
export function riskCoverageCurve(confidence: Numbers, rewards: Numbers, points = 20): RiskPoint[] {
  const all = risks(ordered(confidence, rewards));
  const n = all.length;
  const counts = new Set(Array.from({ length: n === 0 ? 0 : points }, (_, i) => Math.ceil(((i + 1) * n) / points)));
  return [...counts].map((count) => ({ coverage: count / n, risk: all[count - 1] as number }));
}

/**
 * Area under the risk-coverage curve (Geifman, Uziel & El-Yaniv 2019): the mean of the risk at coverages 1/n, 2/n … 1. Lower is
 * better; confidence that says nothing gives the error rate. NaN for no items.
 */
export function aurc(confidence: Numbers, rewards: Numbers): number {
  return average(risks(ordered(confidence, rewards)));
}

/** The least {@link aurc} that these rewards allow: every success before every failure. */
export function bestAurc(rewards: Numbers): number {
  return aurc(rewards, rewards);
}

/** Draws clusters with replacement: how often each item comes, per resample. */
function* resampledWeights(clusters: ArrayLike<unknown>, resamples: number, seed: number): Generator<Int32Array, void, void> {
  const index = new Map<unknown, number>();
  const own = Int32Array.from({ length: clusters.length }, (_, i) => index.get(clusters[i]) ?? (index.set(clusters[i], index.size), index.size - 1));
  const random = mulberry32(seed);
  for (let r = 0; r < resamples; r++) {
    const times = new Int32Array(index.size);
    for (let c = 0; c < index.size; c++) {
      const drawn = Math.floor(random() * index.size);
      times[drawn] = (times[drawn] as number) + 1;
    }
    yield own.map((cluster) => times[cluster] as number);
  }
}

/**
 * {@link aurc} with the percentile bootstrap's 95 % interval over clusters (problems; default every item is one). The same
 * seed gives the same interval. O(items × resamples).
 */
export function aurcEstimate(confidence: Numbers, rewards: Numbers, clusters: ArrayLike<unknown> = Array.from(rewards, (_, i) => i), seed = 1): Estimate {
  const order = ordered(confidence, rewards);
  checkLength('clusters', clusters, rewards.length, 'reward');
  const n = rewards.length;
  if (n < 2) {
    return { value: orNull(average(risks(order))), low: null, high: null, n };
  }
  const draws = [...resampledWeights(clusters, AURC_RESAMPLES, seed)].map((weights) => average(risks(order, weights)));
  return { value: average(risks(order)), low: quantile(draws, 0.025), high: quantile(draws, 0.975), n };
}
