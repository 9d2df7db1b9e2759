/** Jobs with a time and a memory limit, in a worker thread that is replaced when a job breaks a limit. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { RewardLensError } from '../native/errors.js';
import type { ScoreItem } from './types.js';

/** What the worker can do. */
export type Job =
  | { readonly kind: 'identical'; readonly gold: string; readonly answer: string; readonly mode: 'expression' | 'equation' }
  | { readonly kind: 'regex'; readonly pattern: string; readonly flags: string; readonly text: string }
  | { readonly kind: 'user'; readonly item: ScoreItem };

/** What the worker prepares before its first job. */
export interface Setup {
  /** Path of a user's module. */
  readonly module?: string;
  /** Load the maths library at once, so that no job's time is spent on it. */
  readonly warm?: boolean;
}

/** The worker's answer to a job, or, the first one, whether its setup went well. */
export type Reply = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly message: string };

/** Time for starting a worker, milliseconds: a user's module may load much. */
const START_LIMIT_MS = 120_000;
const MEMORY_LIMIT_MB = 512;

/** A worker on worker.js, or, where the sources run untranslated (tests, tsx), on worker.ts through jiti. */
function startWorker(setup: Setup): Worker {
  const typescript = import.meta.url.endsWith('.ts');
  const file = new URL(typescript ? './worker.ts' : './worker.js', import.meta.url);
  const options = { workerData: setup, execArgv: [], resourceLimits: { maxOldGenerationSizeMb: MEMORY_LIMIT_MB } };
  if (!typescript) {
    return new Worker(file, options);
  }
  const jiti = createRequire(import.meta.url).resolve('jiti');
  const script = `require(${JSON.stringify(jiti)}).createJiti(${JSON.stringify(file.href)}).import(${JSON.stringify(fileURLToPath(file))});`;
  return new Worker(script, { ...options, eval: true });
}

/** The worker of one scorer. Jobs run one after the other; it does not keep the process alive while idle. */
export class JobRunner implements AsyncDisposable {
  readonly #setup: Setup;
  readonly #limitMs: number;
  #worker: Worker | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /** `limitMs`: wall-clock time of one job. */
  constructor(setup: Setup, limitMs: number) {
    this.#setup = setup;
    this.#limitMs = limitMs;
  }

  /** Starts the worker now. `ok: false`: the setup failed, with the user's error. */
  async start(): Promise<Reply> {
    return this.#queue(async () => (this.#worker === undefined ? this.#start() : { ok: true, value: 'ready' }));
  }

  /** Runs a job; exceptions, the time and the memory limit come back as `ok: false`. Errors: DISPOSED, BACKEND. */
  async run(job: Job): Promise<Reply> {
    return this.#queue(async () => {
      const started: Reply = this.#worker === undefined ? await this.#start() : { ok: true, value: 'ready' };
      if (!started.ok && this.#setup.module === undefined) {
        // Nothing that an item holds: the installation is broken, and "unknown" would hide it.
        throw new RewardLensError('BACKEND', `the worker of the reward function cannot start: ${started.message}`);
      }
      return started.ok ? this.#exchange(this.#limitMs, job) : started;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    await this.#stop();
  }

  async #queue(body: () => Promise<Reply>): Promise<Reply> {
    const result = this.#tail.then(async () => {
      if (this.#disposed) {
        throw new RewardLensError('DISPOSED', 'the scorer is disposed');
      }
      return body();
    });
    this.#tail = result.catch(() => undefined);
    return result;
  }

  async #start(): Promise<Reply> {
    const worker = startWorker(this.#setup);
    this.#worker = worker;
    const reply = await this.#exchange(START_LIMIT_MS);
    if (!reply.ok) {
      await this.#stop();
    }
    return reply;
  }

  async #stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  /** Posts a job, if any, and waits for the next reply. A broken limit ends the worker; the next job gets a new one. */
  async #exchange(limitMs: number, job?: Job): Promise<Reply> {
    const worker = this.#worker as Worker;
    worker.ref();
    const reply = await new Promise<Reply>((resolve) => {
      const late = (): void => finish({ ok: false, message: `stopped after the time limit of ${limitMs / 1000} s` });
      // A reply that already waits while this thread was busy is still in time: it is read before the immediate runs.
      let timer = setTimeout(() => {
        timer = setTimeout(late, 20);
      }, limitMs);
      const onMessage = (message: Reply): void => finish(message);
      const onError = (error: Error & { code?: string }): void =>
        finish({ ok: false, message: error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? `stopped at the memory limit of ${MEMORY_LIMIT_MB} MB` : error.message });
      const onExit = (): void => finish({ ok: false, message: 'the worker ended' });
      const finish = (result: Reply): void => {
        clearTimeout(timer);
        worker.off('message', onMessage).off('error', onError).off('exit', onExit);
        resolve(result);
      };
      worker.on('message', onMessage).on('error', onError).on('exit', onExit);
      if (job !== undefined) {
        worker.postMessage(job);
      }
    });
    const broken = !reply.ok && /^(?:stopped|the worker ended)/.test(reply.message);
    if (broken) {
      await this.#stop();
    } else {
      worker.unref();
    }
    return reply;
  }
}
