/** What the sets of a sweep are chosen by: statistics and scores of the neurons of a probed folder. */
import { join } from 'node:path';
import type { ArmValues } from '../ablate/arms.js';
import { readStrength } from '../model/readWeights.js';
import { RewardLensError } from '../native/errors.js';
import type { LayerMoments, TrajectoryData } from '../probe/data.js';
import { measureMoments, trajectoryData } from '../probe/data.js';
import type { Split } from '../probe/split.js';
import type { TrainedProbe } from '../probe/train.js';
import type { ArmGroup, ArmStatistics, ScoredGroup } from '../rank/armSets.js';
import type { RankingMethod } from '../rank/scores.js';
import { mean } from '../stats/moments.js';
import { ActivationStore } from '../store/reader.js';
import { pickRandom } from '../util/random.js';
import type { ProbeStage } from './analyse.js';
import { ANALYSIS_FILES, checkProbes, sinksOf, splitOf } from './analyse.js';
import type { ControlProbe } from './controlProbes.js';
import { CONTROL_PROBES, controlProbes } from './controlProbes.js';
import type { WorkOptions } from './options.js';
import { loadProbes } from './probeFiles.js';
import { layerOf, stateMethods, weightMethods, weightScoresOf } from './rank.js';
import { readStageResult } from './stage.js';

/** States that a resample ablation draws from, per layer. */
export const RESAMPLE_ROWS = 64;

/** What is asked of a folder. */
export interface ScoreRequest {
  readonly groups: readonly ArmGroup[];
  readonly method: RankingMethod;
  /** Default all of the folder. */
  readonly layers: readonly number[] | undefined;
  /** Whether any arm resamples. */
  readonly resample: boolean;
  readonly seed: number;
  /** Parts of the model whose weights `wanda` reads, and its number of layers. */
  readonly model: { readonly files: readonly string[]; readonly layerCount: number };
}

/** One layer's statistics for choosing sets, and the values that ablations write. */
export interface LayerScores {
  readonly layer: number;
  readonly statistics: ArmStatistics;
  readonly values: ArmValues;
}

/** What a folder gives. */
export interface FolderScores {
  readonly site: string;
  readonly layers: readonly LayerScores[];
  /** Mean tokens of a completion. */
  readonly meanTokens: number | undefined;
}

interface Folder {
  readonly directory: string;
  readonly store: ActivationStore;
  readonly data: TrajectoryData;
  readonly split: Split;
  readonly moments: readonly LayerMoments[];
  readonly stage: ProbeStage;
  readonly probes: readonly TrainedProbe[];
}

/**
 * Reads what a grid needs from a folder with probes (`rewardlens probe`), layer by layer. Errors: IO without probes; INVALID_ARGUMENT
 * when they are stale, for a layer or ranking that the folder lacks, or for `wanda` at another site; those of
 * {@link readStrength} and {@link controlProbes}. Cost: reads the training states once; control probes are trained when not yet there.
 */
export async function readScores(directory: string, request: ScoreRequest, work: WorkOptions): Promise<FolderScores> {
  const stage = await readStageResult<ProbeStage>(join(directory, ANALYSIS_FILES.probe));
  if (stage === undefined) {
    throw new RewardLensError('IO', `'${directory}' has no probes; run \`rewardlens probe ${directory}\``, { details: { directory } });
  }
  await checkProbes(directory, stage);
  await using store = await ActivationStore.open(directory);
  const data = trajectoryData(store, stage.settings.site);
  const split = splitOf(data, stage.settings);
  const moments = await measureMoments(data, split.train, work.signal);
  const folder: Folder = { directory, store, data, split, moments, stage, probes: await loadProbes(join(directory, ANALYSIS_FILES.probes)) };
  const sinks = await sinksOf(directory, data, moments);
  const controls = await readControls(folder, request, work);
  const states = request.resample ? await trainingStates(folder, request.seed) : undefined;
  const layers: LayerScores[] = [];
  for (const layer of request.layers ?? data.layers) {
    const l = data.layers.indexOf(layer);
    const moment = moments[l];
    if (moment === undefined) {
      throw new RewardLensError('INVALID_ARGUMENT', `layers: expected layers that '${directory}' holds (${data.layers.join(', ')}), got ${layer}`, { details: { layer } });
    }
    layers.push({
      layer,
      statistics: {
        width: data.width,
        scores: await rankingScores(folder, l, request, work),
        rms: moment.rms,
        std: moment.std,
        sinks: (sinks[l] ?? []).map(({ neuron }) => neuron),
        others: { ...controls.get(layer), ...(request.groups.includes('wanda') ? { wanda: await wandaScores(folder, l, request.model) } : {}) },
      },
      values: { means: moment.mean, rows: states === undefined ? undefined : { data: layerOf(data, states, l), width: data.width, seed: request.seed } },
    });
  }
  return { site: data.site, layers, meanTokens: mean(store.trajectories.map(({ tokenCount }) => tokenCount)) };
}

