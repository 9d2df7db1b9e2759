/** Linear probes of single places: what a plain classifier makes of the same states, without a value over the whole trajectory. */
import type { LayerMoments, TrajectoryData } from '../probe/data.js';
import { measureMoments } from '../probe/data.js';
import type { ByPlace, Place } from '../probe/places.js';
import { byPlace, placeIndices } from '../probe/places.js';
import type { Split } from '../probe/split.js';
import type { ProbeJob } from '../probe/train.js';
import { trainProbes } from '../probe/train.js';
import { predictPlaces } from './predict.js';

/** The same trajectories, each with one state only. */
function onePlace(data: TrajectoryData, place: Place): TrajectoryData {
  const stateOf = (i: number): number => placeIndices(data.lengths[i] as number)[place];
  return {
    ...data,
    lengths: new Int32Array(data.lengths.length).fill(1),
    read: (trajectories) => data.readStates(trajectories, trajectories.map(stateOf)),
    readStates: (trajectories) => data.readStates(trajectories, trajectories.map(stateOf)),
  };
}

/** Full passes over one state per trajectory cost little: small steps, stopped by the validation loss, which is the regularisation. */
const TRAINING = { gamma: 1, learningRate: 1e-3, weightDecay: 0.01, initScale: 0.1, batchTrajectories: 16, maxEpochs: 300, patience: 15 } as const;

/**
 * V on the test trajectories of a linear probe of each place, trained on the states of that place alone (early stopping on
 * validation), at `layer`. Cost: reads one state per trajectory and epoch.
 */
export async function placedLinearValues(
  data: TrajectoryData,
  split: Split,
  layer: number,
  places: readonly Place[],
  options: { seed: number; threads: number; signal?: AbortSignal | undefined },
): Promise<ByPlace<Float32Array>> {
  const out = byPlace((): Float32Array => new Float32Array(split.test.length));
  const job: ProbeJob = { name: 'placed', layer, hidden: 0, head: 'sigmoid', target: 'mc', lambda: 1, inputs: 'zscore', shuffledRewards: false };
  for (const place of places) {
    const view = onePlace(data, place);
    const moments: LayerMoments[] = await measureMoments(view, split.train, options.signal);
    const probes = await trainProbes(view, split, moments, [job], { ...TRAINING, ...options });
    const [values] = await predictPlaces(view, probes, split.test, options);
    out[place] = values?.places.s0 ?? out[place];
  }
  return out;
}
