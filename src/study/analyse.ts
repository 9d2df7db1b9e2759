/** From a rollout folder to its results: probes, held-out numbers, neurons. Two stages, each kept in the folder. */
import { readdir, stat } from 'node:fs/promises';
import { freemem } from 'node:os';
import { join } from 'node:path';
import type { LayerMoments, TrajectoryData } from '../probe/data.js';
import { measureMoments, trajectoryData } from '../probe/data.js';
import type { Split } from '../probe/split.js';
import { splitByProblem } from '../probe/split.js';
import type { ProbeJob, TrainOptions, TrainedProbe } from '../probe/train.js';
import { trainProbes } from '../probe/train.js';
import type { Sink } from '../rank/sinks.js';
import { findSinks } from '../rank/sinks.js';
import type { DatasetResult } from '../report/schema.js';
import { RewardLensError, throwIfAborted } from '../native/errors.js';
import { readRolloutFile } from '../rollout/folder.js';
import { proportion } from '../stats/proportion.js';
import { FILES } from '../store/format.js';
import { ActivationStore, rowsChecksum } from '../store/reader.js';
import { SafetensorsReader } from '../util/safetensors.js';
import { packageVersion } from '../util/version.js';
import { MAIN_PROBE, baselineResults, calibrationResults, chooseLayer, evaluateProbes, layerResults, shownPlaces } from './evaluate.js';
import { exampleTrajectories } from './examples.js';
import type { ProbeSettings, ProbeVariant, RankSettings, WorkOptions } from './options.js';
import { placedLinearValues } from './placed.js';
import { loadProbes, saveProbes } from './probeFiles.js';
import { rankNeurons } from './rank.js';
import { rolloutResult } from './rolloutResult.js';
import type { Staged } from './stage.js';
import { fileHash, hashOf, runStage } from './stage.js';

/** Files of the analysis inside a rollout folder. */
export const ANALYSIS_FILES = { probes: 'probes.safetensors', probe: 'probe.json', rank: 'rank.json', stream: 'stream.safetensors', sweep: 'sweep.json', sweepFolder: 'ablation' } as const;

/** Raised when the meaning of a stage's result changes. */
const PROBE_VERSION = 4;
const RANK_VERSION = 4;

/** The probes to train for `settings`: per layer the value probe, its variants and its nulls. */
export function probeJobs(layers: readonly number[], settings: ProbeSettings): ProbeJob[] {
  const [target, ...others] = settings.targets;
  const base = { hidden: settings.hidden, head: settings.head, target: target ?? 'mc', lambda: settings.lambda, inputs: settings.inputs, shuffledRewards: false } as const;
  const otherInputs = settings.inputs === 'zscore' ? 'raw' : 'zscore';
  const variants: Readonly<Record<ProbeVariant, Partial<ProbeJob> & { name: string }>> = {
    linear: { name: 'linear', hidden: 0 },
    inputs: { name: otherInputs, inputs: otherInputs },
    shuffled: { name: 'shuffled', shuffledRewards: true },
  };
  return layers.flatMap((layer): ProbeJob[] => [
    { ...base, name: MAIN_PROBE, layer },
    ...others.map((other) => ({ ...base, name: other, layer, target: other })),
    ...settings.variants.map((variant) => ({ ...base, layer, ...variants[variant] })),
  ]);
}

/** Bytes per weight while training: the weight, two moments, the gradient, and the best one so far. */
const BYTES_PER_WEIGHT = 20;

/** Splits jobs so that each group's weights fit in half of the free memory: one pass over the store per group, usually one. */
export function jobGroups(jobs: readonly ProbeJob[], width: number, budgetBytes = freemem() / 2): ProbeJob[][] {
  const groups: ProbeJob[][] = [];
  let room = 0;
  for (const job of jobs) {
    const bytes = BYTES_PER_WEIGHT * (width + 2) * Math.max(1, job.hidden);
    if (bytes > room) {
      groups.push([]);
      room = Math.max(bytes, budgetBytes);
    }
    groups.at(-1)?.push(job);
    room -= bytes;
  }
  return groups;
}

/** Options of training as a probe stage has them. */
export function trainOptions(settings: ProbeSettings, work: WorkOptions): TrainOptions {
  return {
    ...settings,
    threads: work.threads,
    signal: work.signal,
    onProgress: ({ epoch, maxEpochs, share, active }) => work.onProgress?.('training probes', (epoch + share) / maxEpochs, `epoch ${epoch + 1}, ${active} probes still improving`),
  };
}

