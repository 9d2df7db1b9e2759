/** Options that commands share, with llama.cpp's names where it has one, and what they mean to the library. */
import type { LoadOptions, Model } from '../model/model.js';
import { loadModel } from '../model/model.js';
import type { CacheType, SessionOptions } from '../model/session.js';
import { parseLayers } from '../model/sites.js';
import type { OptionTable } from './argv.js';
import type { Io } from './command.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';

const MODEL = 'Model:';
const GENERAL = 'General:';

/** Options of every command. */
export const GENERAL_OPTIONS: OptionTable = {
  json: { type: 'boolean', group: GENERAL, describe: 'JSON lines on stdout, nothing else' },
  verbose: { alias: 'v', type: 'boolean', group: GENERAL, describe: 'more on stderr; stack traces of errors' },
};

/** Options of loading a model. */
export const MODEL_OPTIONS: OptionTable = {
  model: { alias: 'm', type: 'string', group: MODEL, describe: 'GGUF file (of a split model: the first part)' },
  'gpu-layers': { alias: 'n-gpu-layers', type: 'string', group: MODEL, describe: '-ngl: layers on the GPU, or all; default: all when there is one' },
  device: { type: 'string', group: MODEL, describe: '-dev: devices to use, comma separated; see `rewardlens info`' },
  'no-mmap': { type: 'boolean', group: MODEL, describe: 'read the file instead of mapping it' },
  mlock: { type: 'boolean', group: MODEL, describe: 'keep the weights in RAM' },
  'check-tensors': { type: 'boolean', group: MODEL, describe: 'validate all tensor data while loading' },
  'no-isolate': { type: 'boolean', group: MODEL, describe: 'skip the trial load in a child process' },
};

/** Options of a session. */
export const SESSION_OPTIONS: OptionTable = {
  'ctx-size': { alias: 'c', type: 'string', group: MODEL, describe: 'tokens per sequence; default: what the longest input needs' },
  'ubatch-size': { type: 'string', group: MODEL, describe: '-ub: most rows of one forward pass; default 512' },
  threads: { alias: 't', type: 'string', group: MODEL, describe: 'compute threads; default: all hardware threads' },
  'flash-attn': { type: 'string', group: MODEL, describe: '-fa: on, off or auto (default)' },
  'cache-type-k': { type: 'string', group: MODEL, describe: '-ctk: KV cache type of K; default f16' },
  'cache-type-v': { type: 'string', group: MODEL, describe: '-ctv: KV cache type of V; default f16' },
  parallel: { type: 'string', group: MODEL, describe: '-np: sequences side by side; default: as many as useful, at most 32' },
};

const CACHE_TYPES: readonly CacheType[] = ['f32', 'f16', 'bf16', 'q8_0', 'q4_0', 'q4_1', 'iq4_nl', 'q5_0', 'q5_1'];

/** The model file and how to load it. */
export interface ModelFlags {
  path: string;
  load: LoadOptions;
}

/** Reads {@link MODEL_OPTIONS}. */
export function readModelFlags(flags: Flags): ModelFlags {
  const path = flags.required('model', 'a GGUF file (-m FILE)');
  const layers = flags.text('gpu-layers');
  const gpuLayers = layers === 'all' ? -1 : layers === 'auto' ? undefined : flags.integer('gpu-layers', -1);
  const devices = flags.text('device')?.split(',');
  return {
    path,
    load: {
      mmap: !flags.on('no-mmap'),
      mlock: flags.on('mlock'),
      checkTensors: flags.on('check-tensors'),
      isolate: !flags.on('no-isolate'),
      ...(gpuLayers === undefined ? {} : { gpuLayers }),
      ...(devices === undefined ? {} : { devices }),
    },
  };
}

/** Reads {@link SESSION_OPTIONS}. What is left out, the command fills in. */
export function readSessionFlags(flags: Flags): SessionOptions {
  const flash = flags.choice('flash-attn', ['on', 'off', 'auto', '1', '0']);
  const values = {
    contextLength: flags.integer('ctx-size', 1),
    parallel: flags.integer('parallel', 1, 256),
    ubatch: flags.integer('ubatch-size', 1),
    threads: flags.integer('threads', 1, 1024),
    flashAttention: flash === undefined || flash === 'auto' ? undefined : flash === 'on' || flash === '1',
    cacheTypeK: flags.choice('cache-type-k', CACHE_TYPES),
    cacheTypeV: flags.choice('cache-type-v', CACHE_TYPES),
  };
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** Loads the model with a progress bar. */
export async function openModel(flags: ModelFlags, io: Io): Promise<Model> {
  io.progress.start('loading model', 1000);
  try {
    return await loadModel(flags.path, { ...flags.load, signal: io.signal, onProgress: (fraction) => io.progress.update(Math.round(fraction * 1000)) });
  } finally {
    io.progress.stop();
  }
}

/** Comma separated integers and ranges without "all", e.g. neurons "3,10-12". */
export function readIndices(flags: Flags, name: string): number[] | undefined {
  const text = flags.text(name);
  if (text === undefined) {
    return undefined;
  }
  const list = asUsage(() => parseLayers(text, `--${name}`));
  if (list === 'all' || list.some((index) => index < 0)) {
    throw new UsageError(`--${name}: expected numbers and ranges such as "0,3-5", got ${JSON.stringify(text)}`);
  }
  return [...new Set(list)];
}

/** Bytes for people: "1.5 GiB". */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  const unit = Math.min(units.length - 1, bytes < 1024 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return unit === 0 ? `${bytes} bytes` : `${(bytes / 2 ** (10 * unit)).toFixed(1)} ${units[unit]}`;
}

/** "1 row", "2 rows". */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}

/** "1,234 tokens/s" */
export function rate(tokens: number, busyMs: number): string {
  return busyMs <= 0 || tokens === 0 ? '' : `${Math.round((tokens * 1000) / busyMs).toLocaleString('en-US')} tokens/s`;
}
