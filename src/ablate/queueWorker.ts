/** The worker's side of a queue: runs the items of announced sweeps on its own model. */
import type { Job, Queue } from 'bullmq';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Model } from '../model/model.js';
import type { SessionOptions } from '../model/session.js';
import { aborted } from '../native/errors.js';
import { Lane } from './lane.js';
import type { QueueConnection } from './queueConnection.js';
import { fromRedis, openQueue, openRedis } from './queueConnection.js';
import type { EngineFacts, JobData, JobResult, SweepNotice } from './queueFormat.js';
import { NOTICES, armsKey, differenceOf, engineFacts, unpackInterventions } from './queueFormat.js';

/**
 * A job whose worker has not been heard of for this long is taken over, and how often that is looked for, ms. Short beside a sweep;
 * a worker that is merely late computes what counts once anyway.
 */
const LOCK_MS = 5000;
const STALLED_MS = 2500;
/** Pause between looks at what is announced, ms. */
const LOOK_MS = 500;
/** Looks without work after which another sweep may have its turn. */
const IDLE_LOOKS = 4;

/** How a worker works. */
export interface WorkerOptions {
  readonly url: string;
  /** Sequences side by side, threads, rows of a pass; what changes numbers comes with the sweep. */
  readonly session: Pick<SessionOptions, 'parallel' | 'threads' | 'ubatch'>;
  /** Leave after this many seconds without work. Default: stay. */
  readonly idleExit?: number | undefined;
  /** Finish what is in flight, then leave. */
  readonly signal?: AbortSignal | undefined;
  /** What the worker does, in words. */
  readonly onEvent?: ((text: string, kind: 'note' | 'warning') => void) | undefined;
}

/** What a worker did. */
export interface WorkerTotals {
  readonly sweeps: number;
  readonly pairs: number;
}

/**
 * Serves one announced sweep after the other as long as there are any of this model. Jobs that fail are tried again, here or
 * elsewhere. Errors: those of `openRedis`; IO when Redis is gone for long; engine errors that no job causes; ABORTED after the
 * jobs in flight are finished.
 */
export async function serveQueue(model: Model, options: WorkerOptions): Promise<WorkerTotals> {
  await using connection = await openRedis(options.url);
  const server = new Server(model, connection, await engineFacts(model, options.signal), options);
  return await server.run();
}

class Server {
  readonly #model: Model;
  readonly #connection: QueueConnection;
  readonly #facts: EngineFacts;
  readonly #options: WorkerOptions;
  readonly #refused = new Set<string>();
  readonly #served = new Set<string>();
  readonly #reported = new Set<string>();
  #pairs = 0;

  constructor(model: Model, connection: QueueConnection, facts: EngineFacts, options: WorkerOptions) {
    this.#model = model;
    this.#connection = connection;
    this.#facts = facts;
    this.#options = options;
  }

  async run(): Promise<WorkerTotals> {
    const { idleExit = Infinity, signal } = this.#options;
    this.#say(`waiting for a sweep of ${this.#modelName()}`);
    let busy = performance.now();
    while (performance.now() - busy < 1000 * idleExit) {
      const notice = await fromRedis(this.#connection, this.#next());
      if (signal?.aborted === true) {
        throw aborted('the worker', signal);
      }
      if (notice === undefined) {
        await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
        continue;
      }
      await this.#serve(notice);
      busy = performance.now();
    }
    return { sweeps: this.#served.size, pairs: this.#pairs };
  }

  #say(text: string, kind: 'note' | 'warning' = 'note'): void {
    this.#options.onEvent?.(text, kind);
  }

  /** Each kind of trouble once; that of the connection is watched itself. */
  #report(message: string): void {
    const kind = message.replace(/\bj[0-9a-f]{32}\b/g, '…');
    if (this.#connection.redis.status === 'ready' && !this.#reported.has(kind)) {
      this.#reported.add(kind);
      this.#say(`queue: ${message}`, 'warning');
    }
  }

