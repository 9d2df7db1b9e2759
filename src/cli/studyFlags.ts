/** Options of training probes and ranking neurons, shared by `probe`, `rank` and `study`. */
import { availableParallelism } from 'node:os';
import { PROBE_TARGETS } from '../probe/trainer.js';
import type { RankingMethod } from '../rank/scores.js';
import { RANKING_METHODS } from '../rank/scores.js';
import type { Splitter } from '../rpe/steps.js';
import { parseSplitter } from '../rpe/steps.js';
import type { ProbeSettings, RankSettings, WorkOptions } from '../study/options.js';
import { PROBE_DEFAULTS, PROBE_VARIANTS, RANK_DEFAULTS } from '../study/options.js';
import type { OptionTable } from './argv.js';
import type { Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';

const PROBE = 'Value probe:';
const RANK = 'Ranking:';

/** Options of {@link readProbeSettings}. */
export const PROBE_OPTIONS: OptionTable = {
  'probe-site': { type: 'string', group: PROBE, describe: 'site of the store to read; default residPost' },
  hidden: { type: 'string', group: PROBE, describe: `hidden units, 0 is linear; default ${PROBE_DEFAULTS.hidden}` },
  head: { type: 'string', group: PROBE, describe: 'sigmoid (default) or identity' },
  targets: { type: 'string', group: PROBE, describe: `${PROBE_TARGETS.join(', ')}; the first is the value probe, others are compared with it; default ${PROBE_DEFAULTS.targets.join(',')}` },
  variants: { type: 'string', group: PROBE, describe: `${PROBE_VARIANTS.join(', ')} (linear probe, raw instead of z-scored inputs, shuffled rewards) or none: what is trained beside it; default all` },
  lambda: { type: 'string', group: PROBE, describe: `λ of td-lambda; default ${PROBE_DEFAULTS.lambda}` },
  inputs: { type: 'string', group: PROBE, describe: 'zscore (default) or raw' },
  gamma: { type: 'string', group: PROBE, describe: 'discount; default 1 − 1e-5' },
  lr: { type: 'string', group: PROBE, describe: `AdamW's learning rate; default ${PROBE_DEFAULTS.learningRate}` },
  'init-scale': { type: 'string', group: PROBE, describe: `scale of the first layer's initial weights, 1 is torch's; default ${PROBE_DEFAULTS.initScale}` },
  'weight-decay': { type: 'string', group: PROBE, describe: `default ${PROBE_DEFAULTS.weightDecay}` },
  'batch-size': { type: 'string', group: PROBE, describe: `trajectories per mini-batch; default ${PROBE_DEFAULTS.batchTrajectories}` },
  epochs: { type: 'string', group: PROBE, describe: `at most; default ${PROBE_DEFAULTS.maxEpochs}` },
  patience: { type: 'string', group: PROBE, describe: `epochs without a better validation loss; default ${PROBE_DEFAULTS.patience}` },
  'test-share': { type: 'string', group: PROBE, describe: `problems held out; default ${PROBE_DEFAULTS.test}` },
  'validation-share': { type: 'string', group: PROBE, describe: `problems for early stopping; default ${PROBE_DEFAULTS.validation}` },
  'probe-seed': { type: 'string', group: PROBE, describe: 'of split, weights, order and controls; default 1' },
};

/** Options of {@link readRankSettings}. */
export const RANK_OPTIONS: OptionTable = {
  ranking: { type: 'string', group: RANK, describe: `${RANKING_METHODS.join(', ')}; default ${RANK_DEFAULTS.method}` },
  draws: { type: 'string', group: RANK, describe: `draws of every control set; default ${RANK_DEFAULTS.draws}` },
  'exclude-sinks': { type: 'boolean', group: RANK, describe: 'keep massive-activation coordinates out of all sets' },
  refit: { type: 'boolean', group: RANK, describe: 'also train the probe anew on the kept inputs (best layer)' },
  examples: { type: 'string', group: RANK, describe: `trajectories in the token view; default ${RANK_DEFAULTS.examples}` },
};

/** Threads of commands that have no model of their own. */
export const THREAD_OPTIONS: OptionTable = {
  threads: { alias: 't', type: 'string', group: 'General:', describe: 'compute threads; default: all hardware threads' },
};

/** Rankings that the probes of a folder give; the others need a run of `rewardlens rank`. */
export const PROBE_RANKINGS: readonly RankingMethod[] = RANKING_METHODS.slice(0, 3);

/** What ends a step; undefined when not given. Errors: UsageError naming the flag. */
export function readSplitter(flags: Flags, flag: string): Splitter | undefined {
  const text = flags.text(flag);
  try {
    return text === undefined ? undefined : parseSplitter(text);
  } catch (error) {
    throw new UsageError((error as Error).message.replace(/^steps:/, `--${flag}:`), { cause: error });
  }
}

/** Comma separated names out of a list; undefined when not given. With `upperCase` small letters mean the same. */
export function readNames<T extends string>(flags: Flags, flag: string, names: readonly T[], { upperCase = false } = {}): T[] | undefined {
  const text = flags.text(flag);
  const given = (upperCase ? text?.toUpperCase() : text)?.split(',').map((name) => name.trim());
  const wrong = given?.find((name) => !(names as readonly string[]).includes(name));
  if (wrong !== undefined) {
    throw new UsageError(`--${flag}: expected some of ${names.join(', ')}, got ${JSON.stringify(wrong)}`);
  }
  return given === undefined ? undefined : [...new Set(given as T[])];
}

/** How to train; what is not given is the default. */
export function readProbeSettings(flags: Flags): ProbeSettings {
  const d = PROBE_DEFAULTS;
  const test = flags.number('test-share', 0.01, 0.9) ?? d.test;
  const validation = flags.number('validation-share', 0.01, 0.9) ?? d.validation;
  if (test + validation >= 1) {
    throw new UsageError(`--test-share, --validation-share: expected less than 1 together, got ${test} and ${validation}`);
  }
  return {
    site: flags.text('probe-site') ?? d.site,
    hidden: flags.integer('hidden', 0, 1 << 20) ?? d.hidden,
    head: flags.choice('head', ['sigmoid', 'identity']) ?? d.head,
    targets: readNames(flags, 'targets', PROBE_TARGETS) ?? d.targets,
    variants: flags.text('variants') === 'none' ? [] : (readNames(flags, 'variants', PROBE_VARIANTS) ?? d.variants),
    lambda: flags.number('lambda', 0, 1) ?? d.lambda,
    inputs: flags.choice('inputs', ['zscore', 'raw']) ?? d.inputs,
    gamma: flags.number('gamma', 0, 1) ?? d.gamma,
    learningRate: flags.number('lr', 0) ?? d.learningRate,
    initScale: flags.number('init-scale', 0, 100) ?? d.initScale,
    weightDecay: flags.number('weight-decay', 0) ?? d.weightDecay,
    batchTrajectories: flags.integer('batch-size', 1) ?? d.batchTrajectories,
    maxEpochs: flags.integer('epochs', 1) ?? d.maxEpochs,
    patience: flags.integer('patience', 1) ?? d.patience,
    test,
    validation,
    seed: flags.integer('probe-seed', 0, 0xffffffff) ?? d.seed,
  };
}

/** How to rank; what is not given is the default. */
export function readRankSettings(flags: Flags): RankSettings {
  return {
    method: flags.choice('ranking', RANKING_METHODS) ?? RANK_DEFAULTS.method,
    draws: flags.integer('draws', 1, 10000) ?? RANK_DEFAULTS.draws,
    excludeSinks: flags.on('exclude-sinks'),
    refit: flags.on('refit'),
    examples: flags.integer('examples', 0, 1000) ?? RANK_DEFAULTS.examples,
  };
}

/** Refuses a ranking that no probe of these settings can give, before anything is sampled. */
export function checkRanking(probe: ProbeSettings, rank: RankSettings): void {
  const main = `l1-${probe.inputs}`;
  const other = probe.inputs === 'zscore' ? 'l1-raw' : 'l1-zscore';
  const needs = rank.method === other ? 'inputs' : rank.method === 'linear' && probe.hidden > 0 ? 'linear' : undefined;
  if (rank.method !== main && needs !== undefined && !probe.variants.includes(needs)) {
    throw new UsageError(`--ranking: ${rank.method} needs --variants ${needs} (or --inputs, --hidden that give it); got --variants ${probe.variants.join(',') || 'none'}`);
  }
}

/** Threads, interruption and a bar for each task. */
export function workOptions(flags: { threads: number | undefined }, io: Io): WorkOptions {
  let task = '';
  return {
    threads: flags.threads ?? availableParallelism(),
    signal: io.signal,
    onProgress: (name, share, note) => {
      if (name !== task) {
        task = name;
        io.progress.start(name, 1000);
      }
      io.progress.update(Math.round(share * 1000), note);
    },
  };
}
