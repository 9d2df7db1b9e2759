/** Pairs of arm and item, and the keys under which their outcomes are remembered. */
import { toScoreItem } from '../dataset/scoreItem.js';
import type { Problem } from '../dataset/types.js';
import { invalidArgument } from '../native/errors.js';
import { trajectorySeed } from '../rollout/rollout.js';
import type { SamplingOptions } from '../run/request.js';
import { contentHash } from '../util/hash.js';
import type { Arm } from './arms.js';

/** Raised when the same engine and inputs would give other records. */
const RECORD_VERSION = 1;

/** What determines the outcomes of a sweep, and how to get at its prompts. */
export interface PairOptions {
  readonly arms: readonly Arm[];
  readonly items: readonly Problem[];
  readonly prompt: (problem: Problem) => { text: string; tokens: Int32Array };
  readonly maxTokens: number;
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  /** Generation ends before any of these texts. Default none. */
  readonly stop?: readonly string[];
  readonly seed: number;
  /** What determines the verdicts of a check (`Scorer.fingerprint`). Default: its name. */
  readonly checkFingerprint?: (check: string) => string;
  /** Model hash, llama.cpp release, devices, cache types: whatever else determines an outcome. */
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** One arm on one item. */
export interface Pair {
  readonly arm: Arm;
  readonly armIndex: number;
  readonly problem: Problem;
  readonly itemIndex: number;
  readonly key: string;
  readonly prompt: Int32Array;
  /** Seed of sampling: the item's own, the same in every arm. */
  readonly seed: number;
  readonly maxTokens: number;
}

/** The pairs of a sweep. */
export class PairPlan {
  readonly #options: PairOptions;
  readonly #shared: string;
  readonly #arms: readonly string[];
  readonly #items: readonly string[];

  /**
   * `contextLength`: tokens per sequence of the session; a completion that it cuts short is another outcome than one that
   * `maxTokens` cuts. Cost: every prompt is tokenized once, every arm's edits are hashed once. Errors: INVALID_ARGUMENT for two items of one id.
   */
  constructor(options: PairOptions, contextLength: number) {
    this.#options = options;
    const { inputs, sampling, stop = [], seed, maxTokens, checkFingerprint } = options;
    this.#shared = contentHash([RECORD_VERSION, inputs, sampling, stop, seed]);
    const ids = new Set<string>();
    this.#items = options.items.map((problem) => {
      if (ids.has(problem.id)) {
        throw invalidArgument('items', 'different ids', problem.id);
      }
      ids.add(problem.id);
      const { tokens } = options.prompt(problem);
      const room = Math.min(maxTokens, contextLength - tokens.length);
      const check = checkFingerprint?.(problem.check) ?? problem.check;
      return contentHash([problem.id, tokens, maxTokens, room, toScoreItem(problem, ''), check]);
    });
    this.#arms = options.arms.map(({ interventions }) => contentHash(interventions));
  }

  /** Key of a pair. Arms that edit alike have the same keys, whatever their names. */
  key(arm: number, item: number): string {
    return contentHash([this.#shared, this.#arms[arm], this.#items[item]]);
  }

  /** All keys. */
  keys(): Set<string> {
    const all = new Set<string>();
    this.#arms.forEach((_, a) => this.#items.forEach((__, i) => all.add(this.key(a, i))));
    return all;
  }

  /** The pairs of the given arms and items, item by item, so that arms of an item can share its prompt; one for each key, without those in `done`. */
  *missing(arms: readonly number[], range: { from: number; to: number }, done: { has(key: string): boolean }): Generator<Pair> {
    const { items, prompt, seed, maxTokens } = this.#options;
    for (let i = range.from; i < range.to; i++) {
      const problem = items[i] as Problem;
      const asked = new Set<string>();
      let tokens: Int32Array | undefined;
      for (const a of arms) {
        const key = this.key(a, i);
        if (!done.has(key) && !asked.has(key)) {
          asked.add(key);
          tokens ??= prompt(problem).tokens;
          yield { arm: this.#options.arms[a] as Arm, armIndex: a, problem, itemIndex: i, key, prompt: tokens, seed: trajectorySeed(seed, problem.id, 0), maxTokens };
        }
      }
    }
  }
}
