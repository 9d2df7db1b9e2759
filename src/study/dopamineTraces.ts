/** Traces of single neurons: averages around events, and examples token by token. */
import { throwIfAborted } from '../native/errors.js';
import type { TraceEvent } from '../rpe/events.js';
import { eventAverage } from '../rpe/events.js';
import { statesOfStep, zscored } from '../rpe/features.js';
import { SUCCESS_THRESHOLD } from '../stats/auc.js';
import { mulberry32 } from '../util/random.js';
import type { DopamineData, DopamineItem, DopamineStep, DopamineTrajectory } from './dopamineData.js';
import { layersOf } from './dopamineData.js';
import type { DopamineEvents, DopamineExample } from '../report/dopamineSchema.js';
import type { DopamineTraining, FittedLayer } from './dopamineProbe.js';
import { heldOut } from './dopamineRank.js';

/** z-scored traces of some neurons around large held-out steps, aligned at the first state that has read the step. */
export async function dopamineEvents(data: DopamineData, best: FittedLayer, items: readonly DopamineItem[], neurons: readonly number[], options: Pick<DopamineTraining, 'mode' | 'threshold' | 'seed' | 'signal'> & { radius: number }): Promise<DopamineEvents[]> {
  if (neurons.length === 0) {
    return [];
  }
  const test = heldOut(items, options.threshold);
  const random = mulberry32(options.seed);
  const events = neurons.map(() => ({ positive: [] as TraceEvent[], negative: [] as TraceEvent[], random: [] as TraceEvent[] }));
  let read: { trajectory: number; traces: Float32Array[] } | undefined;
  for (const i of test) {
    throwIfAborted('averaging around events', options.signal);
    const { trajectory, step, error, group } = items[i] as DopamineItem;
    if (read?.trajectory !== trajectory) {
      read = { trajectory, traces: await neuronTraces(data, best.index, trajectory, neurons, options.mode) };
    }
    const states = (read.traces[0] as Float32Array).length;
    const { first } = statesOfStep((data.trajectories[trajectory] as DopamineTrajectory).steps[step] as DopamineStep, states);
    const elsewhere = Math.floor(random() * states);
    read.traces.forEach((trace, n) => {
      events[n]?.[error > 0 ? 'positive' : 'negative'].push({ trace, at: first, cluster: group });
      events[n]?.random.push({ trace, at: elsewhere, cluster: group });
    });
  }
  return neurons.map((neuron, n) => {
    const own = events[n] as (typeof events)[number];
    const average = (list: readonly TraceEvent[]): DopamineEvents['positive'] => {
      const { offsets, mean: centre, low, high, n: count, events: size } = eventAverage(list, options.radius, { seed: options.seed });
      return { events: size, offsets: [...offsets], mean: [...centre], low: [...low], high: [...high], n: [...count] };
    };
    return { neuron, positive: average(own.positive), negative: average(own.negative), random: average(own.random) };
  });
}

/** One trace per neuron, z-scored along the trajectory. */
async function neuronTraces(data: DopamineData, layer: number, trajectory: number, neurons: readonly number[], mode: DopamineTraining['mode']): Promise<Float32Array[]> {
  const rows = await layersOf(data, trajectory, [layer]);
  const states = rows.length / data.width;
  const picked = Float32Array.from({ length: states * neurons.length }, (_, i) => rows[Math.floor(i / neurons.length) * data.width + (neurons[i % neurons.length] as number)] as number);
  const scores = zscored(picked, neurons.length, mode);
  return neurons.map((_, n) => Float32Array.from({ length: states }, (_unused, s) => scores[s * neurons.length + n] as number));
}

/** Held-out trajectories in order, right and wrong ones in turn (errors have no say), with the trace of one neuron. Empty for stores without texts. */
export async function dopamineExamples(data: DopamineData, best: FittedLayer, items: readonly DopamineItem[], neuron: number, { mode, count }: { mode: DopamineTraining['mode']; count: number }): Promise<DopamineExample[]> {
  const usable = [...data.trajectories.keys()].filter((i) => data.trajectories[i]?.part === 'test' && (data.trajectories[i]?.pieces.length ?? 0) > 0);
  const isRight = (i: number): boolean => (data.trajectories[i]?.reward ?? 0) > SUCCESS_THRESHOLD;
  const [right, wrong] = [usable.filter(isRight), usable.filter((i) => !isRight(i))];
  const chosen = usable.flatMap((_, k) => [right[k], wrong[k]].filter((i) => i !== undefined)).slice(0, count);
  const predicted = new Map(items.map(({ trajectory, step }, i) => [`${trajectory}/${step}`, best.predictions[i] as number]));
  const out: DopamineExample[] = [];
  for (const i of chosen) {
    const { problem, sample, reward, pieces, steps } = data.trajectories[i] as DopamineTrajectory;
    const [trace] = (await neuronTraces(data, best.index, i, [neuron], mode)) as [Float32Array];
    out.push({
      problem,
      sample,
      reward,
      tokens: [...pieces],
      trace: pieces.map((_, t) => trace[t + 1] ?? null),
      steps: steps.map(({ begin, end, error }, k) => ({ begin, end, error, predicted: predicted.get(`${i}/${k}`) ?? null })),
    });
  }
  return out;
}
