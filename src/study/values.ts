/** Values of the states in front of every step of a rollout's trajectories, by continuation and by the probe. */
import { createHash } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Session } from '../model/session.js';
import type { Model } from '../model/model.js';
import type { SessionOptions } from '../model/session.js';
import { buildInfo, native } from '../native/addon.js';
import { RewardLensError, throwIfAborted } from '../native/errors.js';
import { writeJson } from '../rollout/folder.js';
import { lockFolder } from '../rollout/lock.js';
import type { ForkCounts, ForkItem, ForkOptions, ForkResult, StateValue } from '../rollout/values.js';
import { forkValues } from '../rollout/values.js';
import type { Splitter } from '../rpe/steps.js';
import { formatSplitter } from '../rpe/steps.js';
import { stepErrors, telescopeGap } from '../rpe/tdErrors.js';
import { createManifest, hashFiles } from '../run/manifest.js';
import { orNull } from '../stats/estimate.js';
import { mean } from '../stats/moments.js';
import { meanError } from '../stats/proportion.js';
import { FILES } from '../store/format.js';
import { sealLine } from '../store/journal.js';
import { ANALYSIS_FILES } from './analyse.js';
import { Judge } from './sample.js';
import { between, checkSettings, whole } from './settingsCheck.js';
import { fileHash } from './stage.js';
import type { Values } from '../report/valuesSchema.js';
import { VALUES_FORMAT, VALUES_VERSION } from '../report/valuesSchema.js';
import type { TrajectoryValues } from './valuesFormat.js';
import { VALUES_FILES } from './valuesFormat.js';
import type { RolloutInputs, SteppedTrajectory } from './valuesInput.js';
import { pieceBytesOf, readRecords, readRolloutInputs, stepTrajectories } from './valuesInput.js';
import { probeAgreement, probeSide, readProbeTraces } from './valuesProbe.js';

/** What to value and how. */
export interface ValuesSettings {
  readonly splitter: Splitter;
  readonly counts: ForkCounts;
  /** Most sampled tokens. */
  readonly budget: number | undefined;
  /** Only the first trajectories, in order of problem and sample. */
  readonly limit: number | undefined;
  readonly gamma: number;
  readonly seed: number;
  /** Layer of the value probe; default the best one. */
  readonly layer: number | undefined;
}

/** The paper's steps and discount; eight continuations, up to 32 where they do not agree. */
export const VALUES_DEFAULTS: ValuesSettings = {
  splitter: { kind: 'blank-line' },
  counts: { min: 8, max: 32, width: 0.35 },
  budget: undefined,
  limit: undefined,
  gamma: 1 - 1e-5,
  seed: 1,
  layer: undefined,
};

const settingsSchema = z.object({
  counts: z.object({ min: whole(1), max: whole(1), width: between(0, 1) }).refine(({ min, max }) => max >= min, { path: ['max'], message: 'at least counts.min' }),
  budget: whole(1).optional(),
  gamma: between(0, 1),
  seed: whole(0),
});

/** Steps above this in size count as large (the paper's threshold). */
export const LARGE_ERROR = 0.3;

/** Trajectories of a folder made ready to be continued. */
export interface PreparedValues {
  readonly directory: string;
  readonly inputs: RolloutInputs;
  readonly trajectories: readonly SteppedTrajectory[];
}

/** Reads and cuts the trajectories. Errors: those of reading; INVALID_ARGUMENT when the model is another one than the rollout's. */
export async function prepareValues(model: Model, directory: string, settings: Pick<ValuesSettings, 'splitter' | 'limit'>, signal?: AbortSignal): Promise<PreparedValues> {
  checkSettings(z.object({ limit: whole(1).optional() }), settings);
  const inputs = await readRolloutInputs(directory);
  if ((await hashFiles(model.files, signal)) !== inputs.model) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${directory}' was made with another model than '${model.info.path}': values of its states must come from the same one`, { details: { directory, model: model.info.path } });
  }
  const records = await readRecords(directory, settings.limit);
  throwIfAborted('reading the trajectories', signal);
  return { directory, inputs, trajectories: stepTrajectories(model, records, settings.splitter) };
}

/** A session that holds the longest prompt and completion. */
export function openValuesSession(model: Model, { trajectories, inputs }: PreparedValues, given: SessionOptions): Session {
  const longest = trajectories.reduce((most, { record }) => Math.max(most, record.promptLength), 1);
  return model.createSession({ contextLength: longest + inputs.maxTokens, parallel: 32, ...given });
}

/**
 * Continues the state in front of every step, writes values.jsonl and values.json. Resumes: continuations in the folder's journal are not
 * made again, whatever settings they were made under, if they are the same continuations. A step that ends its trajectory needs
 * none: its value is the reward. Errors: BUSY when the folder is being written; those of `forkValues` and of reading.
 */
