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
