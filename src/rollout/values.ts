/** Monte-Carlo values of states: continuations forked from a trajectory, judged, kept in a journal, more of them where the value is uncertain. */
import { createHash } from 'node:crypto';
import type { Session } from '../model/session.js';
import type { Verdict } from '../reward/types.js';
import type { RunProgress } from '../run/engine.js';
import { runSequences } from '../run/engine.js';
import type { SamplingOptions, SequenceRequest, SequenceResult } from '../run/request.js';
import type { Estimate } from '../stats/estimate.js';
import { proportion } from '../stats/proportion.js';
import { Journal } from '../store/journal.js';
import { trajectorySeed } from './rollout.js';

/** What a completion is judged against. */
export interface ForkItem {
  readonly problem: string;
  readonly gold: string;
  readonly check: string;
  readonly choices?: unknown;
}

/** A state inside a trajectory: what has been read when it is continued. */
export interface ForkState {
  /** Prompt and completion so far. */
  readonly tokens: Int32Array;
  readonly promptLength: number;
  readonly item: ForkItem;
}

/** One continuation as the journal keeps it. */
export interface Continuation {
  /** Hash of everything that determines the tokens: model, sampling, prefix, what it is judged against. */
  readonly key: string;
  /** Number among the continuations of its state; its seed follows from key and number. */
  readonly k: number;
  readonly tokens: readonly number[];
  readonly text: string;
  readonly finishReason: string;
  /** Natural-log probability of all its tokens together. */
  readonly logProbability: number;
  readonly check: string;
  readonly checkFingerprint: string;
  readonly verdict: Verdict['verdict'];
  readonly reward: number | null;
}

/** How many continuations: `min` of every state, then twice as many while the 95 % interval is wider than `width`, up to `max`. */
export interface ForkCounts {
  readonly min: number;
  readonly max: number;
  readonly width: number;
}

/** What to run. */
export interface ForkOptions {
  /** Path of the journal; continuations found in it are not made again. */
  readonly journal: string;
  /** States by trajectory, in order of length. Equal states are continued once. */
  readonly trajectories: readonly (readonly ForkState[])[];
  readonly counts: ForkCounts;
  /** Most sampled tokens, found ones included; nothing is begun that could go beyond. Default: no limit. */
  readonly budget?: number | undefined;
  /** Most tokens of a completion, those before the state included. */
  readonly maxTokens: number;
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  readonly stop: readonly string[];
  readonly seed: number;
  /** Model hash, llama.cpp release, device: whatever else determines the tokens. */
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly judge: (item: ForkItem, text: string) => Promise<Verdict>;
  readonly checkFingerprint: (check: string) => string;
  /** Bytes of a token's text, none for control tokens. */
  readonly pieceBytes: (token: number) => Uint8Array;
  /** Default true; false computes every prefix anew, with the same outcome. */
  readonly sharePrefixes?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { finished: number; total: number; run: RunProgress | undefined }) => void) | undefined;
}

/** Value of one state. */
export interface StateValue {
  /** Mean reward of the judged continuations with its Wilson interval; null without any. */
  readonly estimate: Estimate;
  /** Rewards of the judged continuations, in order. */
  readonly rewards: readonly number[];
  /** Continuations whose reward is not known: they are in no mean. */
  readonly unknown: number;
  /** Tokens sampled for it. */
  readonly tokens: number;
}

/** Values, and what they cost. */
export interface ForkResult {
  /** As `trajectories`. */
  readonly values: readonly (readonly StateValue[])[];
  /** States that differ. */
  readonly states: number;
  /** Continuations that count: made now, and taken from the journal. */
  readonly made: number;
  readonly found: number;
  /** Sampled tokens of all continuations that count. */
  readonly sampledTokens: number;
  /** Prompt tokens of the continuations made now: read by the model, and taken from another sequence's cache instead. */
  readonly computedTokens: number;
  readonly sharedTokens: number;
  /** The budget ended it: states without, or with fewer continuations than their interval asks for. */
  readonly exhausted: boolean;
  readonly seconds: number;
}

function hash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);
}

/** A state, once for all trajectories that pass through it. */
interface Node {
  readonly key: string;
  readonly state: ForkState;
  /** Continuations asked for, and allowed by the budget. */
  wanted: number;
  granted: number;
  readonly results: (Continuation | undefined)[];
}

