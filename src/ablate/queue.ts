/** The coordinator's side of a queue: gives items to workers and takes their outcomes. */
import type { Job, JobsOptions, Queue } from 'bullmq';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Session } from '../model/session.js';
import { aborted } from '../native/errors.js';
import { contentHash } from '../util/hash.js';
import type { Arm } from './arms.js';
import type { Pair } from './pairs.js';
import type { QueueConnection } from './queueConnection.js';
import { fromRedis, openQueue, openRedis } from './queueConnection.js';
import type { EngineFacts, JobData, JobResult, SweepNotice } from './queueFormat.js';
import { DEFAULT_TRIES, NOTICES, armsKey, packInterventions, sweepId } from './queueFormat.js';
import type { PairOutcome, PairSource, ParkedPair, RequestSettings } from './source.js';

/** Arms of an item that go to one worker together. */
const PAIRS_PER_JOB = 32;
/** Most jobs in Redis: it does not hold the whole sweep. */
const MOST_JOBS = 500;
/** Jobs per call. */
const BATCH = 50;
/** Pause when nothing has finished, and between looks whether Redis still has everything, ms. */
const IDLE_MS = 100;
const CHECK_MS = 2000;

/** How to reach workers. */
export interface QueueOptions {
  /** redis://host:port */
  readonly url: string;
  /** How often a job is tried, crashes of its worker included, before its pairs are parked. Default 3. */
  readonly tries?: number | undefined;
}

/** What workers need to know of a sweep. */
export interface QueueSweep {
  readonly session: Session;
  readonly facts: EngineFacts;
  readonly arms: readonly Arm[];
  readonly settings: RequestSettings;
  readonly signal?: AbortSignal | undefined;
}

/** A job that Redis should have: as added, or as an earlier coordinator left it. */
interface Outstanding {
  readonly data: JobData;
  readonly options: JobsOptions;
}

/**
 * Lets workers run the pairs of a sweep (`rewardlens worker`). Every job carries the hash of its pairs' keys as its id, so adding it
 * twice is adding it once; jobs and results that an earlier coordinator of the sweep left are taken over. Jobs that Redis has lost are added
 * again. Dispose after the sweep: then nothing of it stays in Redis, unless it was aborted.
 */
export class QueueSource implements PairSource, AsyncDisposable {
  readonly parked: ParkedPair[] = [];
  readonly run = undefined;
  readonly #connection: QueueConnection;
  readonly #queue: Queue;
  readonly #notice: SweepNotice;
  readonly #sweep: QueueSweep;
  readonly #outstanding = new Map<string, Outstanding>();
  /** Pairs that were asked for and are not in the ledger, by key. */
  readonly #wanted = new Map<string, Pair>();
  /** Finished jobs that are in Redis as long as not all their pairs are in the ledger: keys that are missing. */
  readonly #unrecorded = new Map<string, Set<string>>();
  readonly #jobOf = new Map<string, string>();
  /** Finished jobs of an earlier coordinator whose pairs have not been asked for yet. */
  readonly #early = new Set<string>();
  #removable: string[] = [];
  #checked = 0;
  #exhausted = false;
  #complete = false;

