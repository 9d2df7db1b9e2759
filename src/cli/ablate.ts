/** `rewardlens ablate`: value neurons taken away, against matched controls, paired by item. */
import type { Arm } from '../ablate/arms.js';
import { ABLATION_KINDS } from '../ablate/arms.js';
import type { ArmPositions } from '../ablate/arms.js';
import { parseLayers } from '../model/sites.js';
import type { SessionOptions } from '../model/session.js';
import { ARM_GROUPS } from '../rank/armSets.js';
import { RANKING_METHODS } from '../rank/scores.js';
import type { Ablation, ArmGrid, ArmOutcome } from '../study/ablation.js';
import { ABLATION_FILE, planArms, runAblation } from '../study/ablation.js';
import type { DatasetSource, Prepared, RolloutSettings } from '../study/sample.js';
import { openDataset, openSession, prepareDataset } from '../study/sample.js';
import { join } from 'node:path';
import type { Command, Io } from './command.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, openModel, plural, rate, readModelFlags, readSessionFlags } from './options.js';
import { DATASET_OPTIONS, ROLLOUT_OPTIONS, readRolloutSettings, readSources } from './rolloutFlags.js';
import { readNames } from './studyFlags.js';

const ARMS = 'Arms:';
const POSITIONS: readonly ArmPositions[] = ['all', 'prompt', 'completion'];
const SHARES = [0.01, 0.05];
const DRAWS = 19;

interface AblateFlags {
  from: string;
  model: ModelFlags;
  session: SessionOptions;
  source: DatasetSource;
  settings: RolloutSettings;
  grid: Omit<ArmGrid, 'layers'> & { layers: ArmGrid['layers'] | 'all' };
  plan: boolean;
  output: string;
}

const { samples: _samples, site: _site, layers: _layers, positions: _positions, dtype: _dtype, 'max-disk': _maxDisk, 'no-activations': _noActivations, ...SAMPLING_OPTIONS } = ROLLOUT_OPTIONS;

