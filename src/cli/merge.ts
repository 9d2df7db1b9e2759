/** `rewardlens merge`: the ledgers of a sweep's parts in one folder. */
import { join } from 'node:path';
import { LEDGER_FILE } from '../ablate/ledger.js';
import { mergeLedgers } from '../ablate/merge.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import { plural } from './options.js';

/** Damaged lines that are printed. */
const SHOWN = 10;

/** Merges ledgers. */
export const mergeCommand: Command = {
  name: 'merge',
  describe: 'Put the ledgers of the parts of a sweep (`ablate --shard`) into one folder, each pair of arm and item once.',
  positionals: [{ name: 'dirs', describe: 'folders of the parts', many: true }],
  options: { output: { alias: 'o', type: 'string', group: 'Output:', describe: 'folder; what its ledger has stays' } },
  examples: [['rewardlens merge part-1 part-2 part-3 -o sweep', 'then the `ablate` command without --shard and with -o sweep makes the result']],
  prepare(flags: Flags) {
    const directories = flags.list('dirs');
    if (directories.length === 0) {
      throw new UsageError('DIRS: expected the folders of the parts, but they are missing');
    }
    const output = flags.required('output', 'a folder (-o DIR)');
    return (io) => run(directories, output, io);
  },
};

async function run(directories: readonly string[], output: string, io: Io): Promise<void> {
  const { records, duplicates, damaged } = await mergeLedgers(directories, output, { signal: io.signal });
  damaged.slice(0, SHOWN).forEach((line) => io.warn(`${line}; left out`));
  if (damaged.length > SHOWN) {
    io.warn(`and ${damaged.length - SHOWN} more damaged lines, left out`);
  }
  const path = join(output, LEDGER_FILE);
  if (io.json) {
    io.line({ summary: { path, records, duplicates, damaged } });
    return;
  }
  io.out(`${path}: ${plural(records, 'record')}${duplicates > 0 ? `, ${plural(duplicates, 'duplicate')} left out` : ''}${damaged.length > 0 ? `, ${plural(damaged.length, 'damaged line')} left out: their pairs run again` : ''}`);
}
