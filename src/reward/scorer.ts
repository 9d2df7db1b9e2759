/** From the name of a check to a reward function. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { checkChoice } from './choice.js';
import type { Outcome, Symbolic } from './compare.js';
import { checkGsm8k } from './gsm8k.js';
import type { Gsm8kMode } from './gsm8k.js';
import { JobRunner } from './jobs.js';
import { checkMath } from './math.js';
import { toVerdict } from './module.js';
import { checkExact, checkRegex, compilePattern } from './text.js';
import type { ScoreItem, Scorer, Verdict } from './types.js';
import { unknown } from './verdict.js';

/** Names of the checks that come with rewardlens. */
export const CHECK_NAMES = ['gsm8k', 'math', 'choice', 'exact', 'regex'] as const;
/** Name of a check. */
export type CheckName = (typeof CHECK_NAMES)[number];

/** Raised whenever a check may judge some item differently than before. */
const CHECKS_VERSION = 1;
/** Comparisons that are remembered: samples of one problem repeat the same few answers. */
const MEMORY = 10_000;

/** Options of {@link createScorer}; each is refused by checks that have no use for it. */
export interface ScorerOptions {
  /** gsm8k: which reading decides. Default strict. */
  readonly mode?: Gsm8kMode;
  /** regex: what to search for; without it the right answer of each item is the pattern. */
  readonly pattern?: string;
  /** exact, regex: whether case does not matter. Default false. */
  readonly ignoreCase?: boolean;
  /** math, regex and user modules: wall-clock limit of one item in milliseconds. Default 5,000; user modules 60,000. */
  readonly timeLimitMs?: number;
}

const USES: Readonly<Record<CheckName | 'module', readonly (keyof ScorerOptions)[]>> = {
  gsm8k: ['mode'],
  math: ['timeLimitMs'],
  choice: [],
  exact: ['ignoreCase'],
  regex: ['pattern', 'ignoreCase', 'timeLimitMs'],
  module: ['timeLimitMs'],
};

const isName = (check: string): check is CheckName => (CHECK_NAMES as readonly string[]).includes(check);
const isPath = (check: string): boolean => /[\\/]|\.[cm]?[jt]s$/.test(check);

function validate(kind: CheckName | 'module', options: ScorerOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !USES[kind].includes(name as keyof ScorerOptions)) {
      const who = kind === 'module' ? "a user's module" : `the check ${kind}`;
      throw new RewardLensError('INVALID_ARGUMENT', `options.${name}: ${who} has no use for it`, { details: { parameter: name, received: value } });
    }
  }
  const { mode, timeLimitMs } = options;
  if (mode !== undefined && mode !== 'strict' && mode !== 'flexible') {
    throw invalidArgument('options.mode', '"strict" or "flexible"', mode);
  }
  if (timeLimitMs !== undefined && !(timeLimitMs >= 1 && timeLimitMs <= 2 ** 31 - 100)) {
    throw invalidArgument('options.timeLimitMs', 'milliseconds ≥ 1', timeLimitMs);
  }
}

function fingerprint(name: string, options: ScorerOptions, source?: Buffer): string {
  // The time limit only moves verdicts to unknown and back; it is part of the fingerprint all the same.
  const given = Object.entries(options).filter(([, value]) => value !== undefined).sort(([a], [b]) => (a < b ? -1 : 1));
  const module = source === undefined ? null : createHash('sha256').update(source).digest('hex');
  const text = JSON.stringify({ version: CHECKS_VERSION, name: module === null ? name : 'module', options: given, module });
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

function withJobs(name: string, print: string, jobs: JobRunner | undefined, score: (item: ScoreItem) => Promise<Verdict>): Scorer {
  return { name, fingerprint: print, score, [Symbol.asyncDispose]: async () => jobs?.[Symbol.asyncDispose]() };
}

/** Asks the worker, remembering what it said, except when a limit was broken. */
function symbolicIn(jobs: JobRunner): Symbolic {
  const known = new Map<string, Outcome>();
  return async (gold, answer, mode) => {
    const key = JSON.stringify([mode, gold, answer]);
    const remembered = known.get(key);
    if (remembered !== undefined) {
      return remembered;
    }
    const reply = await jobs.run({ kind: 'identical', gold, answer, mode });
    if (!reply.ok) {
      return { result: 'undecided', reason: reply.message };
    }
    if (known.size >= MEMORY) {
      known.clear();
    }
    known.set(key, reply.value as Outcome);
    return reply.value as Outcome;
  };
}

async function moduleScorer(check: string, options: ScorerOptions): Promise<Scorer> {
  const path = resolve(check);
  let source: Buffer;
  try {
    source = await readFile(path);
  } catch (cause) {
    throw new RewardLensError('IO', `cannot read the reward module '${check}': ${(cause as Error).message}`, { cause, details: { path } });
  }
  const jobs = new JobRunner({ module: path }, options.timeLimitMs ?? 60_000);
  const started = await jobs.start();
  if (!started.ok) {
    await jobs[Symbol.asyncDispose]();
    throw new RewardLensError('INVALID_ARGUMENT', `check: '${check}' is not a reward module: ${started.message}`, { details: { path } });
  }
  return withJobs(check, fingerprint(check, options, source), jobs, async (item) => {
    const reply = await jobs.run({ kind: 'user', item });
    return reply.ok ? toVerdict(reply.value, item.text) : unknown(`the function failed: ${reply.message}`);
  });
}

/**
 * The reward function of a name (gsm8k, math, choice, exact, regex) or of the path of a module whose default export is
 * `(item: ScoreItem) => Verdict | boolean | number | {verdict, extracted?, reason?, reward?}`, or a promise of one. `score` never
 * throws for an item, whatever its texts hold: what cannot be decided within the limits is `unknown`. Math, regex and user modules
 * hold a worker thread, started when first needed; dispose of the scorer to end it.
 *
 * Errors: INVALID_ARGUMENT for an unknown name, an option the check has no use for, a pattern that is none, or a module without such
 * an export; IO when a module cannot be read; DISPOSED when scoring with a scorer that was disposed of.
 */
export async function createScorer(check: string, options: ScorerOptions = {}): Promise<Scorer> {
  if (!isName(check)) {
    if (!isPath(check)) {
      throw invalidArgument('check', `one of ${CHECK_NAMES.join(', ')}, or the path of a .js or .ts module`, check);
    }
    validate('module', options);
    return moduleScorer(check, options);
  }
  validate(check, options);
  const print = fingerprint(check, options);
  const limit = options.timeLimitMs ?? 5000;
  switch (check) {
    case 'gsm8k':
      return withJobs(check, print, undefined, async (item) => checkGsm8k(item, options.mode ?? 'strict'));
    case 'choice':
      return withJobs(check, print, undefined, async (item) => checkChoice(item));
    case 'exact':
      return withJobs(check, print, undefined, async (item) => checkExact(item, options.ignoreCase ?? false));
    case 'regex': {
      const pattern = options.pattern === undefined ? undefined : compilePattern(options.pattern);
      const jobs = new JobRunner({}, limit);
      return withJobs(check, print, jobs, async (item) => checkRegex(item, { pattern, ignoreCase: options.ignoreCase ?? false, jobs }));
    }
    case 'math': {
      const jobs = new JobRunner({ warm: true }, limit);
      const symbolic = symbolicIn(jobs);
      return withJobs(check, print, jobs, async (item) => checkMath(item, symbolic));
    }
  }
}
