/** What a comparison of folders needs of each: its best neurons, their magnitudes, its probes. */
import { existsSync, realpathSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { RewardLensError } from '../native/errors.js';
import { measureMoments } from '../probe/data.js';
import type { LayerMoments } from '../probe/data.js';
import type { Place } from '../probe/places.js';
import type { TrainedProbe } from '../probe/train.js';
import type { RankingMethod } from '../rank/scores.js';
import { topNeurons } from '../rank/sets.js';
import { parseEarlierStudy } from '../report/parse.js';
import type { TransferFolder } from '../report/transferSchema.js';
import { auc } from '../stats/auc.js';
import { parseJson } from '../util/json.js';
import { ANALYSIS_FILES, sinksOf } from './analyse.js';
import type { WorkOptions } from './options.js';
import { predictPlaces } from './predict.js';
import type { ProbedFolder } from './probedFolder.js';
import { mainProbe, openProbed } from './probedFolder.js';
import { weightMethods } from './rank.js';
import { shownPlaces } from './evaluate.js';
import { STUDY_FILES } from './studyFiles.js';

/** What decides the sets. */
export interface TransferSettings {
  /** Shares of the neurons. */
  readonly shares: readonly number[];
  readonly method: RankingMethod;
  readonly excludeSinks: boolean;
  /** Place of the matrices and of the choice of layers. */
  readonly place: Place;
}

/** One folder, with its store open. */
export interface TransferSource {
  readonly folder: ProbedFolder;
  readonly facts: Omit<TransferFolder, 'name'>;
  /** By layer of the data. */
  readonly moments: readonly LayerMoments[];
  readonly excluded: readonly (readonly number[])[];
  readonly probes: readonly TrainedProbe[];
  /** The best neurons of a layer of the data, best first. */
  top(layer: number, count: number): number[];
}

/** Folders of rollouts: a study's folder stands for those of its data sets. Errors: those of reading `study.json`. */
export async function expandStudies(directories: readonly string[]): Promise<string[]> {
  const out: string[] = [];
  for (const directory of directories) {
    const path = join(directory, STUDY_FILES.study);
    if (existsSync(join(directory, ANALYSIS_FILES.probe)) || !existsSync(path)) {
      out.push(directory);
      continue;
    }
    const study = parseEarlierStudy(parseJson(await readFile(path, 'utf8'), path), path);
    out.push(...study.datasets.map(({ name }) => join(directory, name)));
  }
  return out;
}

/** Opens a folder and reads what comparisons need. Cost: reads its training states and its validation states once. Errors: as `openProbed`; INVALID_ARGUMENT for a ranking that its probes do not give. */
export async function openSource(directory: string, settings: TransferSettings, work: WorkOptions): Promise<TransferSource> {
  const folder = await openProbed(directory);
  try {
    const { data, split, store, rollout, probes } = folder;
    if (!shownPlaces(store).includes(settings.place)) {
      throw new RewardLensError('INVALID_ARGUMENT', `'${directory}' holds states at s_0 alone, none at the place '${settings.place}'`, { details: { directory, place: settings.place } });
    }
    const moments = await measureMoments(data, split.train, work.signal);
    const sinks = settings.excludeSinks ? await sinksOf(directory, data, moments) : data.layers.map(() => []);
    const excluded = sinks.map((list) => list.map(({ neuron }) => neuron));
    const main = data.layers.map((layer) => mainProbe(folder, layer));
    const rewards = Float32Array.from(split.validation, (i) => data.rewards[i] as number);
    const validated = (await predictPlaces(data, main, split.validation, work)).map(({ places }) => auc(places[settings.place], rewards));
    const best = validated.reduce((a, value, i) => (value > (validated[a] ?? -1) ? i : a), 0);
    const rankings = data.layers.map((layer) => weightMethods(probes, layer).get(settings.method));
    const about = rollout?.about as { dataset?: { name?: string }; manifest?: { model?: { path?: string; quantization?: string } } } | undefined;
    return {
      folder: { ...folder, probes: main }, // the others take as much memory again, each
      moments,
      excluded,
      probes: main,
      facts: {
        directory,
        dataset: about?.dataset?.name ?? basename(directory),
        model: basename(about?.manifest?.model?.path ?? 'unknown').replace(/\.gguf$/, ''),
        modelSha256: typeof rollout?.inputs.model === 'string' ? rollout.inputs.model : '',
        quantization: about?.manifest?.model?.quantization ?? 'unknown',
        seed: typeof rollout?.inputs.seed === 'number' ? rollout.inputs.seed : null,
        site: data.site,
        layers: [...data.layers],
        width: data.width,
        trajectories: data.rewards.length,
        heldOut: split.test.length,
        bestLayer: data.layers[best] as number,
        trajectoriesSha256: folder.trajectoriesSha256,
      },
      top: (layer, count) => {
        const l = data.layers.indexOf(layer);
        const scores = rankings[l];
        if (scores === undefined) {
          throw new RewardLensError('INVALID_ARGUMENT', `layer ${layer}: no ${settings.method} scores in '${directory}'`, { details: { layer, method: settings.method } });
        }
        return topNeurons(scores, count, excluded[l] ?? []);
      },
    };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

/** Short unique names: what tells the folders apart (data set, model, quantization, seed), else their paths. */
export function shortNames(facts: readonly Omit<TransferFolder, 'name'>[]): string[] {
  const parts = [
    facts.map(({ dataset }) => dataset),
    facts.map(({ model }) => model),
    facts.map(({ quantization }) => quantization),
    facts.map(({ seed }) => `seed ${seed ?? '?'}`),
  ].filter((values) => new Set(values).size > 1);
  const names = facts.map((_, i) => parts.map((values) => values[i]).join(' '));
  return names.map((name, i) => (name === '' || names.indexOf(name) !== names.lastIndexOf(name) ? (facts[i]?.directory ?? '') : name));
}

/** Why two folders cannot be compared; undefined when they can. */
export function whyNot(a: Omit<TransferFolder, 'name'>, b: Omit<TransferFolder, 'name'>): string | undefined {
  if (a.site !== b.site) {
    return `sites differ: ${a.site} and ${b.site}`;
  }
  if (a.width !== b.width) {
    return `widths differ: ${a.width} and ${b.width}`;
  }
  return sharedLayers(a, b).length === 0 ? 'no layer in common' : undefined;
}

/** Layers that both have. */
export function sharedLayers(a: Pick<TransferFolder, 'layers'>, b: Pick<TransferFolder, 'layers'>): number[] {
  return a.layers.filter((layer) => b.layers.includes(layer));
}

/** Refuses a folder given twice, by whichever of its names. */
export function requireDistinct(directories: readonly string[]): void {
  const paths = directories.map((directory) => (existsSync(directory) ? realpathSync(directory) : resolve(directory)));
  const twice = paths.find((path, i) => paths.indexOf(path) !== i);
  if (twice !== undefined || paths.length < 2) {
    throw new RewardLensError('INVALID_ARGUMENT', twice === undefined ? `at least two folders are needed, got ${paths.length}` : `'${twice}' was given twice`);
  }
}
