/** Dopamine neurons before and after value neurons of earlier layers are taken away: the held-out trajectories are read again under every arm. */
import { join } from 'node:path';
import type { Model } from '../model/model.js';
import type { Session, SessionOptions } from '../model/session.js';
import type { Site } from '../model/sites.js';
import { RewardLensError } from '../native/errors.js';
import type { TrainedProbe } from '../probe/train.js';
import type { ProbeTrainer } from '../probe/trainer.js';
import { writeJson } from '../rollout/folder.js';
import { holdFolder } from '../rollout/lock.js';
import { poolSteps, zscored } from '../rpe/features.js';
import type { GenerateResult } from '../run/generate.js';
import { generate } from '../run/generate.js';
import { createManifest, hashFiles } from '../run/manifest.js';
import type { SequenceRequest } from '../run/request.js';
import { rankPValue } from '../stats/controls.js';
import { correlationEstimate } from '../stats/correlation.js';
import { mean } from '../stats/moments.js';
import { ActivationStore } from '../store/reader.js';
import type { ArmPlan } from './armPlan.js';
import type { InterplayEdit } from './interplayArms.js';
import type { DopamineData, DopamineItem, DopamineStep } from './dopamineData.js';
import { dopamineData, itemsOf } from './dopamineData.js';
import { readDopamine } from './dopamineFolder.js';
import type { Dopamine } from '../report/dopamineSchema.js';
import type { Interplay, InterplayArm, InterplayComparison, InterplayMeasure } from '../report/interplaySchema.js';
import { INTERPLAY_FILE, INTERPLAY_FORMAT, INTERPLAY_MEASURES, INTERPLAY_VERSION } from '../report/interplaySchema.js';
import { TraceAgreement } from './interplayTraces.js';
import { predictor } from './predict.js';
import { promptTokens, readRecords, readRolloutInputs } from './valuesInput.js';

/** A held-out trajectory as it is read: its tokens and its steps with known δ. */
interface ReadTrajectory {
  readonly tokens: Int32Array;
  readonly promptLength: number;
  readonly group: string;
  readonly items: readonly DopamineItem[];
  readonly steps: readonly DopamineStep[];
}

/** Everything that arms are run on. */
export interface PreparedInterplay {
  readonly directory: string;
  readonly dopamine: Dopamine;
  readonly probe: TrainedProbe;
  /** Of the folder's states. */
  readonly layers: readonly number[];
  readonly trajectories: readonly ReadTrajectory[];
}

/**
 * The held-out trajectories of a folder that `rewardlens dopamine` has been through. Errors: those of reading; INVALID_ARGUMENT when the model is another one than the
 * rollout's, or when the dopamine probe's layer has none below it.
 */
export async function prepareInterplay(model: Model, directory: string, signal?: AbortSignal): Promise<PreparedInterplay> {
  const { result: dopamine, probe } = await readDopamine(directory);
  if (dopamine.bestLayer === 0) {
    throw new RewardLensError('INVALID_ARGUMENT', `the dopamine probe of '${directory}' reads layer 0: there are no earlier layers`, { details: { directory } });
  }
  if ((await hashFiles(model.files, signal)) !== (await readRolloutInputs(directory)).model) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${directory}' was made with another model than '${model.info.path}'`, { details: { directory, model: model.info.path } });
  }
  await using store = await ActivationStore.open(directory);
  const { data } = await dopamineData(store, dopamine.settings.site, dopamine.settings.error);
  const records = new Map((await readRecords(directory)).map((record) => [`${record.sample}/${record.problem}`, record]));
  return { directory, dopamine, probe, layers: data.layers, trajectories: readTrajectories(model, data, records) };
}

function readTrajectories(model: Model, data: DopamineData, records: ReadonlyMap<string, Parameters<typeof promptTokens>[1] & { tokens: readonly number[] }>): ReadTrajectory[] {
  const items = groupItems(itemsOf(data));
  return data.trajectories.flatMap(({ part, group, steps, problem, sample }, i) => {
    const [record, own] = [records.get(`${sample}/${problem}`), items.get(i)];
    if (part !== 'test' || record === undefined || own === undefined) {
      return [];
    }
    const prompt = promptTokens(model, record);
    return [{ tokens: Int32Array.from([...prompt, ...record.tokens.slice(0, -1)]), promptLength: prompt.length, group, items: own, steps }];
  });
}

/** A session that holds the longest of them. */
export function openInterplaySession(model: Model, { trajectories }: PreparedInterplay, given: SessionOptions): Session {
  const longest = trajectories.reduce((most, { tokens }) => Math.max(most, tokens.length), 1);
  return model.createSession({ contextLength: longest + 1, parallel: 16, ...given });
}

