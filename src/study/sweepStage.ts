/** The ablation sweep of a study: value neurons taken away on held-out problems, for every data set that it was asked for. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NEUTRAL_TEXT } from '../ablate/neutralText.js';
import type { Problem } from '../dataset/types.js';
import type { Model } from '../model/model.js';
import type { SessionOptions } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import { parseAblation } from '../report/parse.js';
import type { Ablation } from '../report/ablationSchema.js';
import type { DatasetResult, Study } from '../report/schema.js';
import { drawsForRank } from '../stats/power.js';
import { parseJson } from '../util/json.js';
import { packageVersion } from '../util/version.js';
import { ABLATION_FILE, runAblation, saveAblation } from './ablation.js';
import { ANALYSIS_FILES } from './analyse.js';
import type { ProbeStage, RankStage } from './analyse.js';
import type { ArmGrid } from './armPlan.js';
import { planArms } from './armPlan.js';
import type { WorkOptions } from './options.js';
import { openProbed } from './probedFolder.js';
import type { DatasetSource, Prepared, RolloutSettings } from './sample.js';
import { openSession, prepareDataset } from './sample.js';
import type { Dataset } from '../dataset/types.js';
import { fileHash, hashOf, readStageResult, runStage } from './stage.js';
import type { Staged } from './stage.js';

/** Raised when the meaning of the stage's result changes. */
const SWEEP_VERSION = 1;

/** What of a sweep can be chosen in a study; `rewardlens ablate` can do all. */
export interface SweepChoice {
  /** `spread`: the best layer, and one before and one behind it; `best`: that alone. */
  readonly layers: readonly number[] | 'spread' | 'best';
  readonly shares: readonly number[];
  /** Draws of every control; undefined: as many as a verdict needs after correction for all value sets. */
  readonly draws: number | undefined;
  /** Most held-out problems, from the first on. */
  readonly items: number;
  /** Short names of the data sets to sweep; undefined: all. */
  readonly datasets: readonly string[] | undefined;
}

/** Defaults of {@link SweepChoice}: 40 arms of 100 items. Every further set needs 20 more draws, of all sets: the cost grows with its square. */
export const SWEEP_DEFAULTS: SweepChoice = { layers: 'best', shares: [0.01], draws: undefined, items: 100, datasets: undefined };

/** What the stage says of itself. */
interface SweepStage {
  readonly sweepSha256: string;
  /** Of the probes that the neurons come from. */
  readonly probesSha256: string;
  /** What was left out, and what qualifies the sets: sentences. */
  readonly notes: readonly string[];
}

/** One data set of a study with its probes and ranking. */
export interface SweptWork {
  readonly source: DatasetSource;
  readonly dataset: Dataset;
  readonly directory: string;
  readonly probe: ProbeStage;
  readonly rank: Pick<RankStage, 'layers' | 'bestLayer'>;
}

/** What sweeps of a study share. */
export interface SweepContext {
  readonly choice: SweepChoice;
  readonly rollout: RolloutSettings;
  readonly session: SessionOptions;
  /** Of the rollout. */
  readonly manifest: Study['manifest'];
  /** Opens the model when it is first needed. */
  readonly model: () => Promise<Model>;
}

/** The layers to sweep, ascending. */
export function sweptLayers(layers: readonly number[], best: number, choice: SweepChoice['layers']): number[] {
  if (choice !== 'spread' && choice !== 'best') {
    return [...choice];
  }
  const at = (share: number): number => layers[Math.floor(share * layers.length)] as number;
  const wanted = choice === 'best' ? [best] : [at(1 / 6), best, at(5 / 6)];
  return [...new Set(wanted)].sort((a, b) => a - b);
}

function gridOf({ choice, rollout }: SweepContext, { probe, rank }: SweptWork): ArmGrid & { layers: readonly number[] } {
  const all = rank.layers.map(({ layer }) => layer);
  const layers = sweptLayers(all, all[rank.bestLayer] as number, choice.layers);
  return {
    layers,
    shares: choice.shares,
    kinds: ['zero'],
    positions: ['all'],
    groups: ['top', 'random', 'matched'],
    draws: choice.draws ?? drawsForRank(layers.length * choice.shares.length),
    method: probe.settings.inputs === 'raw' ? 'l1-raw' : 'l1-zscore',
    excludeSinks: false,
    seed: rollout.seed,
  };
}

/** Problems that the folder's probes never saw, in the order given. */
async function heldOutProblems(directory: string, problems: readonly Problem[]): Promise<Problem[]> {
  await using folder = await openProbed(directory);
  const { store, data, split } = folder;
  const test = new Set(split.test.map((i) => store.trajectories[data.entries[i] as number]?.problem));
  return problems.filter(({ id }) => test.has(id));
}

/** The data set with the problems that the folder's probes never saw: the others chose the neurons. Errors: INVALID_ARGUMENT when there is none; those of {@link openProbed}. */
export async function heldOutPart(directory: string, prepared: Prepared, most = Infinity): Promise<{ part: Prepared; heldOut: number }> {
  const problems = await heldOutProblems(directory, prepared.problems);
  if (problems.length === 0) {
    throw new RewardLensError('INVALID_ARGUMENT', `none of the ${prepared.problems.length} problems of '${prepared.dataset.name}' is held out in '${directory}': nothing to test on`, { details: { directory } });
  }
  const some = problems.slice(0, most);
  return { part: { ...prepared, problems: some, promptLengths: Int32Array.from(some, (problem) => prepared.prompt(problem).tokens.length) }, heldOut: problems.length };
}

