/** Trajectories with rewards and activations: sampled, judged and recorded one by one, and resumed where they stopped. */
import { crc32 } from 'node:zlib';
import { join } from 'node:path';
import type { CapturePlan } from '../capture/plan.js';
import { captureBlocks } from '../capture/plan.js';
import { toScoreItem } from '../dataset/scoreItem.js';
import type { Problem } from '../dataset/types.js';
import type { Session } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import type { Verdict } from '../reward/types.js';
import type { RunProgress } from '../run/engine.js';
import { runSequences } from '../run/engine.js';
import type { SamplingOptions, SequenceRequest, SequenceResult } from '../run/request.js';
import type { StoreInfo, TrajectoryRecord } from '../store/format.js';
import { FILES, rowBytes } from '../store/format.js';
import { Journal } from '../store/journal.js';
import { ShardWriter, shardBytesOf } from '../store/shards.js';
import type { FolderState, OldRecord, RolloutFile } from './folder.js';
import { ROLLOUT_FORMAT, ROLLOUT_VERSION, openFolder, trajectoryKey, writeJson } from './folder.js';
import { lockFolder } from './lock.js';
import { RowRecorder, storeInfoOf } from './recorder.js';
import { makeFolder } from '../util/makeFolder.js';

/** What to sample and what to keep. */
export interface RolloutOptions {
  readonly directory: string;
  /** Problems in order. */
  readonly problems: readonly Problem[];
  /** Text and tokens for the model; called when a problem's turn comes, so that memory does not grow with their number. */
  readonly prompt: (problem: Problem) => { text: string; tokens: Int32Array };
  /** Trajectories per problem. */
  readonly samples: number;
  readonly maxTokens: number;
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  readonly stop?: readonly string[];
  /** Trajectory seeds derive from it, the problem's id and the sample's number: they do not depend on order or counts. */
  readonly seed: number;
  /** Judges a completion. */
  readonly judge: (problem: Problem, text: string) => Promise<Verdict>;
  /** What determines the verdicts of a check (`Scorer.fingerprint`). Default: records are compared by the check's name alone. */
  readonly checkFingerprint?: (check: string) => string;
  /** What to store of every trajectory; positions response, s0 or all. Undefined: no activations. */
  readonly capture: (CapturePlan & { positions: StoreInfo['positions'] }) | undefined;
  readonly dtype: StoreInfo['dtype'];
  /** Whatever else determines the trajectories: model hash, llama.cpp release, template. Must equal that of earlier runs. */
  readonly inputs: Readonly<Record<string, unknown>>;
  /** Noted in rollout.json. */
  readonly about: Readonly<Record<string, unknown>>;
  /** Stop with an error before activations, those of earlier runs included, take more than this. */
  readonly maxDiskBytes?: number | undefined;
  readonly shardBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RolloutProgress) => void) | undefined;
  /** Told once, before anything is sampled: what an earlier run left. */
  readonly onResume?: ((state: Pick<FolderState, 'damaged' | 'torn'> & { finished: number; total: number }) => void) | undefined;
}

/** Where a rollout stands. */
export interface RolloutProgress {
  /** Trajectories finished, earlier runs included, of `total`. */
  finished: number;
  total: number;
  run: RunProgress | undefined;
}

/** Totals of one run. */
export interface RolloutTotals {
  /** Trajectories made by this run, and found finished. */
  made: number;
  found: number;
  /** Trajectories in the folder that this run did not ask for: those of other problems and of further samples. */
  beyond: number;
  run: RunProgress | undefined;
  seconds: number;
}

/** Seed of a trajectory. */
export function trajectorySeed(seed: number, problem: string, sample: number): number {
  return crc32(`${seed}/${sample}/${problem}`) % 0xffffffff;
}

/** Most bytes of activations that `items` problems can take. */
export function diskEstimate(info: StoreInfo, promptLengths: readonly number[], samples: number, maxTokens: number): number {
  const rows = promptLengths.reduce((sum, length) => {
    const states = info.positions === 's0' ? 1 : info.positions === 'all' ? length + maxTokens - 1 : maxTokens;
    return sum + states * samples;
  }, 0);
  return rows * rowBytes(info);
}