function valueOf({ granted, results }: Node): StateValue {
  const own = results.slice(0, granted).filter((entry) => entry !== undefined);
  const rewards = own.flatMap(({ reward }) => reward ?? []);
  const sum = rewards.reduce((a, b) => a + b, 0);
  return { estimate: proportion(sum, rewards.length), rewards, unknown: own.length - rewards.length, tokens: own.reduce((total, { tokens }) => total + tokens.length, 0) };
}

/** Width of a value's interval; 1 when nothing is known. */
function widthOf(node: Node): number {
  const { low, high } = valueOf(node).estimate;
  return low === null || high === null ? 1 : high - low;
}

/**
 * Continues every state and judges what came out: V̂(s) = mean reward. Requests go trajectory by trajectory, from the longest
 * prefix to the shortest, so that the engine reads each trajectory once and takes the prefixes of all its states from the cache (all but two tokens each).
 * The outcome depends on seed and options alone, not on batching, resuming or what a journal already holds. Finished continuations
 * survive interruption; those judged by another version of the check are judged again, not sampled again. Errors: those of the engine, IO, ABORTED.
 */
export async function forkValues(session: Session, options: ForkOptions): Promise<ForkResult> {
  const started = performance.now();
  const forker = new Forker(options);
  await forker.recover();
  const journal = await Journal.open(options.journal);
  try {
    await forker.rejudge(journal);
    await forker.run(session, journal);
  } finally {
    await journal.close();
  }
  return { ...forker.result(), seconds: (performance.now() - started) / 1000 };
}

interface Label {
  readonly node: Node;
  readonly k: number;
  readonly worst: number;
}

class Forker {
  readonly #options: ForkOptions;
  readonly #nodes = new Map<string, Node>();
  readonly #byTrajectory: Node[][];
  /** In the order of requests. */
  readonly #order: Node[];
  /** Sums over the states. */
  #wanted = 0;
  #granted = 0;
  #spent = 0;
  #inFlight = 0;
  #inFlightWorst = 0;
  #wake: (() => void) | undefined;
  #exhausted = false;
  #made = 0;
  #found = 0;
  #computed = 0;
  #shared = 0;

