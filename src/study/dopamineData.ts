/** Steps with their prediction errors and activations, from a rollout folder with values. */
import { join } from 'node:path';
import { RewardLensError, invalidArgument, throwIfAborted } from '../native/errors.js';
import { splitByProblem } from '../probe/split.js';
import type { TokenRange, Zscore } from '../rpe/features.js';
import { poolSteps, statesOfStep, zscored } from '../rpe/features.js';
import { mean } from '../stats/moments.js';
import { FILES } from '../store/format.js';
import type { TrajectoryRecord } from '../store/format.js';
import type { ActivationStore } from '../store/reader.js';
import { toFloat32 } from '../util/half.js';
import type { ERROR_SOURCES } from '../report/dopamineSchema.js';
import { NOISY_BASELINE } from '../report/dopamineSchema.js';
import { ANALYSIS_FILES } from './analyse.js';
import { fileHash } from './stage.js';
import type { Values } from '../report/valuesSchema.js';
import type { TrajectoryValues } from './valuesFormat.js';
import { readValues } from './valuesFormat.js';
import { readRecords } from './valuesInput.js';

export type ErrorSource = (typeof ERROR_SOURCES)[number];
export type Part = 'train' | 'validation' | 'test';

/** One step; δ null where it is not known. */
export interface DopamineStep extends TokenRange {
  readonly error: number | null;
  /** What can be said of it without a look inside, by name; NaN where it cannot. */
  readonly baselines: Readonly<Record<string, number>>;
}

/** One trajectory, without its activations. */
export interface DopamineTrajectory {
  readonly problem: string;
  readonly sample: number;
  /** Text of each sampled token; empty where it was not recorded. */
  readonly pieces: readonly string[];
  readonly group: string;
  readonly part: Part;
  readonly reward: number | null;
  /** V(s_0). */
  readonly value: number | null;
  readonly steps: readonly DopamineStep[];
}

/** Trajectories, and a way to their states. */
export interface DopamineData {
  readonly site: string;
  readonly layers: readonly number[];
  readonly width: number;
  readonly trajectories: readonly DopamineTrajectory[];
  /** States of one trajectory, [states, layers, width]. */
  read(trajectory: number): Promise<Float32Array>;
}

/** A step with known error: one item to learn from. */
export interface DopamineItem {
  readonly trajectory: number;
  readonly step: number;
  readonly error: number;
  readonly group: string;
  readonly part: Part;
}

/** All steps with known error, in order. */
export function itemsOf(data: DopamineData): DopamineItem[] {
  return data.trajectories.flatMap(({ steps, group, part }, trajectory) => steps.flatMap(({ error }, step) => (error === null ? [] : [{ trajectory, step, error, group, part }])));
}

/**
 * Features [items, layers, width] of the given layers (indices into the data's): z-scored as `mode` says and averaged over each step. Cost: reads every
 * trajectory once; 4 bytes per number.
 */
export async function stepFeatures(data: DopamineData, items: readonly DopamineItem[], options: { layers: readonly number[]; mode: Zscore; signal?: AbortSignal | undefined }): Promise<Float32Array> {
  const columns = options.layers.length * data.width;
  const out = new Float32Array(items.length * columns);
  let at = 0;
  for (let from = 0; from < items.length; from = at) {
    throwIfAborted('reading the steps', options.signal);
    const { trajectory } = items[from] as DopamineItem;
    while (items[at]?.trajectory === trajectory) {
      at++;
    }
    const steps = items.slice(from, at).map(({ step }) => (data.trajectories[trajectory] as DopamineTrajectory).steps[step] as DopamineStep);
    out.set(poolSteps(zscored(await layersOf(data, trajectory, options.layers), columns, options.mode), columns, steps), from * columns);
  }
  return out;
}

/** States of one trajectory at some layers, [states, layers, width]. */
export async function layersOf(data: DopamineData, trajectory: number, layers: readonly number[]): Promise<Float32Array> {
  const rows = await data.read(trajectory);
  if (layers.length === data.layers.length) {
    return rows;
  }
  const stride = data.layers.length * data.width;
  const out = new Float32Array((rows.length / stride) * layers.length * data.width);
  for (let s = 0; s < rows.length / stride; s++) {
    layers.forEach((layer, l) => out.set(rows.subarray(s * stride + layer * data.width, s * stride + (layer + 1) * data.width), (s * layers.length + l) * data.width));
  }
  return out;
}