/** Runs a sweep of ablations. */
export const ablateCommand: Command = {
  name: 'ablate',
  describe: 'Take the top neurons of a probed rollout away, beside matched controls, and compare accuracy paired by item. Resumes.',
  positionals: [{ name: 'dir', describe: 'folder of `rewardlens rollout` with probes: where the ranking comes from' }],
  options: {
    arms: { type: 'string', group: ARMS, describe: `${ARM_GROUPS.join(', ')}; default top,random,matched` },
    layers: { type: 'string', group: ARMS, describe: 'such as 2-5; default all of the folder' },
    shares: { type: 'string', group: ARMS, describe: `shares of the neurons; default ${SHARES.join(',')}` },
    kinds: { type: 'string', group: ARMS, describe: `${ABLATION_KINDS.join(', ')}; default zero` },
    positions: { type: 'string', group: ARMS, describe: `${POSITIONS.join(', ')}; default all` },
    draws: { type: 'string', group: ARMS, describe: `draws of every control; default ${DRAWS}, with which the rank p-value can reach 0.05` },
    ranking: { type: 'string', group: ARMS, describe: `${RANKING_METHODS.slice(0, 3).join(', ')}; default l1-zscore` },
    'exclude-sinks': { type: 'boolean', group: ARMS, describe: 'keep massive-activation coordinates out of all sets' },
    plan: { type: 'boolean', group: ARMS, describe: 'print the arms and the number of sequences, run nothing' },
    ...DATASET_OPTIONS,
    ...SAMPLING_OPTIONS,
    output: { alias: 'o', type: 'string', group: 'Output:', describe: 'folder; pairs of arm and item in its ledger are not run again' },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [['rewardlens ablate gsm8k -m model.gguf --dataset hf:openai/gsm8k --limit 200 --layers 2-5 --temp 0 -o sweep', 'top 1 % and 5 % of four layers, greedy']],
  prepare(flags: Flags) {
    const sources = readSources(flags);
    if (sources.length > 1) {
      throw new UsageError(`--dataset: expected one data set, got ${sources.length}`);
    }
    const layers = asUsage(() => parseLayers(flags.text('layers') ?? 'all', '--layers'));
    const parsed: AblateFlags = {
      from: flags.required('dir', 'the folder of a rollout with probes'),
      model: readModelFlags(flags),
      session: readSessionFlags(flags),
      source: sources[0] as DatasetSource,
      settings: readRolloutSettings(flags, { capture: false }),
      grid: {
        layers: layers === 'all' ? 'all' : [...layers],
        shares: readShares(flags),
        kinds: readNames(flags, 'kinds', ABLATION_KINDS) ?? ['zero'],
        positions: readNames(flags, 'positions', POSITIONS) ?? ['all'],
        groups: readNames(flags, 'arms', ARM_GROUPS) ?? ['top', 'random', 'matched'],
        draws: flags.integer('draws', 1, 10000) ?? DRAWS,
        method: flags.choice('ranking', RANKING_METHODS) ?? 'l1-zscore',
        excludeSinks: flags.on('exclude-sinks'),
        seed: flags.integer('seed', 0, 0xfffffffe) ?? 1,
      },
      plan: flags.on('plan'),
      output: flags.on('plan') ? '' : flags.required('output', 'a folder (-o DIR)'),
    };
    return (io) => run(parsed, io);
  },
};

function readShares(flags: Flags): number[] {
  const text = flags.text('shares');
  const shares = text?.split(',').map(Number) ?? SHARES;
  const wrong = shares.find((share) => !(share > 0 && share <= 1));
  if (wrong !== undefined) {
    throw new UsageError(`--shares: expected numbers above 0 and up to 1, got ${JSON.stringify(text)}`);
  }
  return [...new Set(shares)];
}

async function run(flags: AblateFlags, io: Io): Promise<void> {
  const dataset = await openDataset(flags.source, io.signal);
  await using model = await openModel(flags.model, io);
  const prepared = await prepareDataset(model, dataset, flags.source);
  const layers = flags.grid.layers === 'all' ? Array.from({ length: model.info.layerCount }, (_, i) => i) : flags.grid.layers;
  const grid: ArmGrid = { ...flags.grid, layers };
  const arms = await planArms(flags.from, grid);
  const sequences = arms.length * prepared.problems.length;
  io.summary(`${plural(arms.length, 'arm')} × ${plural(prepared.problems.length, 'item')}: ${plural(sequences, 'sequence')}, at most ${plural(sequences * flags.settings.maxTokens, 'sampled token')}`);
  if (flags.plan) {
    printPlan(arms, prepared, io);
    return;
  }
  await using session = openSession(model, [prepared], { ...flags.settings, samples: arms.length }, flags.session);
  io.progress.start('ablating', sequences);
  const result = await runAblation(session, prepared, { arms, grid }, flags.settings, {
    directory: flags.output,
    signal: io.signal,
    onProgress: ({ finished, run: progress }) => io.progress.update(finished, `${finished}/${sequences} ${progress === undefined ? '' : rate(progress.promptTokens + progress.completionTokens, progress.busyMs)}`),
  });
  io.progress.stop();
  printResult(result, join(flags.output, ABLATION_FILE), io);
}

function printPlan(arms: readonly Arm[], prepared: Prepared, io: Io): void {
  for (const { name, neurons } of arms) {
    if (io.json) {
      io.line({ arm: name, neurons, items: prepared.problems.length });
    } else {
      io.out(`${name.padEnd(40)} ${neurons.length === 0 ? 'nothing is edited' : `${neurons.length} neurons: ${neurons.slice(0, 12).join(', ')}${neurons.length > 12 ? ', …' : ''}`}`);
    }
  }
}

const percent = (value: number | null): string => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);

function row(arm: ArmOutcome, items: number): string {
  const { accuracy, change } = arm;
  const span = arm.group === 'base' ? '' : `${percent(change.value)} [${percent(change.low)}, ${percent(change.high)}]`;
  return `  ${arm.name.padEnd(30)} ${percent(accuracy.value).padStart(7)}  ${span.padEnd(28)} ${arm.pHolm === null ? '' : arm.pHolm.toPrecision(2).padStart(8)}  unparsable ${arm.unknown}, ended ${arm.ended}/${items}, ${arm.meanTokens.toFixed(1)} tokens`;
}

function printResult(result: Ablation, path: string, io: Io): void {
  if (io.json) {
    io.line({ summary: { path, items: result.items, sweep: result.sweep, comparisons: result.comparisons, verdicts: result.verdicts } });
    return;
  }
  io.out(`  ${'arm'.padEnd(30)} accuracy  change (paired, 95 %)         p (Holm)`);
  [result.base, ...result.arms.filter(({ pHolm }) => pHolm !== null)].forEach((arm) => io.out(row(arm, result.items)));
  io.out(`\nSmallest change that ${result.items} items show with 80 % power: ${percent(result.detectable)}\n`);
  result.verdicts.forEach((verdict) => io.out(verdict));
  io.out(`\n${result.sweep.made} pairs made, ${result.sweep.found} found, ${result.sweep.seconds.toFixed(1)} s; ${path}`);
}
