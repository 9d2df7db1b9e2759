/** Which arms a sweep runs, and what is to be known of their sets. */
import type { AblationKind, Arm, ArmPositions } from '../ablate/arms.js';
import { BASE_ARM, makeArm, percent } from '../ablate/arms.js';
import type { Site } from '../model/sites.js';
import { resolveLayers } from '../model/sites.js';
import { RewardLensError } from '../native/errors.js';
import type { ArmGroup, ArmSet } from '../rank/armSets.js';
import { DRAWN_GROUPS, SCORED_GROUPS, armSets, meanOverlap } from '../rank/armSets.js';
import type { RankingMethod } from '../rank/scores.js';
import type { FolderScores, LayerScores } from './armScores.js';
import { readScores } from './armScores.js';
import type { WorkOptions } from './options.js';

/** Which arms to run. */
export interface ArmGrid {
  /** `all`: all of the folder (without one: of the model); with lists per layer theirs. */
  readonly layers: readonly number[] | 'all';
  /** Shares of a layer's neurons, rounded to a number of neurons, at least one. Not used with `list`. */
  readonly shares: readonly number[];
  readonly kinds: readonly AblationKind[];
  readonly positions: readonly ArmPositions[];
  readonly groups: readonly ArmGroup[];
  /** Neurons of the group `list`: the same in every layer, or layer by layer. Controls are then compared with them. */
  readonly list?: readonly number[] | Readonly<Record<number, readonly number[]>> | undefined;
  /** Draws of every control. */
  readonly draws: number;
  readonly method: RankingMethod;
  readonly excludeSinks: boolean;
  readonly seed: number;
}

/** The model as far as planning needs it. */
export interface ArmModel {
  /** Parts of the model file: `wanda` reads weights from them. */
  readonly files: readonly string[];
  readonly layerCount: number;
  readonly dModel: number;
}

/** The arms of a sweep. */
export interface ArmPlan {
  /** The base first; names are unique. */
  readonly arms: readonly Arm[];
  /** The grid with its layers as numbers. */
  readonly grid: ArmGrid & { readonly layers: readonly number[] };
  /** Sentences that qualify the sets: fewer draws than asked for, overlaps, bad matches, shares left out. */
  readonly notes: readonly string[];
  /** Mean tokens of a completion in the folder's trajectories; undefined without a folder. */
  readonly meanTokens: number | undefined;
}

/** More arms than anybody reads; a typing error in a grid multiplies quickly. */
const MOST_ARMS = 10_000;

/**
 * Builds the arms of a grid from a folder with probes (`rewardlens probe`). Without a folder: groups `list` and `random`, kind `zero`,
 * site residPost. Errors: INVALID_ARGUMENT, SHAPE_MISMATCH for a folder of another model, those of {@link readScores}. Cost: that of {@link readScores}.
 */
export async function planArms(directory: string | undefined, grid: ArmGrid, model: ArmModel, work: WorkOptions): Promise<ArmPlan> {
  checkGrid(directory, grid);
  const listed = listedLayers(grid);
  const wanted = grid.layers === 'all' ? listed : [...new Set(resolveLayers(grid.layers, model.layerCount, 'layers'))];
  const scores =
    directory === undefined
      ? bareScores(wanted ?? Array.from({ length: model.layerCount }, (_, i) => i), model)
      : await readScores(directory, { ...grid, layers: wanted, resample: grid.kinds.includes('resample'), model }, work);
  checkWidth(scores, model);
  const notes = new Notes();
  const arms: Arm[] = [BASE_ARM];
  for (const layer of scores.layers) {
    for (const cell of cellsOf(layer, grid, notes)) {
      for (const kind of grid.kinds) {
        for (const positions of grid.positions) {
          const facts = { site: scores.site as Site, layer: layer.layer, share: cell.share, kind, positions };
          cell.sets.forEach(({ role, group, draw, neurons }) => arms.push(makeArm({ ...facts, role, group, draw, neurons }, layer.values)));
          checkNumber(arms.length, grid);
        }
      }
    }
  }
  checkNames(arms);
  return { arms, grid: { ...grid, layers: scores.layers.map(({ layer }) => layer) }, notes: notes.sentences(), meanTokens: scores.meanTokens };
}

