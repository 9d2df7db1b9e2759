/** Trajectories of a store as training data: whole trajectories in, rows of states out. */
import type { Segment } from '../store/format.js';
import type { ActivationStore } from '../store/reader.js';
import { RewardLensError, invalidArgument, throwIfAborted } from '../native/errors.js';
import { ColumnMoments } from '../stats/moments.js';
import { toFloat32 } from '../util/half.js';

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
  /** When given, probes with target `mc` learn these instead of the rewards: one number per state of every trajectory. */
  readonly stateTargets?: readonly Float32Array[];
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

/** Values read at a time, over all layers of a row: 32 MiB of half floats. */
const VALUES_AT_A_TIME = 1 << 24;

/** States to read at a time, at most `most`: fewer where a state is long, so that memory stays bounded. */
export function rowsAtATime(data: Pick<TrajectoryData, 'layers' | 'width'>, most: number): number {
  return Math.max(1, Math.min(most, Math.floor(VALUES_AT_A_TIME / (data.layers.length * data.width))));
}

const MOST_ROWS = 4096;

/**
 * Mean, standard deviation and RMS of every coordinate and layer over the states of `trajectories`, in one pass. Cost: reads
 * the states once. Errors: as `read`; STORE_CORRUPT for states that are not finite; ABORTED.
 */
export async function measureMoments(data: TrajectoryData, trajectories: readonly number[], signal?: AbortSignal): Promise<LayerMoments[]> {
  const moments = new ColumnMoments(data.layers.length * data.width);
  for (const group of groupByRows(data, trajectories, rowsAtATime(data, MOST_ROWS))) {
    throwIfAborted('measuring the states', signal);
    moments.push(toFloat32(await data.read(group)));
    const wrong = moments.mean.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0) {
      throw new RewardLensError('STORE_CORRUPT', `trajectories ${group[0]} to ${group.at(-1)} hold a state that is not finite: layer ${data.layers[Math.floor(wrong / data.width)]}, neuron ${wrong % data.width}`);
    }
  }
  const [std, rms] = [moments.std(), moments.rms()];
  return data.layers.map((_, layer) => {
    const own = (values: Float64Array): Float32Array => Float32Array.from(values.subarray(layer * data.width, (layer + 1) * data.width));
    return { mean: own(moments.mean), std: own(std), rms: own(rms) };
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