/** What came of one arm: what the probe says of every item, in order of trajectories, and the values that edits wrote. */
interface ArmReading {
  readonly predictions: Float32Array;
  edited: number;
}

interface Readings {
  readonly byArm: ReadonlyMap<string, ArmReading>;
  readonly traces: TraceAgreement;
}

/** A plan of arms with those of interplayArms in their place. */
export type InterplayPlan = Pick<ArmPlan, 'grid' | 'notes'> & { readonly arms: readonly InterplayEdit[] };

/** Interruption and progress. */
export interface InterplayOptions {
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((finished: number, total: number) => void) | undefined;
}

/**
 * Reads every held-out trajectory under every arm, as one prompt, and applies the dopamine probe, which is not trained anew. The base arm is read in the same
 * way, so all differences are the arms'. Writes interplay.json. Errors: BUSY when the folder is being written; those of the engine (HOOK_NOT_FIRED when an arm wrote another number of values than its
 * definition demands). Cost: arms × tokens of the held-out trajectories.
 */
export async function runInterplay(session: Session, prepared: PreparedInterplay, plan: InterplayPlan, options: InterplayOptions): Promise<Interplay> {
  const started = performance.now();
  const { directory, dopamine, trajectories } = prepared;
  await using _lock = await holdFolder(directory);
  const neurons = dopamine.ranking.slice(0, Math.max(1, dopamine.settings.neurons)).map(({ neuron }) => neuron);
  const readings = await readArms(session, prepared, plan.arms, neurons, options);
  const items = trajectories.flatMap(({ items: own }) => [...own]);
  const outcomes = plan.arms.map((arm) => outcome(arm, readings, items, dopamine.settings));
  const [base, ...arms] = outcomes as [InterplayArm, ...InterplayArm[]];
  const result: Interplay = {
    format: INTERPLAY_FORMAT,
    version: INTERPLAY_VERSION,
    manifest: await createManifest(session, { hashModel: false }),
    trajectoriesSha256: dopamine.trajectoriesSha256,
    probesSha256: dopamine.probesSha256,
    grid: { ...plan.grid },
    notes: [...plan.notes],
    layer: dopamine.bestLayer,
    dopamineNeurons: neurons,
    trajectories: trajectories.length,
    steps: { all: items.length, large: largeOf(items, dopamine.settings.threshold).length },
    base,
    arms,
    comparisons: arms.filter(({ role }) => role === 'set').flatMap((arm) => compareArm(arm, arms)),
    seconds: (performance.now() - started) / 1000,
  };
  await writeJson(join(directory, INTERPLAY_FILE), result);
  return result;
}

interface Label {
  readonly arm: string;
  readonly trajectory: number;
}

async function readArms(session: Session, prepared: PreparedInterplay, arms: readonly InterplayEdit[], neurons: readonly number[], options: InterplayOptions): Promise<Readings> {
  const { trajectories, dopamine, probe } = prepared;
  const total = trajectories.reduce((sum, { items }) => sum + items.length, 0);
  const byArm = new Map(arms.map(({ name }): [string, ArmReading] => [name, { predictions: new Float32Array(total), edited: 0 }]));
  const agreement = new TraceAgreement([...byArm.keys()], neurons.length);
  const firsts = trajectories.map((_, i) => trajectories.slice(0, i).reduce((sum, { items }) => sum + items.length, 0));
  const reader = new Reader(dopamine, probe, neurons, options.threads);
  const results = generate(session, requests(trajectories, arms), {
    arms: Object.fromEntries(arms.map(({ name, interventions }) => [name, interventions])),
    capture: { site: dopamine.settings.site as Site, layers: [dopamine.bestLayer], positions: 'all' },
    signal: options.signal,
  });
  let finished = 0;
  try {
    for await (const result of results) {
      const { arm, trajectory } = result.label as Label;
      const reading = byArm.get(arm) as ArmReading;
      const own = trajectories[trajectory] as ReadTrajectory;
      const first = firsts[trajectory] as number;
      const traces = await reader.read(result, own, reading.predictions.subarray(first, first + own.items.length));
      reading.edited += result.edits.reduce((sum, { changed, shared }) => sum + changed + shared, 0);
      agreement.take(trajectory, arm, traces);
      options.onProgress?.(++finished, arms.length * trajectories.length);
    }
    await reader.flush();
  } finally {
    await reader.close();
  }
  return { byArm, traces: agreement };
}

function* requests(trajectories: readonly ReadTrajectory[], arms: readonly InterplayEdit[]): Generator<SequenceRequest> {
  for (const [trajectory, { tokens }] of trajectories.entries()) {
    for (const { name } of arms) {
      const label: Label = { arm: name, trajectory };
      yield { prompt: tokens, maxTokens: 0, arm: name, label };
    }
  }
}

