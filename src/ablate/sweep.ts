/** Runs arms × items side by side in one batch; a ledger keeps every finished pair, so that a killed sweep goes on. */
import type { Problem } from '../dataset/types.js';
import type { Session } from '../model/session.js';
import { throwIfAborted } from '../native/errors.js';
import type { Verdict } from '../reward/types.js';
import { makeFolder } from '../util/makeFolder.js';
import { lockFolder } from '../rollout/lock.js';
import type { RunProgress } from '../run/engine.js';
import type { Recovery } from '../store/journal.js';
import type { EarlyPlan } from './early.js';
import { EarlyRule, earlyLooks } from './early.js';
import type { LedgerRecord } from './ledger.js';
import { LEDGER_FILE, Ledger } from './ledger.js';
import type { PairOptions } from './pairs.js';
import { PairPlan } from './pairs.js';
import type { PairOutcome, PairSource, ParkedPair } from './source.js';
import { EngineSource } from './source.js';

export { LEDGER_FILE };
export type { LedgerRecord };

/** Where a sweep stands. */
export interface SweepProgress {
  /** Pairs in the ledger, those of earlier runs included, of `total`. */
  readonly finished: number;
  readonly total: number;
  /** Pairs made by this run in `seconds`. */
  readonly made: number;
  readonly seconds: number;
  /** Totals of the engine; undefined when workers run the pairs. */
  readonly run: RunProgress | undefined;
}

/** What to run. */
export interface SweepOptions extends PairOptions {
  readonly directory: string;
  readonly judge: (problem: Problem, text: string) => Promise<Verdict>;
  /** End comparisons that are decided ({@link EarlyRule}). Default false. */
  readonly early?: boolean | undefined;
  /** Who runs the pairs. Default: the session. */
  readonly source?: ((plan: { keys: ReadonlySet<string> }) => Promise<PairSource>) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: SweepProgress) => void) | undefined;
  /** Told once, when the ledger holds broken lines: they are taken out, their pairs run again. */
  readonly onDamage?: ((recovery: Recovery) => void) | undefined;
}

/** Outcome of a sweep. */
export interface SweepResult {
  /** Of every arm, by item; an item is missing where its pair was parked, or its arm decided before. */
  readonly records: readonly (readonly (LedgerRecord | undefined)[])[];
  /** Pairs given up; empty without workers. */
  readonly parked: readonly ParkedPair[];
  /** Arms that an early decision ended, with the rule; null without one. */
  readonly early: { readonly plan: EarlyPlan; readonly decided: readonly string[] } | null;
  /** Different pairs made by this run and found in the ledger. Arms that edit alike count once. */
  readonly made: number;
  readonly found: number;
  readonly run: RunProgress | undefined;
  readonly seconds: number;
}

/** Outcomes being judged at a time. */
const JUDGED_AT_A_TIME = 32;

/**
 * Runs every arm on every item that the ledger in `directory` does not have yet. All arms of an item run together: those
 * that edit the completion alone share its prompt. Sampling uses the item's seed in every arm, so arms are paired. Errors:
 * HOOK_NOT_FIRED when an arm wrote another number of values than its definition demands; INVALID_ARGUMENT, BUSY, IO,
 * ABORTED (what is finished stays), those of the engine. Cost: one forward row per token that no other sequence shares; memory:
 * the records of this sweep.
 */
export async function runSweep(session: Session, options: SweepOptions): Promise<SweepResult> {
  const started = performance.now();
  await makeFolder(options.directory);
  const unlock = await lockFolder(options.directory);
  try {
    const plan = new PairPlan(options, session.info.contextLength);
    const keys = plan.keys();
    const ledger = await Ledger.open(options.directory, keys);
    if (ledger.recovery.torn || ledger.recovery.damaged.length > 0) {
      options.onDamage?.(ledger.recovery);
    }
    const sweep = new Sweep(session, options, { plan, keys, ledger, started });
    try {
      return await sweep.run();
    } finally {
      await sweep.close();
    }
  } finally {
    await unlock();
  }
}

interface SweepParts {
  readonly plan: PairPlan;
  readonly keys: ReadonlySet<string>;
  readonly ledger: Ledger;
  readonly started: number;
}

