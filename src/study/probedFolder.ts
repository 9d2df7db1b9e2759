/** A rollout folder with its probes, opened for reading. */
import { join } from 'node:path';
import { RewardLensError } from '../native/errors.js';
import type { TrajectoryData } from '../probe/data.js';
import { trajectoryData } from '../probe/data.js';
import type { Split } from '../probe/split.js';
import type { TrainedProbe } from '../probe/train.js';
import type { RolloutFile } from '../rollout/folder.js';
import { readRolloutFile } from '../rollout/folder.js';
import { FILES } from '../store/format.js';
import { ActivationStore } from '../store/reader.js';
import type { ProbeStage } from './analyse.js';
import { ANALYSIS_FILES, splitOf } from './analyse.js';
import { MAIN_PROBE } from './evaluate.js';
import type { ProbeSettings } from './options.js';
import { loadProbes } from './probeFiles.js';
import { fileHash, readStageResult } from './stage.js';

/** Everything that was found in the folder. Dispose of it to close the store. */
export interface ProbedFolder extends AsyncDisposable {
  readonly directory: string;
  readonly store: ActivationStore;
  readonly data: TrajectoryData;
  readonly split: Split;
  readonly settings: ProbeSettings;
  readonly probes: readonly TrainedProbe[];
  readonly trajectoriesSha256: string;
  /** Undefined for a store of another program. */
  readonly rollout: RolloutFile | undefined;
}

/** Opens a folder that `rewardlens probe` has been through. Errors: IO; INVALID_ARGUMENT when the trajectories have changed since; STORE_CORRUPT. */
export async function openProbed(directory: string): Promise<ProbedFolder> {
  const stage = await readStageResult<ProbeStage>(join(directory, ANALYSIS_FILES.probe));
  if (stage === undefined) {
    throw new RewardLensError('IO', `'${directory}' has no probes; run \`rewardlens probe ${directory}\``, { details: { directory } });
  }
  const trajectoriesSha256 = await fileHash(join(directory, FILES.trajectories));
  if (trajectoriesSha256 !== stage.trajectoriesSha256) {
    throw new RewardLensError('INVALID_ARGUMENT', `the trajectories in '${directory}' are not those that the probes were trained on; run \`rewardlens probe ${directory}\` again`, { details: { directory } });
  }
  const rollout = await readRolloutFile(directory);
  const probes = await loadProbes(join(directory, ANALYSIS_FILES.probes));
  const store = await ActivationStore.open(directory);
  try {
    const data = trajectoryData(store, stage.settings.site);
    const split = splitOf(data, stage.settings);
    return { directory, store, data, split, settings: stage.settings, probes, trajectoriesSha256, rollout, [Symbol.asyncDispose]: async () => store[Symbol.asyncDispose]() };
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}

/** The value probe of a layer. Errors: INVALID_ARGUMENT when the folder has none. */
export function mainProbe({ directory, probes, data }: Pick<ProbedFolder, 'directory' | 'probes' | 'data'>, layer: number): TrainedProbe {
  const probe = probes.find((entry) => entry.name === MAIN_PROBE && entry.layer === layer);
  if (probe === undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `layer ${layer}: '${directory}' has value probes of layers ${data.layers.join(', ')}`, { details: { layer } });
  }
  return probe;
}

/**
 * The probe with nothing but the inputs `neurons` left, in this order: what it says when all others are at 0 (for z-scored inputs,
 * at their training mean). Its weights are copies.
 */
export function pruneProbe(probe: TrainedProbe, neurons: readonly number[], name = probe.name): TrainedProbe {
  const inputs = probe.mean.length;
  const kept = Int32Array.from(neurons);
  const pick = (row: Float32Array): Float32Array => Float32Array.from(kept, (neuron) => row[neuron] as number);
  const { w1, b1, w2, b2 } = probe.weights;
  const columns = new Float32Array(probe.hidden * kept.length);
  for (let h = 0; h < probe.hidden; h++) {
    columns.set(pick(w1.subarray(h * inputs, (h + 1) * inputs)), h * kept.length);
  }
  return { ...probe, name, neurons: kept, mean: pick(probe.mean), scale: pick(probe.scale), weights: { w1: columns, b1, w2: probe.hidden === 0 ? pick(w2) : w2, b2 } };
}
