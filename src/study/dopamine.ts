/** Dopamine neurons of a rollout folder with values: probe, ranking, averages around events, surprise groups, in one file. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { TrainedProbe } from '../probe/train.js';
import { order, weightScores } from '../rank/scores.js';
import { holdFolder } from '../rollout/lock.js';
import type { Zscore } from '../rpe/features.js';
import { ZSCORES } from '../rpe/features.js';
import { ActivationStore } from '../store/reader.js';
import { packageVersion } from '../util/version.js';
import { ANALYSIS_FILES } from './analyse.js';
import type { DopamineData, DopamineItem, ErrorSource } from './dopamineData.js';
import { dopamineData, itemsOf } from './dopamineData.js';
import { saveDopamine } from './dopamineFolder.js';
import type { Dopamine } from '../report/dopamineSchema.js';
import { DOPAMINE_FORMAT, DOPAMINE_VERSION, ERROR_SOURCES } from '../report/dopamineSchema.js';
import type { DopamineTraining } from './dopamineProbe.js';
import { baselineScores, fitDopamine, largeItems, requireSteps } from './dopamineProbe.js';
import { dopamineSelfTest } from './dopaminePlanted.js';
import { dopamineEvents, dopamineExamples } from './dopamineTraces.js';
import { dopaminePruning, dopamineScores, dopamineSurprise, dopamineTable, rankingOverlaps } from './dopamineRank.js';
import { mainProbe, openProbed } from './probedFolder.js';
import { among, between, checkSettings, whole } from './settingsCheck.js';
import type { WorkOptions } from './options.js';
import type { Values } from '../report/valuesSchema.js';

/** What to analyse and how. */
export interface DopamineSettings {
  readonly site: string;
  /** δ from continuations or from the value probe. */
  readonly error: ErrorSource;
  readonly zscore: Zscore;
  /** Steps with |δ| above this are learned from and make events. */
  readonly threshold: number;
  readonly hidden: number;
  /** Offsets around an event. */
  readonly radius: number;
  /** Best neurons whose averages around events are shown. */
  readonly neurons: number;
  /** Trajectories whose trace is shown. */
  readonly examples: number;
  readonly permutations: number;
  /** Draws of every control set. */
  readonly draws: number;
  readonly seed: number;
}

/** The paper's network and threshold, with z-scores that do not look ahead. */
export const DOPAMINE_DEFAULTS: DopamineSettings = {
  site: 'residPost',
  error: 'mc',
  zscore: 'running',
  threshold: 0.3,
  hidden: 32,
  radius: 20,
  neurons: 8,
  examples: 6,
  permutations: 1000,
  draws: 20,
  seed: 1,
};

const settingsSchema = z.object({
  error: among(ERROR_SOURCES),
  zscore: among(ZSCORES),
  threshold: between(0, 1),
  hidden: whole(1),
  radius: whole(0),
  neurons: whole(0),
  examples: whole(0),
  permutations: whole(1),
  draws: whole(1),
  seed: whole(0),
});

/** Share of the neurons in the sets whose overlap is given. */
const OVERLAP_SHARE = 0.05;

/**
 * Analyses a folder that `rewardlens values` has been through and writes dopamine.json and dopamine.safetensors. Errors: IO without values or activations; INVALID_ARGUMENT for too few steps with large
 * errors, or values of other trajectories; BUSY when the folder is being written; those of reading and training; ABORTED.
 */
