/** On the planted model coordinate 37 holds what the last token was, at every layer: taking it away early takes the dopamine neuron away, nothing else does. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Model } from '../../src/model/model.js';
import { loadModel } from '../../src/model/model.js';
import { runRollout } from '../../src/rollout/rollout.js';
import { hashFiles } from '../../src/run/manifest.js';
import { sealLine } from '../../src/store/journal.js';
import type { TrajectoryRecord } from '../../src/store/format.js';
import { planArms } from '../../src/study/armPlan.js';
import { DOPAMINE_DEFAULTS, runDopamine } from '../../src/study/dopamine.js';
import { interplaySchema } from '../../src/report/interplaySchema.js';
import { openInterplaySession, prepareInterplay, runInterplay } from '../../src/study/interplay.js';
import { interplayArms } from '../../src/study/interplayArms.js';
import { fileHash } from '../../src/study/stage.js';
import type { Values } from '../../src/report/valuesSchema.js';
import type { TrajectoryValues } from '../../src/study/valuesFormat.js';

const CARRIER = 37;
const TOKENS = 6;
let directory: string;
let model: Model;

/** A rollout whose errors are +½ after y and −½ after n, with a little noise. */
async function plant(): Promise<void> {
  await using session = model.createSession({ parallel: 32, contextLength: 64, threads: 1 });
  await runRollout(session, {
    directory,
    problems: Array.from({ length: 80 }, (_, i) => {
      const question = `${'etaoinshrdlcu'[i % 13] ?? ''}${'mwfgypbvkxq'[i % 11] ?? ''}${'strukzb'[i % 7] ?? ''}`;
      return { id: `p${i}`, question, answer: 'y', check: 'planted', source: {} };
    }),
    prompt: ({ question }) => ({ text: question, tokens: model.tokenize(question) }),
    samples: 1,
    maxTokens: TOKENS,
    sampling: { temperature: 1 },
    stop: [],
    seed: 9,
    judge: async (_, text) => ({ verdict: 'correct', extracted: text, reason: '', reward: text.endsWith('y') ? 1 : 0 }),
    capture: { layers: [2], positions: 'response' },
    dtype: 'f32',
    inputs: { model: await hashFiles(model.files) },
    about: {},
  });
  const path = join(directory, 'trajectories.jsonl');
  const records = (await readFile(path, 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line) as TrajectoryRecord);
  // records come in the order in which they were finished, which is one of timing: parts of the split must not depend on it
  records.sort((a, b) => Number(a.problem.slice(1)) - Number(b.problem.slice(1)));
  const lines = records.map(({ problem, sample, prompt, pieces, reward, finishReason }, i): TrajectoryValues => {
    // what a state has read decides its error; the last token is read by none
    const read = pieces.map((_, t) => pieces[Math.min(t, pieces.length - 2)] as string);
    const errors = read.map((piece, t) => (piece === 'y' ? 0.5 : -0.5) + 0.02 * Math.sin(7 * i + t));
    return {
      problem, sample, group: prompt, part: i % 4 === 0 ? 'test' : i % 4 === 1 ? 'validation' : 'train', reward, finishReason,
      steps: pieces.map((text, t) => ({ begin: t, end: t + 1, text })),
      values: errors.map(() => ({ value: 0.5, low: 0, high: 1, n: 8, unknown: 0, tokens: 1 })),
      tdErrors: errors, variances: errors.map(() => 0), probe: null,
    };
  });
  await writeFile(join(directory, 'values.jsonl'), lines.map((line) => `${sealLine(line)}\n`).join(''));
  const summary: Values = {
    format: 'rewardlens.values', version: 2, manifest: {},
    settings: { steps: 'tokens:1', counts: { min: 8, max: 8, width: 1 }, budget: null, limit: null, gamma: 1, seed: 1, maxTokens: TOKENS, sampling: {}, stop: [] },
    trajectoriesSha256: await fileHash(path),
    linesSha256: await fileHash(join(directory, 'values.jsonl')),
    probesSha256: '',
    counts: { trajectories: lines.length, steps: 0, states: 0, distinctStates: 0, withoutValue: 0, continuations: { made: 0, found: 0, unknown: 0 } },
    tokens: { sampled: 0, computed: 0, shared: 0 }, exhausted: false, meanWidth: null,
    tdErrors: { known: 0, mean: null, deviation: null, large: null, noise: null, telescopeGap: null }, probe: null, seconds: 0,
  };
  await writeFile(join(directory, 'values.json'), JSON.stringify(summary));
  await runDopamine(directory, { ...DOPAMINE_DEFAULTS, zscore: 'none', neurons: 1, radius: 2, permutations: 20, draws: 2 }, { threads: 1 });
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-interplay-'));
  model = await loadModel('models/planted.gguf', { gpuLayers: 0, isolate: false });
  await plant();
}, 120_000);
afterAll(async () => {
  await model.dispose();
  await rm(directory, { recursive: true, force: true });
});

