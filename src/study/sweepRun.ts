/** Runs the pairs of a sweep on one model: here, or by workers of a queue. */
import type { Arm } from '../ablate/arms.js';
import type { QueueOptions } from '../ablate/queue.js';
import { engineFacts } from '../ablate/queueFormat.js';
import { shardItems } from '../ablate/shard.js';
import type { Shard } from '../ablate/shard.js';
import type { PairSource } from '../ablate/source.js';
import type { SweepOptions, SweepResult } from '../ablate/sweep.js';
import { runSweep } from '../ablate/sweep.js';
import { toScoreItem } from '../dataset/scoreItem.js';
import type { Session } from '../model/session.js';
import { trajectorySeed } from '../rollout/rollout.js';
import type { RunProgress } from '../run/engine.js';
import { runSequences } from '../run/engine.js';
import type { SequenceRequest } from '../run/request.js';
import type { Prepared, RolloutSettings } from './sample.js';
import { Judge } from './sample.js';

/** What sampling in a sweep needs. */
export type SweepSettings = Pick<RolloutSettings, 'sampling' | 'maxTokens' | 'seed'> & Partial<Pick<RolloutSettings, 'stop'>>;

/** How to run pairs. */
export interface PairRunOptions extends Pick<SweepOptions, 'directory' | 'early' | 'signal' | 'onProgress' | 'onDamage'> {
  /** Let workers run the pairs. Default: this process does. */
  readonly queue?: QueueOptions | undefined;
  /** Only the items of this part. Default: all. */
  readonly shard?: Shard | undefined;
}

/** What {@link runPairs} gives. */
export interface PairRun {
  readonly sweep: SweepResult;
  /** What determines an outcome besides arm, item and sampling: hash of the model, release, devices, cache types, template, checks. */
  readonly inputs: Readonly<Record<string, unknown>>;
}

/**
 * Runs the pairs that the ledger in `options.directory` does not have. Errors: those of `runSweep`; with a queue those of
 * `openRedis`. Cost: reads the model file once for its hash, then that of `runSweep`.
 */
export async function runPairs(session: Session, prepared: Prepared, arms: readonly Arm[], settings: SweepSettings, options: PairRunOptions): Promise<PairRun> {
  await using judge = new Judge();
  const { queue, shard, ...rest } = options;
  const checks = [...new Set(prepared.problems.map(({ check }) => check))];
  const fingerprints = new Map<string, string>();
  for (const check of checks) {
    fingerprints.set(check, (await judge.scorer(check)).fingerprint); // a wrong name is an error before anything is run
  }
  const facts = await engineFacts(session.model, options.signal);
  const { protocol: _protocol, ...engine } = facts;
  const inputs = { ...engine, ...session.numerics, template: prepared.template };
  const { sampling, maxTokens, seed, stop = [] } = settings;
  const remote = queue === undefined ? undefined : await import('../ablate/queue.js'); // nothing of Redis is loaded without
  let opened: (PairSource & AsyncDisposable) | undefined;
  try {
    const sweep = await runSweep(session, {
      ...rest,
      arms,
      items: shard === undefined ? prepared.problems : shardItems(prepared.problems, shard),
      prompt: prepared.prompt,
      sampling,
      maxTokens,
      seed,
      stop,
      judge: (problem, text) => judge.score(problem.check, toScoreItem(problem, text)),
      checkFingerprint: (check) => fingerprints.get(check) as string,
      inputs,
      source:
        remote === undefined || queue === undefined
          ? undefined
          : async ({ keys }) => (opened = await remote.QueueSource.open(queue, { session, facts, arms, settings: { sampling, stop }, signal: options.signal }, keys)),
    });
    return { sweep, inputs: { ...inputs, checks: Object.fromEntries(fingerprints) } };
  } finally {
    await opened?.[Symbol.asyncDispose]();
  }
}

/** A measurement ends after this many pairs or this time. */
const MEASURED_PAIRS = 256;
const MEASURED_MS = 5000;

/** Speed of a few pairs, and the length of their completions. */
export interface MeasuredRate {
  readonly tokensPerSecond: number;
  /** Undefined when the time was up before all were finished: short completions come first. */
  readonly meanTokens: number | undefined;
  readonly source: string;
}

/**
 * Runs up to 256 pairs, spread over the arms, for up to 5 s, and keeps nothing. Undefined when none was finished by then. Errors:
 * those of the engine, ABORTED.
 */
export async function measureRate(session: Session, prepared: Prepared, arms: readonly Arm[], settings: SweepSettings, signal?: AbortSignal): Promise<MeasuredRate | undefined> {
  const pairs = Math.min(MEASURED_PAIRS, arms.length * prepared.problems.length);
  const step = Math.max(1, Math.floor(arms.length / 8));
  const some = arms.filter((_, a) => a % step === 0);
  const requests = Array.from({ length: pairs }, (_, p): SequenceRequest => {
    const problem = prepared.problems[Math.floor(p / some.length) % prepared.problems.length] as Prepared['problems'][number];
    return {
      ...settings.sampling,
      stop: settings.stop ?? [],
      prompt: prepared.prompt(problem).tokens,
      maxTokens: settings.maxTokens,
      seed: trajectorySeed(settings.seed, problem.id, 0),
      interventions: (some[p % some.length] as Arm).interventions,
    };
  });
  const limit = AbortSignal.timeout(MEASURED_MS);
  let progress: RunProgress | undefined;
  let [finished, sampled] = [0, 0];
  try {
    const results = runSequences(session, requests, { signal: signal === undefined ? limit : AbortSignal.any([signal, limit]), onProgress: (now) => (progress = now) });
    for await (const { tokens } of results) {
      finished++;
      sampled += tokens.length;
    }
  } catch (error) {
    if (!limit.aborted || signal?.aborted === true) {
      throw error;
    }
  }
  if (progress === undefined || progress.busyMs === 0 || finished === 0) {
    return undefined;
  }
  const tokensPerSecond = (1000 * (progress.promptTokens + progress.completionTokens)) / progress.busyMs;
  return { tokensPerSecond, meanTokens: finished === pairs ? sampled / finished : undefined, source: `measured on ${finished} pairs` };
}
