/** Trajectories of a store as training data: whole trajectories in, rows of states out. */
import type { Segment } from '../store/format.js';
import type { ActivationStore } from '../store/reader.js';
import { RewardLensError, invalidArgument, throwIfAborted } from '../native/errors.js';
import { halfTable } from '../util/half.js';

/** Trajectories with known reward, and a way to read the states of any of them. */
export interface TrajectoryData {
  readonly site: string;
  readonly layers: readonly number[];
  readonly width: number;
  /** Problem of each trajectory (equal prompts are one problem); trajectories of one problem stay on one side of a split. */
  readonly problems: readonly string[];
  /** Terminal rewards in [0, 1]. */
  readonly rewards: Float32Array;
  /** States per trajectory. */
  readonly lengths: Int32Array;
  /** Index of each trajectory in the store's list. */
  readonly entries: Int32Array;
  /** States of the given trajectories one after the other, [rows, layers, width]. Errors: STORE_CORRUPT, IO. */
  read(trajectories: readonly number[]): Promise<Uint16Array | Float32Array>;
  /** Only states at the given places: `states[i]` of trajectory `trajectories[i]`, one row each. */
  readStates(trajectories: readonly number[], states: readonly number[]): Promise<Uint16Array | Float32Array>;
}

/** The segments of one state. */
function stateSegment(segments: readonly Segment[], state: number): Segment {
  let skipped = 0;
  for (const [shard, begin, end] of segments) {
    if (state < skipped + end - begin) {
      return [shard, begin + state - skipped, begin + state - skipped + 1];
    }
    skipped += end - begin;
  }
  throw invalidArgument('state', `less than ${skipped}`, state);
}

/**
 * The trajectories of a store that have a reward and at least one state; others are left out (`unknown` is not 0).
 * Errors: SITE_NOT_FOUND; INVALID_ARGUMENT when nothing is left.
 */
export function trajectoryData(store: ActivationStore, site: string): TrajectoryData {
  const block = store.block(site);
  const usable = store.trajectories.flatMap((entry, index) => (entry.reward === null || entry.stateCount === 0 ? [] : [{ entry, index }]));
  if (usable.length === 0) {
    throw invalidArgument(store.directory, 'trajectories with a reward and stored states', `${store.trajectories.length} without`);
  }
  const entryOf = (i: number): (typeof usable)[number]['entry'] => {
    const found = usable[i];
    if (found === undefined) {
      throw invalidArgument('trajectory', `an index below ${usable.length}`, i);
    }
    return found.entry;
  };
  return {
    site,
    layers: block.layers,
    width: block.width,
    problems: usable.map(({ entry }) => entry.group),
    rewards: Float32Array.from(usable, ({ entry }) => entry.reward ?? NaN),
    lengths: Int32Array.from(usable, ({ entry }) => entry.stateCount),
    entries: Int32Array.from(usable, ({ index }) => index),
    read: (trajectories) => store.readRows(trajectories.flatMap((i) => entryOf(i).rows), site),
    readStates: (trajectories, states) => store.readRows(trajectories.map((i, k) => stateSegment(entryOf(i).rows, states[k] ?? 0)), site),
  };
}

/** Per-coordinate statistics of one layer, in raw units. */
export interface LayerMoments {
  readonly mean: Float32Array;
  /** Standard deviation (population). */
  readonly std: Float32Array;
  /** Root mean square. */
  readonly rms: Float32Array;
}

const ROWS_AT_A_TIME = 4096;

/**
 * Mean, standard deviation and RMS of every coordinate and layer over the states of `trajectories`. One pass, sums in
 * double precision. Cost: reads the states once. Errors: as `read`, ABORTED.
 */
export async function measureMoments(data: TrajectoryData, trajectories: readonly number[], signal?: AbortSignal): Promise<LayerMoments[]> {
  const values = data.layers.length * data.width;
  const sum = new Float64Array(values);
  const squares = new Float64Array(values);
  const shift = new Float64Array(values);
  const widen = halfTable();
  let count = 0;
  for (const group of groupByRows(data, trajectories, ROWS_AT_A_TIME)) {
    throwIfAborted('measuring the states', signal);
    const rows = await data.read(group);
    const half = rows instanceof Uint16Array;
    for (let at = 0; at < rows.length; at += values, count++) {
      for (let k = 0; k < values; k++) {
        const value = half ? (widen[rows[at + k] as number] as number) : (rows[at + k] as number);
        if (count === 0) {
          shift[k] = value; // sums of differences from the first row: no cancellation for coordinates far from zero
        }
        if (value - value !== 0) {
          // NaN or infinite
          throw new RewardLensError('STORE_CORRUPT', `a state of trajectories ${group[0]} to ${group.at(-1)} holds ${value} (layer ${data.layers[Math.floor(k / data.width)]}, neuron ${k % data.width})`);
        }
        const d = value - (shift[k] as number);
        sum[k] = (sum[k] as number) + d;
        squares[k] = (squares[k] as number) + d * d;
      }
    }
  }
  return data.layers.map((_, layer) => {
    const of = (f: (mean: number, variance: number) => number): Float32Array =>
      Float32Array.from({ length: data.width }, (__, j) => {
        const k = layer * data.width + j;
        const offset = (sum[k] as number) / count;
        return f((shift[k] as number) + offset, Math.max(0, (squares[k] as number) / count - offset * offset));
      });
    return { mean: of((mean) => mean), std: of((_mean, variance) => Math.sqrt(variance)), rms: of((mean, variance) => Math.sqrt(mean * mean + variance)) };
  });
}

/** Splits a list of trajectories so that each part has about `rows` states. */
export function* groupByRows(data: Pick<TrajectoryData, 'lengths'>, trajectories: readonly number[], rows: number): Generator<number[], void, void> {
  let group: number[] = [];
  let count = 0;
  for (const i of trajectories) {
    const length = data.lengths[i] ?? 0;
    if (group.length > 0 && count + length > rows) {
      yield group;
      group = [];
      count = 0;
    }
    group.push(i);
    count += length;
  }
  if (group.length > 0) {
    yield group;
  }
}
