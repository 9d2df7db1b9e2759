/** Where a sweep's outcomes come from: the engine of this process, or workers elsewhere. */
import type { Intervention } from '../intervene/types.js';
import type { Session } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import type { RunProgress } from '../run/engine.js';
import { runSequences } from '../run/engine.js';
import type { SamplingOptions, SequenceRequest, SequenceResult } from '../run/request.js';
import type { RawOutcome } from './ledger.js';
import type { Pair } from './pairs.js';

/** A pair that came back. */
export interface PairOutcome {
  readonly pair: Pair;
  readonly outcome: RawOutcome;
}

/** A pair that was given up. */
export interface ParkedPair {
  readonly arm: string;
  readonly item: string;
  readonly reason: string;
}

/** Runs pairs. */
export interface PairSource {
  /** Outcomes as they come, in any order; every pair once, unless it is parked. Errors: those of the engine; ABORTED. */
  outcomes(pairs: Iterable<Pair>): AsyncGenerator<PairOutcome, void, void>;
  /** Told when an outcome is in the ledger. */
  recorded(pair: Pair): void;
  /** Pairs given up so far. */
  readonly parked: readonly ParkedPair[];
  /** Totals of the engine; undefined when it is not this process that runs them. */
  readonly run: RunProgress | undefined;
}

/** What all requests of a sweep have in common. */
export interface RequestSettings {
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  readonly stop?: readonly string[] | undefined;
}

/**
 * The numbers of a finished sequence. Errors: HOOK_NOT_FIRED when its edits wrote another number of values than their definition
 * demands, or nothing at all although they act on the prompt.
 */
export function toOutcome(result: SequenceResult, interventions: readonly Intervention[], name: string): RawOutcome {
  const sum = (pick: (edit: SequenceResult['edits'][number]) => number): number => result.edits.reduce((total, edit) => total + pick(edit), 0);
  const edited = sum(({ changed, shared }) => changed + shared);
  const expected = sum(({ expected: demanded, shared }) => demanded + shared);
  const mustWrite = interventions.some(({ positions }) => positions !== 'completion');
  if (edited !== expected || (mustWrite && edited === 0)) {
    throw new RewardLensError('HOOK_NOT_FIRED', `${name}: ${edited} values were written, ${mustWrite && expected === 0 ? 'at least one' : expected} expected`, { details: { edited, expected } });
  }
  return { text: result.text, tokens: result.tokens.length, finishReason: result.finishReason, edited, expected };
}

/** Runs pairs in the session of this process, side by side in one batch. */
export class EngineSource implements PairSource {
  readonly parked: readonly ParkedPair[] = [];
  run: RunProgress | undefined;
  readonly #session: Session;
  readonly #arms: Readonly<Record<string, readonly Intervention[]>>;
  readonly #settings: RequestSettings;
  readonly #watch: { signal?: AbortSignal | undefined; onRun: () => void };

  /** `onRun` is called when `run` has changed. */
  constructor(session: Session, arms: readonly Pair['arm'][], settings: RequestSettings, watch: { signal?: AbortSignal | undefined; onRun: () => void }) {
    this.#session = session;
    this.#arms = Object.fromEntries(arms.map(({ name, interventions }) => [name, interventions]));
    this.#settings = settings;
    this.#watch = watch;
  }

  async *outcomes(pairs: Iterable<Pair>): AsyncGenerator<PairOutcome, void, void> {
    const before = this.run;
    const results = runSequences(this.#session, requests(pairs, this.#settings), {
      arms: this.#arms,
      signal: this.#watch.signal,
      onProgress: (now) => {
        this.run = before === undefined ? now : add(before, now);
        this.#watch.onRun();
      },
    });
    for await (const result of results) {
      const pair = result.label as Pair;
      yield { pair, outcome: toOutcome(result, pair.arm.interventions, `arm '${pair.arm.name}', item '${pair.problem.id}'`) };
    }
  }

  recorded(): void {
    // nothing is kept for a pair once it has been handed out
  }
}

function* requests(pairs: Iterable<Pair>, { sampling, stop }: RequestSettings): Generator<SequenceRequest> {
  for (const pair of pairs) {
    yield { ...sampling, ...(stop === undefined ? {} : { stop }), prompt: pair.prompt, maxTokens: pair.maxTokens, seed: pair.seed, arm: pair.arm.name, label: pair };
  }
}

/** Totals of two runs, one after the other. */
function add(a: RunProgress, b: RunProgress): RunProgress {
  return Object.fromEntries(Object.entries(b).map(([name, value]) => [name, value + a[name as keyof RunProgress]])) as unknown as RunProgress;
}
