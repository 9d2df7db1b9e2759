/** `rewardlens ablate`: value neurons taken away, against matched controls, paired by item. */
import type { Arm } from '../ablate/arms.js';
import type { SessionOptions } from '../model/session.js';
import { ABLATION_FILE, runAblation, saveAblation } from '../study/ablation.js';
import type { ArmGrid } from '../study/armPlan.js';
import { planArms } from '../study/armPlan.js';
import type { DatasetSource, Prepared, RolloutSettings } from '../study/sample.js';
import { openDataset, openSession, prepareDataset } from '../study/sample.js';
import { join } from 'node:path';
import { printAblation } from './ablateResult.js';
import { ARM_OPTIONS, readArmFlags } from './armFlags.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, openModel, plural, rate, readModelFlags, readSessionFlags } from './options.js';
import { STATISTICS_OPTIONS, printPower, readNeutralText, readPower } from './power.js';
import { DATASET_OPTIONS, ROLLOUT_OPTIONS, readRolloutSettings, readSources } from './rolloutFlags.js';

interface AblateFlags {
  /** Undefined: only arms that need no ranking. */
  from: string | undefined;
  model: ModelFlags;
  session: SessionOptions;
  source: DatasetSource;
  settings: RolloutSettings;
  grid: ArmGrid;
  plan: boolean;
  neutral: string | undefined;
  output: string;
}

const { samples: _samples, site: _site, layers: _layers, positions: _positions, dtype: _dtype, 'max-disk': _maxDisk, 'no-activations': _noActivations, ...SAMPLING_OPTIONS } = ROLLOUT_OPTIONS;

/** Runs a sweep of ablations. */
export const ablateCommand: Command = {
  name: 'ablate',
  describe: 'Take the top neurons of a probed rollout away, beside matched controls, and compare accuracy paired by item. Resumes.',
  positionals: [{ name: 'dir', describe: 'folder of `rewardlens rollout` with probes: where the ranking comes from; not needed for --neurons with random controls' }],
  options: {
    ...ARM_OPTIONS,
    plan: { type: 'boolean', group: 'Arms:', describe: 'print the arms and the number of sequences, run nothing' },
    ...STATISTICS_OPTIONS,
    ...DATASET_OPTIONS,
    ...SAMPLING_OPTIONS,
    output: { alias: 'o', type: 'string', group: 'Output:', describe: 'folder; pairs of arm and item in its ledger are not run again' },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [['rewardlens ablate gsm8k -m model.gguf --dataset hf:openai/gsm8k --limit 200 --layers 2-5 --temp 0 -o sweep', 'top 1 % and 5 % of four layers, greedy']],
  prepare(flags: Flags) {
    const power = readPower(flags);
    if (power !== undefined) {
      return async (io) => printPower(power, io);
    }
    const sources = readSources(flags);
    if (sources.length > 1) {
      throw new UsageError(`--dataset: expected one data set, got ${sources.length}`);
    }
    const parsed: AblateFlags = {
      from: flags.text('dir'),
      model: readModelFlags(flags),
      session: readSessionFlags(flags),
      source: sources[0] as DatasetSource,
      settings: readRolloutSettings(flags, { capture: false }),
      grid: readArmFlags(flags, { folder: flags.text('dir') !== undefined }),
      plan: flags.on('plan'),
      neutral: flags.text('neutral'),
      output: flags.on('plan') ? '' : flags.required('output', 'a folder (-o DIR)'),
    };
    return (io) => run(parsed, io);
  },
};

async function run(flags: AblateFlags, io: Io): Promise<void> {
  const neutral = await readNeutralText(flags.neutral);
  const dataset = await openDataset(flags.source, io.signal);
  await using model = await openModel(flags.model, io);
  const prepared = await prepareDataset(model, dataset, flags.source);
  const { arms, grid, notes } = await planArms(flags.from, flags.grid, { files: model.files, ...model.info }, { threads: flags.session.threads ?? 0, signal: io.signal });
  const sequences = arms.length * prepared.problems.length;
  io.summary(`${plural(arms.length, 'arm')} × ${plural(prepared.problems.length, 'item')}: ${plural(sequences, 'sequence')}, at most ${plural(sequences * flags.settings.maxTokens, 'sampled token')}`);
  notes.forEach((note) => io.summary(note));
  if (flags.plan) {
    printPlan(arms, prepared, io);
    return;
  }
  await using session = openSession(model, [prepared], { ...flags.settings, samples: arms.length }, flags.session);
  io.progress.start('ablating', sequences);
  const ran = await runAblation(session, prepared, arms, flags.settings, {
    directory: flags.output,
    neutral,
    signal: io.signal,
    onProgress: ({ finished, run: progress }) => io.progress.update(finished, `${finished}/${sequences} ${progress === undefined ? '' : rate(progress.promptTokens + progress.completionTokens, progress.busyMs)}`),
  });
  io.progress.stop();
  const result = await saveAblation(flags.output, [ran], { prepared, grid, settings: flags.settings });
  printAblation(result, join(flags.output, ABLATION_FILE), io);
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