/** A folder of another model, whose neurons would be some others here. The MLP's width is not known; its arms are checked when they run. */
function checkWidth({ site, layers }: FolderScores, { files, dModel }: ArmModel): void {
  const width = layers[0]?.statistics.width;
  if (site !== 'mlpPost' && width !== undefined && width !== dModel) {
    throw new RewardLensError('SHAPE_MISMATCH', `'${files[0] ?? ''}': its stream is ${dModel} wide, that of the folder ${width}: it is of another model`, { details: { width, dModel } });
  }
}

function checkGrid(directory: string | undefined, { groups, kinds, list }: ArmGrid): void {
  const wrong = (parameter: string, message: string): RewardLensError => new RewardLensError('INVALID_ARGUMENT', `${parameter}: ${message}`, { details: { parameter, groups } });
  if (groups.includes('list') !== (list !== undefined)) {
    throw wrong('list', list === undefined ? 'group list needs neurons' : 'neurons are given, but list is not among the groups');
  }
  if (list !== undefined && (groups.includes('top') || groups.includes('bottom'))) {
    throw wrong('groups', 'controls are matched to one set: run a list and the top of a ranking in sweeps of their own');
  }
  if (directory === undefined) {
    const needs = [...groups.filter((group) => group !== 'list' && group !== 'random'), ...kinds.filter((kind) => kind !== 'zero')];
    if (needs.length > 0) {
      throw wrong('directory', `${needs.join(', ')} need the folder of a rollout with probes (without one: arms list and random, kind zero)`);
    }
    if (list === undefined) {
      throw wrong('list', 'without the folder of a rollout with probes the neurons must be given');
    }
  }
}

const isFlat = (list: NonNullable<ArmGrid['list']>): list is readonly number[] => Array.isArray(list);

/** Layers of lists given layer by layer. */
export function listedLayers({ list }: Pick<ArmGrid, 'list'>): number[] | undefined {
  return list === undefined || isFlat(list) ? undefined : Object.keys(list).map(Number);
}

/** The neurons given for a layer. */
function listOf(list: NonNullable<ArmGrid['list']>, layer: number, width: number): readonly number[] {
  const neurons = isFlat(list) ? list : list[layer];
  if (neurons === undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `list: expected neurons of layer ${layer}, got those of ${Object.keys(list).join(', ')}`, { details: { layer } });
  }
  const wrong = neurons.find((neuron, i) => !Number.isInteger(neuron) || neuron < 0 || neuron >= width || neurons.indexOf(neuron) !== i);
  if (wrong !== undefined || neurons.length === 0) {
    throw new RewardLensError('INVALID_ARGUMENT', `list: layer ${layer}: expected different neurons in 0..${width - 1}, at least one, got ${wrong ?? 'none'}`, { details: { layer } });
  }
  return neurons;
}

function bareScores(layers: readonly number[], { dModel }: ArmModel): FolderScores {
  return { site: 'residPost', meanTokens: undefined, layers: layers.map((layer) => ({ layer, statistics: { width: dModel }, values: {} })) };
}

interface Cell {
  readonly share: number;
  readonly sets: readonly ArmSet[];
}

/** The sets of every share of a layer, or of its list. */
function cellsOf({ layer, statistics }: LayerScores, grid: ArmGrid, notes: Notes): Cell[] {
  const { width, sinks = [] } = statistics;
  const seen = new Map<number, number>();
  const targets = grid.list === undefined ? grid.shares.map((share) => ({ share, target: Math.max(1, Math.round(share * width)) })) : [{ share: NaN, target: listOf(grid.list, layer, width) }];
  return targets.flatMap(({ share, target }): Cell[] => {
    const count = typeof target === 'number' ? target : target.length;
    const before = seen.get(count);
    if (before !== undefined) {
      notes.add(`Left out, as ${percent(before)} is the same number of neurons: ${percent(share)}`, '');
      return [];
    }
    seen.set(count, share);
    const own = Number.isNaN(share) ? count / width : share;
    const sets = armSets(statistics, { groups: grid.groups, target, draws: grid.draws, seed: grid.seed + 1000 * layer + count, exclude: grid.excludeSinks ? sinks : [] });
    notes.addSets(sets, grid, `L${layer} ${percent(own)}`);
    return [{ share: own, sets }];
  });
}