  constructor(options: ForkOptions) {
    this.#options = options;
    const { inputs, sampling, stop, maxTokens, seed, counts } = options;
    const common = hash({ inputs, sampling, stop, maxTokens, seed });
    this.#byTrajectory = options.trajectories.map((states) =>
      states.map((state) => {
        const { gold, choices } = state.item;
        const key = hash([common, [...state.tokens], state.promptLength, gold, choices ?? null]);
        const node = this.#nodes.get(key) ?? { key, state, wanted: counts.min, granted: 0, results: [] };
        this.#nodes.set(key, node);
        return node;
      }),
    );
    this.#order = [...new Set(this.#byTrajectory.flatMap((nodes) => nodes.toReversed()))];
    this.#wanted = counts.min * this.#order.length;
  }

  /** Reads what the journal has of these states, asked for now or not. */
  async recover(): Promise<void> {
    await Journal.recover(this.#options.journal, (record) => {
      const entry = record as unknown as Continuation;
      const node = this.#nodes.get(entry.key);
      if (node !== undefined && record.crc32 !== undefined) {
        node.results[entry.k] = entry;
      }
      return record.crc32 !== undefined;
    });
  }

  async rejudge(journal: Journal): Promise<void> {
    for (const node of this.#order) {
      for (const [k, entry] of node.results.entries()) {
        if (entry !== undefined && entry.checkFingerprint !== this.#options.checkFingerprint(node.state.item.check)) {
          const judged = { ...entry, ...(await this.#judge(node, entry.tokens)) };
          node.results[k] = judged;
          await journal.append(judged);
        }
      }
    }
  }

  async run(session: Session, journal: Journal): Promise<void> {
    let progress: RunProgress | undefined;
    const report = (): void => this.#options.onProgress?.({ finished: this.#granted - this.#inFlight, total: this.#wanted, run: progress });
    const { signal, sharePrefixes } = this.#options;
    const results = runSequences(session, this.#requests(), {
      signal,
      ...(sharePrefixes === undefined ? {} : { sharePrefixes }),
      onProgress: (now) => {
        progress = now;
        report();
      },
    });
    for await (const result of results) {
      const { node, k, worst } = result.label as Label;
      const record = await this.#toRecord(node, k, result);
      await journal.append(record);
      node.results[k] = record;
      this.#made++;
      this.#shared += result.sharedPrefix;
      this.#computed += result.promptTokens.length - result.sharedPrefix;
      this.#spent += record.tokens.length;
      this.#inFlightWorst -= worst;
      this.#inFlight--;
      this.#wake?.();
      report();
    }
  }

  result(): Omit<ForkResult, 'seconds'> {
    return {
      values: this.#byTrajectory.map((nodes) => nodes.map(valueOf)),
      states: this.#order.length,
      made: this.#made,
      found: this.#found,
      sampledTokens: this.#spent,
      computedTokens: this.#computed,
      sharedTokens: this.#shared,
      exhausted: this.#exhausted,
    };
  }

  /** One engine run for all rounds, so that caches live on. */
  async *#requests(): AsyncGenerator<SequenceRequest> {
    do {
      for (const node of this.#order) {
        for (; node.granted < node.wanted; ) {
          const worst = this.#options.maxTokens - (node.state.tokens.length - node.state.promptLength);
          if (!(await this.#affordable(worst))) {
            this.#exhausted = true;
            return;
          }
          const k = node.granted++;
          this.#granted++;
          const found = node.results[k];
          if (found === undefined) {
            this.#inFlight++;
            this.#inFlightWorst += worst;
            yield this.#request(node, k, worst);
          } else {
            this.#found++;
            this.#spent += found.tokens.length;
          }
        }
      }
      while (this.#inFlight > 0) {
        await this.#nextResult();
      }
    } while (this.#widen());
  }

  /**
   * May a continuation of at most `worst` tokens begin? The answer is that of a run that makes one after the other: while others
   * are out, a doubtful one waits for what they really take.
   */
  async #affordable(worst: number): Promise<boolean> {
    const budget = this.#options.budget ?? Infinity;
    while (this.#spent + this.#inFlightWorst + worst > budget) {
      if (this.#inFlight === 0) {
        return false;
      }
      await this.#nextResult();
    }
    return true;
  }

  async #nextResult(): Promise<void> {
    await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** Doubles the continuations of states whose interval is too wide, the widest first; false when there are none. */
  #widen(): boolean {
    const { max, width } = this.#options.counts;
    const wide = this.#order.filter((node) => node.wanted < max && widthOf(node) > width);
    for (const node of wide) {
      const wanted = Math.min(max, 2 * node.wanted);
      this.#wanted += wanted - node.wanted;
      node.wanted = wanted;
    }
    if (this.#options.budget !== undefined) {
      // Requests go by trajectory for the sake of the cache; where money may run out, the widest come first.
      const widths = new Map(this.#order.map((node) => [node, widthOf(node)]));
      this.#order.sort((a, b) => (widths.get(b) as number) - (widths.get(a) as number));
    }
    return wide.length > 0;
  }

  #request(node: Node, k: number, worst: number): SequenceRequest {
    const { sampling, stop, seed } = this.#options;
    const label: Label = { node, k, worst };
    return { ...sampling, prompt: node.state.tokens, maxTokens: worst, stop, seed: trajectorySeed(seed, node.key, k), promptCellsOnly: true, logProbabilities: true, label };
  }

  async #toRecord(node: Node, k: number, { tokens, text, finishReason, logProbabilities }: SequenceResult): Promise<Continuation> {
    const logProbability = [...(logProbabilities ?? [])].reduce((sum, value) => sum + value, 0);
    return { key: node.key, k, tokens: [...tokens], text, finishReason, logProbability, ...(await this.#judge(node, tokens)) };
  }

  async #judge({ state }: Node, tokens: ArrayLike<number>): Promise<Pick<Continuation, 'check' | 'checkFingerprint' | 'verdict' | 'reward'>> {
    const { check } = state.item;
    const { verdict, reward } = await this.#options.judge(state.item, this.#completion(state, tokens));
    return { check, checkFingerprint: this.#options.checkFingerprint(check), verdict, reward };
  }

  /** Text of the whole completion, cut before the first stop text that its end brought, even if it began before the state. */
  #completion({ tokens: before, promptLength }: ForkState, after: ArrayLike<number>): string {
    const bytes = (tokens: ArrayLike<number>): Buffer => Buffer.concat(Array.from(tokens, (token) => this.#options.pieceBytes(token)));
    const prefix = bytes(before.subarray(promptLength));
    const whole = Buffer.concat([prefix, bytes(after)]);
    const cuts = this.#options.stop.map((stop) => whole.indexOf(stop, Math.max(0, prefix.length - Buffer.byteLength(stop) + 1))).filter((at) => at >= 0);
    return whole.subarray(0, Math.min(whole.length, ...cuts)).toString('utf8');
  }
}