/** What the probe stage says of itself. */
export interface ProbeStage {
  readonly probesSha256: string;
  /** Of trajectories.jsonl as it was. */
  readonly trajectoriesSha256: string;
  readonly settings: ProbeSettings;
}

/**
 * What the activations are: sizes of the shards, and for stores without checksums (other programs') the time of their last change, as
 * nothing else tells that they were written anew.
 */
async function shardFacts(directory: string): Promise<unknown[]> {
  const sealed = (await readRolloutFile(directory)) !== undefined;
  const folder = join(directory, FILES.shards);
  const names = (await readdir(folder).catch(() => [] as string[])).sort();
  return Promise.all(names.map(async (name) => {
    const { size, mtimeMs } = await stat(join(folder, name));
    return sealed ? [name, size] : [name, size, mtimeMs];
  }));
}

/** Compares the rows of every usable trajectory with its checksum, where there is one. Errors: STORE_CORRUPT naming the trajectory. */
async function verifyRows(store: ActivationStore, data: TrajectoryData, work: WorkOptions): Promise<void> {
  for (const [i, index] of data.entries.entries()) {
    throwIfAborted('checking the activations', work.signal);
    const entry = store.trajectories[index] as ActivationStore['trajectories'][number];
    if (entry.rowsCrc32 !== undefined && (await rowsChecksum(store, entry.allRows)) !== entry.rowsCrc32) {
      throw new RewardLensError('STORE_CORRUPT', `the activations of problem '${entry.problem}', sample ${entry.sample}, in '${store.directory}' are damaged: their checksum differs`, {
        details: { problem: entry.problem, sample: entry.sample },
      });
    }
    if (i % 64 === 0) {
      work.onProgress?.('checking activations', i / data.entries.length, '');
    }
  }
}

/**
 * Trains the probes of a store, unless that was done with the same trajectories, activations and settings. Writes
 * `probes.safetensors` and `probe.json` in the folder. Errors: those of the store and of training, STORE_CORRUPT for damaged activations.
 */
export async function probeStage(directory: string, settings: ProbeSettings, work: WorkOptions): Promise<Staged<ProbeStage>> {
  const trajectoriesSha256 = await fileHash(join(directory, FILES.trajectories));
  const inputs = {
    stage: 'probe',
    version: PROBE_VERSION,
    rewardlens: packageVersion(),
    trajectories: trajectoriesSha256,
    store: await fileHash(join(directory, FILES.store)),
    shards: await shardFacts(directory),
    settings,
  };
  const path = join(directory, ANALYSIS_FILES.probes);
  const intact = async (before: ProbeStage): Promise<boolean> => (await fileHash(path)) === before.probesSha256;
  return runStage(join(directory, ANALYSIS_FILES.probe), inputs, async () => {
    await using store = await ActivationStore.open(directory);
    const data = trajectoryData(store, settings.site);
    const split = splitOf(data, settings);
    await verifyRows(store, data, work);
    const moments = await measureMoments(data, split.train, work.signal);
    const probes: TrainedProbe[] = [];
    for (const jobs of jobGroups(probeJobs(data.layers, settings), data.width)) {
      probes.push(...(await trainProbes(data, split, moments, jobs, trainOptions(settings, work))));
    }
    await saveProbes(path, probes, { settings, site: settings.site, trajectories: trajectoriesSha256 });
    return { probesSha256: await fileHash(path), trajectoriesSha256, settings };
  }, intact);
}

/** The split of a store's trajectories by the settings of its probes. */
export function splitOf(data: TrajectoryData, settings: ProbeSettings): Split {
  return splitByProblem(data.problems, { seed: settings.seed, test: settings.test, validation: settings.validation });
}

/** Refuses probes that were trained on other trajectories, or that are not those of the stage. Errors: INVALID_ARGUMENT. Cost: reads both files. */
export async function checkProbes(directory: string, probe: ProbeStage): Promise<void> {
  const trajectories = await fileHash(join(directory, FILES.trajectories));
  if (trajectories !== probe.trajectoriesSha256 || (await fileHash(join(directory, ANALYSIS_FILES.probes))) !== probe.probesSha256) {
    throw new RewardLensError('INVALID_ARGUMENT', `the trajectories or probes in '${directory}' are not those that the probes were trained on; run \`rewardlens probe ${directory}\` again`, {
      details: { directory },
    });
  }
}

