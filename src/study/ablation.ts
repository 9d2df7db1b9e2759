/** Ablation sweeps: value neurons of a ranked rollout against matched controls, paired by item. */
import { join } from 'node:path';
import type { Arm } from '../ablate/arms.js';
import type { NeutralText } from '../ablate/neutralText.js';
import { measureNeutral } from '../ablate/neutral.js';
import type { LedgerRecord, SweepOptions } from '../ablate/sweep.js';
import { runSweep } from '../ablate/sweep.js';
import { toScoreItem } from '../dataset/scoreItem.js';
import type { Session } from '../model/session.js';
import { buildInfo, native } from '../native/addon.js';
import type { Ablation, ModelResult } from '../report/ablationSchema.js';
import { ABLATION_FORMAT, ABLATION_VERSION } from '../report/ablationSchema.js';
import { writeJson } from '../rollout/folder.js';
import { createManifest, hashFiles } from '../run/manifest.js';
import { compareArms } from './ablationCompare.js';
import { writeTables } from './ablationTables.js';
import type { ArmGrid } from './armPlan.js';
import type { Prepared, RolloutSettings } from './sample.js';
import { Judge } from './sample.js';

/** File of the result inside the sweep's folder. */
export const ABLATION_FILE = 'ablate.json';

/** What sampling in a sweep needs. */
export type SweepSettings = Pick<RolloutSettings, 'sampling' | 'maxTokens' | 'seed'>;

/** A model's part of a sweep: its statistics, and the records behind them. */
export interface ModelRun {
  readonly result: ModelResult;
  /** Of all arms, the base's first. */
  readonly records: readonly { readonly arm: string; readonly records: readonly LedgerRecord[] }[];
}

/** What a run of one model may be told. */
export interface AblationOptions extends Pick<SweepOptions, 'directory' | 'signal' | 'onProgress'> {
  /** Name of the model in the results. Default: the file's name. */
  readonly name?: string;
  /** Text on which KL and perplexity of every arm are measured; null for none. */
  readonly neutral: NeutralText | null;
}

/** What determines an outcome besides prompt, sampling and edit. Cost: reads the model file once. Errors: IO, ABORTED, those of the scorer. */
export async function sweepInputs(session: Session, prepared: Prepared, judge: Judge, signal?: AbortSignal): Promise<SweepOptions['inputs']> {
  const checks = [...new Set(prepared.problems.map(({ check }) => check))];
  return {
    model: await hashFiles(session.model.files, signal),
    llamaCpp: buildInfo().llamaRelease,
    devices: native().devices().map(({ name }) => name),
    template: prepared.template,
    checks: await Promise.all(checks.map(async (check) => (await judge.scorer(check)).fingerprint)),
  };
}

/**
 * Runs the arms of one model and compares them; the ledger in `directory` keeps what is finished. Several models share a folder.
 * Nothing but the ledgers is written: see {@link saveAblation}. Errors: those of `runSweep` and `measureNeutral`.
 */
export async function runAblation(session: Session, prepared: Prepared, arms: readonly Arm[], settings: SweepSettings, options: AblationOptions): Promise<ModelRun> {
  await using judge = new Judge();
  const { directory, signal, onProgress } = options;
  const inputs = await sweepInputs(session, prepared, judge, signal);
  const sweep = await runSweep(session, {
    directory,
    signal,
    onProgress,
    ...settings,
    arms,
    items: prepared.problems,
    prompt: prepared.prompt,
    judge: (problem, text) => judge.score(problem.check, toScoreItem(problem, text)),
    inputs,
  });
  const text = options.neutral;
  const neutral = text === null ? undefined : await measureNeutral(session, arms, text, { directory, signal, inputs: { model: inputs.model, llamaCpp: inputs.llamaCpp, devices: inputs.devices } });
  const records = arms.map((arm, i) => ({ arm: arm.name, records: (sweep.records[i] ?? []).filter((record) => record !== undefined) }));
  const outcomes = arms.map((arm, i) => ({ arm, outcomes: records[i]?.records ?? [], neutral: neutral?.arms[i] ?? null }));
  const { path } = session.model.info;
  const result: ModelResult = {
    name: options.name ?? path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1),
    manifest: { ...(await createManifest(session, { hashModel: false })), inputs },
    ...compareArms(outcomes, { items: prepared.problems.length }),
    neutral: neutral?.text ?? null,
    sweep: { made: sweep.made, found: sweep.found, seconds: sweep.seconds },
  };
  return { result, records };
}

/** What a sweep of all its models has in common. */
export interface SweepFacts {
  readonly prepared: Prepared;
  readonly grid: ArmGrid;
  readonly settings: SweepSettings;
}

/** Writes `ablate.json`, `ablate.parquet` (one row per model, arm and item) and `arms.parquet` into `directory`. Errors: IO. */
export async function saveAblation(directory: string, models: readonly ModelRun[], { prepared, grid, settings }: SweepFacts): Promise<Ablation> {
  const { name, source, sha256 } = prepared.dataset;
  const result: Ablation = {
    format: ABLATION_FORMAT,
    version: ABLATION_VERSION,
    dataset: { name, source, sha256 },
    grid: { ...grid },
    items: prepared.problems.length,
    maxTokens: settings.maxTokens,
    sampling: { ...settings.sampling },
    seed: settings.seed,
    models: models.map((model) => model.result),
  };
  await writeJson(join(directory, ABLATION_FILE), result);
  await writeTables(directory, models);
  return result;
}
