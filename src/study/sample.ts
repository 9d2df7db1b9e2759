/** From a data set to trajectories: loading, prompting, judging, and the size of the stream. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CapturePlan } from '../capture/plan.js';
import { loadDataset } from '../dataset/load.js';
import { createPromptBuilder } from '../dataset/prompts.js';
import { toScoreItem } from '../dataset/scoreItem.js';
import type { Dataset, DatasetFormat, Problem } from '../dataset/types.js';
import type { Model } from '../model/model.js';
import type { Session, SessionOptions } from '../model/session.js';
import { buildInfo } from '../native/addon.js';
import { RewardLensError } from '../native/errors.js';
import { createScorer } from '../reward/scorer.js';
import type { Scorer, Verdict } from '../reward/types.js';
import type { RolloutOptions, RolloutTotals } from '../rollout/rollout.js';
import { runRollout } from '../rollout/rollout.js';
import { measureStream } from '../rollout/statistics.js';
import { createManifest, hashFiles } from '../run/manifest.js';
import type { SamplingOptions } from '../run/request.js';
import type { StoreInfo } from '../store/format.js';
import type { Tensor } from '../util/safetensors.js';
import { saveTensors } from '../util/safetensors.js';
import { ANALYSIS_FILES } from './analyse.js';

/** Where problems come from and how they are put to the model. */
export interface DatasetSource {
  /** A file or hf:owner/name. */
  readonly spec: string;
  readonly format?: DatasetFormat;
  readonly limit?: number;
  readonly skipBad?: boolean;
  readonly template?: string;
  readonly system?: string;
  readonly fewShot?: number;
  readonly fewShotFrom?: string;
  /** Reward function instead of the data set's own. */
  readonly check?: string;
}

/** How to sample and what to store. */
export interface RolloutSettings {
  readonly samples: number;
  readonly maxTokens: number;
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  readonly stop: readonly string[];
  readonly seed: number;
  readonly capture: (CapturePlan & { positions: StoreInfo['positions'] }) | undefined;
  readonly dtype: StoreInfo['dtype'];
  readonly maxDiskBytes: number | undefined;
}

/** A data set made ready for one model. */
export interface Prepared {
  readonly dataset: Dataset;
  readonly problems: readonly Problem[];
  readonly prompt: RolloutOptions['prompt'];
  /** Template name and content hash. */
  readonly template: string;
  /** Tokens of every prompt. */
  readonly promptLengths: Int32Array;
}

/** Reward functions by name, made when first needed. */
export class Judge implements AsyncDisposable {
  readonly #scorers = new Map<string, Promise<Scorer>>();

  /** Judges with the named function. Errors: INVALID_ARGUMENT for an unknown one. */
  async score(check: string, item: Parameters<Scorer['score']>[0]): Promise<Verdict> {
    return (await this.scorer(check)).score(item);
  }

  async scorer(check: string): Promise<Scorer> {
    let scorer = this.#scorers.get(check);
    if (scorer === undefined) {
      scorer = Promise.resolve(createScorer(check));
      this.#scorers.set(check, scorer);
    }
    return scorer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const scorer of this.#scorers.values()) {
      await scorer.then((made) => made[Symbol.asyncDispose]()).catch(() => undefined);
    }
  }
}

