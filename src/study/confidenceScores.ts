/** Confidence that costs nothing more than the answer: from the stored states and statistics of a rollout. */
import { measureMoments } from '../probe/data.js';
import type { Place } from '../probe/places.js';
import type { TrainedProbe } from '../probe/train.js';
import { trainProbes } from '../probe/train.js';
import type { RankingMethod } from '../rank/scores.js';
import { topNeurons } from '../rank/sets.js';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { auc } from '../stats/auc.js';
import { applyLogistic, fitLogistic } from '../stats/logistic.js';
import { mean } from '../stats/moments.js';
import type { TrajectoryRecord } from '../store/format.js';
import { placedLinearValues } from './placed.js';
import { predictPlaces } from './predict.js';
import type { ProbedFolder } from './probedFolder.js';
import { mainProbe, pruneProbe } from './probedFolder.js';
import { MAIN_PROBE } from './evaluate.js';
import type { WorkOptions } from './options.js';
import { weightMethods } from './rank.js';

/** One score of the held-out trajectories, as a probability of success. */
export interface Score {
  readonly name: string;
  readonly known: 'before' | 'after';
  readonly probability: 'own' | 'fitted';
  readonly neurons?: readonly number[];
  readonly values: ArrayLike<number>;
  readonly cost: { readonly tokens: number; readonly extra: number };
}

/** A recorded trajectory, as far as a rollout of this program or another's gives it. */
export type Recorded = Partial<TrajectoryRecord>;

/** Records of trajectories of the data, in order. Errors: STORE_CORRUPT, IO. */
export async function recordsOf({ store, data }: ProbedFolder, trajectories: readonly number[]): Promise<Recorded[]> {
  const out: Recorded[] = [];
  for (const i of trajectories) {
    out.push((await store.readRecord(store.trajectories[data.entries[i] as number] as (typeof store.trajectories)[number])));
  }
  return out;
}

/** The layer whose value probe is best at a place on validation trajectories. Cost: reads their states once. */
export async function layerFor({ data, split, probes }: ProbedFolder, place: Place, work: WorkOptions): Promise<number> {
  const main = probes.filter(({ name }) => name === MAIN_PROBE);
  const values = await predictPlaces(data, main, split.validation, work);
  const rewards = Float32Array.from(split.validation, (i) => data.rewards[i] as number);
  const aucs = values.map(({ places }) => auc(places[place], rewards));
  const best = aucs.reduce((a, value, i) => (value > (aucs[a] ?? -1) ? i : a), 0);
  return (main[best] as TrainedProbe).layer;
}

/** The best neurons of a layer by the folder's probes. Errors: INVALID_ARGUMENT for a layer without probe, more neurons than there are, and when no probe gives this ranking. */
export function rankedNeurons(folder: ProbedFolder, layer: number, method: RankingMethod, count: number): number[] {
  const { directory, probes } = folder;
  mainProbe(folder, layer); // a layer without one is refused in its words
  const scores = weightMethods(probes, layer).get(method);
  if (scores === undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `layer ${layer}: no ${method} scores in '${directory}'`, { details: { layer, method } });
  }
  if (count > scores.length) {
    throw invalidArgument('neurons', `at most ${scores.length}, the width of '${directory}'`, count);
  }
  return topNeurons(scores, count);
}

/** The value probe trained anew on `sets` of inputs alone, as the probe itself was. Cost: one training run over the store for all. */
export async function refitProbes(folder: ProbedFolder, layer: number, sets: readonly (readonly number[])[], work: WorkOptions): Promise<TrainedProbe[]> {
  const { data, split, settings } = folder;
  const moments = await measureMoments(data, split.train, work.signal);
  const jobs = sets.map((set, i) => ({ ...mainProbe(folder, layer), name: `refit-${i}`, neurons: Int32Array.from(set) }));
  return trainProbes(data, split, moments, jobs, {
    ...settings,
    threads: work.threads,
    signal: work.signal,
    onProgress: ({ epoch, maxEpochs, share }) => work.onProgress?.('training probes of few neurons', (epoch + share) / maxEpochs, ''),
  });
}

