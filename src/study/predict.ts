/** Values of trained probes at the states that are reported. */
import { throwIfAborted } from '../native/errors.js';
import type { TrajectoryData } from '../probe/data.js';
import { groupByRows, rowsAtATime } from '../probe/data.js';
import type { ByPlace } from '../probe/places.js';
import { byPlace, decileIndices, placeIndices } from '../probe/places.js';
import type { TrainedProbe } from '../probe/train.js';
import { ProbeTrainer } from '../probe/trainer.js';

/** A probe that only predicts: nothing is trained. */
export function predictor(data: Pick<TrajectoryData, 'width' | 'layers'>, probes: readonly TrainedProbe[], threads: number): ProbeTrainer {
  return new ProbeTrainer({
    width: data.width,
    layers: data.layers.length,
    gamma: 1,
    threads,
    probes: probes.map((probe) => ({ ...probe, layer: data.layers.indexOf(probe.layer), rewardColumn: 0, learningRate: 0, weightDecay: 0 })),
  });
}

/** Values of one probe over some trajectories. */
export interface ProbeValues {
  readonly places: ByPlace<Float32Array>;
  /** Ten decile states each. */
  readonly deciles: readonly Float32Array[];
}

const MOST_ROWS = 2048;

/**
 * V of every probe at the places and deciles of `trajectories`, in their order. Cost: reads all their states once, one
 * forward pass of every probe. Errors: those of reading, ABORTED.
 */
export async function predictPlaces(
  data: TrajectoryData,
  probes: readonly TrainedProbe[],
  trajectories: readonly number[],
  options: { threads: number; signal?: AbortSignal | undefined },
): Promise<ProbeValues[]> {
  await using trainer = predictor(data, probes, options.threads);
  const out = probes.map((): ProbeValues => ({
    places: byPlace(() => new Float32Array(trajectories.length)),
    deciles: Array.from({ length: 10 }, () => new Float32Array(trajectories.length)),
  }));
  let done = 0;
  for (const group of groupByRows(data, trajectories, rowsAtATime(data, MOST_ROWS))) {
    throwIfAborted('evaluating the probes', options.signal);
    const rows = await data.read(group);
    const count = group.reduce((sum, i) => sum + (data.lengths[i] ?? 0), 0);
    const values = await trainer.predict(rows, count);
    out.forEach((target, p) => {
      let first = p * count;
      group.forEach((i, k) => {
        const states = data.lengths[i] ?? 0;
        const places = placeIndices(states);
        (['s0', 'middle', 'last'] as const).forEach((place) => (target.places[place][done + k] = values[first + places[place]] as number));
        decileIndices(states).forEach((state, d) => ((target.deciles[d] as Float32Array)[done + k] = values[first + state] as number));
        first += states;
      });
    });
    done += group.length;
  }
  return out;
}

/** Values of one probe at every state of the given trajectories. Cost and errors: as {@link predictPlaces}. */
export async function predictTraces(
  data: TrajectoryData,
  probe: TrainedProbe,
  trajectories: readonly number[],
  options: { threads: number },
): Promise<Float32Array[]> {
  await using trainer = predictor(data, [probe], options.threads);
  const out: Float32Array[] = [];
  for (const i of trajectories) {
    out.push(await trainer.predict(await data.read([i]), data.lengths[i] ?? 0));
  }
  return out;
}
