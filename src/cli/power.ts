/** Flags of a sweep's statistics: the neutral text, and planning with `--power`. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { NeutralText } from '../ablate/neutralText.js';
import { NEUTRAL_TEXT } from '../ablate/neutralText.js';
import { RewardLensError } from '../native/errors.js';
import type { PowerQuestion } from '../stats/power.js';
import { planPower } from '../stats/power.js';
import type { OptionTable } from './argv.js';
import type { Io } from './command.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';

const STATISTICS = 'Statistics:';

/** Options of {@link readPower} and {@link readNeutralText}. */
export const STATISTICS_OPTIONS: OptionTable = {
  neutral: { type: 'string', group: STATISTICS, describe: 'text file on which every arm\'s KL and perplexity are measured (first 256 tokens), or none; default: a bundled English passage' },
  power: { type: 'boolean', group: STATISTICS, describe: 'print which effects --items show and what others need; needs no folder, model or data set' },
  items: { type: 'string', group: STATISTICS, describe: 'with --power: items per arm' },
  accuracy: { type: 'string', group: STATISTICS, describe: 'with --power: expected accuracy of the base, 0..1' },
  discordance: { type: 'string', group: STATISTICS, describe: 'with --power: share of items whose outcome differs between base and arm; default: as if both answered independently' },
  sets: { type: 'string', group: STATISTICS, describe: "with --power: sets that are tested, the family of Holm's correction; default 1" },
};

/** The question of `--power`; undefined without that flag. Errors: UsageError. */
export function readPower(flags: Flags): PowerQuestion | undefined {
  const numbers = ['items', 'accuracy', 'discordance', 'sets'] as const;
  if (!flags.on('power')) {
    const stray = numbers.find((name) => flags.text(name) !== undefined);
    if (stray !== undefined) {
      throw new UsageError(`--${stray}: expected --power beside it`);
    }
    return undefined;
  }
  const items = flags.integer('items', 1, 1_000_000);
  const accuracy = flags.number('accuracy', 0, 1);
  if (items === undefined || accuracy === undefined) {
    throw new UsageError('--power: expected --items N and --accuracy P beside it');
  }
  return { items, accuracy, discordance: flags.number('discordance', 0, 1), sets: flags.integer('sets', 1, 100_000) ?? 1 };
}

const percent = (value: number): string => `${Number((100 * value).toFixed(1))} %`;
const count = (value: number | null): string => (value === null ? 'above a million' : String(value));

/** Prints the plan. Errors: INVALID_ARGUMENT. */
export function printPower(question: PowerQuestion, io: Io): void {
  const table = asUsage(() => planPower(question));
  if (io.json) {
    io.line({ summary: { ...question, ...table } });
    return;
  }
  const { items, accuracy, discordance, sets = 1 } = question;
  const many = sets > 1;
  io.out(`Falls of accuracy from ${percent(accuracy)}, ${discordance === undefined ? 'base and arm right independently of each other (the same seeds or greedy answers need fewer items)' : `${percent(discordance)} of the items changing outcome`}, power 80 %, two-sided 5 %:`);
  io.out(`  ${'fall'.padStart(9)}  ${'discordant'.padStart(10)}  ${'items'.padStart(15)}${many ? `  ${`items, ${sets} sets`.padStart(18)}` : ''}  ${`power of ${items}`.padStart(14)}${many ? `  ${`${sets} sets`.padStart(9)}` : ''}`);
  for (const row of table.rows) {
    io.out(
      `  ${`${Number((100 * row.effect).toFixed(1))} points`.padStart(9)}  ${percent(row.discordance).padStart(10)}  ${count(row.items).padStart(15)}${many ? `  ${count(row.itemsHolm).padStart(18)}` : ''}  ${percent(row.power).padStart(14)}${many ? `  ${percent(row.powerHolm).padStart(9)}` : ''}`,
    );
  }
  const shown = (value: number | null): string => (value === null ? 'none' : percent(value));
  io.out(`Smallest fall that ${items} items show: ${shown(table.detectable)}${many ? `; after Holm over ${sets} sets ${shown(table.detectableHolm)}` : ''}`);
  io.out(`Control draws with which a rank p-value can reach 0.05: ${table.draws}${many ? `; after Holm over ${sets} sets ${table.drawsHolm}` : ''}`);
}

/** The text of `--neutral`: undefined is the bundled one, "none" is none. Errors: IO. */
export async function readNeutralText(flag: string | undefined): Promise<NeutralText | null> {
  if (flag === undefined || flag === 'none') {
    return flag === undefined ? NEUTRAL_TEXT : null;
  }
  try {
    return { source: basename(flag), text: await readFile(flag, 'utf8') };
  } catch (error) {
    throw new RewardLensError('IO', `--neutral: cannot read '${flag}': ${(error as Error).message}`, { cause: error, details: { path: flag } });
  }
}
