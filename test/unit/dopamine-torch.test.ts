// References: PyTorch, SciPy, scikit-learn and NumPy (tools/rpe/make_probe_fixture.py).
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import type { DopamineScore } from '../../src/report/dopamineSchema.js';
import type { DopamineData, Part } from '../../src/study/dopamineData.js';
import { itemsOf } from '../../src/study/dopamineData.js';
import type { FittedDopamine } from '../../src/study/dopamineProbe.js';
import { fitDopamine } from '../../src/study/dopamineProbe.js';
import { dopamineScores } from '../../src/study/dopamineRank.js';

interface Wanted {
  bestEpoch: number;
  epochs: number;
  validationSpearman: number;
  large: { spearman: number; pearson: number; auc: number };
  predictions: number[];
  l1: number[];
}
const reference = JSON.parse(readFileSync('test/fixtures/rpe/probe.json', 'utf8')) as {
  layer: number;
  width: number;
  hidden: number;
  threshold: number;
  seed: number;
  trajectories: { part: Part; steps: [begin: number, end: number, error: number][]; states: number[][] }[];
  probes: Record<'dopamine' | 'linear' | 'shuffled errors', Wanted>;
};

const { layer, width, hidden, threshold, seed } = reference;
const data: DopamineData = {
  site: 'residPost',
  layers: [layer],
  width,
  trajectories: reference.trajectories.map(({ part, steps }, i) => ({
    problem: `p${i}`, sample: 0, pieces: [], group: `p${i}`, part, reward: null, value: null,
    steps: steps.map(([begin, end, error]) => ({ begin, end, error, baselines: {} })),
  })),
  read: async (i) => Float32Array.from((reference.trajectories[i]?.states ?? []).flat()),
};
const items = itemsOf(data);

describe('the dopamine probe from states to held-out numbers', () => {
  let fitted: FittedDopamine;
  beforeAll(async () => {
    fitted = await fitDopamine(data, items, { mode: 'running', threshold, hidden, seed, threads: 1 });
  });

  test('is PyTorch\'s: the same best epoch, predictions and L1 norms', () => {
    const { dopamine, linear } = reference.probes;
    const [found] = fitted.layers;
    expect([found?.bestEpoch, found?.epochs]).toEqual([dopamine.bestEpoch, dopamine.epochs]);
    expect([fitted.best.linear.bestEpoch, fitted.best.linear.trainLoss.length]).toEqual([linear.bestEpoch, linear.epochs]);
    expect(found?.validationSpearman).toBeCloseTo(dopamine.validationSpearman, 9);
    // seen: 3e-7
    dopamine.predictions.forEach((value, i) => expect(Math.abs((fitted.best.predictions[i] as number) - value)).toBeLessThan(1e-4));
    const scores = dopamineScores(fitted.best, items, threshold);
    dopamine.l1.forEach((value, c) => expect(scores.get('l1-zscore')?.[c]).toBeCloseTo(value, 3));
    linear.l1.forEach((value, c) => expect(scores.get('linear')?.[c]).toBeCloseTo(value, 4));
  });

  test.each(['dopamine', 'linear', 'shuffled errors'] as const)('%s: Spearman, Pearson and AUC with held-out errors are those of SciPy and scikit-learn', (name) => {
    const { large } = fitted.layers[0]?.scores.find((score) => score.name === name) as DopamineScore;
    const wanted = reference.probes[name].large;
    expect(large.spearman.value).toBeCloseTo(wanted.spearman, 9);
    expect(large.pearson.value).toBeCloseTo(wanted.pearson, 4);
    expect(large.auc.value).toBeCloseTo(wanted.auc, 9);
  });
});
