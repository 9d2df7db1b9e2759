/** V of the value probe at the states in front of steps, and how it agrees with the continuations. */
import { join } from 'node:path';
import { stat } from 'node:fs/promises';
import { RewardLensError } from '../native/errors.js';
import type { TrainedProbe } from '../probe/train.js';
import { stepErrors } from '../rpe/tdErrors.js';
import { correlationEstimate } from '../stats/correlation.js';
import type { RankStage } from './analyse.js';
import { ANALYSIS_FILES } from './analyse.js';
import { MAIN_PROBE } from './evaluate.js';
import { predictTraces } from './predict.js';
import type { ProbedFolder } from './probedFolder.js';
import { mainProbe, openProbed } from './probedFolder.js';
import { readStageResult } from './stage.js';
import type { Values } from '../report/valuesSchema.js';
import type { TrajectoryValues } from './valuesFormat.js';
import type { SteppedTrajectory } from './valuesInput.js';

/** Values of one trajectory's states, one per state of the store, and its part of the split. */
export interface ProbeTrace {
  readonly part: 'train' | 'validation' | 'test';
  readonly values: Float32Array;
}

/** Traces of a folder's value probe by "sample/problem". */
export interface ProbeTraces {
  readonly layer: number;
  readonly traces: ReadonlyMap<string, ProbeTrace>;
}

const keyOf = ({ problem, sample }: { problem: string; sample: number }): string => `${sample}/${problem}`;

/** The layer that `rewardlens rank` chose, or without it the one whose value probe has the lowest validation loss. */
export async function probeLayer(folder: ProbedFolder): Promise<number> {
  const ranked = await readStageResult<RankStage>(join(folder.directory, ANALYSIS_FILES.rank));
  const best = ranked?.layers[ranked.bestLayer]?.layer;
  if (best !== undefined) {
    return best;
  }
  const lossOf = ({ validationLoss, bestEpoch }: TrainedProbe): number => validationLoss[bestEpoch] ?? Infinity;
  const probes = folder.probes.filter(({ name }) => name === MAIN_PROBE);
  return probes.reduce((a, b) => (lossOf(b) < lossOf(a) ? b : a)).layer;
}

/**
 * Values of the folder's value probe over the given trajectories; null for a folder without probes. Errors: as `openProbed`,
 * INVALID_ARGUMENT for a layer that is asked for and has no probe. Cost: reads their states once.
 */
export async function readProbeTraces(directory: string, records: readonly { problem: string; sample: number }[], options: { layer?: number | undefined; threads: number }): Promise<ProbeTraces | null> {
  if (!(await stat(join(directory, ANALYSIS_FILES.probe)).then(() => true, () => false))) {
    if (options.layer !== undefined) {
      throw new RewardLensError('INVALID_ARGUMENT', `layer ${options.layer}: '${directory}' has no value probes; run \`rewardlens probe ${directory}\`, or ask for none`, { details: { directory, layer: options.layer } });
    }
    return null;
  }
  await using folder = await openProbed(directory);
  const layer = options.layer ?? (await probeLayer(folder));
  const wanted = new Set(records.map(keyOf));
  const indices = [...folder.data.entries.keys()].filter((i) => wanted.has(keyOf(entryOf(folder, i))));
  const parts = new Map((['train', 'validation', 'test'] as const).flatMap((part) => folder.split[part].map((i) => [i, part] as const)));
  const traces = await predictTraces(folder.data, mainProbe(folder, layer), indices, options);
  return { layer, traces: new Map(indices.map((i, k) => [keyOf(entryOf(folder, i)), { part: parts.get(i) ?? 'train', values: traces[k] as Float32Array }])) };
}

function entryOf({ store, data }: ProbedFolder, i: number): { problem: string; sample: number } {
  return store.trajectories[data.entries[i] as number] as { problem: string; sample: number };
}

/** Of values of single states in the file: more than a probe of f32 means. */
const DIGITS = 6;

/** The probe's side of one trajectory; null where the store has no states for some step. */
export function probeSide(probe: ProbeTraces | null, { record, steps }: SteppedTrajectory, gamma: number): Pick<TrajectoryValues, 'part' | 'probe'> {
  const trace = probe?.traces.get(keyOf(record));
  if (probe === null || trace === undefined || steps.some(({ begin }) => begin >= trace.values.length)) {
    return { part: trace?.part ?? null, probe: null };
  }
  const values = steps.map(({ begin }) => trace.values[begin] as number);
  const states = Array.from(trace.values, (value) => Number(value.toPrecision(DIGITS)));
  return { part: trace.part, probe: { layer: probe.layer, values, tdErrors: stepErrors(values, record.reward, gamma), states, tokenErrors: stepErrors(states, record.reward, gamma).map((error) => (error === null ? null : Number(error.toFixed(DIGITS)))) } };
}

/** Agreement of both values over held-out states that have both; null without a probe. */
export function probeAgreement(trajectories: readonly TrajectoryValues[]): Values['probe'] {
  const layer = trajectories.find(({ probe }) => probe !== null)?.probe?.layer;
  if (layer === undefined) {
    return null;
  }
  const pairs = trajectories
    .filter(({ part }) => part === 'test')
    .flatMap(({ probe, values, group }) => values.flatMap(({ value }, k) => (value === null || probe === null ? [] : [{ x: value, y: probe.values[k] as number, group }])));
  const correlate = (kind: 'pearson' | 'spearman'): ReturnType<typeof correlationEstimate> =>
    correlationEstimate(kind, pairs.map(({ x }) => x), pairs.map(({ y }) => y), pairs.map(({ group }) => group));
  return { layer, states: pairs.length, spearman: correlate('spearman'), pearson: correlate('pearson') };
}
