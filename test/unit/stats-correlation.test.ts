// References: SciPy (tools/stats/make_correlation_fixtures.py).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { correlationEstimate, midRanks, pearson, spearman } from '../../src/stats/correlation.js';

interface Case {
  name: string;
  x: number[];
  y: number[];
  ranksOfX: number[];
  pearson: number;
  spearman: number;
  clusters?: number[];
  pearsonInterval?: [number, number];
  spearmanInterval?: [number, number];
}
const { cases } = JSON.parse(readFileSync('test/fixtures/stats/correlation.json', 'utf8')) as { cases: Case[] };

describe.each(cases.map((entry) => [entry.name, entry] as const))('%s', (_, entry) => {
  test('values and ranks are those of SciPy', () => {
    expect([...midRanks(entry.x)]).toEqual(entry.ranksOfX);
    expect(pearson(entry.x, entry.y)).toBeCloseTo(entry.pearson, 9);
    expect(spearman(entry.x, entry.y)).toBeCloseTo(entry.spearman, 12);
  });

  test('intervals agree with those of its bootstrap, up to the noise of the draws', () => {
    for (const kind of ['pearson', 'spearman'] as const) {
      const wanted = entry[`${kind}Interval`];
      if (wanted === undefined) {
        continue;
      }
      const { value, low, high, n } = correlationEstimate(kind, entry.x, entry.y, entry.clusters, { resamples: 4000 });
      expect(value).toBeCloseTo(entry[kind], 9);
      expect(n).toBe(entry.x.length);
      // percentiles of a few thousand draws move by about 3 % of the interval's width
      const tolerance = 1e-12 + 0.1 * (wanted[1] - wanted[0]);
      expect(Math.abs((low as number) - wanted[0])).toBeLessThan(tolerance);
      expect(Math.abs((high as number) - wanted[1])).toBeLessThan(tolerance);
    }
  });
});

describe('edges', () => {
  test('clusters make the interval wider when their items move together', () => {
    const { x, y, clusters } = cases.find((entry) => entry.clusters !== undefined) as Required<Case>;
    const width = (own?: number[]): number => {
      const { low, high } = correlationEstimate('spearman', x, y, own);
      return (high as number) - (low as number);
    };
    expect(width(clusters)).toBeGreaterThan(1.3 * width());
  });

  test('three clusters give no interval: of resamples of so few, one in ten says too much', () => {
    const [x, y] = [[1, 2, 3, 5, 4, 6, 8, 7], [2, 1, 3, 4, 6, 5, 7, 8]];
    expect(correlationEstimate('spearman', x, y, ['a', 'a', 'a', 'b', 'b', 'b', 'c', 'c'])).toMatchObject({ value: expect.any(Number), low: null, high: null, n: 8 });
    expect(correlationEstimate('spearman', x, y, ['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd'])).toMatchObject({ low: expect.any(Number), high: expect.any(Number) });
  });

  test('no spread, no correlation; one cluster, no interval', () => {
    expect(pearson([0.1 + 0.2, 0.3, 0.3], [1, 2, 3])).toBeNaN();
    expect(spearman([1, 1], [1, 2])).toBeNaN();
    expect(correlationEstimate('pearson', [1, 2, 3], [1, 2, 4], ['a', 'a', 'a'])).toMatchObject({ low: null, high: null, n: 3 });
    expect(correlationEstimate('spearman', [], [])).toEqual({ value: null, low: null, high: null, n: 0 });
    expect(spearman([0, -0, 1], [5, 5, 6])).toBeCloseTo(1, 12);
  });

  test('bad input is named', () => {
    expect(() => pearson([1], [1, 2])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => spearman([NaN], [1])).toThrow(expect.objectContaining({ message: expect.stringContaining('x[0]') }));
  });

  test('the same seed gives the same interval', () => {
    const { x, y } = cases[0] as Case;
    expect(correlationEstimate('spearman', x, y)).toEqual(correlationEstimate('spearman', x, y));
    expect(correlationEstimate('spearman', x, y, undefined, { seed: 1 })).not.toEqual(correlationEstimate('spearman', x, y));
  });
});
