/** `rewardlens transfer`: overlap and cross-AUC matrices of several rollouts. */
import { readFile } from 'node:fs/promises';
import type { Transfer } from '../report/transferSchema.js';
import { TRANSFER_FORMAT } from '../report/transferSchema.js';
import { writeJson } from '../rollout/folder.js';
import type { TransferSettings } from '../study/transferFolder.js';
import { TRANSFER_DEFAULTS, TRANSFER_PLACES, runTransfer } from '../study/transfer.js';
import { checkOutput, requireFolder } from './checks.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import { PROBE_RANKINGS, THREAD_OPTIONS, workOptions } from './studyFlags.js';

const GROUP = 'Transfer:';

/** Compares rollouts. */
export const transferCommand: Command = {
  name: 'transfer',
  describe: 'How stable value neurons and probes are over data sets, models, quantizations and seeds: overlap and cross-AUC matrices.',
  positionals: [{ name: 'dirs', describe: 'two or more folders of `rewardlens rollout` with probes; the folder of a study stands for its data sets', many: true }],
  options: {
    shares: { type: 'string', group: GROUP, describe: `shares of the neurons in a set; default ${TRANSFER_DEFAULTS.shares.join(',')}` },
    ranking: { type: 'string', group: GROUP, describe: `${PROBE_RANKINGS.join(', ')}; default ${TRANSFER_DEFAULTS.method}` },
    'exclude-sinks': { type: 'boolean', group: GROUP, describe: 'keep massive-activation coordinates out of all sets' },
    place: { type: 'string', group: GROUP, describe: `${TRANSFER_PLACES.join(', ')}: of the matrices and the choice of layers; default ${TRANSFER_DEFAULTS.place}` },
    output: { alias: 'o', type: 'string', group: 'Output:', describe: 'file; default transfer.json. An earlier comparison is replaced, no other file' },
    ...THREAD_OPTIONS,
  },
  examples: [['rewardlens transfer base/gsm8k tuned/gsm8k base-q4/gsm8k', 'one data set, three models']],
  prepare(flags: Flags) {
    const directories = flags.list('dirs');
    if (directories.length === 0) {
      throw new UsageError('DIRS: expected folders of rollouts with probes, but they are missing');
    }
    const settings: TransferSettings = {
      shares: readShares(flags) ?? TRANSFER_DEFAULTS.shares,
      method: flags.choice('ranking', PROBE_RANKINGS) ?? TRANSFER_DEFAULTS.method,
      excludeSinks: flags.on('exclude-sinks'),
      place: flags.choice('place', TRANSFER_PLACES) ?? TRANSFER_DEFAULTS.place,
    };
    const output = flags.text('output') ?? 'transfer.json';
    const threads = flags.integer('threads', 1, 1024);
    return (io) => run({ directories, settings, output, threads }, io);
  },
};

function readShares(flags: Flags): number[] | undefined {
  const text = flags.text('shares');
  const shares = text?.split(',').map(Number);
  if (shares?.some((share) => !(share > 0 && share <= 1)) === true) {
    throw new UsageError(`--shares: expected numbers above 0 and up to 1, got ${JSON.stringify(text)}`);
  }
  return shares;
}

async function run(flags: { directories: readonly string[]; settings: TransferSettings; output: string; threads: number | undefined }, io: Io): Promise<void> {
  for (const directory of flags.directories) {
    await requireFolder(directory);
  }
  await requireReplaceable(flags.output);
  const result = await runTransfer(flags.directories, flags.settings, workOptions({ threads: flags.threads }, io));
  io.progress.stop();
  await writeJson(flags.output, result);
  if (io.json) {
    io.line({ summary: { path: flags.output, findings: result.findings } });
  } else {
    transferTables(result).forEach((line) => io.out(line));
    io.out(`\n${flags.output}`);
  }
}

/** Refuses an output that cannot be written, or is a file of another kind. Errors: IO. */
async function requireReplaceable(path: string): Promise<void> {
  const before = await readFile(path, 'utf8').then((text) => (JSON.parse(text) as { format?: unknown }).format).catch(() => undefined);
  await checkOutput(path, before === TRANSFER_FORMAT, 'it exists, and is no comparison of folders');
}

/** A matrix with numbered rows and columns. */
function matrix(title: string, names: readonly string[], cell: (row: number, column: number) => string): string[] {
  const width = Math.max(...names.map((name) => name.length));
  const columns = names.map((_, i) => `[${i + 1}]`.padStart(9)).join('');
  return ['', title, `    ${''.padEnd(width)}${columns}`, ...names.map((name, row) => `${`[${row + 1}]`.padEnd(4)}${name.padEnd(width)}${names.map((_, column) => cell(row, column).padStart(9)).join('')}`)];
}

const significance = (p: number, pMatched: number): string => (pMatched <= 0.05 ? '**' : p <= 0.05 ? '* ' : '  ');

/** The result as matrices. */
export function transferTables({ folders, overlaps, auc, place, incompatible, findings }: Transfer): string[] {
  const names = folders.map(({ name }) => name);
  const shares = [...new Set(overlaps.map(({ share }) => share))];
  const iou = (share: number) => (row: number, column: number): string => {
    const pair = overlaps.find((entry) => entry.share === share && ((entry.a === row && entry.b === column) || (entry.a === column && entry.b === row)));
    return row === column ? '1   ' : pair === undefined ? '–  ' : `${pair.iou.toFixed(3)}${significance(pair.p, pair.pMatched)}`;
  };
  const cross = (row: number, column: number): string => {
    const entry = auc.find(({ from, to }) => from === row && to === column);
    const layer = entry?.layers.find((candidate) => candidate.layer === folders[row]?.bestLayer) ?? entry?.layers[0];
    const value = layer?.auc[place].value ?? null;
    return value === null ? '–  ' : `${value.toFixed(3)}${(layer?.auc[place].low ?? 0) > 0.5 ? '* ' : '  '}`;
  };
  return [
    ...shares.flatMap((share) => matrix(`IoU of the top ${Number((100 * share).toPrecision(3))} %, mean over layers; * beyond chance, ** beyond magnitudes too`, names, iou(share))),
    ...matrix(`AUC at ${place}: probe of the row on held-out problems of the column, at the row's best layer; * above 0.5`, names, cross),
    ...incompatible.map(({ a, b, reason }) => `not compared: ${names[a]} and ${names[b]}: ${reason}`),
    '',
    ...findings,
  ];
}