/** Says how many problems chose the neurons, if any: a sentence for a sweep of all of them. Errors: those of {@link openProbed}. */
export async function seenNotes(directory: string, problems: readonly Problem[]): Promise<string[]> {
  await using folder = await openProbed(directory);
  const { store, data, split } = folder;
  const trained = new Set([...split.train, ...split.validation].map((i) => store.trajectories[data.entries[i] as number]?.problem));
  const seen = problems.filter(({ id }) => trained.has(id)).length;
  return seen === 0 ? [] : [`Problems: ${seen} of ${problems.length} have the ids of problems that the probes were trained on, and so chose the neurons; with --held-out the others alone are used.`];
}

function itemsNote(used: number, heldOut: number): string {
  const few = used < 50 ? ' Few: only large changes can be seen.' : '';
  return used < heldOut ? `Items: the first ${used} of ${heldOut} held-out problems.${few}` : `Items: all ${heldOut} held-out problems.${few}`;
}

function layersNote(swept: readonly number[], all: readonly number[]): string[] {
  const left = all.filter((layer) => !swept.includes(layer));
  return left.length === 0 ? [] : [`Layers not swept: ${left.join(', ')}.`];
}

/**
 * Runs the sweep of one data set unless that was done with equal inputs; its ledger and results are in the folder's `ablation/`. Sampling
 * is that of the rollout with the seed of each problem's first sample, so that the base answers as the rollout did. Errors: those of
 * planning and running.
 */
export async function sweepStage(work: SweptWork, context: SweepContext, options: WorkOptions): Promise<Staged<SweepStage> & { arms: number; items: number }> {
  const { directory, dataset, source, probe } = work;
  const { choice, rollout, session, manifest } = context;
  const grid = gridOf(context, work);
  const folder = join(directory, ANALYSIS_FILES.sweepFolder);
  const path = join(folder, ABLATION_FILE);
  const { sha256 } = manifest.model as { sha256: string };
  const inputs = {
    stage: 'ablate',
    version: SWEEP_VERSION,
    rewardlens: packageVersion(),
    model: [sha256, manifest.llamaCpp, manifest.devices],
    probe: hashOf(probe),
    grid,
    items: choice.items,
    problems: dataset.sha256,
    source: { ...source, spec: '' },
    sampling: [rollout.sampling, rollout.stop, rollout.maxTokens, rollout.seed],
  };
  const intact = async (before: SweepStage): Promise<boolean> => (await fileHash(path)) === before.sweepSha256;
  const staged = await runStage(join(directory, ANALYSIS_FILES.sweep), inputs, async (): Promise<SweepStage> => {
    const model = await context.model();
    const { part: prepared, heldOut } = await heldOutPart(directory, await prepareDataset(model, dataset, source), choice.items);
    const plan = await planArms(directory, grid, { files: model.files, ...model.info }, options);
    await using own = openSession(model, [prepared], { ...rollout, samples: plan.arms.length }, session);
    const ran = await runAblation(own, prepared, plan.arms, rollout, {
      directory: folder,
      neutral: NEUTRAL_TEXT,
      signal: options.signal,
      onProgress: ({ finished, total }) => options.onProgress?.(`ablating ${dataset.name}`, finished / total, `${finished}/${total} sequences`),
    });
    await saveAblation(folder, [ran], { prepared, grid: plan.grid, settings: rollout });
    const notes = [itemsNote(prepared.problems.length, heldOut), ...layersNote(plan.grid.layers, work.rank.layers.map(({ layer }) => layer)), ...plan.notes];
    return { sweepSha256: await fileHash(path), probesSha256: probe.probesSha256, notes };
  }, intact);
  const { items, models } = await readAblation(path);
  return { ...staged, arms: models.reduce((sum, { arms }) => sum + arms.length + 1, 0), items };
}

async function readAblation(path: string): Promise<Ablation> {
  return parseAblation(parseJson(await readFile(path, 'utf8'), path), path);
}

/** Outcome of a folder's sweep for its study; none when it was of other probes than the folder holds now. Errors: IO, those of the schema. */
export async function sweepResult(directory: string): Promise<Pick<DatasetResult, 'ablation' | 'ablationNotes'>> {
  const stage = await readStageResult<SweepStage>(join(directory, ANALYSIS_FILES.sweep));
  const probe = await readStageResult<ProbeStage>(join(directory, ANALYSIS_FILES.probe));
  if (stage === undefined || stage.probesSha256 !== probe?.probesSha256) {
    return { ablation: null, ablationNotes: ['The sweep in the folder is of other probes; run `rewardlens study` again.'] };
  }
  return { ablation: await readAblation(join(directory, ANALYSIS_FILES.sweepFolder, ABLATION_FILE)), ablationNotes: [...stage.notes] };
}
