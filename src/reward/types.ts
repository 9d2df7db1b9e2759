/** What a reward function says of one completion. */

/** `unknown`: could not be decided (no answer found, parse failure, time limit); it is not `wrong`. */
export type VerdictKind = 'correct' | 'wrong' | 'unknown';

/** Outcome of a check, with what was read from the completion and why. */
export interface Verdict {
  readonly verdict: VerdictKind;
  /** The answer as read from the completion; undefined when none was found. */
  readonly extracted: string | undefined;
  /** One short sentence for people. */
  readonly reason: string;
  /** Reward in [0, 1]: 1 correct, 0 wrong, null unknown, unless a user's own function says otherwise. */
  readonly reward: number | null;
}

/** One completion to judge. */
export interface ScoreItem {
  readonly text: string;
  /** The right answer. */
  readonly gold: string;
  /** Further fields of the problem, for user functions and choices. */
  readonly problem?: Readonly<Record<string, unknown>>;
}

/** A reward function that may hold a worker. */
export interface Scorer extends AsyncDisposable {
  /** Name as given by the user: "gsm8k", "math", "choice", "exact", "regex" or a module path. */
  readonly name: string;
  /** What determines the verdicts besides the items (code version, options, hash of a user's module), for caches. */
  readonly fingerprint: string;
  score(item: ScoreItem): Promise<Verdict>;
}
