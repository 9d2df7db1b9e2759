/** Flags of a study's ablation sweep. */
import { parseLayers } from '../model/sites.js';
import type { SweepChoice } from '../study/sweepStage.js';
import { SWEEP_DEFAULTS } from '../study/sweepStage.js';
import { readShares } from './armFlags.js';
import type { OptionTable } from './argv.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';

const ABLATE = 'Ablation:';

/** Options of {@link readSweepChoice}. */
export const SWEEP_OPTIONS: OptionTable = {
  'no-ablate': { type: 'boolean', group: ABLATE, describe: 'take no neurons away' },
  'ablate-datasets': { type: 'string', group: ABLATE, describe: 'short names (as in the output folder) of the data sets to sweep, comma separated; default all' },
  'ablate-layers': { type: 'string', group: ABLATE, describe: 'best (by validation AUC; default), spread (that, one before and one behind it) or such as 2-5' },
  'ablate-shares': { type: 'string', group: ABLATE, describe: `shares of the neurons; default ${SWEEP_DEFAULTS.shares.join(',')}` },
  'ablate-draws': { type: 'string', group: ABLATE, describe: 'draws of random and of magnitude-matched controls; default 20 per value set less one, with which the p-value can reach 0.05' },
  'ablate-items': { type: 'string', group: ABLATE, describe: `most held-out problems per arm; default ${SWEEP_DEFAULTS.items}` },
};

/** What to sweep; undefined with --no-ablate. Errors: UsageError naming the flag. */
export function readSweepChoice(flags: Flags): SweepChoice | undefined {
  const layers = flags.text('ablate-layers') ?? SWEEP_DEFAULTS.layers;
  const given = layers === 'best' || layers === 'spread' ? layers : asUsage(() => parseLayers(layers as string, '--ablate-layers'));
  if (given === 'all') {
    throw new UsageError('--ablate-layers: expected best, spread or layers such as 0-5, got "all"; `rewardlens ablate` sweeps all');
  }
  const choice: SweepChoice = {
    layers: typeof given === 'string' ? given : [...given],
    shares: readShares(flags, 'ablate-shares', SWEEP_DEFAULTS.shares),
    draws: flags.integer('ablate-draws', 1, 10000),
    items: flags.integer('ablate-items', 1) ?? SWEEP_DEFAULTS.items,
    datasets: flags.text('ablate-datasets')?.split(',').map((name) => name.trim()),
  };
  return flags.on('no-ablate') ? undefined : choice;
}
