/** Ablation sweeps: value neurons of a ranked rollout against matched controls, paired by item. */
import { basename, join } from 'node:path';
import type { Arm } from '../ablate/arms.js';
import type { NeutralResult } from '../ablate/neutral.js';
import { canSpell, measureNeutral, neutralTokens } from '../ablate/neutral.js';
import type { NeutralText } from '../ablate/neutralText.js';
import { NEUTRAL_TEXT } from '../ablate/neutralText.js';
import type { ParkedPair } from '../ablate/source.js';
import type { LedgerRecord } from '../ablate/sweep.js';
import type { Session } from '../model/session.js';
import type { Ablation, ModelResult } from '../report/ablationSchema.js';
import { ABLATION_FORMAT, ABLATION_VERSION } from '../report/ablationSchema.js';
import { writeJson } from '../rollout/folder.js';
import { createManifest } from '../run/manifest.js';
import { compareArms } from './ablationCompare.js';
import { writeTables } from './ablationTables.js';
import type { ArmGrid } from './armPlan.js';
import type { Prepared } from './sample.js';
import type { PairRunOptions, SweepSettings } from './sweepRun.js';
import { runPairs } from './sweepRun.js';

/** File of the result inside the sweep's folder. */
export const ABLATION_FILE = 'ablate.json';

/** A model's part of a sweep: its statistics, and the records behind them. */
export interface ModelRun {
  readonly result: ModelResult;
  /** Pairs that workers gave up. */
  readonly parked: readonly ParkedPair[];
  /** Of all arms, the base's first. */
  readonly records: readonly { readonly arm: string; readonly records: readonly LedgerRecord[] }[];
}

/** What a run of one model may be told. */
export interface AblationOptions extends Omit<PairRunOptions, 'shard'> {
  /** Name of the model in the results. Default: the file's name. */
  readonly name?: string;
  /** Text on which KL and perplexity of every arm are measured; null for none. */
  readonly neutral: NeutralText | null;
  /** Edits measured on the neutral text so far, of those that are not in the folder yet. */
  readonly onNeutral?: ((finished: number, total: number) => void) | undefined;
}

/**
 * Runs the arms of one model and compares them; the ledger in `directory` keeps what is finished. Several models share a folder.
 * Nothing but the ledgers is written: see {@link saveAblation}. Errors: those of `runSweep` and `measureNeutral`.
 */
export async function runAblation(session: Session, prepared: Prepared, arms: readonly Arm[], settings: SweepSettings, options: AblationOptions): Promise<ModelRun> {
  const { directory, signal, name: _name, neutral: _neutral, onNeutral, ...running } = options;
  if (options.neutral !== null && options.neutral !== NEUTRAL_TEXT) {
    neutralTokens(session, options.neutral); // a text that cannot be used is an error before hours of work, not after
  }
  const { sweep, inputs } = await runPairs(session, prepared, arms, settings, { ...running, directory, signal });
  const neutral = await neutralOf(session, arms, options.neutral, { directory, signal, onProgress: onNeutral, inputs: { model: inputs.model, llamaCpp: inputs.llamaCpp, devices: inputs.devices, gpuLayers: inputs.gpuLayers, ...session.numerics } });
  const records = arms.map((arm, i) => ({ arm: arm.name, records: (sweep.records[i] ?? []).filter((record) => record !== undefined) }));
  const outcomes = arms.map((arm, i) => ({ arm, outcomes: records[i]?.records ?? [], decided: sweep.early?.decided.includes(arm.name) ?? false, neutral: neutral.measured?.arms[i] ?? null }));
  const plan = sweep.early?.plan;
  const foreign = (neutral.measured?.arms[0]?.perplexity ?? 0) > session.model.info.vocabSize;
  const result: ModelResult = {
    name: options.name ?? basename(session.model.info.path),
    manifest: { ...(await createManifest(session, { hashModel: false })), inputs },
    ...compareArms(outcomes, { items: prepared.problems.length, foreign, early: plan === undefined ? undefined : { level: plan.levels.at(-1) ?? 0 } }),
    neutral: neutral.measured === undefined ? null : { ...neutral.measured.text, foreign },
    ...(neutral.skipped === undefined ? {} : { neutralSkipped: neutral.skipped }),
    early: plan === undefined ? null : { ...plan, looks: [...plan.looks], levels: [...plan.levels] },
    ...(sweep.parked.length === 0 ? {} : { parked: [...sweep.parked] }),
    sweep: { made: sweep.made, found: sweep.found, seconds: sweep.seconds },
  };
  return { result, records, parked: sweep.parked };
}

/** A model whose vocabulary cannot spell the bundled text goes without; a text of the user's must work. */
async function neutralOf(
  session: Session,
  arms: readonly Arm[],
  text: NeutralText | null,
  options: Parameters<typeof measureNeutral>[3],
): Promise<{ measured?: NeutralResult; skipped?: string }> {
  if (text === null) {
    return {};
  }
  if (text === NEUTRAL_TEXT && !canSpell(session, text)) {
    return { skipped: `the model's vocabulary has no tokens for the ${text.source}` };
  }
  return { measured: await measureNeutral(session, arms, text, options) };
}

/** What a sweep of all its models has in common. */
export interface SweepFacts {
  readonly prepared: Prepared;
  readonly grid: ArmGrid;
  readonly settings: SweepSettings;
  /** What qualifies the sets, in sentences. */
  readonly notes?: readonly string[];
}

/** Writes `ablate.json`, `ablate.parquet` (one row per model, arm and item) and `arms.parquet` into `directory`. Errors: IO. */
export async function saveAblation(directory: string, models: readonly ModelRun[], { prepared, grid, settings, notes = [] }: SweepFacts): Promise<Ablation> {
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
    ...(notes.length === 0 ? {} : { notes: [...notes] }),
    models: models.map((model) => model.result),
  };
  await writeJson(join(directory, ABLATION_FILE), result);
  await writeTables(directory, models);
  return result;
}
