/** Runs arms × items side by side in one batch; a ledger keeps every finished pair, so that a killed sweep goes on. */
import type { Problem } from '../dataset/types.js';
import type { Session } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import type { Verdict } from '../reward/types.js';
import { makeFolder } from '../rollout/folder.js';
import { lockFolder } from '../rollout/lock.js';
import { trajectorySeed } from '../rollout/rollout.js';
import type { RunProgress } from '../run/engine.js';
import { runSequences } from '../run/engine.js';
import type { SamplingOptions, SequenceRequest, SequenceResult } from '../run/request.js';
import { Journal } from '../store/journal.js';
import { contentHash as hash } from '../util/hash.js';
import { join } from 'node:path';
import type { Arm } from './arms.js';

/** File of the ledger inside the sweep's folder. */
export const LEDGER_FILE = 'ledger.jsonl';

/** One finished (arm, item). */
export interface LedgerRecord {
  /** Hash of everything that determines the outcome: a changed input makes another key, and old records are left alone. */
  readonly key: string;
  readonly arm: string;
  readonly item: string;
  readonly verdict: Verdict['verdict'];
  readonly reward: number | null;
  readonly extracted: string | null;
  readonly text: string;
  readonly tokens: number;
  readonly finishReason: string;
  /** Values that the arm's edits wrote, those written in a shared prefix included, and the number that its definition demands. */
  readonly edited: number;
  readonly expected: number;
}

/** What to run. */
export interface SweepOptions {
  readonly directory: string;
  readonly arms: readonly Arm[];
  readonly items: readonly Problem[];
  readonly prompt: (problem: Problem) => { text: string; tokens: Int32Array };
  readonly maxTokens: number;
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  readonly seed: number;
  readonly judge: (problem: Problem, text: string) => Promise<Verdict>;
  /** Model hash, llama.cpp release, device, scorer: whatever else determines an outcome. */
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { finished: number; total: number; run: RunProgress | undefined }) => void) | undefined;
}

/** Outcome of a sweep: records in the order arms × items. */
export interface SweepResult {
  readonly records: readonly (readonly LedgerRecord[])[];
  readonly made: number;
  readonly found: number;
  readonly run: RunProgress | undefined;
  readonly seconds: number;
}

interface Pair {
  arm: Arm;
  armIndex: number;
  problem: Problem;
  key: string;
}

/** Keys of all pairs, [arms][items]. The prompt is hashed once per item, the intervention once per arm. */
function keysOf(options: SweepOptions): string[][] {
  const { arms, items, sampling, maxTokens, seed, inputs } = options;
  const shared = hash({ inputs, sampling, maxTokens, seed });
  const ofItems = items.map((problem) => hash([problem.id, options.prompt(problem).text, problem.answer, problem.check]));
  return arms.map((arm) => {
    const own = hash(arm.interventions);
    return ofItems.map((item) => hash([shared, own, item]));
  });
}

/**
 * Runs every arm on every item that the ledger in `directory` does not have yet. All arms of an item run together: those
 * that edit the completion alone share its prompt. Sampling uses the item's seed in every arm, so arms are paired. Errors:
 * HOOK_NOT_FIRED when an arm wrote another number of values than its definition demands; BUSY, IO, ABORTED, those of the engine.
 * Cost: one forward row per token that no other sequence shares.
 */
export async function runSweep(session: Session, options: SweepOptions): Promise<SweepResult> {
  const started = performance.now();
  await makeFolder(options.directory);
  const unlock = await lockFolder(options.directory);
  try {
    const keys = keysOf(options);
    const path = join(options.directory, LEDGER_FILE);
    const done = new Map<string, LedgerRecord>();
    const wanted = new Set(keys.flat());
    await Journal.recover(path, (record) => {
      const entry = record as unknown as LedgerRecord;
      if (wanted.has(entry.key)) {
        done.set(entry.key, entry);
      }
      return record.crc32 !== undefined;
    });
    const found = done.size;
    const run = found === wanted.size ? undefined : await runMissing(session, options, { keys, path, done });
    const records = keys.map((row) => row.map((key) => done.get(key) as LedgerRecord));
    return { records, made: done.size - found, found, run, seconds: (performance.now() - started) / 1000 };
  } finally {
    await unlock();
  }
}

async function runMissing(session: Session, options: SweepOptions, ledger: { keys: string[][]; path: string; done: Map<string, LedgerRecord> }): Promise<RunProgress> {
  const { arms, items } = options;
  const journal = await Journal.open(ledger.path);
  const total = arms.length * items.length;
  let progress: RunProgress | undefined;
  const report = (): void => options.onProgress?.({ finished: ledger.done.size, total, run: progress });
  const results = runSequences(session, requests(options, ledger), {
    arms: Object.fromEntries(arms.map((arm) => [arm.name, arm.interventions])),
    signal: options.signal,
    onProgress: (now) => {
      progress = now;
      report();
    },
  });
  try {
    for (let step = await results.next(); ; step = await results.next()) {
      if (step.done === true) {
        return step.value;
      }
      const record = await toRecord(options, step.value);
      await journal.append(record);
      ledger.done.set(record.key, record);
      report();
    }
  } finally {
    await results.return(undefined as never);
    await journal.close();
  }
}

function* requests(options: SweepOptions, { keys, done }: { keys: string[][]; done: ReadonlyMap<string, LedgerRecord> }): Generator<SequenceRequest> {
  const { arms, items, prompt, maxTokens, sampling, seed } = options;
  for (const [i, problem] of items.entries()) {
    const missing = arms.map((arm, a): Pair => ({ arm, armIndex: a, problem, key: keys[a]?.[i] as string })).filter(({ key }) => !done.has(key));
    if (missing.length === 0) {
      continue;
    }
    const { tokens } = prompt(problem);
    for (const label of missing) {
      yield { ...sampling, prompt: tokens, maxTokens, seed: trajectorySeed(seed, problem.id, 0), arm: label.arm.name, label };
    }
  }
}

async function toRecord(options: SweepOptions, result: SequenceResult): Promise<LedgerRecord> {
  const { arm, problem, key } = result.label as Pair;
  const verdict = await options.judge(problem, result.text);
  const sum = (pick: (edit: SequenceResult['edits'][number]) => number): number => result.edits.reduce((total, edit) => total + pick(edit), 0);
  const edited = sum(({ changed, shared }) => changed + shared);
  if (arm.neurons.length > 0 && arm.positions !== 'completion' && edited === 0) {
    throw new RewardLensError('HOOK_NOT_FIRED', `arm '${arm.name}' wrote nothing in item '${problem.id}'`, { details: { arm: arm.name, item: problem.id } });
  }
  return {
    key,
    arm: arm.name,
    item: problem.id,
    verdict: verdict.verdict,
    reward: verdict.reward,
    extracted: verdict.extracted ?? null,
    text: result.text,
    tokens: result.tokens.length,
    finishReason: result.finishReason,
    edited,
    expected: sum(({ expected, shared }) => expected + shared),
  };
}