class Sweep {
  readonly #options: SweepOptions;
  readonly #parts: SweepParts;
  readonly #found: number;
  #source: PairSource;
  #failed = false;

  constructor(session: Session, options: SweepOptions, parts: SweepParts) {
    this.#options = options;
    this.#parts = parts;
    this.#found = parts.ledger.done.size;
    const { arms, sampling, stop, signal } = options;
    this.#source = new EngineSource(session, arms, { sampling, stop }, { signal, onRun: () => this.#report() });
  }

  async run(): Promise<SweepResult> {
    const { arms, items, early } = this.#options;
    const { plan, keys, ledger, started } = this.#parts;
    const rule = early === true ? new EarlyRule(arms, earlyLooks(arms, items.length)) : undefined;
    const used = arms.map(() => items.length);
    let from = 0;
    try {
      this.#source = this.#found < keys.size ? ((await this.#options.source?.(this.#parts)) ?? this.#source) : this.#source;
      for (const to of rule?.plan.looks ?? [items.length]) {
        await this.#runPairs(plan.missing(rule?.active ?? [...arms.keys()], { from, to }, ledger.done));
        rule?.look(to, (arm) => items.slice(0, to).map((_, i) => this.#rewardOf(arm, i))).forEach((arm) => (used[arm] = to));
        from = to;
      }
    } catch (error) {
      this.#failed = true;
      throw error;
    }
    const records = arms.map((_, a) => items.map((__, i) => (i < (used[a] as number) ? this.#recordOf(a, i) : undefined)));
    const decided = arms.flatMap(({ name }, a) => ((used[a] as number) < items.length ? [name] : []));
    return {
      records,
      parked: this.#source.parked,
      early: rule === undefined ? null : { plan: rule.plan, decided },
      made: ledger.done.size - this.#found,
      found: this.#found,
      run: this.#source.run,
      seconds: (performance.now() - started) / 1000,
    };
  }

  /** A failing sync on a full disk must not hide the error that came before. */
  async close(): Promise<void> {
    await this.#parts.ledger.close().catch((error: unknown) => {
      if (!this.#failed) {
        throw error;
      }
    });
  }

  #recordOf(arm: number, item: number): LedgerRecord | undefined {
    const record = this.#parts.ledger.done.get(this.#parts.plan.key(arm, item));
    return record === undefined ? undefined : { ...record, arm: this.#options.arms[arm]?.name ?? record.arm };
  }

  /** As the statistics see it: what could not be judged counts as wrong. */
  #rewardOf(arm: number, item: number): number {
    const record = this.#recordOf(arm, item);
    return record === undefined ? NaN : (record.reward ?? 0);
  }

  async #runPairs(pairs: Generator<Parameters<PairSource['recorded']>[0]>): Promise<void> {
    throwIfAborted('the sweep', this.#options.signal);
    this.#report();
    const first = pairs.next();
    if (first.done === true) {
      return;
    }
    const outcomes = this.#source.outcomes(chain(first.value, pairs));
    const judged = new Set<Promise<void>>();
    try {
      for await (const outcome of outcomes) {
        const task = this.#finish(outcome);
        judged.add(task);
        task.then(() => judged.delete(task), () => undefined); // a failure stays, for the race below
        if (judged.size >= JUDGED_AT_A_TIME) {
          await Promise.race(judged);
        }
      }
      await Promise.all(judged);
    } finally {
      await Promise.allSettled(judged);
    }
  }

  async #finish({ pair, outcome }: PairOutcome): Promise<void> {
    const verdict = await this.#options.judge(pair.problem, outcome.text);
    await this.#parts.ledger.append({
      key: pair.key,
      arm: pair.arm.name,
      item: pair.problem.id,
      verdict: verdict.verdict,
      reward: verdict.reward,
      extracted: verdict.extracted ?? null,
      ...outcome,
    });
    this.#source.recorded(pair);
    this.#report();
  }

  #report(): void {
    const { ledger, keys, started } = this.#parts;
    const finished = ledger.done.size;
    this.#options.onProgress?.({ finished, total: keys.size, made: finished - this.#found, seconds: (performance.now() - started) / 1000, run: this.#source.run });
  }
}

function* chain<T>(first: T, rest: Iterable<T>): Generator<T> {
  yield first;
  yield* rest;
}
