/** `rewardlens values`: values of the states in front of every step, by continuing them. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { SessionOptions } from '../model/session.js';
import type { ValuesSettings } from '../study/values.js';
import { VALUES_DEFAULTS, openValuesSession, prepareValues, runValues } from '../study/values.js';
import { noiseText } from '../report/dopamineFacts.js';
import { fixed, percent, withInterval } from '../report/format.js';
import type { Values } from '../report/valuesSchema.js';
import { VALUES_FILES } from '../study/valuesFormat.js';
import type { OptionTable } from './argv.js';
import type { Command, Io } from './command.js';
import { requireFolder } from './checks.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, openModel, plural, rate, readModelFlags, readSessionFlags } from './options.js';
import { readSplitter } from './studyFlags.js';

const GROUP = 'Values:';
const { counts } = VALUES_DEFAULTS;

/** Options of {@link readValuesSettings}. */
export const VALUES_OPTIONS: OptionTable = {
  steps: { type: 'string', group: GROUP, describe: 'what ends a step: blank-line (default), line, sentence, regex:PATTERN or tokens:N' },
  continuations: { alias: ['k'], type: 'string', group: GROUP, describe: `continuations of every state; default ${counts.min}` },
  'max-continuations': { type: 'string', group: GROUP, describe: `at most, where the interval is wide; default ${counts.max}` },
  width: { type: 'string', group: GROUP, describe: `width of a value's 95 % interval that is narrow enough; default ${counts.width}` },
  budget: { alias: ['max-tokens-total'], type: 'string', group: GROUP, describe: 'most sampled tokens of all continuations together; default: no limit' },
  limit: { type: 'string', group: GROUP, describe: 'only the first N trajectories' },
  gamma: { type: 'string', group: GROUP, describe: 'discount per step; default 1 − 1e-5' },
  'probe-layer': { type: 'string', group: GROUP, describe: 'layer of the value probe beside it; default: the best one' },
  seed: { alias: 's', type: 'string', group: GROUP, describe: 'default 1; every continuation has its own, from this, its state and its number' },
};

/** Reads {@link VALUES_OPTIONS}. */
export function readValuesSettings(flags: Flags): ValuesSettings {
  const min = flags.integer('continuations', 1, 1 << 20) ?? counts.min;
  const max = flags.integer('max-continuations', 1, 1 << 20) ?? Math.max(min, counts.max);
  if (max < min) {
    throw new UsageError(`--max-continuations: expected at least --continuations (${min}), got ${max}`);
  }
  return {
    splitter: readSplitter(flags, 'steps') ?? VALUES_DEFAULTS.splitter,
    counts: { min, max, width: flags.number('width', 0, 1) ?? counts.width },
    budget: flags.integer('budget', 1, Number.MAX_SAFE_INTEGER),
    limit: flags.integer('limit', 1),
    gamma: flags.number('gamma', 0, 1) ?? VALUES_DEFAULTS.gamma,
    seed: flags.integer('seed', 0, 0xfffffffe) ?? VALUES_DEFAULTS.seed,
    layer: flags.integer('probe-layer', 0),
  };
}

interface ValuesFlags {
  directory: string;
  model: ModelFlags;
  session: SessionOptions;
  settings: ValuesSettings;
}

/** Values of states by Monte-Carlo. */
export const valuesCommand: Command = {
  name: 'values',
  resumes: true,
  describe: 'Value the state in front of every step of a rollout by continuing it, beside the value probe.',
  positionals: [{ name: 'dir', describe: 'folder of `rewardlens rollout`' }],
  options: { ...VALUES_OPTIONS, ...MODEL_OPTIONS, ...SESSION_OPTIONS },
  examples: [['rewardlens values gsm8k -m model.gguf --steps line -k 8 --max-continuations 32 --budget 2000000', 'eight continuations of every line, more where they disagree, two million tokens at most']],
  prepare(flags: Flags) {
    const parsed: ValuesFlags = {
      directory: flags.required('dir', 'the folder of a rollout'),
      model: readModelFlags(flags),
      session: readSessionFlags(flags),
      settings: readValuesSettings(flags),
    };
    return (io) => run(parsed, io);
  },
};

async function run({ directory, model: modelFlags, session: given, settings }: ValuesFlags, io: Io): Promise<void> {
  await requireFolder(directory);
  await using model = await openModel(modelFlags, io);
  const prepared = await prepareValues(model, directory, settings, io.signal);
  const states = prepared.trajectories.reduce((sum, { states: own }) => sum + own.length, 0);
  io.summary(`${prepared.trajectories.length} ${prepared.trajectories.length === 1 ? 'trajectory' : 'trajectories'}, ${plural(states, 'step')}`);
  await using session = openValuesSession(model, prepared, given);
  io.progress.start('continuing', 1000);
  const result = await runValues(session, prepared, settings, {
    signal: io.signal,
    threads: given.threads ?? availableParallelism(),
    onProgress: ({ finished, total, run: progress }) =>
      io.progress.update(Math.round((1000 * finished) / Math.max(1, total)), `${finished}/${total} ${progress === undefined ? '' : rate(progress.promptTokens + progress.completionTokens, progress.busyMs)}`),
  });
  io.progress.stop();
  printValues(result, join(directory, VALUES_FILES.summary), io);
}

function printValues(result: Values, path: string, io: Io): void {
  if (io.json) {
    io.line({ summary: { path, ...result, manifest: undefined } });
    return;
  }
  const { counts: own, tokens, tdErrors, probe } = result;
  const { made, found, unknown } = own.continuations;
  io.out(`${plural(own.steps, 'step')}, ${plural(own.distinctStates, 'different state')}; ${plural(made, 'continuation')} made, ${found.toLocaleString('en-US')} found${unknown > 0 ? `, ${unknown} without a known reward` : ''}`);
  io.out(`tokens: ${tokens.sampled.toLocaleString('en-US')} sampled; of ${(tokens.computed + tokens.shared).toLocaleString('en-US')} prefix tokens ${tokens.shared.toLocaleString('en-US')} came from a cache and ${tokens.computed.toLocaleString('en-US')} were read${result.exhausted ? '; the budget ended it' : ''}`);
  io.out(`values: intervals are ${fixed(result.meanWidth, 2)} wide on average${own.withoutValue > 0 ? `; ${plural(own.withoutValue, 'state')} without one` : ''}`);
  io.out(`δ: standard deviation ${fixed(tdErrors.deviation)}, ${percent(tdErrors.large, 0)} above 0.3 in size, ${noiseText(tdErrors.noise)} of the variance is noise of the continuations`);
  if (probe !== null) {
    io.out(`value probe of layer ${probe.layer} against the continuations, ${plural(probe.states, 'held-out state')}: Spearman ${withInterval(probe.spearman)}`);
  }
  io.out(`${path}, ${result.seconds.toFixed(1)} s`);
}
