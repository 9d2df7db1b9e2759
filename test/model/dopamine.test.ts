/** A model made so that one coordinate, the last letter's grade, decides how the answer ends: the neuron that follows the prediction error is known, and nothing is written by hand. */
import { rm } from 'node:fs/promises';
import { afterEach, expect, test } from '@jest/globals';
import type { Problem } from '../../src/dataset/types.js';
import { loadModel } from '../../src/model/model.js';
import type { Dopamine, DopamineNeuron, DopamineScore } from '../../src/report/dopamineSchema.js';
import type { Values } from '../../src/report/valuesSchema.js';
import { ActivationStore } from '../../src/store/reader.js';
import { BASELINES, dopamineData } from '../../src/study/dopamineData.js';
import { DOPAMINE_DEFAULTS, runDopamine } from '../../src/study/dopamine.js';
import { telescopeGap } from '../../src/rpe/tdErrors.js';
import { VALUES_DEFAULTS, openValuesSession, prepareValues, runValues } from '../../src/study/values.js';
import type { TrajectoryValues } from '../../src/study/valuesFormat.js';
import { readValues } from '../../src/study/valuesFormat.js';
import type { Estimate } from '../../src/stats/estimate.js';
import { CARRIER, LAST_BUT_ONE, LAST_LETTER, PLANTED_MODELS, plantedFolder } from '../helpers/planted.js';

const folders: string[] = [];
afterEach(async () => {
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true, force: true })));
});

/** Rollout, probes, continuations of the state after every letter, dopamine neurons: what the commands do. */
async function analyse(which: keyof typeof PLANTED_MODELS, task: Pick<Problem, 'answer' | 'check'>): Promise<{ directory: string; values: Values; lines: TrajectoryValues[]; dopamine: Dopamine }> {
  const directory = await plantedFolder(which, { count: 200, maxTokens: 4, task, settings: { maxEpochs: 5 } });
  folders.push(directory);
  await using model = await loadModel(PLANTED_MODELS[which], { gpuLayers: 0, isolate: false });
  const settings = { ...VALUES_DEFAULTS, splitter: { kind: 'tokens', count: 1 }, counts: { min: 24, max: 24, width: 1 } } as const;
  const prepared = await prepareValues(model, directory, settings);
  await using session = openValuesSession(model, prepared, { threads: 1, parallel: 64 });
  const values = await runValues(session, prepared, settings, { threads: 1 });
  return { directory, values, lines: (await readValues(directory)).trajectories, dopamine: await runDopamine(directory, { ...DOPAMINE_DEFAULTS, permutations: 50, draws: 2 }, { threads: 1 }) };
}

function bestScores({ layers, bestLayer }: Dopamine): Map<string, DopamineScore> {
  return new Map(layers.find(({ layer }) => layer === bestLayer)?.scores.map((score) => [score.name, score]));
}

/** Spearman on steps above the threshold, and half the width of its 99.9 % interval where there is nothing. */
function correlation(dopamine: Dopamine, name: string): { value: number; bound: number; n: number } {
  const { value, n } = bestScores(dopamine).get(name)?.large.spearman as Estimate;
  return { value: value as number, bound: 3.2905 / Math.sqrt(n - 1), n };
}

test('the coordinate that decides how the answer ends is the first dopamine neuron, by errors that were measured', async () => {
  const { directory, values, lines, dopamine } = await analyse('planted', LAST_BUT_ONE);
  const [first, second] = dopamine.ranking as [DopamineNeuron, DopamineNeuron];
  expect(first).toMatchObject({ neuron: CARRIER, ranks: { 'l1-zscore': 1, linear: 1, univariate: 1 } });
  expect(first.scores['l1-zscore']).toBeGreaterThan(2 * (second.scores['l1-zscore'] as number));
  const [found, shuffled] = [correlation(dopamine, 'dopamine'), correlation(dopamine, 'shuffled errors')];
  expect(found.value).toBeGreaterThan(found.bound);
  expect(Math.abs(shuffled.value)).toBeLessThan(shuffled.bound);
  // by surprise groups too: of what differs at the last state, it differs most
  const groups = dopamine.surprise?.cells.find(({ position, contrast }) => position === 'last' && contrast === 'surprise');
  expect(groups?.top[0]).toMatchObject({ neuron: CARRIER, p: 1 / 51 });
  expect(values.tdErrors.telescopeGap).toBeLessThan(1e-12);
  // the probe's side: steps are tokens here, so its errors of both are the same, and add up to the reward
  for (const { reward, probe } of lines) {
    const { states, tokenErrors, tdErrors } = probe as NonNullable<typeof probe>;
    expect(tokenErrors).toEqual(tdErrors.map((error) => expect.closeTo(error as number, 5)));
    expect(Math.abs(telescopeGap(states, tokenErrors, reward, 1 - 1e-5) as number)).toBeLessThan(1e-5);
  }
  // what the probe's V is compared by knows no reward: the last letter is read by no state, so it changes nothing
  await using store = await ActivationStore.open(directory);
  const { data } = await dopamineData(store, 'residPost', 'mc');
  const changes = data.trajectories.map(({ steps }) => steps.map(({ baselines }) => baselines[BASELINES.probeChange]));
  expect(changes).toEqual(lines.map(({ probe }) => (probe?.states ?? []).map((own, t, states) => expect.closeTo((states[t + 1] ?? own) - own, 9))));
}, 120_000);

test('where a letter that no state reads decides, and the model draws it from no coordinate, nothing predicts the error', async () => {
  const { dopamine } = await analyse('null', LAST_LETTER);
  const { value, bound, n } = correlation(dopamine, 'dopamine');
  expect(n).toBeGreaterThan(30);
  expect(Math.abs(value)).toBeLessThan(bound);
}, 120_000);