/** Scores of the ranking, only where a set needs them. */
async function rankingScores({ directory, data, split, probes }: Folder, l: number, request: ScoreRequest, work: WorkOptions): Promise<Float64Array | undefined> {
  if (request.groups.includes('list')) {
    return undefined;
  }
  const layer = data.layers[l] as number;
  const { method } = request;
  const scores = weightMethods(probes, layer).get(method) ?? (await stateMethodScores({ data, split, probes }, l, method, request, work));
  if (scores === undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `ranking by ${method} needs a probe that was not trained in '${directory}'; run \`rewardlens probe\` with other --variants`, { details: { method, layer } });
  }
  return scores;
}

async function stateMethodScores(folder: Pick<Folder, 'data' | 'split' | 'probes'>, l: number, method: RankingMethod, { seed }: ScoreRequest, { threads }: WorkOptions): Promise<Float64Array | undefined> {
  return method === 'permutation' || method === 'univariate' ? (await stateMethods(folder, l, { seed, threads })).get(method) : undefined;
}

async function readControls(folder: Folder, request: ScoreRequest, work: WorkOptions): Promise<Map<number, Partial<Record<ScoredGroup, Float64Array>>>> {
  const out = new Map<number, Partial<Record<ControlProbe, Float64Array>>>();
  for (const control of CONTROL_PROBES.filter((name) => request.groups.includes(name))) {
    for (const probe of await controlProbes(control, folder, work)) {
      out.set(probe.layer, { ...out.get(probe.layer), [control]: weightScoresOf(probe) });
    }
  }
  return out;
}

/** RMS over the training states × the strength with which the next weights read the coordinate (after Wanda, Sun et al. 2024: |weight| × norm of its input). */
async function wandaScores({ data, moments }: Folder, l: number, model: ScoreRequest['model']): Promise<Float64Array> {
  if (data.site !== 'residPost') {
    throw new RewardLensError('INVALID_ARGUMENT', `control wanda: expected probes of residPost, got those of ${data.site}`, { details: { site: data.site } });
  }
  const strength = await readStrength(model.files, data.layers[l] as number, model.layerCount);
  if (strength.length !== data.width) {
    throw new RewardLensError('SHAPE_MISMATCH', `'${model.files[0] ?? ''}': its stream is ${strength.length} wide, that of the folder ${data.width}`);
  }
  return strength.map((value, j) => value * ((moments[l] as LayerMoments).rms[j] as number));
}

/** {@link RESAMPLE_ROWS} training states [n, layers, width], every one equally likely, none twice. */
async function trainingStates({ data, split }: Folder, seed: number): Promise<Uint16Array | Float32Array> {
  const lengths = split.train.map((i) => data.lengths[i] as number);
  const total = lengths.reduce((a, b) => a + b, 0);
  const [trajectories, states]: [number[], number[]] = [[], []];
  let [at, skipped] = [0, 0];
  for (const state of pickRandom(total, RESAMPLE_ROWS, seed)) {
    for (; state >= skipped + (lengths[at] as number); at++) {
      skipped += lengths[at] as number;
    }
    trajectories.push(split.train[at] as number);
    states.push(state - skipped);
  }
  return data.readStates(trajectories, states);
}