/** What a store of this plan on this model is. Errors: SITE_NOT_FOUND; as `session.sites()`. */
export async function planStore(session: Session, plan: CapturePlan & { positions: StoreInfo['positions'] }, dtype: StoreInfo['dtype']): Promise<StoreInfo> {
  const sites = await session.sites();
  const widths = new Map<string, number>();
  for (const { site, layer, name } of captureBlocks(plan, session.model.info.layerCount)) {
    const found = sites.find((entry) => entry.site === site && entry.layer === layer);
    if (found?.found !== true) {
      throw new RewardLensError('SITE_NOT_FOUND', `${name}: ${found?.reason ?? 'no such layer'}`, { details: { site, layer } });
    }
    widths.set(site, found.width);
  }
  return storeInfoOf(plan, session.model.info.layerCount, widths, dtype);
}

/**
 * Samples `samples` trajectories of every problem, judges them, and records each as soon as it is finished in
 * `directory` (docs/store-format.md). A folder with earlier work of the same inputs is gone on with: nothing that is
 * recorded is made again, nothing is lost when the process is killed. Errors: those of the engine; INVALID_ARGUMENT when
 * the folder holds something else, or what was judged otherwise; BUSY when another process writes to it; IO; ABORTED (what is finished stays). Cost: one forward row per token, prompts once per
 * problem; memory does not grow with the number of problems.
 */
export async function runRollout(session: Session, options: RolloutOptions): Promise<RolloutTotals> {
  const started = performance.now();
  const info = options.capture === undefined ? undefined : await planStore(session, options.capture, options.dtype);
  const inputs: RolloutFile['inputs'] = {
    ...options.inputs,
    sampling: options.sampling,
    stop: options.stop ?? [],
    maxTokens: options.maxTokens,
    seed: options.seed,
    store: info ?? null,
  };
  const byId = new Map(options.problems.map((problem) => [problem.id, problem]));
  await makeFolder(options.directory);
  const unlock = await lockFolder(options.directory);
  try {
    return await resumeRollout(session, options, { info, inputs, byId, started });
  } finally {
    await unlock();
  }
}

interface Plan {
  info: StoreInfo | undefined;
  inputs: RolloutFile['inputs'];
  byId: ReadonlyMap<string, Problem>;
  started: number;
}

async function resumeRollout(session: Session, options: RolloutOptions, { info, inputs, byId, started }: Plan): Promise<RolloutTotals> {
  const state = await openFolder(options.directory, { inputs, store: info }, (record) => checkFits(options, byId, record));
  const total = options.problems.length * options.samples;
  const found = options.problems.reduce((sum, { id }) => sum + countDone(state, id, options.samples), 0);
  const beyond = state.done.size - found;
  options.onResume?.({ finished: found, total, damaged: state.damaged, torn: state.torn });
  const file: RolloutFile = { format: ROLLOUT_FORMAT, version: ROLLOUT_VERSION, inputs, about: options.about };
  await writeJson(join(options.directory, FILES.rollout), file);
  if (found === total) {
    return { made: 0, found, beyond, run: undefined, seconds: (performance.now() - started) / 1000 };
  }
  const worker = await Worker.open(session, options, info, state);
  try {
    const run = await worker.run({ found, total });
    return { made: worker.made, found, beyond, run, seconds: (performance.now() - started) / 1000 };
  } finally {
    await worker.close();
  }
}

function countDone(state: FolderState, id: string, samples: number): number {
  let count = 0;
  for (let sample = 0; sample < samples; sample++) {
    count += state.done.has(trajectoryKey(id, sample)) ? 1 : 0;
  }
  return count;
}

/** A recorded trajectory of a problem that is asked for now must be of the same prompt and judged in the same way. */
function checkFits(options: RolloutOptions, byId: ReadonlyMap<string, Problem>, record: OldRecord): void {
  const problem = byId.get(record.problem);
  const difference = problem === undefined ? undefined : differenceOf(options, problem, record);
  if (difference !== undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${options.directory}' holds trajectories of problem '${record.problem}' ${difference}`, { details: { problem: record.problem } });
  }
}