/** The analysis part of a data set's result; the rest comes from the rollout. */
export type RankStage = Omit<DatasetResult, 'name' | 'source' | 'format' | 'sha256' | 'ablation' | 'ablationNotes' | 'sections'>;

/**
 * Judges the probes on held-out trajectories and ranks neurons, unless that was done with the same probes and settings.
 * Writes `rank.json` in the folder. Needs the probe stage. Errors: those of reading; INVALID_ARGUMENT when the trajectories
 * are no longer those that the probes were trained on; ABORTED.
 */
export async function rankStage(directory: string, probe: ProbeStage, settings: RankSettings, work: WorkOptions): Promise<Staged<RankStage>> {
  await checkProbes(directory, probe);
  const probes = join(directory, ANALYSIS_FILES.probes);
  const trajectories = probe.trajectoriesSha256;
  const stream = await fileHash(join(directory, ANALYSIS_FILES.stream));
  const inputs = { stage: 'rank', version: RANK_VERSION, rewardlens: packageVersion(), probe: hashOf(probe), trajectories, stream, settings };
  return runStage(join(directory, ANALYSIS_FILES.rank), inputs, async () => {
    await using store = await ActivationStore.open(directory);
    const data = trajectoryData(store, probe.settings.site);
    return await analyse({ directory, store, data, probes: await loadProbes(probes), trajectoriesSha256: trajectories }, probe.settings, settings, work);
  });
}

interface Loaded {
  directory: string;
  store: ActivationStore;
  data: TrajectoryData;
  probes: TrainedProbe[];
  trajectoriesSha256: string;
}

async function analyse({ directory, store, data, probes, trajectoriesSha256 }: Loaded, settings: ProbeSettings, rank: RankSettings, work: WorkOptions): Promise<RankStage> {
  const split = splitOf(data, settings);
  const moments = await measureMoments(data, split.train, work.signal);
  const sinks = await sinksOf(directory, data, moments);
  work.onProgress?.('evaluating probes', 0, '');
  const evaluation = await evaluateProbes(data, split, probes, { seed: settings.seed, threads: work.threads, signal: work.signal });
  const shown = shownPlaces(store);
  const layers = layerResults(evaluation, data, sinks, shown);
  const bestLayer = chooseLayer(layers);
  const layer = data.layers[bestLayer] as number;
  const placed = await placedLinearValues(data, split, layer, shown, { seed: settings.seed, threads: work.threads, signal: work.signal });
  const ranked = await rankNeurons(
    { data, split, moments, probes, sinks, bestLayer },
    { ...rank, refit: rank.refit ? trainOptions(settings, work) : undefined, seed: settings.seed, threads: work.threads, signal: work.signal, onProgress: (done, total) => work.onProgress?.('ranking neurons', done / total, `layer ${done} of ${total}`) },
  );
  const main = probes.find((entry) => entry.name === MAIN_PROBE && entry.layer === layer) as TrainedProbe;
  const correct = split.test.reduce((sum, i) => sum + (data.rewards[i] as number), 0);
  return {
    check: [...new Set(store.trajectories.map((entry) => entry.check))].join(', '),
    rollout: rolloutResult(store, await readRolloutFile(directory)),
    split: {
      seed: settings.seed,
      train: split.train.length,
      validation: split.validation.length,
      test: split.test.length,
      testProblems: new Set(split.test.map((i) => data.problems[i])).size,
      testAccuracy: proportion(correct, split.test.length),
    },
    probe: { ...settings, trajectoriesSha256 },
    layers,
    bestLayer,
    baselines: baselineResults(evaluation, store, data, split, layer, placed),
    calibration: calibrationResults(evaluation, layer, shown),
    ...ranked,
    examples: await exampleTrajectories(store, data, split, main, { count: rank.examples, gamma: settings.gamma, threads: work.threads }),
  };
}

/** Massive coordinates per layer: measured over whole prompts where the rollout did that, else over the stored states. */
export async function sinksOf(directory: string, data: TrajectoryData, moments: readonly LayerMoments[]): Promise<Sink[][]> {
  const reader = await SafetensorsReader.open(join(directory, ANALYSIS_FILES.stream)).catch(() => undefined);
  if (reader === undefined) {
    return moments.map(({ rms }) => findSinks(rms));
  }
  await using stream = reader;
  const out: Sink[][] = [];
  for (const layer of data.layers) {
    const rms = await stream.read(`${data.site}.${layer}.rms`);
    const max = await stream.read(`${data.site}.${layer}.max`);
    out.push(findSinks(rms.data, { maxAbs: max.data }));
  }
  return out;
}
