/** One engine run that takes jobs as they come, so that slots never wait for the next job. */
import type { Intervention } from '../intervene/types.js';
import type { Session } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import { runSequences } from '../run/engine.js';
import type { SequenceRequest } from '../run/request.js';
import type { RawOutcome } from './ledger.js';
import type { JobData, JobResult } from './queueFormat.js';
import type { RequestSettings } from './source.js';
import { toOutcome } from './source.js';

/** Errors that one sequence can cause; any other means that this process cannot go on. */
const OF_A_SEQUENCE: readonly string[] = ['HOOK_NOT_FIRED', 'NON_FINITE', 'CONTEXT_FULL', 'DECODE_FAILED', 'INVALID_ARGUMENT'];

/** A job in flight. */
interface Task {
  readonly data: JobData;
  readonly outcomes: (RawOutcome | undefined)[];
  missing: number;
  resolve(result: JobResult): void;
  reject(error: unknown): void;
}

interface Label {
  readonly task: Task;
  readonly at: number;
}

/**
 * Runs jobs side by side. When the engine fails, whatever was in flight is run again one job at a time, so that only the
 * job that caused it fails. Errors that no job causes end the lane: {@link run} rejects, and so does every job.
 */
export class Lane {
  /** Jobs in flight. */
  readonly #tasks = new Set<Task>();
  readonly #session: Session;
  readonly #arms: Readonly<Record<string, readonly Intervention[]>>;
  readonly #settings: RequestSettings;
  #waiting: Task[] = [];
  #wake: (() => void) | undefined;
  #closed = false;
  /** Pairs finished. */
  finished = 0;
  /** Why the lane has ended; undefined as long as it runs, and when it was closed. */
  failure: Error | undefined;

  constructor(session: Session, arms: readonly (readonly Intervention[])[], settings: RequestSettings) {
    this.#session = session;
    this.#arms = Object.fromEntries(arms.map((list, a) => [String(a), list]));
    this.#settings = settings;
  }

  /** Runs a job. Errors: those of its sequences; see {@link Lane}. */
  async submit(data: JobData): Promise<JobResult> {
    return new Promise<JobResult>((resolve, reject) => {
      if (this.failure !== undefined) {
        reject(this.failure);
        return;
      }
      const task: Task = { data, outcomes: data.pairs.map(() => undefined), missing: data.pairs.length, resolve, reject };
      this.#tasks.add(task);
      this.#waiting.push(task);
      this.#wake?.();
    });
  }

  /** No more jobs come: {@link run} ends with the last one. */
  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  /** Runs jobs until the lane is closed. Errors: those that no job causes. */
  async run(signal?: AbortSignal): Promise<void> {
    try {
      while (!this.#closed || this.#tasks.size > 0) {
        try {
          await this.#runAll(this.#requests(), signal);
        } catch (error) {
          this.#requireOfASequence(error);
          await this.#runAlone(signal);
        }
      }
    } catch (error) {
      this.failure = error instanceof Error ? error : new Error(String(error));
      this.#tasks.forEach((task) => task.reject(error));
      this.#tasks.clear();
      throw error;
    }
  }

  async #runAll(requests: AsyncIterable<SequenceRequest> | readonly SequenceRequest[], signal: AbortSignal | undefined): Promise<void> {
    for await (const result of runSequences(this.#session, requests, { arms: this.#arms, signal })) {
      const { task, at } = result.label as Label;
      const arm = result.arm as string;
      task.outcomes[at] = toOutcome(result, this.#arms[arm] ?? [], `arm ${arm}, item '${task.data.item}'`);
      task.missing--;
      this.finished++;
      if (task.missing === 0) {
        this.#tasks.delete(task);
        task.resolve(task.outcomes as RawOutcome[]);
      }
    }
  }

  async #runAlone(signal: AbortSignal | undefined): Promise<void> {
    this.#waiting = [];
    for (const task of [...this.#tasks]) {
      this.finished -= task.outcomes.length - task.missing;
      task.outcomes.fill(undefined);
      task.missing = task.outcomes.length;
      try {
        await this.#runAll(this.#requestsOf(task), signal);
      } catch (error) {
        this.#requireOfASequence(error);
        this.finished -= task.outcomes.length - task.missing;
        this.#tasks.delete(task);
        task.reject(error);
      }
    }
    this.#waiting = this.#waiting.filter((task) => this.#tasks.has(task));
  }

  #requireOfASequence(error: unknown): void {
    if (!(error instanceof RewardLensError && OF_A_SEQUENCE.includes(error.code))) {
      throw error;
    }
  }

  async *#requests(): AsyncGenerator<SequenceRequest> {
    while (true) {
      const task = this.#waiting.shift();
      if (task !== undefined) {
        yield* this.#requestsOf(task);
      } else if (this.#closed) {
        return;
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
  }

  #requestsOf(task: Task): SequenceRequest[] {
    const { data } = task;
    const { sampling, stop } = this.#settings;
    const prompt = Int32Array.from(data.prompt);
    return data.pairs.map(([arm], at) => ({
      ...sampling,
      ...(stop === undefined ? {} : { stop }),
      prompt,
      maxTokens: data.maxTokens,
      seed: data.seed,
      arm: String(arm),
      label: { task, at } satisfies Label,
    }));
  }
}