/** Steps that are given to the probe at once: every call waits for threads that the engine keeps busy. */
const STEPS_AT_ONCE = 2048;

/** From captured rows to what the probe says of each step, and to the neurons' z-scores. */
class Reader {
  readonly #dopamine: Dopamine;
  readonly #neurons: readonly number[];
  readonly #trainer: ProbeTrainer;
  #waiting: { features: Float32Array; into: Float32Array }[] = [];
  #steps = 0;

  constructor(dopamine: Dopamine, probe: TrainedProbe, neurons: readonly number[], threads: number) {
    this.#dopamine = dopamine;
    this.#neurons = neurons;
    this.#trainer = predictor({ width: probe.mean.length, layers: [probe.layer] }, [probe], threads);
  }

  /** Returns the neurons' traces; what the probe says is written `into` the array, one number per step, by the next {@link flush} at the latest. */
  async read({ activations }: GenerateResult, { promptLength, items, steps }: ReadTrajectory, into: Float32Array): Promise<Float32Array[]> {
    const { site, zscore } = this.#dopamine.settings;
    const rows = (activations as NonNullable<typeof activations>).get(site as Site, this.#dopamine.bestLayer);
    const [, width] = rows.shape as [number, number];
    // s_0 is the row of the last prompt token
    const scores = zscored(rows.data.slice((promptLength - 1) * width), width, zscore);
    this.#waiting.push({ features: poolSteps(scores, width, items.map(({ step }) => steps[step] as DopamineStep)), into });
    this.#steps += items.length;
    if (this.#steps >= STEPS_AT_ONCE) {
      await this.flush();
    }
    return this.#neurons.map((neuron) => Float32Array.from({ length: scores.length / width }, (_, s) => scores[s * width + neuron] as number));
  }

  async flush(): Promise<void> {
    const waiting = this.#waiting.splice(0);
    const features = new Float32Array(waiting.reduce((sum, own) => sum + own.features.length, 0));
    waiting.reduce((at, own) => (features.set(own.features, at), at + own.features.length), 0);
    const predictions = this.#steps === 0 ? new Float32Array() : await this.#trainer.predict(features, this.#steps);
    waiting.reduce((at, { into }) => (into.set(predictions.subarray(at, at + into.length)), at + into.length), 0);
    this.#steps = 0;
  }

  async close(): Promise<void> {
    await this.#trainer.dispose();
  }
}

function groupItems(items: readonly DopamineItem[]): Map<number, DopamineItem[]> {
  const groups = new Map<number, DopamineItem[]>();
  items.forEach((item) => groups.set(item.trajectory, [...(groups.get(item.trajectory) ?? []), item]));
  return groups;
}

function largeOf(items: readonly DopamineItem[], threshold: number): number[] {
  return [...items.keys()].filter((i) => Math.abs((items[i] as DopamineItem).error) > threshold);
}

function outcome(arm: InterplayEdit, { byArm, traces }: Readings, items: readonly DopamineItem[], { threshold, seed }: Dopamine['settings']): InterplayArm {
  const reading = byArm.get(arm.name) as ArmReading;
  const base = ([...byArm.values()][0] as ArmReading).predictions;
  const large = largeOf(items, threshold);
  const { interventions: _interventions, layers, neurons, ...facts } = arm;
  return {
    ...facts,
    layers: [...layers],
    neurons: neurons.map((own) => [...own]),
    score: correlationEstimate('spearman', large.map((i) => reading.predictions[i] as number), large.map((i) => (items[i] as DopamineItem).error), large.map((i) => (items[i] as DopamineItem).group), { seed, resamples: 1000 }),
    agreement: correlationEstimate('pearson', reading.predictions, base, items.map(({ group }) => group), { seed, resamples: 1000 }),
    trace: traces.correlation(arm.name),
    edited: reading.edited,
  };
}

/** A measure as a number: what has no spread left agrees with nothing. */
function measureOf(arm: InterplayArm, measure: InterplayMeasure): number {
  return (measure === 'trace' ? arm.trace : arm[measure].value) ?? 0;
}

function compareArm(arm: InterplayArm, all: readonly InterplayArm[]): InterplayComparison[] {
  const draws = all.filter((other) => other.role === 'control' && String(other.layers) === String(arm.layers) && other.share === arm.share && other.kind === arm.kind);
  return [...new Set(draws.map(({ group }) => group))].flatMap((control) =>
    INTERPLAY_MEASURES.map((measure): InterplayComparison => {
      const values = draws.filter(({ group }) => group === control).map((draw) => measureOf(draw, measure));
      const observed = measureOf(arm, measure);
      return { arm: arm.name, control, measure, draws: values.length, observed, meanControl: mean(values), p: rankPValue(observed, values, 'less') };
    }),
  );
}