  private constructor(connection: QueueConnection, queue: Queue, notice: SweepNotice, sweep: QueueSweep) {
    this.#connection = connection;
    this.#queue = queue;
    this.#notice = notice;
    this.#sweep = sweep;
    connection.redis.on('ready', () => (this.#checked = 0)); // it was away: look at once what it still has
  }

  /** Announces the sweep whose pairs have these `keys`. Errors: those of `openRedis`. */
  static async open(options: QueueOptions, sweep: QueueSweep, keys: ReadonlySet<string>): Promise<QueueSource> {
    const { session, facts, arms, settings } = sweep;
    const { path } = session.model.info;
    const notice: SweepNotice = {
      id: sweepId(facts, arms, keys),
      modelName: path.slice(path.lastIndexOf('/') + 1),
      facts,
      session: { ...session.numerics, contextLength: session.info.contextLength },
      settings,
      arms: arms.length,
      pairsPerJob: Math.min(PAIRS_PER_JOB, arms.length),
      tries: options.tries ?? DEFAULT_TRIES,
    };
    const connection = await openRedis(options.url);
    const source = new QueueSource(connection, await openQueue(connection, notice.id), notice, sweep);
    await source.#announce();
    return source;
  }

  async *outcomes(pairs: Iterable<Pair>): AsyncGenerator<PairOutcome, void, void> {
    const todo = this.#jobs(pairs);
    this.#exhausted = this.#complete = false;
    await this.#takeOver();
    while (!this.#exhausted || this.#outstanding.size > 0) {
      this.#throwIfAborted();
      this.#exhausted ||= await this.#topUp(todo);
      const finished = await this.#collect();
      yield* finished;
      await this.#remove();
      if (finished.length === 0) {
        await this.#orLost(sleep(IDLE_MS));
      }
      if (performance.now() - this.#checked > CHECK_MS) {
        await this.#replace();
      }
    }
    this.#complete = true;
  }

  recorded({ key }: Pair): void {
    const id = this.#jobOf.get(key);
    this.#jobOf.delete(key);
    this.#wanted.delete(key);
    const missing = id === undefined ? undefined : this.#unrecorded.get(id);
    missing?.delete(key);
    if (id !== undefined && missing?.size === 0) {
      this.#unrecorded.delete(id);
      this.#removable.push(id);
    }
  }

  /** Takes the sweep out of Redis when it is finished; else only what no worker has begun, so that a new start can go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#connection.redis.status === 'ready') {
      if (this.#complete && this.#unrecorded.size === 0) {
        await this.#connection.redis.hdel(NOTICES, this.#notice.id);
        await this.#connection.redis.del(armsKey(this.#notice.id));
        await this.#queue.obliterate({ force: true });
      } else {
        await this.#queue.drain();
      }
    }
    await this.#queue.close().catch(() => undefined);
    await this.#connection[Symbol.asyncDispose]();
  }

  async #announce(): Promise<void> {
    const { redis } = this.#connection;
    const { id } = this.#notice;
    if ((await this.#orLost(redis.hlen(armsKey(id)))) !== this.#notice.arms) {
      for (const [index, { interventions }] of this.#sweep.arms.entries()) {
        await this.#orLost(redis.hset(armsKey(id), String(index), packInterventions(interventions)));
      }
    }
    await this.#orLost(redis.hset(NOTICES, id, JSON.stringify(this.#notice)));
  }

  /** Jobs of the pairs, which come item by item. */
  *#jobs(pairs: Iterable<Pair>): Generator<Outstanding & { id: string }> {
    let block: Pair[] = [];
    for (const pair of pairs) {
      this.#wanted.set(pair.key, pair);
      if (block.length > 0 && (block.length === PAIRS_PER_JOB || block[0]?.itemIndex !== pair.itemIndex)) {
        yield this.#job(block);
        block = [];
      }
      block.push(pair);
    }
    if (block.length > 0) {
      yield this.#job(block);
    }
  }

  #job(block: readonly Pair[]): Outstanding & { id: string } {
    const { problem, prompt, maxTokens, seed } = block[0] as Pair;
    const data: JobData = { item: problem.id, prompt: [...prompt], maxTokens, seed, pairs: block.map(({ armIndex, key }) => [armIndex, key]) };
    const id = `j${contentHash(data.pairs.map(([, key]) => key))}`;
    return { id, data, options: { jobId: id, attempts: this.#notice.tries, removeOnComplete: false, removeOnFail: false } };
  }

  /** What an earlier coordinator left is not added again under another id. What it left parked is tried again. */
  async #takeOver(): Promise<void> {
    await this.#remove();
    await this.#orLost(this.#queue.clean(0, 0, 'failed'));
    const left = (await this.#orLost(this.#queue.getJobs(['waiting', 'active', 'delayed', 'prioritized', 'completed']))) as Job<JobData>[];
    for (const job of left) {
      if (job.id !== undefined && !this.#outstanding.has(job.id) && !this.#unrecorded.has(job.id)) {
        this.#outstanding.set(job.id, { data: job.data, options: { ...job.opts, jobId: job.id } });
      }
    }
  }

  /** Adds jobs until enough are waiting; true when there are no more. */
  async #topUp(todo: Generator<Outstanding & { id: string }>): Promise<boolean> {
    while (this.#outstanding.size - this.#early.size < MOST_JOBS) {
      const block: (Outstanding & { id: string })[] = [];
      let ended = false;
      while (block.length < BATCH) {
        const step = todo.next();
        if (step.done === true) {
          ended = true;
          break;
        }
        block.push(step.value);
      }
      const covered = new Set([...this.#outstanding.values()].flatMap(({ data }) => data.pairs.map(([, key]) => key)));
      const fresh = block.filter(({ data }) => data.pairs.some(([, key]) => !covered.has(key)));
      fresh.forEach(({ id, data, options }) => this.#outstanding.set(id, { data, options }));
      await this.#add(fresh);
      if (ended) {
        return true;
      }
    }
    return false;
  }

  async #add(jobs: readonly Outstanding[]): Promise<void> {
    for (let at = 0; at < jobs.length; at += BATCH) {
      await this.#orLost(this.#queue.addBulk(jobs.slice(at, at + BATCH).map(({ data, options }) => ({ name: data.item.slice(0, 80), data, opts: options }))));
    }
  }

  /** Outcomes of jobs that have finished since the last call. Parks those that have failed for good. */
  async #collect(): Promise<PairOutcome[]> {
    const jobs = (await this.#orLost(this.#queue.getJobs(['completed', 'failed'], 0, 4 * BATCH + this.#unrecorded.size + this.#early.size, true))) as (Job<JobData, JobResult> | undefined)[];
    return jobs.flatMap((job) => (job?.id === undefined || this.#unrecorded.has(job.id) || this.#removable.includes(job.id) ? [] : this.#take(job, job.id)));
  }

  #take(job: Job<JobData, JobResult>, id: string): PairOutcome[] {
    const asked = job.data.pairs.flatMap(([, key], i) => {
      const pair = this.#wanted.get(key);
      return pair === undefined || this.#jobOf.has(key) ? [] : [{ pair, i }];
    });
    if (asked.length === 0 && !this.#exhausted) {
      this.#early.add(id);
      return [];
    }
    this.#early.delete(id);
    this.#outstanding.delete(id);
    const results = job.returnvalue as JobResult | null;
    if (!Array.isArray(results) || asked.length === 0) {
      this.parked.push(...asked.map(({ pair }) => ({ arm: pair.arm.name, item: pair.problem.id, reason: job.failedReason })));
      asked.forEach(({ pair }) => this.#wanted.delete(pair.key));
      this.#removable.push(id);
      return [];
    }
    this.#unrecorded.set(id, new Set(asked.map(({ pair }) => pair.key)));
    asked.forEach(({ pair }) => this.#jobOf.set(pair.key, id));
    return asked.map(({ pair, i }) => ({ pair, outcome: results[i] as JobResult[number] }));
  }

  /** Takes jobs whose outcomes are in the ledger out of Redis. */
  async #remove(): Promise<void> {
    const ids = this.#removable.slice();
    await this.#orLost(Promise.all(ids.map(async (id) => this.#queue.remove(id))));
    this.#removable = this.#removable.filter((id) => !ids.includes(id));
  }

  /** Adds what Redis no longer has: it was restarted without what came last. */
  async #replace(): Promise<void> {
    this.#checked = performance.now();
    const counts = await this.#orLost(this.#queue.getJobCounts('waiting', 'active', 'delayed', 'prioritized', 'completed', 'failed'));
    const there = Object.values(counts).reduce((sum, count) => sum + count, 0);
    if (there < this.#outstanding.size + this.#unrecorded.size + this.#removable.length) {
      await this.#announce();
      await this.#add([...this.#outstanding.values()]);
    }
  }

  #throwIfAborted(): void {
    if (this.#sweep.signal?.aborted === true) {
      throw aborted('the sweep', this.#sweep.signal);
    }
  }

  /** Waits for Redis, no longer than it is there, nor longer than anybody wants. */
  async #orLost<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#sweep;
    let onAbort: (() => void) | undefined;
    const interrupted = new Promise<never>((_, reject) => {
      onAbort = () => reject(aborted('the sweep', signal));
      signal?.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([fromRedis(this.#connection, work), interrupted]);
    } finally {
      signal?.removeEventListener('abort', onAbort as () => void);
    }
  }
}