/** Loads the data set. Errors: IO, INVALID_ARGUMENT naming file and line, ABORTED. */
export async function openDataset(source: DatasetSource, signal?: AbortSignal): Promise<Dataset> {
  const { spec, format, limit, skipBad, check } = source;
  return loadDataset(spec, {
    ...(format === undefined ? {} : { format }),
    ...(limit === undefined ? {} : { limit }),
    ...(check === undefined ? {} : { check }),
    skipBad: skipBad ?? false,
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Chooses the template and measures the prompts. Errors: INVALID_ARGUMENT. Cost: tokenizes every prompt. */
export async function prepareDataset(model: Model, dataset: Dataset, source: DatasetSource): Promise<Prepared> {
  const hasTemplate = model.info.chatTemplate !== '';
  const build = await createPromptBuilder({
    dataset,
    template: source.template,
    system: source.system,
    fewShot: source.fewShot,
    fewShotFrom: source.fewShotFrom,
    renderChat: hasTemplate ? (messages) => model.applyChatTemplate(messages) : undefined,
  });
  const prompt = (problem: Problem): { text: string; tokens: Int32Array } => {
    const { text, addSpecial } = build.prompt(problem);
    return { text, tokens: model.tokenize(text, { addSpecial }) };
  };
  const { problems } = build;
  return { dataset, problems, prompt, template: build.fingerprint, promptLengths: Int32Array.from(problems, (problem) => prompt(problem).tokens.length) };
}

/** Errors: CONTEXT_FULL naming the first problem whose prompt is longer than a sequence of the session. */
function requireFits({ dataset, problems, promptLengths }: Prepared, contextLength: number): void {
  const at = promptLengths.findIndex((length) => length > contextLength);
  if (at >= 0) {
    const [problem, promptTokens] = [problems[at]?.id, promptLengths[at]];
    throw new RewardLensError('CONTEXT_FULL', `${dataset.name}: the prompt of problem '${problem}' has ${promptTokens} tokens, the session (-c) holds ${contextLength} per sequence`, {
      details: { problem, promptTokens, contextLength },
    });
  }
}

/** A session that holds the longest prompt and completion of the data sets. Errors: CONTEXT_FULL when the length given is too small. */
export function openSession(model: Model, prepared: readonly Prepared[], settings: RolloutSettings, given: SessionOptions): Session {
  const longest = prepared.reduce((most, { promptLengths }) => promptLengths.reduce((a, b) => Math.max(a, b), most), 1);
  const contextLength = given.contextLength ?? longest + settings.maxTokens;
  prepared.forEach((entry) => requireFits(entry, contextLength));
  const trajectories = prepared.reduce((sum, { problems }) => sum + problems.length * settings.samples, 0);
  return model.createSession({
    ...given,
    contextLength,
    parallel: given.parallel ?? Math.max(1, Math.min(32, trajectories)),
  });
}

/** Prompts whose stream is measured for massive activations. */
const MEASURED_PROMPTS = 32;

/**
 * Samples the data set's trajectories into `directory` and measures the stream over a few prompts. Resumes; see
 * `runRollout` for errors and cost. Every prompt must fit into the session: CONTEXT_FULL before anything is sampled.
 */
export async function sampleStage(
  session: Session,
  prepared: Prepared,
  settings: RolloutSettings,
  options: Pick<RolloutOptions, 'directory' | 'signal' | 'onProgress' | 'onResume'>,
): Promise<RolloutTotals> {
  const { model } = session;
  const { dataset, problems } = prepared;
  requireFits(prepared, session.info.contextLength);
  await using judge = new Judge();
  const checks = [...new Set(problems.map(({ check }) => check))];
  const fingerprints = new Map<string, string>();
  for (const check of checks) {
    fingerprints.set(check, (await judge.scorer(check)).fingerprint); // a wrong name is an error before anything is sampled
  }
  const totals = await runRollout(session, {
    ...settings,
    ...options,
    problems,
    prompt: prepared.prompt,
    judge: (problem, text) => judge.score(problem.check, toScoreItem(problem, text)),
    checkFingerprint: (check) => fingerprints.get(check) as string,
    inputs: { model: await hashFiles(model.files, options.signal), llamaCpp: buildInfo().llamaRelease, template: prepared.template },
    about: {
      dataset: { name: dataset.name, source: dataset.source, format: dataset.format, sha256: dataset.sha256, problems: problems.length, skipped: dataset.skipped.length },
      checks,
      samples: settings.samples,
      manifest: await createManifest(session, { hashModel: false }),
    },
  });
  if (settings.capture !== undefined) {
    await measureStreamStage(session, prepared, settings.capture, options);
  }
  return totals;
}

async function measureStreamStage(session: Session, prepared: Prepared, capture: CapturePlan, options: { directory: string; signal?: AbortSignal | undefined }): Promise<void> {
  const path = join(options.directory, ANALYSIS_FILES.stream);
  if (await stat(path).then(() => true, () => false)) {
    return;
  }
  const prompts = prepared.problems.slice(0, MEASURED_PROMPTS).map((problem) => prepared.prompt(problem).tokens);
  const { blocks, rms, max, rowCount } = await measureStream(session, prompts, capture, { signal: options.signal });
  const tensors = new Map<string, Tensor>();
  blocks.forEach((name, b) => {
    const put = (what: string, data: Float32Array | undefined): unknown => data !== undefined && tensors.set(`${name}.${what}`, { shape: [data.length], data });
    put('rms', rms[b]);
    put('max', max[b]);
  });
  await saveTensors(path, tensors, { format: 'rewardlens.stream', prompts: String(prompts.length), rows: String(rowCount) });
}
