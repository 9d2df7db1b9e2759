/**
 * Ends of a process at awkward moments, one per process: `process-child.ts <case>`. The same file is the worker thread of
 * the cases that have one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import type { Model, Session } from '../../src/index.js';
import { captureActivations, generate, loadModel } from '../../src/index.js';
import { oraclePath } from './oracle.js';

const MIB = 1 << 20;
const load = async (): Promise<Model> => loadModel(oraclePath('llama-q8_0.gguf'), { gpuLayers: 0, isolate: false });
const open = (model: Model): Session => model.createSession({ threads: 1, contextLength: 256, parallel: 2 });
const LONG = Array.from({ length: 5000 }, (_, i) => ({ prompt: [1, 2, i % 90], maxTokens: 200, seed: i }));

/** One finished run with captured rows; the sampled tokens. */
async function once(session: Session): Promise<number[]> {
  const tokens: number[] = [];
  for await (const result of generate(session, [{ prompt: [1, 2, 3], maxTokens: 8, seed: 1, ignoreEog: true }], { capture: { layers: 'all' } })) {
    tokens.push(...result.tokens);
  }
  return tokens;
}

/** Comes back in the middle of a run that nothing ends. */
async function midDecode(): Promise<AsyncGenerator> {
  const run = generate(open(await load()), LONG, { capture: { layers: 'all' } });
  await run.next();
  return run;
}

async function inWorker(job: string, until: 'message' | 'exit'): Promise<{ worker: Worker; message: unknown }> {
  // `--import tsx` does not reach worker threads of Node 20.
  const tsx = import.meta.resolve('tsx/esm/api');
  const start = `import(${JSON.stringify(tsx)}).then((api) => { api.register(); return import(${JSON.stringify(import.meta.url)}); })`;
  const worker = new Worker(start, { eval: true, workerData: job });
  let message: unknown;
  worker.on('message', (value: unknown) => {
    message = value;
  });
  await new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once(until, () => resolve());
  });
  return { worker, message };
}

async function gcRounds(dispose: boolean): Promise<string> {
  const rss: number[] = [];
  const live = new Set<number>();
  const registry = new FinalizationRegistry<number>((round) => live.delete(round));
  const prompt = Array.from({ length: 200 }, (_, i) => i % 90);
  for (let round = 0; round < 30; round++) {
    await (async () => {
      const model = await load();
      const session = open(model);
      registry.register(session, round);
      live.add(round);
      await once(session);
      const activations = await captureActivations(session, new Array<number[]>(8).fill(prompt), { site: ['residPost', 'mlpPost'], layers: 'all' });
      if (activations.rowCount !== 1600) {
        throw new Error(`${activations.rowCount} rows`);
      }
      if (dispose) {
        await model.dispose();
      }
    })();
    for (let i = 0; i < 3; i++) {
      await sleep(1);
      globalThis.gc?.();
    }
    rss.push(process.memoryUsage().rss);
  }
  const early = Math.max(...rss.slice(5, 10));
  const late = Math.min(...rss.slice(-5));
  return JSON.stringify({ grownMiB: (late - early) / MIB, uncollected: live.size });
}

const CASES: Record<string, () => Promise<unknown>> = {
  'collected without dispose': async () => console.log(await gcRounds(false)),
  'collected after dispose': async () => console.log(await gcRounds(true)),
  'a run in a worker': async () => {
    const { message } = await inWorker('once', 'exit');
    const model = await load();
    console.log(JSON.stringify({ worker: message, main: await once(open(model)) }));
    await model.dispose();
  },
  'a worker terminated in mid-decode': async () => {
    for (let i = 0; i < 5; i++) {
      const { worker } = await inWorker('endless', 'message');
      await worker.terminate();
    }
    const model = await load();
    console.log(JSON.stringify({ main: await once(open(model)) }));
    await model.dispose();
  },
  'a worker that exits in mid-decode': async () => {
    await inWorker('exit', 'exit');
    const model = await load();
    console.log(JSON.stringify({ main: await once(open(model)) }));
    await model.dispose();
  },
  'two workers on one file': async () => {
    const both = await Promise.all([inWorker('once', 'exit'), inWorker('once', 'exit')]);
    console.log(JSON.stringify({ workers: both.map(({ message }) => message) }));
  },
  'exit in mid-decode': async () => {
    await midDecode();
    process.exit(0);
  },
  'exit while a worker decodes': async () => {
    await inWorker('endless', 'message');
    process.exit(0);
  },
  'exit while a model loads': async () => {
    const loading = load();
    loading.catch(() => undefined);
    setImmediate(() => process.exit(0));
    await loading;
  },
  'the end with finished runs and no dispose': async () => {
    const session = open(await load());
    await once(session);
    await once(session);
    console.log(JSON.stringify({ main: await once(session) }));
  },
  'an uncaught exception in mid-decode': async () => {
    await midDecode();
    setTimeout(() => {
      throw new RangeError('nobody catches this');
    }, 5);
    await sleep(10_000);
  },
  'an unhandled rejection in mid-decode': async () => {
    await midDecode();
    void Promise.reject(new RangeError('nobody catches this'));
    await sleep(10_000);
  },
};

/** What the worker thread of a case does. */
const JOBS: Record<string, () => Promise<unknown>> = {
  once: async () => {
    const model = await load();
    parentPort?.postMessage(await once(open(model)));
    await model.dispose();
  },
  endless: async () => {
    const run = await midDecode();
    parentPort?.postMessage('running');
    while ((await run.next()).done !== true);
  },
  exit: async () => {
    await midDecode();
    process.exit(0);
  },
};

const work = isMainThread ? CASES[process.argv[2] ?? ''] : JOBS[workerData as string];
if (work === undefined) {
  throw new Error(`no such case: ${process.argv[2]}`);
}
await work();