export async function runDopamine(directory: string, settings: DopamineSettings, work: WorkOptions): Promise<Dopamine> {
  const started = performance.now();
  checkSettings(settingsSchema, settings);
  await using store = await ActivationStore.open(directory);
  const { data, summary } = await dopamineData(store, settings.site, settings.error);
  const items = itemsOf(data);
  requireSteps(items, settings.threshold);
  await using _lock = await holdFolder(directory);
  work.onProgress?.('checking on planted trajectories', 0, '');
  const selfTest = await dopamineSelfTest({ threads: work.threads, signal: work.signal });
  const training: DopamineTraining = {
    ...settings,
    mode: settings.zscore,
    threads: work.threads,
    signal: work.signal,
    onProgress: (share, note) => work.onProgress?.('training dopamine probes', share, note),
  };
  const analysed = await analyse(data, items, settings, training, work);
  const result: Omit<Dopamine, 'probesSha256'> = {
    format: DOPAMINE_FORMAT,
    version: DOPAMINE_VERSION,
    rewardlens: packageVersion(),
    trajectoriesSha256: summary.trajectoriesSha256,
    valuesSha256: summary.linesSha256,
    values: summary.settings,
    settings: { ...settings },
    selfTest,
    steps: stepCounts(items, settings, summary),
    ...analysed.result,
    overlaps: rankingOverlaps({ ...analysed.rankings, ...(await valueRanking(directory, settings.site, analysed.result.bestLayer)) }, data.width, Math.max(1, Math.round(OVERLAP_SHARE * data.width))),
    seconds: (performance.now() - started) / 1000,
  };
  return await saveDopamine(directory, result, analysed.probes);
}

function stepCounts(items: readonly DopamineItem[], { threshold, error }: DopamineSettings, summary: Values): Dopamine['steps'] {
  const count = (of: readonly DopamineItem[]): Dopamine['steps']['all'] => {
    const parts = { train: 0, validation: 0, test: 0 };
    of.forEach(({ part }) => parts[part]++);
    return parts;
  };
  return {
    all: count(items),
    large: count(largeItems(items, threshold).map((i) => items[i] as DopamineItem)),
    testProblems: new Set(items.filter(({ part }) => part === 'test').map(({ group }) => group)).size,
    noise: error === 'mc' ? summary.tdErrors.noise : null,
  };
}

type Analysed = Pick<Dopamine, 'layers' | 'bestLayer' | 'baselines' | 'ranking' | 'pruning' | 'events' | 'examples' | 'surprise'>;

async function analyse(
  data: DopamineData,
  items: readonly DopamineItem[],
  settings: DopamineSettings,
  training: DopamineTraining,
  work: WorkOptions,
): Promise<{ result: Analysed; rankings: Record<string, readonly number[]>; probes: TrainedProbe[] }> {
  const { layers, best } = await fitDopamine(data, items, training);
  work.onProgress?.('ranking neurons', 0, '');
  const scores = dopamineScores(best, items, settings.threshold);
  const main = scores.get('l1-zscore') as Float64Array;
  const ranking = [...order(main)];
  const pruning = await dopaminePruning(best, items, main, { ...training, draws: settings.draws });
  work.onProgress?.('averaging around events', 0.4, '');
  const events = await dopamineEvents(data, best, items, ranking.slice(0, settings.neurons), { ...training, radius: settings.radius });
  work.onProgress?.('comparing surprise groups', 0.7, '');
  const { surprise, ranking: bySurprise } = await dopamineSurprise(data, best.index, { source: settings.error, permutations: settings.permutations, seed: settings.seed, signal: work.signal });
  return {
    result: {
      layers,
      bestLayer: data.layers[best.index] as number,
      baselines: baselineScores(data, items, settings),
      ranking: dopamineTable(best, items, scores, settings),
      pruning,
      events,
      examples: await dopamineExamples(data, best, items, ranking[0] as number, { mode: settings.zscore, count: settings.examples }),
      surprise,
    },
    probes: [best.main, best.linear],
    rankings: { 'dopamine (errors of steps)': ranking, 'dopamine (surprise groups)': bySurprise },
  };
}

/** Value neurons of the same layer by the weights of its value probe, where there is one. */
async function valueRanking(directory: string, site: string, layer: number): Promise<Record<string, readonly number[]>> {
  if (!(await stat(join(directory, ANALYSIS_FILES.probe)).then(() => true, () => false))) {
    return {};
  }
  await using folder = await openProbed(directory);
  if (folder.settings.site !== site) {
    return {};
  }
  const { mean, hidden, weights } = mainProbe(folder, layer);
  return { 'value neurons': [...order(weightScores({ inputs: mean.length, hidden, w1: weights.w1, w2: weights.w2 }))] };
}