/** Names of the baselines. */
export const BASELINES = {
  index: 'number of the step',
  tokens: 'tokens before the step',
  logProbability: 'mean log-probability of the step',
  value: NOISY_BASELINE,
  probeValue: 'V before the step, by the probe',
  probeChange: 'change of V over the step, by the probe',
} as const;

/** Reads a folder with values. The data reads from `store` for as long as it is open. Errors: those of {@link readValues}; INVALID_ARGUMENT when the values are of other trajectories or beside other probes. */
export async function dopamineData(store: ActivationStore, site: string, source: ErrorSource): Promise<{ data: DopamineData; summary: Values }> {
  const { directory } = store;
  const { summary, trajectories: lines } = await readValues(directory);
  if ((await fileHash(join(directory, FILES.trajectories))) !== summary.trajectoriesSha256) {
    throw new RewardLensError('INVALID_ARGUMENT', `the trajectories in '${directory}' are not those that were valued; run \`rewardlens values ${directory}\` again`, { details: { directory } });
  }
  if (summary.probesSha256 !== (await fileHash(join(directory, ANALYSIS_FILES.probes)))) {
    throw new RewardLensError('INVALID_ARGUMENT', `the value probes in '${directory}' are not those whose values and split stand beside the continuations; run \`rewardlens values ${directory}\` again with the flags it had, which makes no continuation anew`, { details: { directory } });
  }
  if (source === 'probe' && lines.every(({ probe }) => probe === null)) {
    throw invalidArgument('error', `mc, as '${directory}' was valued before it had a value probe`, source);
  }
  const block = store.block(site);
  const records = new Map((await readRecords(directory)).map((record) => [keyOf(record), record]));
  const entries = new Map(store.trajectories.map((entry) => [keyOf(entry), entry]));
  const known = withParts(lines).filter(({ line }) => (entries.get(keyOf(line))?.stateCount ?? 0) > 0);
  const rowsOf = known.map(({ line }) => entries.get(keyOf(line))?.rows ?? []);
  const data: DopamineData = {
    site,
    layers: block.layers,
    width: block.width,
    trajectories: known.map(({ line, part }) => toTrajectory(line, part, source, records.get(keyOf(line)))),
    read: async (trajectory) => toFloat32(await store.readRows(rowsOf[trajectory] ?? [], site)),
  };
  return { data, summary };
}

const keyOf = ({ problem, sample }: { problem: string; sample: number }): string => `${sample}/${problem}`;

/** Parts of the value probe's split, so that nothing held out there is learned from here; a split by problem where there is none. */
function withParts(lines: readonly TrajectoryValues[]): { line: TrajectoryValues; part: Part }[] {
  if (lines.some(({ part }) => part !== null)) {
    const byGroup = new Map(lines.flatMap(({ group, part }) => (part === null ? [] : [[group, part] as const])));
    return lines.flatMap((line) => {
      const part = byGroup.get(line.group);
      return part === undefined ? [] : [{ line, part }];
    });
  }
  const split = splitByProblem(lines.map(({ group }) => group), { seed: 1 });
  const parts = new Map((['train', 'validation', 'test'] as const).flatMap((part) => split[part].map((i) => [i, part] as const)));
  return lines.map((line, i) => ({ line, part: parts.get(i) as Part }));
}

/** What reading a step changes V of the probe by. Unlike its δ, the last step's knows no reward: nor does what it is compared with. NaN without states. */
function changeOver(step: TokenRange, states: readonly number[]): number {
  return (states[statesOfStep(step, states.length).last] ?? NaN) - (states[step.begin] ?? NaN);
}

function toTrajectory(line: TrajectoryValues, part: Part, source: ErrorSource, record: TrajectoryRecord | undefined): DopamineTrajectory {
  const errors = source === 'mc' ? line.tdErrors : (line.probe?.tdErrors ?? []);
  return {
    problem: line.problem,
    sample: line.sample,
    pieces: record?.pieces ?? [],
    group: line.group,
    part,
    reward: line.reward,
    value: (source === 'mc' ? line.values[0]?.value : line.probe?.values[0]) ?? null,
    steps: line.steps.map(({ begin, end }, k): DopamineStep => ({
      begin,
      end,
      error: errors[k] ?? null,
      baselines: {
        [BASELINES.index]: k,
        [BASELINES.tokens]: begin,
        [BASELINES.logProbability]: mean(record?.logProbabilities?.slice(begin, end) ?? []),
        [BASELINES.value]: line.values[k]?.value ?? NaN,
        [BASELINES.probeValue]: line.probe?.values[k] ?? NaN,
        [BASELINES.probeChange]: changeOver({ begin, end }, line.probe?.states ?? []),
      },
    })),
  };
}
