/** Options of sampling trajectories, shared by `rollout` and `study`. */
import type { Layers, Site } from '../model/sites.js';
import { SITES, asSite, parseLayers } from '../model/sites.js';
import type { StoreInfo } from '../store/format.js';
import type { DatasetSource, RolloutSettings } from '../study/sample.js';
import type { OptionTable } from './argv.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';
import { processEscapes } from './inputs.js';

const DATA = 'Data set:';
const SAMPLING = 'Sampling:';
const STORE = 'Activations:';

/** Options of {@link readSources}. */
export const DATASET_OPTIONS: OptionTable = {
  dataset: { type: 'string', array: true, group: DATA, describe: 'a file (JSONL, JSON, Parquet) or hf:owner/name (see docs/datasets.md)' },
  format: { type: 'string', group: DATA, describe: 'gsm8k, math, arc, mmlu or jsonl; default: detected' },
  limit: { type: 'string', group: DATA, describe: 'only the first N problems' },
  'skip-bad': { type: 'boolean', group: DATA, describe: 'leave out lines that cannot be read instead of stopping' },
  template: { type: 'string', group: DATA, describe: "prompt template: chat (the model's), a name, or a Jinja file; default: by format" },
  system: { type: 'string', group: DATA, describe: 'system message of the chat template' },
  'few-shot': { type: 'string', group: DATA, describe: 'N solved examples in front of every problem' },
  'few-shot-from': { type: 'string', group: DATA, describe: 'data set the examples come from; default: the same, less the examples' },
  check: { type: 'string', group: DATA, describe: 'reward function instead of the data set\'s: gsm8k, math, choice, exact, regex or a JS/TS module' },
};

/** Options of {@link readRolloutSettings}. */
export const ROLLOUT_OPTIONS: OptionTable = {
  samples: { type: 'string', group: SAMPLING, describe: 'trajectories per problem; default 1' },
  predict: { alias: ['n', 'n-predict'], type: 'string', group: SAMPLING, describe: 'most tokens per trajectory; default 1024' },
  temp: { alias: 'temperature', type: 'string', group: SAMPLING, describe: 'temperature; default 1' },
  'top-k': { type: 'string', group: SAMPLING, describe: 'default 0 (off)' },
  'top-p': { type: 'string', group: SAMPLING, describe: 'default 0.95' },
  'min-p': { type: 'string', group: SAMPLING, describe: 'default 0 (off)' },
  stop: { alias: ['r', 'reverse-prompt'], type: 'string', array: true, group: SAMPLING, describe: 'end before this text; may be repeated' },
  seed: { alias: 's', type: 'string', group: SAMPLING, describe: 'default 1; every trajectory has its own, from this, its problem and its number' },
  site: { type: 'string', array: true, group: STORE, describe: `${Object.keys(SITES).join(', ')}; may be repeated; default residPost` },
  layers: { type: 'string', group: STORE, describe: 'such as 0,3-5 or all (default)' },
  positions: { type: 'string', group: STORE, describe: 'response (s_0 and the completion, default), s0 or all' },
  dtype: { type: 'string', group: STORE, describe: 'f16 (default) or f32' },
  'max-disk': { type: 'string', group: STORE, describe: 'most bytes of activations, such as 20G; stops before more' },
  'no-activations': { type: 'boolean', group: STORE, describe: 'trajectories only' },
};

/** Data sets of a command line, in order. */
export function readSources(flags: Flags): DatasetSource[] {
  const specs = flags.list('dataset');
  if (specs.length === 0) {
    throw new UsageError('--dataset: expected a file or hf:owner/name, but it is missing');
  }
  const format = flags.choice('format', ['gsm8k', 'math', 'arc', 'mmlu', 'jsonl']);
  const values = {
    format,
    limit: flags.integer('limit', 1),
    skipBad: flags.on('skip-bad'),
    template: flags.text('template'),
    system: flags.text('system'),
    fewShot: flags.integer('few-shot', 0, 100),
    fewShotFrom: flags.text('few-shot-from'),
    check: flags.text('check'),
  };
  const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  return specs.map((spec) => ({ spec, ...given }));
}

/** Bytes such as "500M", "20G", "1.5T"; plain numbers are bytes. */
export function parseBytes(text: string, flag: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?$/i.exec(text.trim());
  if (match === null) {
    throw new UsageError(`--${flag}: expected bytes such as 500M or 20G, got ${JSON.stringify(text)}`);
  }
  return Number(match[1]) * 1024 ** ' kmgt'.indexOf((match[2] ?? '').toLowerCase() || ' ');
}

/** How to sample and what to store; with `capture` false the activation flags are not those of this command. */
export function readRolloutSettings(flags: Flags, options: { capture: boolean } = { capture: true }): RolloutSettings {
  const layers: Layers = asUsage(() => parseLayers(flags.text('layers') ?? 'all', '--layers'));
  const sites: Site[] = asUsage(() => flags.list('site').map((site) => asSite(site, '--site')));
  const maxDisk = flags.text('max-disk');
  return {
    samples: flags.integer('samples', 1, 1e6) ?? 1,
    maxTokens: flags.integer('predict', 1) ?? 1024,
    sampling: {
      temperature: flags.number('temp', 0, 1e6) ?? 1,
      topK: flags.integer('top-k', 0) ?? 0,
      topP: flags.number('top-p', 0, 1) ?? 0.95,
      minP: flags.number('min-p', 0, 1) ?? 0,
    },
    stop: flags.list('stop').map(processEscapes),
    seed: flags.integer('seed', 0, 0xfffffffe) ?? 1,
    capture: !options.capture || flags.on('no-activations')
      ? undefined
      : { site: sites.length === 0 ? 'residPost' : sites, layers, positions: flags.choice<StoreInfo['positions']>('positions', ['response', 's0', 'all']) ?? 'response' },
    dtype: flags.choice('dtype', ['f16', 'f32']) ?? 'f16',
    maxDiskBytes: maxDisk === undefined ? undefined : parseBytes(maxDisk, 'max-disk'),
  };
}
