/** Arms planned from a probed rollout of the planted model, run on it: sets, controls, kinds, and the work foreseen. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Arm } from '../../src/ablate/arms.js';
import type { SweepResult } from '../../src/ablate/sweep.js';
import { runSweep } from '../../src/ablate/sweep.js';
import type { Problem } from '../../src/dataset/types.js';
import type { Model } from '../../src/model/model.js';
import { loadModel } from '../../src/model/model.js';
import { discordantPairs, mcnemar } from '../../src/stats/paired.js';
import { estimateSweep } from '../../src/study/armEstimate.js';
import type { ArmGrid } from '../../src/study/armPlan.js';
import { planArms } from '../../src/study/armPlan.js';
import { CARRIER, plantedFolder } from '../helpers/planted.js';

/** Without it the model says neither y nor n, whatever it encodes: large, and in every control that goes by size. */
const LEVEL = 11;
/** Last letters after which the model is right in about 80 %. */
const GOOD = 'strukzb';
const GRID: ArmGrid = { layers: [1], shares: [1 / 64], kinds: ['zero'], positions: ['all'], groups: ['top'], draws: 6, method: 'l1-zscore', excludeSinks: false, seed: 1 };

let folder: string;
let output: string;
let model: Model;
beforeAll(async () => {
  folder = await plantedFolder('planted', { count: 400 });
  output = await mkdtemp(join(tmpdir(), 'rewardlens-arms-'));
  model = await loadModel('models/planted.gguf', { gpuLayers: 0, isolate: false });
});
afterAll(async () => {
  await model.dispose();
  await rm(folder, { recursive: true, force: true });
  await rm(output, { recursive: true, force: true });
});

const plan = async (change: Partial<ArmGrid>): Promise<readonly Arm[]> => (await planArms(folder, { ...GRID, ...change }, { files: model.files, ...model.info }, { threads: 1 })).arms;

const questions = (count: number, text: (i: number) => string): Problem[] => Array.from({ length: count }, (_, i) => ({ id: `item-${i}`, question: text(i), answer: 'y', check: 'own', source: {} }));

async function sweep(name: string, arms: readonly Arm[], items: readonly Problem[], maxTokens: number): Promise<SweepResult> {
  await using session = model.createSession({ parallel: 32, contextLength: 64, threads: 1 });
  return await runSweep(session, {
    directory: join(output, name),
    arms,
    items,
    prompt: ({ question }) => ({ text: question, tokens: model.tokenize(question) }),
    maxTokens,
    sampling: { temperature: 1 },
    seed: 3,
    judge: async (_problem, text) => ({ verdict: text === 'y' ? 'correct' : 'wrong', extracted: text, reason: '', reward: text === 'y' ? 1 : 0 }),
    inputs: {},
  });
}

describe('arms of a probed rollout', () => {
  const items = questions(120, (i) => `${'etaoinshrdlcu'[i % 13] ?? ''}${'mwfgypbvkxq'[i % 11] ?? ''}${GOOD[i % GOOD.length] ?? ''}`);
  const rewards = (result: SweepResult, arm: number): number[] => (result.records[arm] ?? []).map((record) => record?.reward ?? NaN);

  test('the planted neuron is found by the top set in every kind, and by no control', async () => {
    const arms = await plan({ groups: ['top', 'bottom', 'random', 'random-no-sinks', 'matched', 'spread', 'largest', 'wanda', 'next-token', 'terminal'], kinds: ['zero', 'mean', 'resample'], draws: 4 });
    expect(arms.filter(({ group }) => group === 'top').map(({ neurons }) => neurons)).toEqual([[CARRIER], [CARRIER], [CARRIER]]);
    expect(arms.filter(({ group }) => group === 'largest').flatMap(({ neurons }) => neurons)).toContain(LEVEL);
    const result = await sweep('kinds', arms, items, 1);
    for (const [a, arm] of arms.entries()) {
      const { b, c } = discordantPairs(rewards(result, 0), rewards(result, a));
      const holds = (neuron: number): boolean => arm.neurons.includes(neuron);
      if (!holds(LEVEL) || arm.kind !== 'zero') {
        expect({ arm: arm.name, neurons: arm.neurons, significant: mcnemar(b, c) < 0.001 }).toEqual({ arm: arm.name, neurons: arm.neurons, significant: holds(CARRIER) });
      }
      result.records[a]?.forEach((record) => expect([record?.edited, (record?.edited ?? 0) > 0]).toEqual([record?.expected, a > 0]));
    }
  });

  test('prompts are shared as foreseen', async () => {
    const arms = [...(await plan({ groups: ['top', 'random'], positions: ['completion'] })), ...(await plan({ groups: ['bottom'], positions: ['all', 'prompt'] })).slice(1)];
    const long = questions(5, (i) => 'etaoinshrdlcumwfgypbvkxq'.slice(i)); // prefixes shorter than 16 tokens are read again
    const { run } = await sweep('shared', arms, long, 4);
    const estimate = estimateSweep(arms, { promptTokens: long.map(({ question }) => model.tokenize(question).length), maxTokens: 4, layerCount: model.info.layerCount });
    expect(run?.promptTokens).toBe(estimate.promptTokens.shared);
    expect(estimate.promptTokens.shared).toBeLessThan(estimate.promptTokens.alone / 2);
  });
});