const GRID = { shares: [0.1], kinds: ['zero'], positions: ['all'], groups: ['list', 'random'], list: [CARRIER], draws: 19, method: 'l1-zscore', excludeSinks: false, seed: 1 } as const;

describe('the carrier', () => {
  test('is the dopamine neuron; without it in an earlier layer nothing is left, without others all is', async () => {
    const prepared = await prepareInterplay(model, directory);
    expect(prepared.dopamine.ranking[0]?.neuron).toBe(CARRIER);
    const plan = await planArms(undefined, { ...GRID, layers: [0, 1] }, { files: model.files, layerCount: model.info.layerCount, dModel: model.info.dModel }, { threads: 1 });
    await using session = openInterplaySession(model, prepared, { threads: 1 });
    const result = await runInterplay(session, prepared, { ...plan, arms: interplayArms(plan.arms, { alone: true }) }, { threads: 1 });
    expect(interplaySchema.parse(JSON.parse(await readFile(join(directory, 'interplay.json'), 'utf8')))).toEqual(result);
    // read again and untouched, the probe says what it said
    expect(result.base).toMatchObject({ agreement: { value: 1 }, trace: expect.closeTo(1, 9), edited: 0 });
    expect(result.base.score.value).toBeCloseTo(prepared.dopamine.layers[0]?.scores[0]?.large.spearman.value as number, 3);
    // which kind of error it is, whatever the share of either kind among the tokens drawn, which differs between processors; a rank correlation would fall with that share
    expect(prepared.dopamine.layers[0]?.scores[0]?.large.auc?.value).toBeGreaterThan(0.95);
    // layer 0, layer 1, and both together
    expect(result.arms.filter(({ role }) => role === 'set').map(({ layers, neurons }) => ({ layers, neurons }))).toEqual([[0], [1], [0, 1]].map((layers) => ({ layers, neurons: layers.map(() => [CARRIER]) })));
    expect(result.arms.filter(({ role, layers }) => role === 'control' && layers.length === 2)).toHaveLength(19);
    for (const arm of result.arms.filter(({ role }) => role === 'set')) {
      expect(arm.trace).toBe(0);
      expect(arm.edited).toBe(arm.layers.length * prepared.trajectories.reduce((sum, { tokens }) => sum + tokens.length, 0));
    }
    // what is left of the probe without the carrier is chance agreement of other coordinates, how much depends on the tokens drawn; with random sets nearly all is left
    for (const { measure, observed, meanControl, p, draws } of result.comparisons.filter((entry) => entry.measure !== 'score')) {
      expect({ measure, draws, p }).toEqual({ measure, draws: 19, p: 0.05 });
      expect(meanControl).toBeGreaterThan(observed + 0.5);
    }
  });

  test('another model is refused, and a folder without dopamine neurons', async () => {
    await using other = await loadModel('models/planted-null.gguf', { gpuLayers: 0, isolate: false });
    await expect(prepareInterplay(other, directory)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('another model') });
    await expect(prepareInterplay(model, tmpdir())).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('rewardlens dopamine') });
  });
});
