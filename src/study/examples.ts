/** A few held-out trajectories with the value at every token. */
import type { TrajectoryData } from '../probe/data.js';
import type { Split } from '../probe/split.js';
import { tdErrors } from '../probe/td.js';
import type { TrainedProbe } from '../probe/train.js';
import type { ExampleTrajectory } from '../report/schema.js';
import type { TrajectoryRecord } from '../store/format.js';
import type { ActivationStore } from '../store/reader.js';
import { predictTraces } from './predict.js';

/** Fair choice: held-out trajectories in order, right and wrong ones in turn; their values have no say. */
function choose(data: TrajectoryData, split: Split, count: number): number[] {
  const right = split.test.filter((i) => (data.rewards[i] as number) > 0.5);
  const wrong = split.test.filter((i) => (data.rewards[i] as number) <= 0.5);
  const out: number[] = [];
  for (let i = 0; out.length < Math.min(count, split.test.length); i++) {
    out.push(...[right[i], wrong[i]].filter((entry) => entry !== undefined));
  }
  return out.slice(0, count);
}

/** Example trajectories of one probe; empty for stores without texts. Errors: those of reading. */
export async function exampleTrajectories(
  store: ActivationStore,
  data: TrajectoryData,
  split: Split,
  probe: TrainedProbe,
  options: { count: number; gamma: number; threads: number },
): Promise<ExampleTrajectory[]> {
  const chosen = choose(data, split, options.count);
  const traces = await predictTraces(data, probe, chosen, options);
  const out: ExampleTrajectory[] = [];
  for (const [k, i] of chosen.entries()) {
    const record = (await store.readRecord(store.trajectories[data.entries[i] as number] as ActivationStore['trajectories'][number])) as Partial<TrajectoryRecord>;
    const values = [...(traces[k] as Float32Array)];
    if (record.pieces?.length !== values.length) {
      continue; // another program's store, or one of other positions: no token belongs to a value
    }
    out.push({
      problem: record.problem ?? '',
      sample: record.sample ?? 0,
      prompt: record.prompt ?? '',
      gold: record.gold ?? '',
      verdict: record.verdict ?? 'unknown',
      reward: record.reward ?? null,
      tokens: [...record.pieces],
      logProbabilities: values.map((_, t) => record.logProbabilities?.[t] ?? null),
      entropies: values.map((_, t) => record.entropies?.[t] ?? null),
      values,
      tdErrors: tdErrors(values, record.reward ?? null, options.gamma),
    });
  }
  return out;
}