/** V(s_0): of the best `counts` neurons, pruned and trained anew, of the whole probe, and of a linear probe of s_0. */
export async function valueScores(folder: ProbedFolder, layer: number, settings: { counts: readonly number[]; method: RankingMethod }, work: WorkOptions): Promise<Score[]> {
  const { data, split } = folder;
  const sets = settings.counts.map((count) => rankedNeurons(folder, layer, settings.method, count));
  const main = mainProbe(folder, layer);
  const probes = [...(await refitProbes(folder, layer, sets, work)), ...sets.map((set) => pruneProbe(main, set)), main];
  work.onProgress?.('reading values', 0, '');
  const values = (await predictPlaces(data, probes, split.test, work)).map(({ places }) => places.s0);
  const linear = (await placedLinearValues(data, split, layer, ['s0'], { seed: folder.settings.seed, threads: work.threads, signal: work.signal })).s0;
  const cost = { tokens: meanPrompt(folder), extra: 0 };
  const score = (name: string, own: Float32Array | undefined, neurons?: readonly number[]): Score => ({
    name, known: 'before', probability: 'own', ...(neurons === undefined ? {} : { neurons }), values: asProbabilities(own as Float32Array), cost,
  });
  const words = (set: readonly number[]): string => `V(s_0) of ${set.length} neuron${set.length === 1 ? '' : 's'}`;
  return [
    ...sets.map((set, i) => score(`${words(set)}, trained anew`, values[i], set)),
    ...sets.map((set, i) => score(`${words(set)}, pruned`, values[sets.length + i], set)),
    score('V(s_0) of all neurons', values.at(-1)),
    score('linear probe of s_0', linear),
  ];
}

/** An identity head may leave 0..1. */
const asProbabilities = (values: Float32Array): Float32Array => values.map((value) => Math.min(1, Math.max(0, value)));

function meanPrompt({ store, data, split }: ProbedFolder): number {
  return mean(split.test.map((i) => store.trajectories[data.entries[i] as number]?.promptLength ?? NaN));
}

/** Prompt length, entropy of the first token, mean log-probability: made probabilities on training trajectories. None that was not recorded. */
export async function outsideScores(folder: ProbedFolder): Promise<Score[]> {
  const { data, split } = folder;
  const [training, test] = [await recordsOf(folder, split.train), await recordsOf(folder, split.test)];
  const rewards = split.train.map((i) => data.rewards[i] as number);
  const prompt = meanPrompt(folder);
  const answered = prompt + mean(test.map(({ tokens }) => (tokens?.length ?? NaN) - 1));
  const of = (name: string, known: Score['known'], tokens: number, pick: (record: Recorded) => number | undefined): Score[] => {
    const own = (records: readonly Recorded[]): number[] => records.map((record) => pick(record) ?? NaN);
    const [seen, values] = [own(training), own(test)];
    const usable = seen.flatMap((value, i) => (Number.isFinite(value) ? [i] : []));
    if (usable.length === 0) {
      return [];
    }
    const middle = mean(usable.map((i) => seen[i] as number));
    const fit = fitLogistic(usable.map((i) => seen[i] as number), usable.map((i) => rewards[i] as number));
    return [{ name, known, probability: 'fitted', values: applyLogistic(fit, values.map((value) => (Number.isFinite(value) ? value : middle))), cost: { tokens, extra: 0 } }];
  };
  return [
    ...of('prompt length', 'before', 0, ({ promptLength }) => promptLength),
    ...of('entropy of the first token', 'before', prompt, ({ entropies }) => entropies?.[0]),
    ...of('mean token log-probability', 'after', answered, ({ logProbabilities }) => (logProbabilities === undefined || logProbabilities.length === 0 ? undefined : mean(logProbabilities))),
  ];
}