export async function runValues(
  session: Session,
  prepared: PreparedValues,
  settings: ValuesSettings,
  options: Pick<ForkOptions, 'signal' | 'onProgress' | 'sharePrefixes'> & { threads: number },
): Promise<Values> {
  const { directory, inputs, trajectories } = prepared;
  checkSettings(settingsSchema, settings);
  const unlock = await lockFolder(directory);
  try {
    await using judge = new Judge();
    // First: a probe that does not fit is known before anything takes time.
    const probe = await readProbeTraces(directory, trajectories.map(({ record }) => record), { layer: settings.layer, threads: options.threads });
    const checks = [...new Set(trajectories.map(({ record }) => record.check))];
    const fingerprints = new Map(await Promise.all(checks.map(async (check) => [check, (await judge.scorer(check)).fingerprint] as const)));
    const forked = await forkValues(session, {
      ...options,
      ...inputs,
      journal: join(directory, VALUES_FILES.journal),
      trajectories: trajectories.map(({ states }) => states),
      counts: settings.counts,
      budget: settings.budget,
      seed: settings.seed,
      inputs: { model: inputs.model, llamaCpp: buildInfo().llamaRelease, devices: native().devices().map(({ name }) => name) },
      judge: ({ problem, gold, check, choices }: ForkItem, text) => judge.score(check, { text, gold, problem: { id: problem, ...(choices === undefined ? {} : { choices }) } }),
      checkFingerprint: (check) => fingerprints.get(check) as string,
      pieceBytes: pieceBytesOf(session.model),
    });
    const lines = trajectories.map((trajectory, i): TrajectoryValues => ({ ...trajectoryValues(trajectory, forked.values[i] ?? [], settings.gamma), ...probeSide(probe, trajectory, settings.gamma) }));
    const text = lines.map((line) => `${sealLine(line)}\n`).join('');
    const result = summarise(lines, forked, {
      manifest: await createManifest(session, { hashModel: false }),
      settings: publicSettings(settings, inputs),
      trajectoriesSha256: await fileHash(join(directory, FILES.trajectories)),
      linesSha256: createHash('sha256').update(text).digest('hex'),
      probesSha256: await fileHash(join(directory, ANALYSIS_FILES.probes)),
    });
    const path = join(directory, VALUES_FILES.trajectories);
    await writeFile(`${path}.tmp`, text);
    await rename(`${path}.tmp`, path);
    await writeJson(join(directory, VALUES_FILES.summary), result);
    return result;
  } finally {
    await unlock();
  }
}

function publicSettings({ splitter, counts, budget, limit, gamma, seed }: ValuesSettings, { maxTokens, sampling, stop }: RolloutInputs): Values['settings'] {
  return { steps: formatSplitter(splitter), counts, budget: budget ?? null, limit: limit ?? null, gamma, seed, maxTokens, sampling: { ...sampling }, stop: [...stop] };
}

function trajectoryValues({ record, group, steps }: SteppedTrajectory, values: readonly StateValue[], gamma: number): Omit<TrajectoryValues, 'part' | 'probe'> {
  const variances = values.map(({ rewards }) => meanError(rewards));
  return {
    problem: record.problem,
    sample: record.sample,
    group,
    reward: record.reward,
    finishReason: record.finishReason,
    steps: [...steps],
    values: values.map(({ estimate, unknown, tokens }) => ({ ...estimate, unknown, tokens })),
    tdErrors: stepErrors(values.map(({ estimate }) => estimate.value), record.reward, gamma),
    variances: variances.map((own, k) => {
      const next = k + 1 < variances.length ? (variances[k + 1] as number | null) : 0; // the end's value is the reward itself
      return own === null || next === null ? null : own + gamma * gamma * next;
    }),
  };
}

function errorFacts(lines: readonly TrajectoryValues[], gamma: number): Values['tdErrors'] {
  const known = lines.flatMap(({ tdErrors, variances }) => tdErrors.flatMap((error, k) => (error === null ? [] : [{ error, variance: variances[k] ?? null }])));
  const errors = known.map(({ error }) => error);
  const centre = mean(errors);
  const spread = mean(errors.map((error) => (error - centre) ** 2));
  const variances = known.flatMap(({ variance }) => variance ?? []);
  const gaps = lines.flatMap(({ values, tdErrors, reward }) => telescopeGap(values.map(({ value }) => value), tdErrors, reward, gamma) ?? []);
  return {
    known: known.length,
    mean: orNull(centre),
    deviation: orNull(Math.sqrt(spread)),
    large: orNull(mean(errors.map((error) => (Math.abs(error) > LARGE_ERROR ? 1 : 0)))),
    noise: spread > 0 ? orNull(mean(variances) / spread) : null,
    telescopeGap: gaps.length === 0 ? null : gaps.reduce((most, gap) => Math.max(most, Math.abs(gap)), 0),
  };
}

function summarise(lines: readonly TrajectoryValues[], forked: ForkResult, facts: Pick<Values, 'manifest' | 'settings' | 'trajectoriesSha256' | 'linesSha256' | 'probesSha256'>): Values {
  const states = lines.flatMap(({ values }) => values);
  const widths = states.flatMap(({ low, high }) => (low === null || high === null ? [] : [high - low]));
  return {
    format: VALUES_FORMAT,
    version: VALUES_VERSION,
    ...facts,
    counts: {
      trajectories: lines.length,
      steps: lines.reduce((sum, { steps }) => sum + steps.length, 0),
      states: states.length,
      distinctStates: forked.states,
      withoutValue: states.filter(({ value }) => value === null).length,
      continuations: { made: forked.made, found: forked.found, unknown: states.reduce((sum, { unknown }) => sum + unknown, 0) },
    },
    tokens: { sampled: forked.sampledTokens, computed: forked.computedTokens, shared: forked.sharedTokens },
    exhausted: forked.exhausted,
    meanWidth: orNull(mean(widths)),
    tdErrors: errorFacts(lines, facts.settings.gamma),
    probe: probeAgreement(lines),
    seconds: forked.seconds,
  };
}
