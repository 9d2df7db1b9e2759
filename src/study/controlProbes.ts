/** Probes of other things than the value: their neurons are the controls `next-token` and `terminal`. Trained when asked for, then kept. */
import { join } from 'node:path';
import { RewardLensError, throwIfAborted } from '../native/errors.js';
import type { LayerMoments, TrajectoryData } from '../probe/data.js';
import type { Split } from '../probe/split.js';
import type { ProbeJob, TrainedProbe } from '../probe/train.js';
import { trainProbes } from '../probe/train.js';
import { ColumnMoments } from '../stats/moments.js';
import type { ActivationStore } from '../store/reader.js';
import { packageVersion } from '../util/version.js';
import type { ProbeStage } from './analyse.js';
import { jobGroups, trainOptions } from './analyse.js';
import type { WorkOptions } from './options.js';
import { loadProbes, saveProbes } from './probeFiles.js';
import { fileHash, hashOf, runStage } from './stage.js';

/**
 * `next-token`: predicts, from state s_t, the natural-log probability that the model gave to token t, the one sampled from that state
 * (z-scored over the training states); `terminal`: predicts the reward from the last state, no other state counts.
 */
export const CONTROL_PROBES = ['next-token', 'terminal'] as const;
export type ControlProbe = (typeof CONTROL_PROBES)[number];

/** Files of a control's probes inside a rollout folder. */
export const controlFiles = (control: ControlProbe): { stage: string; probes: string } => ({ stage: `probe-${control}.json`, probes: `probe-${control}.safetensors` });

/** Raised when the meaning of a control's probe changes. */
const VERSION = 1;

/** What control probes are trained on: the data, split and statistics of the value probe. */
export interface ControlInput {
  readonly directory: string;
  readonly store: ActivationStore;
  readonly data: TrajectoryData;
  readonly split: Split;
  readonly moments: readonly LayerMoments[];
  readonly stage: ProbeStage;
}

/**
 * The probes of a control, one per layer: of the value probe's size, inputs, trainer and settings, on its training states; from other initial
 * weights, as weights that start alike would end alike. Kept in the folder and trained anew when the value probes are others. Errors: INVALID_ARGUMENT
 * when log-probabilities were not recorded; those of training and reading; ABORTED. Cost: one probe per layer, as the probe stage.
 */
export async function controlProbes(control: ControlProbe, input: ControlInput, work: WorkOptions): Promise<TrainedProbe[]> {
  const { directory, store, split, moments, stage } = input;
  const { settings } = stage;
  const files = controlFiles(control);
  const path = join(directory, files.probes);
  const inputs = { stage: 'control-probe', version: VERSION, control, rewardlens: packageVersion(), probe: hashOf(stage) };
  const intact = async (before: { probesSha256: string }): Promise<boolean> => (await fileHash(path)) === before.probesSha256;
  await runStage(
    join(directory, files.stage),
    inputs,
    async () => {
      const data = control === 'terminal' ? input.data : { ...input.data, stateTargets: await nextTokenTargets(store, input.data, split, work.signal) };
      const told = { ...work, onProgress: (_task: string, share: number, note: string) => work.onProgress?.(`training ${control} probes`, share, note) };
      const probes: TrainedProbe[] = [];
      for (const jobs of jobGroups(jobsOf(control, data.layers, stage), data.width)) {
        probes.push(...(await trainProbes(data, split, moments, jobs, trainOptions({ ...settings, seed: settings.seed + 1 }, told))));
      }
      await saveProbes(path, probes, { control, settings, site: settings.site, trajectories: stage.trajectoriesSha256 });
      return { control, probesSha256: await fileHash(path) };
    },
    intact,
  );
  return loadProbes(path);
}

function jobsOf(control: ControlProbe, layers: readonly number[], { settings }: ProbeStage): ProbeJob[] {
  const { hidden, inputs, lambda } = settings;
  const own = control === 'terminal' ? ({ target: 'terminal', head: settings.head } as const) : ({ target: 'mc', head: 'identity' } as const);
  return layers.map((layer) => ({ name: control, layer, hidden, inputs, lambda, shuffledRewards: false, ...own }));
}

/** Per trajectory of the data and state: the log-probability of the token sampled from it, z-scored by the training states. */
async function nextTokenTargets(store: ActivationStore, data: TrajectoryData, split: Split, signal?: AbortSignal): Promise<Float32Array[]> {
  const raw: number[][] = [];
  for (const [i, index] of data.entries.entries()) {
    throwIfAborted('reading log-probabilities', signal);
    const entry = store.trajectories[index] as ActivationStore['trajectories'][number];
    const { logProbabilities } = await store.readRecord(entry);
    const values = Array.isArray(logProbabilities) ? (logProbabilities as number[]).slice(0, data.lengths[i]) : [];
    if (values.length !== data.lengths[i] || !values.every(Number.isFinite)) {
      throw new RewardLensError('INVALID_ARGUMENT', `control next-token: expected a log-probability for each of ${data.lengths[i] ?? 0} states, got ${values.length}: problem '${entry.problem}', sample ${entry.sample} in '${store.directory}'`, {
        details: { problem: entry.problem, sample: entry.sample },
      });
    }
    raw.push(values);
  }
  const moments = new ColumnMoments(1);
  split.train.forEach((i) => moments.push(raw[i] as number[]));
  const [mean, std] = [moments.mean[0] as number, moments.std()[0] as number];
  return raw.map((values) => Float32Array.from(values, (value) => (std > 0 ? (value - mean) / std : 0)));
}