/** How a record differs from what is asked for, and the way out. */
function differenceOf({ directory, prompt, checkFingerprint }: RolloutOptions, problem: Problem, record: OldRecord): string | undefined {
  const { answer, check } = problem;
  if (prompt(problem).text !== record.prompt) {
    return 'with another prompt; give another output folder';
  }
  if (answer !== record.gold) {
    return `judged against '${record.gold}'; now '${answer}'; give another output folder`;
  }
  const now = checkFingerprint?.(check);
  // Two paths may name one module: the names count only where there are no fingerprints.
  if (now === undefined || record.checkFingerprint === undefined ? check === record.check : now === record.checkFingerprint) {
    return undefined;
  }
  return check === record.check
    ? `judged by '${check}' as it was; it has changed since: judge again with \`rewardlens rescore ${directory}\`, or give another output folder`
    : `judged by '${record.check}'; now '${check}': judge again with \`rewardlens rescore ${directory} --check ${check}\`, or give another output folder`;
}

interface Label {
  problem: Problem;
  prompt: string;
  sample: number;
  seed: number;
}

/** Trajectories being judged at a time. */
const JUDGED_AT_A_TIME = 32;
const SYNC_MS = 5000;

class Worker {
  made = 0;
  readonly #session: Session;
  readonly #options: RolloutOptions;
  readonly #state: FolderState;
  readonly #journal: Journal;
  readonly #recorder: RowRecorder | undefined;
  readonly #rowBytes: number;
  #appends: Promise<void> = Promise.resolve();
  #storedBytes: number;
  #synced = performance.now();

  private constructor(session: Session, options: RolloutOptions, state: FolderState, parts: { journal: Journal; recorder: RowRecorder | undefined; rowBytes: number; storedBytes: number }) {
    this.#session = session;
    this.#options = options;
    this.#state = state;
    this.#journal = parts.journal;
    this.#recorder = parts.recorder;
    this.#rowBytes = parts.rowBytes;
    this.#storedBytes = parts.storedBytes;
  }

  static async open(session: Session, options: RolloutOptions, info: StoreInfo | undefined, state: FolderState): Promise<Worker> {
    const journal = await Journal.open(join(options.directory, FILES.trajectories));
    let recorder: RowRecorder | undefined;
    let storedBytes = 0;
    if (info !== undefined && options.capture !== undefined) {
      const writer = await ShardWriter.open(options.directory, info, state.end, options.shardBytes);
      storedBytes = await shardBytesOf(options.directory);
      recorder = new RowRecorder(writer, info, captureBlocks(options.capture, session.model.info.layerCount));
    }
    return new Worker(session, options, state, { journal, recorder, rowBytes: info === undefined ? 0 : rowBytes(info), storedBytes });
  }

