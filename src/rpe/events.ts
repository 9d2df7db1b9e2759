/** Averages of a trace around events, with bands that know that events of one problem belong together. */
import { invalidArgument } from '../native/errors.js';
import { clusterMembers } from '../stats/correlation.js';
import { quantile } from '../stats/moments.js';
import { mulberry32 } from '../util/random.js';

/** A trace, and the state at which something happened. */
export interface TraceEvent {
  readonly trace: Float32Array;
  readonly at: number;
  /** Problem. */
  readonly cluster: string;
}

/** Averages at offsets −radius … radius; null where no event has a state. */
export interface EventAverage {
  readonly events: number;
  readonly offsets: readonly number[];
  readonly mean: readonly (number | null)[];
  /** 95 % percentile bootstrap over clusters; null with fewer than two. */
  readonly low: readonly (number | null)[];
  readonly high: readonly (number | null)[];
  /** Events that reach each offset. */
  readonly n: readonly number[];
}

/** Bootstrap resamples of a band. */
const RESAMPLES = 500;

/** The event-aligned average of Schultz, Dayan & Montague (1997) for states instead of time. Seeded. Cost: resamples × clusters × offsets. */
export function eventAverage(events: readonly TraceEvent[], radius: number, { seed = 0, resamples = RESAMPLES }: { seed?: number; resamples?: number } = {}): EventAverage {
  if (!Number.isInteger(radius) || radius < 0) {
    throw invalidArgument('radius', 'an integer of at least 0', radius);
  }
  const offsets = Array.from({ length: 2 * radius + 1 }, (_, i) => i - radius);
  const clusters = clusterMembers(events.map(({ cluster }) => cluster), events.length).map((members) => {
    const [sum, count] = [new Float64Array(offsets.length), new Float64Array(offsets.length)];
    for (const m of members) {
      const { trace, at } = events[m] as TraceEvent;
      offsets.forEach((offset, o) => {
        const value = trace[at + offset];
        if (value !== undefined) {
          sum[o] = (sum[o] as number) + value;
          count[o] = (count[o] as number) + 1;
        }
      });
    }
    return { sum, count };
  });
  const meansOf = (drawn: readonly (typeof clusters)[number][]): number[] =>
    offsets.map((_, o) => {
      const count = drawn.reduce((total, own) => total + (own.count[o] as number), 0);
      return count === 0 ? NaN : drawn.reduce((total, own) => total + (own.sum[o] as number), 0) / count;
    });
  const random = mulberry32(seed);
  const draws = clusters.length < 2 ? [] : Array.from({ length: resamples }, () => meansOf(clusters.map(() => clusters[Math.floor(random() * clusters.length)] as (typeof clusters)[number])));
  const band = (share: number): (number | null)[] =>
    offsets.map((_, o) => {
      const known = draws.map((draw) => draw[o] as number).filter((value) => !Number.isNaN(value));
      return known.length === 0 ? null : quantile(known, share);
    });
  return {
    events: events.length,
    offsets,
    mean: meansOf(clusters).map((value) => (Number.isNaN(value) ? null : value)),
    low: band(0.025),
    high: band(0.975),
    n: offsets.map((_, o) => clusters.reduce((total, own) => total + (own.count[o] as number), 0)),
  };
}
