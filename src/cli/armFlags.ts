/** Flags that say which arms a sweep runs. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { ArmPositions } from '../ablate/arms.js';
import { ABLATION_KINDS } from '../ablate/arms.js';
import { parseLayers } from '../model/sites.js';
import { ARM_GROUPS, DRAWN_GROUPS, SCORED_GROUPS } from '../rank/armSets.js';
import { RANKING_METHODS } from '../rank/scores.js';
import type { ArmGrid } from '../study/armPlan.js';
import { parseJson } from '../util/json.js';
import type { OptionTable } from './argv.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';
import { readNames } from './studyFlags.js';

const ARMS = 'Arms:';
const POSITIONS: readonly ArmPositions[] = ['all', 'prompt', 'completion'];
const SHARES = [0.01, 0.05];
const DRAWS = 19;

/** Options of {@link readArmFlags}. */
export const ARM_OPTIONS: OptionTable = {
  arms: { type: 'string', group: ARMS, describe: `top, bottom, list; controls in draws: ${DRAWN_GROUPS.join(', ')}; by another score: ${SCORED_GROUPS.join(', ')} (docs/metrics.md). Default top,random,matched` },
  neurons: { type: 'string', group: ARMS, describe: 'neurons of the arm list, the same in every layer, such as 3,17,40' },
  'neurons-file': { type: 'string', group: ARMS, describe: 'neurons of the arm list by layer: JSON such as {"2": [3, 17], "3": [40]}' },
  layers: { type: 'string', group: ARMS, describe: 'such as 2-5; default all of the folder, or of --neurons-file' },
  shares: { type: 'string', group: ARMS, describe: `shares of the neurons; default ${SHARES.join(',')}` },
  kinds: { type: 'string', group: ARMS, describe: `${ABLATION_KINDS.join(', ')}; default zero` },
  positions: { type: 'string', group: ARMS, describe: `${POSITIONS.join(', ')}; default all` },
  draws: { type: 'string', group: ARMS, describe: `draws of every control; default ${DRAWS}, with which the rank p-value can reach 0.05` },
  ranking: { type: 'string', group: ARMS, describe: `what top and bottom go by: ${RANKING_METHODS.join(', ')}; default l1-zscore` },
  'exclude-sinks': { type: 'boolean', group: ARMS, describe: 'keep massive-activation coordinates out of all sets' },
};

/** Reads the grid. `folder`: whether there is one with probes, for the default of --arms. Errors: UsageError naming the flag. */
export function readArmFlags(flags: Flags, { folder = true }: { folder?: boolean } = {}): ArmGrid {
  const list = readList(flags);
  const layers = asUsage(() => parseLayers(flags.text('layers') ?? 'all', '--layers'));
  if (list !== undefined && flags.text('shares') !== undefined) {
    throw new UsageError('--shares: the neurons are given, so are their numbers');
  }
  const kinds = readNames(flags, 'kinds', ABLATION_KINDS) ?? ['zero'];
  const groups = readGroups(flags, list !== undefined, folder);
  const needs = [...groups.filter((group) => group !== 'list' && group !== 'random'), ...kinds.filter((kind) => kind !== 'zero')];
  if (!folder && needs.length > 0) {
    throw new UsageError(`dir: expected the folder of a rollout with probes, but it is missing; ${needs.join(', ')} need it (list and random with kind zero do not)`);
  }
  return {
    layers: layers === 'all' ? 'all' : [...layers],
    shares: readShares(flags),
    kinds,
    positions: readNames(flags, 'positions', POSITIONS) ?? ['all'],
    groups,
    ...(list === undefined ? {} : { list }),
    draws: flags.integer('draws', 1, 10000) ?? DRAWS,
    method: flags.choice('ranking', RANKING_METHODS) ?? 'l1-zscore',
    excludeSinks: flags.on('exclude-sinks'),
    seed: flags.integer('seed', 0, 0xfffffffe) ?? 1,
  };
}

function readGroups(flags: Flags, listed: boolean, folder: boolean): ArmGrid['groups'] {
  const groups = readNames(flags, 'arms', ARM_GROUPS);
  if (groups !== undefined && groups.includes('list') !== listed) {
    throw new UsageError(listed ? '--arms: neurons are given, but list is not among the arms' : '--arms: list needs --neurons or --neurons-file');
  }
  if (groups !== undefined && listed && (groups.includes('top') || groups.includes('bottom'))) {
    throw new UsageError('--arms: controls are matched to one set; run a list and the top of a ranking in sweeps of their own');
  }
  return groups ?? (listed ? (folder ? ['list', 'random', 'matched'] : ['list', 'random']) : ['top', 'random', 'matched']);
}

const neuronsSchema = z.array(z.int().min(0)).min(1);
const layersSchema = z.record(z.string().regex(/^\d+$/), neuronsSchema);

/** Neurons given by hand. */
function readList(flags: Flags): ArmGrid['list'] {
  const [text, path] = [flags.text('neurons'), flags.text('neurons-file')];
  if (text !== undefined && path !== undefined) {
    throw new UsageError('--neurons: give either this or --neurons-file');
  }
  if (text !== undefined) {
    const neurons = neuronsSchema.safeParse(text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part))));
    if (!neurons.success) {
      throw new UsageError(`--neurons: expected numbers such as 3,17,40, got ${JSON.stringify(text)}`);
    }
    return neurons.data;
  }
  if (path === undefined) {
    return undefined;
  }
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`--neurons-file: cannot read '${path}': ${(error as Error).message}`);
  }
  const lists = layersSchema.safeParse(asUsage(() => parseJson(content, path)));
  if (!lists.success || Object.keys(lists.data).length === 0) {
    const at = lists.error?.issues[0]?.path.join('.') ?? '';
    throw new UsageError(`--neurons-file: expected an object of layers and lists of neurons such as {"2": [3, 17]}${at === '' ? '' : `, wrong at ${at}`} in '${path}'`);
  }
  return lists.data;
}

/** Shares of neurons that a flag lists. Errors: UsageError naming it. */
export function readShares(flags: Flags, flag = 'shares', fallback: readonly number[] = SHARES): number[] {
  const text = flags.text(flag);
  const shares = text?.split(',').map(Number) ?? fallback;
  const wrong = shares.find((share) => !(share > 0 && share <= 1));
  if (wrong !== undefined) {
    throw new UsageError(`--${flag}: expected numbers above 0 and up to 1, got ${JSON.stringify(text)}`);
  }
  return [...new Set(shares)];
}