  async run(counts: { found: number; total: number }): Promise<RunProgress> {
    const { capture, dtype, signal, onProgress } = this.#options;
    const recorder = this.#recorder;
    let progress: RunProgress | undefined;
    const report = (): void => onProgress?.({ finished: counts.found + this.made, total: counts.total, run: progress });
    const results = runSequences(this.#session, this.#requests(), {
      ...(capture === undefined || recorder === undefined ? {} : { capture, halfPrecision: dtype === 'f16', onRows: (chunk) => this.#takeRows(recorder, chunk), releaseRows: true }),
      signal,
      onProgress: (now) => {
        progress = now;
        report();
      },
    });
    const judged = new Set<Promise<void>>();
    try {
      for (let step = await results.next(); ; step = await results.next()) {
        if (step.done === true) {
          await Promise.all(judged);
          return step.value;
        }
        const task = this.#finish(step.value).then(report);
        judged.add(task);
        task.then(() => judged.delete(task), () => undefined); // a failure stays, for the race below
        if (judged.size >= JUDGED_AT_A_TIME) {
          await Promise.race(judged);
        }
      }
    } finally {
      await results.return(undefined as never);
      await Promise.allSettled(judged);
    }
  }

  async close(): Promise<void> {
    await this.#recorder?.close();
    await this.#journal.close();
  }

  *#requests(): Generator<SequenceRequest> {
    const { problems, samples, maxTokens, sampling, stop, prompt, seed } = this.#options;
    for (const problem of problems) {
      if (countDone(this.#state, problem.id, samples) === samples) {
        continue;
      }
      const { text, tokens } = prompt(problem);
      for (let sample = 0; sample < samples; sample++) {
        if (!this.#state.done.has(trajectoryKey(problem.id, sample))) {
          const label: Label = { problem, prompt: text, sample, seed: trajectorySeed(seed, problem.id, sample) };
          yield { ...sampling, prompt: tokens, maxTokens, ...(stop === undefined ? {} : { stop }), seed: label.seed, logProbabilities: true, label };
        }
      }
    }
  }

  async #takeRows(recorder: RowRecorder, chunk: Parameters<RowRecorder['add']>[0]): Promise<void> {
    this.#storedBytes += chunk.rowCount * this.#rowBytes;
    const bytes = this.#storedBytes;
    if (bytes > (this.#options.maxDiskBytes ?? Infinity)) {
      throw new RewardLensError('MEMORY_BUDGET', `activations would take more than the ${this.#options.maxDiskBytes} bytes allowed; what is finished is kept`, {
        details: { bytes, maxDiskBytes: this.#options.maxDiskBytes },
      });
    }
    await recorder.add(chunk);
  }

  async #finish(result: SequenceResult): Promise<void> {
    const { problem, prompt, sample, seed } = result.label as Label;
    const stored = this.#recorder?.take(result.index);
    const { judge, checkFingerprint } = this.#options;
    const verdict = await judge(problem, result.text);
    const choices = toScoreItem(problem, result.text).problem?.['choices'];
    const record: TrajectoryRecord = {
      problem: problem.id,
      sample,
      seed,
      prompt,
      promptLength: result.promptTokens.length,
      gold: problem.answer,
      ...(choices === undefined ? {} : { choices }),
      check: problem.check,
      ...(checkFingerprint === undefined ? {} : { checkFingerprint: checkFingerprint(problem.check) }),
      text: result.text,
      verdict: verdict.verdict,
      reward: verdict.reward,
      extracted: verdict.extracted ?? null,
      reason: verdict.reason,
      finishReason: result.finishReason,
      tokens: [...result.tokens],
      pieces: [...result.tokens].map((token) => pieceText(this.#session.model.tokenPiece(token))),
      logProbabilities: [...(result.logProbabilities ?? [])].map(shorten),
      entropies: [...(result.entropies ?? [])].map(shorten),
      rows: stored?.rows ?? [],
      ...(stored === undefined ? {} : { rowsCrc32: stored.rowsCrc32 }),
    };
    const appended = this.#appends.then(() => this.#append(record));
    this.#appends = appended.catch(() => undefined);
    await appended;
  }

  async #append(record: TrajectoryRecord): Promise<void> {
    await this.#journal.append(record);
    this.made++;
    if (performance.now() - this.#synced > SYNC_MS) {
      await this.#recorder?.sync(); // rows first: a record on the disk whose rows are not would be made again
      await this.#journal.sync();
      this.#synced = performance.now();
    }
  }
}

/** Six decimals: below what the engine's own rounding can tell apart, and half the file. */
const shorten = (value: number): number => Math.round(value * 1e6) / 1e6;

const decoder = new TextDecoder('utf-8', { fatal: true });

/** Text of a token; bytes that are no text by themselves are shown as ⟨0xE2⟩. */
export function pieceText(bytes: Buffer): string {
  try {
    return decoder.decode(bytes);
  } catch {
    return [...bytes].map((byte) => (byte < 0x80 ? String.fromCharCode(byte) : `⟨0x${byte.toString(16).toUpperCase().padStart(2, '0')}⟩`)).join('');
  }
}
