// References: scikit-learn, direct double sums in NumPy and a cluster bootstrap (tools/stats/make_fixtures.py).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { auc, aucColumns, aucDifference, aucEstimate, aucVariance } from '../../src/stats/auc.js';
import { mulberry32 } from '../../src/util/random.js';

interface AucCase {
  name: string;
  a: number[];
  b: number[];
  rewards: number[];
  clusters: string[];
  auc: [number, number];
  delong: { variance: number; differenceVariance: number };
  obuchowski: { variance: number; differenceVariance: number };
  bootstrap?: { sd: number; differenceSd: number };
}
const reference = JSON.parse(readFileSync('test/fixtures/stats/reference.json', 'utf8')) as {
  auc: AucCase[];
  published: { normal: number[]; abnormal: number[] };
  ranking: { rows: number[]; rewards: number[]; univariate: number[] };
};

const Z = 1.959963984540054;

/** Seeded standard normal numbers (Box-Muller). */
function normals(seed: number): () => number {
  const random = mulberry32(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

describe('auc', () => {
  test('by hand: ties count half', () => {
    // pairs (success, failure): 2>1, 2=2, 3>1, 3>2
    expect(auc([1, 2, 2, 3], [0, 0, 1, 1])).toBe(3.5 / 4);
    expect(auc([1, 1, 1, 1], [0, 0, 1, 1])).toBe(0.5);
    expect(auc(Float32Array.of(3, 2, 1), [0, 0, 1])).toBe(0);
  });

  test.each(reference.auc)('$name: as scikit-learn', ({ a, b, rewards, auc: expected }) => {
    expect(auc(a, rewards)).toBeCloseTo(expected[0], 12);
    expect(auc(Float32Array.from(b), rewards)).toBeCloseTo(expected[1], 12);
  });

  test('unchanged by a monotone map, mirrored by a change of sign', () => {
    const { a, rewards } = reference.auc[1] as AucCase;
    expect(auc(a.map((x) => Math.exp(3 * x)), rewards)).toBe(auc(a, rewards));
    expect(auc(a.map((x) => -x), rewards)).toBeCloseTo(1 - auc(a, rewards), 12);
  });

  test('a reward is a success above the threshold, not at it', () => {
    expect(auc([1, 2, 3], [0.4, 0.5, 0.6])).toBe(1);
    expect(auc([1, 3, 2], [0.4, 0.5, 0.6], 0.45)).toBe(1);
    expect(auc([1, 3, 2], [0.4, 0.5, 0.6])).toBe(0.5);
  });

  test('one class only has no AUC', () => {
    expect(auc([1, 2], [1, 1])).toBeNaN();
    expect(auc([], [])).toBeNaN();
    expect(aucEstimate([1, 2], [0, 0])).toEqual({ value: null, low: null, high: null, n: 2 });
    expect(aucDifference([1, 2], [2, 1], [0, 0])).toEqual({ value: null, low: null, high: null, n: 2 });
  });

  test('bad input is named', () => {
    expect(() => auc([1, 2], [1])).toThrow('scores: expected 1 values, one per reward, got 2');
    expect(() => auc([1, NaN], [1, 0])).toThrow('scores[1]: expected a finite number, got NaN');
    expect(() => auc([1, 2], [1, NaN])).toThrow('rewards[1]');
    expect(() => aucEstimate([1, 2], [1, 0], ['a'])).toThrow('clusters: expected 2 values');
    expect(() => aucEstimate([1, 2], [1, 0], ['a', undefined])).toThrow('clusters[1]: expected the name or number of a cluster');
    expect(() => aucColumns([1, 2, 3], 2, [1, 0])).toThrow('rows: expected 4 values');
  });

  test('columns: as scikit-learn, one by one', () => {
    const { rows, rewards, univariate } = reference.ranking;
    aucColumns(Float32Array.from(rows), 6, rewards).forEach((value, i) => expect(value).toBeCloseTo(univariate[i] as number, 12));
  });

  test('3584 columns of 600 rows at three places take less than two seconds', () => {
    const random = mulberry32(1);
    const rows = Float32Array.from({ length: 3584 * 600 }, random);
    const rewards = Array.from({ length: 600 }, () => Math.round(random()));
    const start = performance.now();
    for (let place = 0; place < 3; place++) {
      aucColumns(rows, 3584, rewards);
    }
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe('variance', () => {
  test('Hanley & McNeil (1982): area and DeLong interval as the manual of Stata prints them for roctab', () => {
    const spread = (counts: number[]): number[] => counts.flatMap((count, i) => new Array<number>(count).fill(i + 1));
    const [down, up] = [spread(reference.published.normal), spread(reference.published.abnormal)];
    const scores = [...down, ...up];
    const labels = [...down.map(() => 0), ...up.map(() => 1)];
    const area = auc(scores, labels);
    const error = Math.sqrt(aucVariance(scores, labels));
    expect(scores.length).toBe(109);
    expect(area).toBeCloseTo(0.8932, 4);
    expect(error).toBeCloseTo(0.0307, 4);
    expect(area - Z * error).toBeCloseTo(0.83295, 5);
    expect(area + Z * error).toBeCloseTo(0.95339, 5);
  });

  test.each(reference.auc)('$name: DeLong, one and paired', ({ a, b, rewards, delong }) => {
    expect(aucVariance(a, rewards)).toBeCloseTo(delong.variance, 12);
    const { value, low, high, n } = aucDifference(a, b, rewards);
    expect(value).toBeCloseTo(auc(a, rewards) - auc(b, rewards), 12);
    expect((high as number) - (low as number)).toBeCloseTo(2 * Z * Math.sqrt(delong.differenceVariance), 10);
    expect(n).toBe(rewards.length);
  });

  test.each(reference.auc)('$name: Obuchowski, one and paired', ({ a, b, rewards, clusters, obuchowski }) => {
    expect(aucVariance(a, rewards, clusters)).toBeCloseTo(obuchowski.variance, 12);
    const { low, high } = aucDifference(a, b, rewards, clusters);
    expect((high as number) - (low as number)).toBeCloseTo(2 * Z * Math.sqrt(obuchowski.differenceVariance), 10);
  });

  test('a cluster bootstrap agrees, and independence would be far off', () => {
    const { a, b, rewards, clusters, bootstrap } = reference.auc.find((entry) => entry.bootstrap) as Required<AucCase>;
    const width = (clustered?: string[]): number => {
      const { low, high } = aucDifference(a, b, rewards, clustered);
      return ((high as number) - (low as number)) / (2 * Z);
    };
    expect(Math.sqrt(aucVariance(a, rewards, clusters)) / bootstrap.sd).toBeCloseTo(1, 1);
    expect(width(clusters) / bootstrap.differenceSd).toBeCloseTo(1, 1);
    expect(Math.sqrt(aucVariance(a, rewards)) / bootstrap.sd).toBeLessThan(0.9);
    expect(width() / bootstrap.differenceSd).toBeGreaterThan(1.05);
  });

  test('clusters of one are DeLong; the order of items does not matter', () => {
    const { a, rewards, clusters } = reference.auc[0] as AucCase;
    expect(aucVariance(a, rewards, a.map((_, i) => i))).toBe(aucVariance(a, rewards));
    expect(aucVariance([...a].reverse(), [...rewards].reverse(), [...clusters].reverse())).toBeCloseTo(
      aucVariance(a, rewards, clusters),
      14,
    );
  });

  test('a class in one cluster only: a value without interval', () => {
    expect(aucEstimate([1, 2, 3, 4], [0, 0, 1, 1], ['a', 'b', 'c', 'c'])).toEqual({ value: 1, low: null, high: null, n: 4 });
    expect(aucEstimate([1, 4, 2, 3], [0, 0, 1, 1], ['c', 'c', 'a', 'b'])).toEqual({ value: 0.5, low: null, high: null, n: 4 });
    expect(aucEstimate([1, 2, 3], [0, 0, 1])).toEqual({ value: 1, low: null, high: null, n: 3 });
  });
});

describe('interval', () => {
  test('stays within 0 and 1, and a perfect score is not certain', () => {
    const perfect = aucEstimate([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    const hopeless = aucEstimate([6, 7, 8, 9, 10, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    expect(perfect).toMatchObject({ value: 1, high: 1 });
    expect(hopeless).toMatchObject({ value: 0, low: 0 });
    // Newcombe (2006), method 5, m = n = 5: the root by SciPy's brentq
    expect(perfect.low).toBeCloseTo(0.642702823931, 6);
    expect(hopeless.high).toBeCloseTo(1 - 0.642702823931, 6);
  });

  /** Share of `repeats` seeded experiments whose interval covers the truth. */
  function coverage(truth: number, repeats: number, draw: (gauss: () => number) => { low: number | null; high: number | null }): number {
    const gauss = normals(7);
    let covered = 0;
    for (let i = 0; i < repeats; i++) {
      const { low, high } = draw(gauss);
      covered += low !== null && high !== null && low <= truth && truth <= high ? 1 : 0;
    }
    return covered / repeats;
  }

  // binormal scores, distance √2 Φ⁻¹(AUC); the plain normal interval covers 0.94, 0.89, 0.72 and 0.70 of these
  test.each([
    [25, 25, 0.7, 0.741614],
    [10, 40, 0.85, 1.465738],
    [10, 10, 0.95, 2.326174],
    [40, 20, 0.99, 3.289953],
  ])('%i successes, %i failures, AUC %f: covers about 95 %', (m, n, truth, distance) => {
    const labels = [...new Array<number>(m).fill(1), ...new Array<number>(n).fill(0)];
    const share = coverage(truth, 1500, (gauss) => aucEstimate(labels.map((label) => label * distance + gauss()), labels));
    expect(share).toBeGreaterThan(0.92);
    expect(share).toBeLessThan(0.995);
  });

  test('samples of one problem: the clustered interval covers, that for independent items does not', () => {
    const problem = Array.from({ length: 160 }, (_, i) => i >> 3);
    const experiment = (gauss: () => number, clusters?: number[]): { low: number | null; high: number | null } => {
      const difficulty = Array.from({ length: 20 }, gauss);
      const labels = problem.map((p) => ((difficulty[p] as number) > 0 ? 1 : 0));
      // the score knows the problem through a noise that all its samples share, unrelated to the reward: AUC 0.5
      const scores = problem.map(() => 0);
      const shared = Array.from({ length: 20 }, gauss);
      problem.forEach((p, i) => (scores[i] = (shared[p] as number) + 0.5 * gauss()));
      return aucEstimate(scores, labels, clusters);
    };
    expect(coverage(0.5, 600, (gauss) => experiment(gauss, problem))).toBeGreaterThan(0.9);
    expect(coverage(0.5, 600, (gauss) => experiment(gauss))).toBeLessThan(0.7);
  });

  test('a difference covers the truth as well', () => {
    const labels = Array.from({ length: 80 }, (_, i) => i % 2);
    // scores share noise of the same item: paired, both AUC Φ(1 / √2) = 0.76025 and Φ(0.5 / √2) = 0.63817
    const share = coverage(0.76025 - 0.63817, 1000, (gauss) => {
      const shared = labels.map(gauss);
      const score = (distance: number): number[] => labels.map((label, i) => label * distance + 0.8 * (shared[i] as number) + 0.6 * gauss());
      return aucDifference(score(1), score(0.5), labels);
    });
    expect(share).toBeGreaterThan(0.93);
    expect(share).toBeLessThan(0.98);
  });

  test('shuffled rewards give 0.5 within the interval', () => {
    const gauss = normals(3);
    const { value, low, high } = aucEstimate(Array.from({ length: 400 }, gauss), Array.from({ length: 400 }, () => (gauss() > 0 ? 1 : 0)));
    expect(low as number).toBeLessThan(0.5);
    expect(high as number).toBeGreaterThan(0.5);
    expect(Math.abs((value as number) - 0.5)).toBeLessThan(0.1);
  });
});
