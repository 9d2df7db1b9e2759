// References: scikit-learn (tools/stats/make_fixtures.py).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { order, permutationScores, ranks, univariateScores, weightScores } from '../../src/rank/scores.js';
import { excludeSinks, findSinks } from '../../src/rank/sinks.js';

const { ranking } = JSON.parse(readFileSync('test/fixtures/stats/reference.json', 'utf8')) as {
  ranking: {
    rows: number[];
    rewards: number[];
    univariate: number[];
    reference: number[];
    permuted: number[];
    aucDrop: number[];
    brierRise: number[];
  };
};

describe('scores', () => {
  test('L1 norms of the columns of the first layer', () => {
    const w1 = Float32Array.of(1, -2, 0, 0.5, 4, -8);
    expect(weightScores({ inputs: 3, hidden: 2, w1, w2: Float32Array.of(9, 9) })).toEqual(Float64Array.of(1.5, 6, 8));
  });

  test('absolute weights of a linear probe', () => {
    const probe = { inputs: 3, hidden: 0, w1: new Float32Array(), w2: Float32Array.of(-2, 0, 1) };
    expect(weightScores(probe)).toEqual(Float64Array.of(2, 0, 1));
  });

  test('weights of the wrong shape are refused', () => {
    const w2 = Float32Array.of(1, 1);
    expect(() => weightScores({ inputs: 3, hidden: 2, w1: new Float32Array(5), w2 })).toThrow('w1: expected 6 values');
    expect(() => weightScores({ inputs: 3, hidden: 0, w1: new Float32Array(), w2 })).toThrow('w2: expected 3 values');
    expect(() => permutationScores([1, 2], new Float32Array(3), [1, 0])).toThrow('permuted: expected a multiple of 2');
  });

  test('permutation importance as scikit-learn', () => {
    const { aucDrop, brierRise } = permutationScores(ranking.reference, Float64Array.from(ranking.permuted), ranking.rewards);
    expect(Array.from(aucDrop)).toEqual(ranking.aucDrop.map((value) => expect.closeTo(value, 12)));
    expect(Array.from(brierRise)).toEqual(ranking.brierRise.map((value) => expect.closeTo(value, 12)));
  });

  test('univariate: how far each AUC is from 0.5, on either side', () => {
    const scores = univariateScores(Float32Array.from(ranking.rows), 6, ranking.rewards);
    expect(Array.from(scores)).toEqual(ranking.univariate.map((value) => expect.closeTo(Math.abs(value - 0.5), 12)));
    expect(order(scores)[0]).toBe(0);
  });

  test('ranks from 1, equal scores by number, NaN last', () => {
    expect(Array.from(order([0.5, NaN, 2, 0.5, -Infinity]))).toEqual([2, 0, 3, 1, 4]);
    expect(Array.from(ranks([0.5, 2, 0.5, NaN]))).toEqual([2, 1, 3, 4]);
  });
});

describe('sinks', () => {
  const rms = Array.from({ length: 101 }, (_, i) => 0.5 + i / 100);

  test('coordinates far above the median', () => {
    const planted = rms.with(7, 21).with(50, 900);
    // the median: 1.02, as two have gone from below and from the middle to the top
    expect(findSinks(planted)).toEqual([
      { neuron: 50, rms: 900, ratioToMedian: 900 / 1.02 },
      { neuron: 7, rms: 21, ratioToMedian: 21 / 1.02 },
    ]);
    expect(findSinks(planted, { ratio: 100 }).map(({ neuron }) => neuron)).toEqual([50]);
    expect(findSinks(rms)).toEqual([]);
  });

  test('massive at one position only: by the largest value', () => {
    const maxAbs = rms.map((value) => 4 * value).with(3, 1550);
    expect(findSinks(rms, { maxAbs }).map(({ neuron }) => neuron)).toEqual([3]);
    expect(() => findSinks(rms, { maxAbs: [1] })).toThrow('maxAbs: expected 101 values');
  });

  test('dead coordinates do not lower the median', () => {
    expect(findSinks([0, 0, 0, 0, 1, 1.1, 50]).map(({ neuron }) => neuron)).toEqual([6]);
    expect(findSinks([0, 0])).toEqual([]);
  });

  test('excluded from a set, the order kept', () => {
    expect(excludeSinks([9, 3, 1], findSinks([1, 1, 1, 100, 1]))).toEqual([9, 1]);
  });
});
