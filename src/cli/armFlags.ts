/** Flags that say which arms a sweep runs. */
import type { ArmPositions } from '../ablate/arms.js';
import { ABLATION_KINDS } from '../ablate/arms.js';
import { parseLayers } from '../model/sites.js';
import { ARM_GROUPS } from '../rank/armSets.js';
import { RANKING_METHODS } from '../rank/scores.js';
import type { ArmGrid } from '../study/armPlan.js';
import type { OptionTable } from './argv.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';
import { readNames } from './studyFlags.js';

const ARMS = 'Arms:';
const POSITIONS: readonly ArmPositions[] = ['all', 'prompt', 'completion'];
const SHARES = [0.01, 0.05];
const DRAWS = 19;

/** The grid as flags give it: which layers a model has is known later. */
export type ArmFlags = ArmGrid;

/** Options of {@link readArmFlags}. */
export const ARM_OPTIONS: OptionTable = {
  arms: { type: 'string', group: ARMS, describe: `${ARM_GROUPS.join(', ')}; default top,random,matched` },
  layers: { type: 'string', group: ARMS, describe: 'such as 2-5; default all of the folder' },
  shares: { type: 'string', group: ARMS, describe: `shares of the neurons; default ${SHARES.join(',')}` },
  kinds: { type: 'string', group: ARMS, describe: `${ABLATION_KINDS.join(', ')}; default zero` },
  positions: { type: 'string', group: ARMS, describe: `${POSITIONS.join(', ')}; default all` },
  draws: { type: 'string', group: ARMS, describe: `draws of every control; default ${DRAWS}, with which the rank p-value can reach 0.05` },
  ranking: { type: 'string', group: ARMS, describe: `${RANKING_METHODS.slice(0, 3).join(', ')}; default l1-zscore` },
  'exclude-sinks': { type: 'boolean', group: ARMS, describe: 'keep massive-activation coordinates out of all sets' },
};

/** Reads the grid. Errors: UsageError naming the flag. */
export function readArmFlags(flags: Flags): ArmFlags {
  const layers = asUsage(() => parseLayers(flags.text('layers') ?? 'all', '--layers'));
  return {
    layers: layers === 'all' ? 'all' : [...layers],
    shares: readShares(flags),
    kinds: readNames(flags, 'kinds', ABLATION_KINDS) ?? ['zero'],
    positions: readNames(flags, 'positions', POSITIONS) ?? ['all'],
    groups: readNames(flags, 'arms', ARM_GROUPS) ?? ['top', 'random', 'matched'],
    draws: flags.integer('draws', 1, 10000) ?? DRAWS,
    method: flags.choice('ranking', RANKING_METHODS) ?? 'l1-zscore',
    excludeSinks: flags.on('exclude-sinks'),
    seed: flags.integer('seed', 0, 0xfffffffe) ?? 1,
  };
}

function readShares(flags: Flags): number[] {
  const text = flags.text('shares');
  const shares = text?.split(',').map(Number) ?? SHARES;
  const wrong = shares.find((share) => !(share > 0 && share <= 1));
  if (wrong !== undefined) {
    throw new UsageError(`--shares: expected numbers above 0 and up to 1, got ${JSON.stringify(text)}`);
  }
  return [...new Set(shares)];
}
