/** Judging recorded trajectories again, without generating. */
import { join } from 'node:path';
import { RewardLensError, throwIfAborted } from '../native/errors.js';
import type { Verdict, VerdictKind } from '../reward/types.js';
import type { TrajectoryRecord } from '../store/format.js';
import { FILES } from '../store/format.js';
import { openLine, rewriteLines, sealLine } from '../store/journal.js';
import { readRolloutFile } from './folder.js';
import { lockFolder } from './lock.js';

/** A verdict with the name and the fingerprint of the reward function that gave it. */
export type Rejudgement = Verdict & Required<Pick<TrajectoryRecord, 'check' | 'checkFingerprint'>>;

/** Interruption and progress: trajectories judged so far. */
export interface RescoreOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number) => void) | undefined;
}

/** What rescoring changed. */
export interface RescoreTotals {
  readonly counts: Record<VerdictKind, number>;
  /** Trajectories whose verdict is another than before. */
  readonly changed: number;
  /** The first few of them: problem, sample, verdict before and after. */
  readonly examples: readonly { problem: string; sample: number; before: string; after: VerdictKind; reason: string }[];
}

const EXAMPLES = 10;

/**
 * Judges every trajectory of the rollout folder again and replaces verdicts and rewards, all at once at the end: an
 * interrupted run changes nothing. Texts, tokens and activations stay. Errors: IO; STORE_CORRUPT for a damaged line; ABORTED.
 */
export async function rescore(
  directory: string,
  judge: (record: TrajectoryRecord) => Promise<Rejudgement>,
  options: RescoreOptions = {},
): Promise<RescoreTotals> {
  const path = join(directory, FILES.trajectories);
  if ((await readRolloutFile(directory)) === undefined) {
    throw new RewardLensError('IO', `'${directory}' holds no rollout: '${join(directory, FILES.rollout)}' does not exist`, { details: { directory } });
  }
  const unlock = await lockFolder(directory);
  try {
    return await judgeAll(path, judge, options);
  } finally {
    await unlock();
  }
}

async function judgeAll(path: string, judge: (record: TrajectoryRecord) => Promise<Rejudgement>, options: RescoreOptions): Promise<RescoreTotals> {
  const counts = { correct: 0, wrong: 0, unknown: 0 };
  const examples: RescoreTotals['examples'][number][] = [];
  let changed = 0;
  let done = 0;
  await rewriteLines(path, async (line) => {
    throwIfAborted('rescoring', options.signal);
    const opened = openLine(line.text);
    if ('fault' in opened) {
      if (!line.complete) {
        return undefined;
      }
      throw new RewardLensError('STORE_CORRUPT', `${path}:${line.number}: ${opened.fault}`, { details: { path, line: line.number } });
    }
    const { crc32: _seal, ...old } = opened.value as unknown as TrajectoryRecord & { crc32?: string };
    const verdict = await judge(old);
    counts[verdict.verdict]++;
    if (verdict.verdict !== old.verdict) {
      changed++;
      if (examples.length < EXAMPLES) {
        examples.push({ problem: old.problem, sample: old.sample, before: old.verdict, after: verdict.verdict, reason: verdict.reason });
      }
    }
    options.onProgress?.(++done);
    const { check, checkFingerprint, reward, reason } = verdict;
    return sealLine({ ...old, check, checkFingerprint, verdict: verdict.verdict, reward, extracted: verdict.extracted ?? null, reason });
  });
  return { counts, changed, examples };
}