function checkNumber(count: number, { layers, shares, kinds, positions, groups, draws }: ArmGrid): void {
  if (count > MOST_ARMS) {
    throw new RewardLensError(
      'INVALID_ARGUMENT',
      `grid: more than ${MOST_ARMS} arms: layers ${layers === 'all' ? 'all' : layers.length} × shares ${shares.length} × kinds ${kinds.length} × positions ${positions.length} × groups ${groups.length} with ${draws} draws of each control`,
      { details: { most: MOST_ARMS } },
    );
  }
}

/** Names are keys of the ledger's records and of the result. */
function checkNames(arms: readonly Arm[]): void {
  const names = new Set<string>();
  for (const { name } of arms) {
    if (names.has(name)) {
      throw new RewardLensError('INVALID_ARGUMENT', `shares: two arms are named '${name}'; shares must differ in their first three digits`, { details: { name } });
    }
    names.add(name);
  }
}

/** Draws that have more than this in common say less than their number suggests. */
const MUCH_OVERLAP = 0.5;
/** Partners of a matched set that differ by more than this ratio. */
const BAD_MATCH = 1.5;
/** Cells that a sentence names. */
const NAMED = 6;

/** Sentences about sets, each with the cells it holds for. */
class Notes {
  readonly #cells = new Map<string, string[]>();

  add(sentence: string, cell: string): void {
    const cells = this.#cells.get(sentence) ?? [];
    this.#cells.set(sentence, cells);
    if (cell !== '') {
      cells.push(cell);
    }
  }

  addSets(sets: readonly ArmSet[], { draws, groups }: ArmGrid, cell: string): void {
    for (const group of DRAWN_GROUPS.filter((name) => groups.includes(name))) {
      const own = sets.filter((set) => set.group === group);
      const overlap = meanOverlap(own.map(({ neurons }) => neurons));
      const [shared, ratio] = [Math.max(0, ...own.map(({ match }) => match?.shared ?? 0)), Math.max(1, ...own.map(({ match }) => match?.worstRatio ?? 1))];
      if (own.length < draws) {
        this.add(`${group}: no more different draws than`, `${own.length} (${cell})`);
      }
      if (overlap > MUCH_OVERLAP) {
        this.add(`${group}: draws have much in common, of their neurons on average`, `${percent(overlap)} (${cell})`);
      }
      if (shared > 0) {
        this.add(`${group}: too few other neurons; shared with the set that they are compared with`, `${shared} (${cell})`);
      }
      if (ratio > BAD_MATCH) {
        this.add(`${group}: too few neurons alike; partners differ by a factor of up to`, `${ratio.toPrecision(2)} (${cell})`);
      }
    }
    const target = sets.find(({ group }) => group === 'top' || group === 'list');
    for (const { group, neurons } of sets.filter((set) => (SCORED_GROUPS as readonly string[]).includes(set.group))) {
      const common = neurons.filter((neuron) => target?.neurons.includes(neuron)).length;
      if (common > 0) {
        this.add(`${group}: neurons that are also in ${target?.group ?? ''}`, `${common} of ${neurons.length} (${cell})`);
      }
    }
  }

  sentences(): string[] {
    return [...this.#cells].map(([sentence, cells]) => (cells.length === 0 ? `${sentence}.` : `${sentence} ${cells.slice(0, NAMED).join(', ')}${cells.length > NAMED ? `, and ${cells.length - NAMED} more` : ''}.`));
  }
}
