/** `rewardlens worker`: runs pairs of arm and item for sweeps elsewhere. */
import type { WorkerOptions } from '../ablate/queueWorker.js';
import type { Command, Io } from './command.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, openModel, plural, readModelFlags, readSessionFlags } from './options.js';
import { readQueueUrl } from './ablateRunFlags.js';

interface WorkerFlags {
  model: ModelFlags;
  work: Pick<WorkerOptions, 'url' | 'session' | 'idleExit'>;
}

const { parallel, threads, 'ubatch-size': ubatch } = SESSION_OPTIONS as Record<'parallel' | 'threads' | 'ubatch-size', (typeof SESSION_OPTIONS)[string]>;

/** Serves a queue. */
export const workerCommand: Command = {
  name: 'worker',
  describe: 'Run pairs of arm and item for `ablate --queue` on other machines. Context size, cache types and sampling come with the sweep.',
  options: {
    queue: { type: 'string', group: 'Queue:', describe: 'Redis server: redis://host:port' },
    'idle-exit': { type: 'string', group: 'Queue:', describe: 'leave after this many seconds without work; default: stay' },
    ...MODEL_OPTIONS,
    parallel,
    threads,
    'ubatch-size': ubatch,
  },
  examples: [['rewardlens worker --queue redis://head:6379 -m model.gguf', 'serve sweeps of this model until Ctrl-C']],
  prepare(flags: Flags) {
    const { parallel: slots, threads: own, ubatch: rows } = readSessionFlags(flags);
    const session = Object.fromEntries(Object.entries({ parallel: slots, threads: own, ubatch: rows }).filter(([, value]) => value !== undefined));
    const url = readQueueUrl(flags);
    if (url === undefined) {
      flags.required('queue', 'a Redis server (redis://host:port)');
    }
    const parsed: WorkerFlags = { model: readModelFlags(flags), work: { url: url as string, session, idleExit: flags.number('idle-exit', 0) } };
    return (io) => run(parsed, io);
  },
};

async function run({ model: modelFlags, work }: WorkerFlags, io: Io): Promise<void> {
  await using model = await openModel(modelFlags, io);
  const { serveQueue } = await import('../ablate/queueWorker.js');
  const { sweeps, pairs } = await serveQueue(model, {
    ...work,
    signal: io.signal,
    onEvent: (text, kind) => (kind === 'warning' ? io.warn(text) : io.summary(text)),
  });
  if (io.json) {
    io.line({ summary: { sweeps, pairs } });
  } else {
    io.out(`${plural(pairs, 'pair')} of ${plural(sweeps, 'sweep')} done`);
  }
}