  #modelName(): string {
    const { path } = this.#model.info;
    return `${path.slice(path.lastIndexOf('/') + 1)} (${this.#facts.model.slice(0, 12)})`;
  }

  /** The first sweep that fits this worker and has work. */
  async #next(): Promise<SweepNotice | undefined> {
    const notices = Object.values(await this.#connection.redis.hgetall(NOTICES)).map((text) => JSON.parse(text) as SweepNotice);
    for (const notice of notices) {
      const difference = differenceOf(this.#facts, notice.facts);
      if (difference !== undefined) {
        if (!this.#refused.has(notice.id)) {
          this.#refused.add(notice.id);
          this.#say(`cannot serve sweep ${notice.id.slice(0, 8)} of ${notice.modelName}: ${difference}`, 'warning');
        }
        continue;
      }
      const queue = await openQueue(this.#connection, notice.id);
      try {
        if (await hasWork(queue)) {
          return notice;
        }
      } finally {
        await queue.close();
      }
    }
    return undefined;
  }

  async #serve(notice: SweepNotice): Promise<void> {
    const { redis } = this.#connection;
    const packed = await fromRedis(this.#connection, redis.hgetall(armsKey(notice.id)));
    if (Object.keys(packed).length !== notice.arms) {
      return; // Redis came back without them: the coordinator announces the sweep again
    }
    const arms = Array.from({ length: notice.arms }, (_, a) => unpackInterventions(packed[a] as string));
    const { parallel = 32, ...rest } = this.#options.session;
    await using session = this.#model.createSession({ ...notice.session, ...rest, parallel });
    const lane = new Lane(session, arms, notice.settings);
    this.#say(`serving sweep ${notice.id.slice(0, 8)} of ${notice.modelName}: ${notice.arms} arms`);
    const before = this.#pairs;
    try {
      await this.#work(notice, lane, parallel);
    } finally {
      this.#pairs = before + lane.finished;
      this.#served.add(notice.id);
      this.#say(`${lane.finished} pairs of sweep ${notice.id.slice(0, 8)} done`);
    }
  }

  /** Takes jobs until the queue has none, the sweep is withdrawn, or this process is to stop. */
  async #work(notice: SweepNotice, lane: Lane, parallel: number): Promise<void> {
    const { Worker, WaitingError } = await import('bullmq');
    const stop = new AbortController();
    const running = lane.run(stop.signal).catch(() => undefined); // lane.failure says why
    const worker = new Worker<JobData, JobResult>(
      notice.id,
      async (job: Job<JobData, JobResult>, token) => {
        try {
          return await lane.submit(job.data);
        } catch (error) {
          if (lane.failure !== undefined) {
            await job.moveToWait(token); // not the job's fault
            throw new WaitingError();
          }
          this.#say(`item '${job.data.item}' failed (try ${job.attemptsMade + 1} of ${notice.tries}): ${(error as Error).message}`, 'warning');
          throw error;
        }
      },
      {
        ...this.#connection.options,
        // enough for all slots and the engine's look-ahead, whatever the size of a job
        concurrency: 2 + Math.ceil((2 * parallel) / notice.pairsPerJob),
        lockDuration: LOCK_MS,
        stalledInterval: STALLED_MS,
        maxStalledCount: notice.tries - 1,
        drainDelay: 1,
        runRetryDelay: 1000,
      },
    );
    worker.on('error', ({ message }) => this.#report(message));
    const queue = await openQueue(this.#connection, notice.id);
    try {
      await fromRedis(this.#connection, this.#watch(queue, notice, () => lane.failure !== undefined));
      await fromRedis(this.#connection, worker.close()); // waits for the jobs in flight
    } catch (error) {
      stop.abort();
      await worker.close(true).catch(() => undefined);
      throw error;
    } finally {
      lane.close();
      await running;
      await queue.close().catch(() => undefined);
    }
    if (lane.failure !== undefined) {
      throw lane.failure;
    }
  }

  async #watch(queue: Queue, notice: SweepNotice, hasFailed: () => boolean): Promise<void> {
    const { signal } = this.#options;
    let idle = 0;
    while (signal?.aborted !== true && !hasFailed() && idle < IDLE_LOOKS) {
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
      const announced = await this.#connection.redis.hexists(NOTICES, notice.id);
      idle = announced === 1 && (await hasWork(queue)) ? 0 : idle + 1;
    }
  }
}

/** Whether jobs wait, or others have them and may die. */
async function hasWork(queue: Queue): Promise<boolean> {
  const counts = await queue.getJobCounts('waiting', 'active', 'delayed', 'prioritized');
  return Object.values(counts).some((count) => count > 0);
}
