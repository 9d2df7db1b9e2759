// References: SciPy, NumPy by brute force over the orders of ties, scikit-learn (tools/stats/make_apply_fixtures.py).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import type { Stratum } from '../../src/stats/hypergeometric.js';
import { hypergeometricUpperTail, stratifiedUpperTail } from '../../src/stats/hypergeometric.js';
import { applyLogistic, fitLogistic } from '../../src/stats/logistic.js';
import { aurc, aurcEstimate, bestAurc, riskCoverageCurve } from '../../src/stats/riskCoverage.js';
import { mulberry32 } from '../../src/util/random.js';

const reference = JSON.parse(readFileSync('test/fixtures/stats/apply.json', 'utf8')) as {
  hypergeometric: { population: number; marked: number; drawn: number; overlap: number; p: number }[];
  stratified: { overlap: number; strata: Stratum[]; p: number }[];
  risk: { name: string; confidence: number[]; rewards: number[]; risk: number[]; aurc: number; precision?: [number, number][] }[];
  aurcInterval: { name: string; confidence: number[]; rewards: number[]; clusters: number[]; value: number; low: number; high: number }[];
  logistic: { name: string; scores: number[]; rewards: number[]; slope: number; intercept: number }[];
};

describe('hypergeometricUpperTail', () => {
  test.each(reference.hypergeometric)('$overlap of $drawn and $marked in $population: as SciPy', ({ population, marked, drawn, overlap, p }) => {
    const own = hypergeometricUpperTail(overlap, population, marked, drawn);
    // SciPy's own sum of log-gamma terms is good to about ten digits
    expect(Math.abs(own - p)).toBeLessThanOrEqual(1e-9 * p);
  });

  test('by hand: both of two out of four', () => {
    expect(hypergeometricUpperTail(2, 4, 2, 2)).toBeCloseTo(1 / 6, 15);
    expect(hypergeometricUpperTail(1, 4, 2, 2)).toBeCloseTo(5 / 6, 15);
  });

  test('the same whichever set is called drawn', () => {
    expect(hypergeometricUpperTail(9, 500, 40, 70)).toBeCloseTo(hypergeometricUpperTail(9, 500, 70, 40), 14);
  });

  test('refuses sets larger than the population', () => {
    expect(() => hypergeometricUpperTail(1, 10, 11, 2)).toThrow('marked: expected an integer in 0..10, got 11');
  });
});

describe('stratifiedUpperTail', () => {
  test.each(reference.stratified)('$overlap over strata: as the convolution of SciPy\'s', ({ overlap, strata, p }) => {
    expect(Math.abs(stratifiedUpperTail(overlap, strata) - p)).toBeLessThanOrEqual(1e-9 * p);
  });

  test('one stratum is the plain distribution, and marks that lie where nothing is drawn cannot be hit', () => {
    expect(stratifiedUpperTail(3, [{ population: 50, marked: 10, drawn: 9 }])).toBe(hypergeometricUpperTail(3, 50, 10, 9));
    expect(stratifiedUpperTail(1, [{ population: 9, marked: 4, drawn: 0 }, { population: 9, marked: 0, drawn: 5 }])).toBe(0);
    expect(stratifiedUpperTail(0, [])).toBe(1);
  });
});

describe('risk and coverage', () => {
  test.each(reference.risk)('$name: as the mean over all orders', ({ confidence, rewards, risk, aurc: expected }) => {
    const curve = riskCoverageCurve(confidence, rewards, rewards.length);
    expect(curve.map(({ coverage }) => coverage)).toEqual(rewards.map((_, i) => (i + 1) / rewards.length));
    curve.forEach((point, i) => expect(point.risk).toBeCloseTo(risk[i] as number, 12));
    expect(aurc(confidence, rewards)).toBeCloseTo(expected, 12);
  });

  test('one minus risk is scikit-learn\'s precision where a group of ties ends', () => {
    for (const { confidence, rewards, precision } of reference.risk) {
      const curve = riskCoverageCurve(confidence, rewards, rewards.length);
      precision?.forEach(([count, value]) => expect(1 - (curve[count - 1]?.risk ?? NaN)).toBeCloseTo(value, 12));
    }
  });

  test('fewer points are those of the whole curve, the last is the error rate', () => {
    const { confidence, rewards } = reference.risk[0] as (typeof reference.risk)[number];
    const curve = riskCoverageCurve(confidence, rewards, 4);
    expect(curve.map(({ coverage }) => coverage)).toEqual([0.25, 0.5, 0.75, 1]);
    expect(curve[3]?.risk).toBeCloseTo(1 - rewards.reduce((a, b) => a + b, 0) / rewards.length, 12);
    expect(riskCoverageCurve([], [])).toEqual([]);
  });

  test('the best possible area is below any other, and silence gives the error rate', () => {
    const rewards = [1, 0, 0, 1, 0];
    expect(bestAurc(rewards)).toBeCloseTo((0 + 0 + 1 / 3 + 2 / 4 + 3 / 5) / 5, 12);
    expect(aurc([7, 7, 7, 7, 7], rewards)).toBeCloseTo(0.6, 12);
  });

  test.each(reference.aurcInterval)('$name: the interval is that of SciPy\'s bootstrap over problems, up to the noise of the draws', ({ confidence, rewards, clusters, value, low, high }) => {
    const own = aurcEstimate(confidence, rewards, clusters);
    expect(own.value).toBeCloseTo(value, 12);
    // percentiles of a thousand draws move by about 2 % of the interval's width
    expect(Math.abs((own.low as number) - low)).toBeLessThan(0.1 * (high - low));
    expect(Math.abs((own.high as number) - high)).toBeLessThan(0.1 * (high - low));
  });

  test('the interval covers the area of new samples, and is wider when problems are repeated', () => {
    // confidence is the chance of success, evenly spread: risk at coverage c is c / 2, the area 1 / 4
    const draw = (n: number, seed: number): [number[], number[]] => {
      const random = mulberry32(seed);
      const confidence = Array.from({ length: n }, random);
      return [confidence, confidence.map((p) => Number(random() < p))];
    };
    const truth = 1 / 4;
    const covered = Array.from({ length: 40 }, (_, i) => aurcEstimate(...draw(80, i + 2))).filter(({ low, high }) => (low ?? 1) <= truth && truth <= (high ?? 0));
    expect(covered.length).toBeGreaterThanOrEqual(33); // fewer of 40 come by chance once in a thousand times at 95 %
    const [confidence, rewards] = draw(60, 99);
    const twice = aurcEstimate([...confidence, ...confidence], [...rewards, ...rewards], [...confidence.keys(), ...confidence.keys()]);
    const asOne = aurcEstimate([...confidence, ...confidence], [...rewards, ...rewards]);
    const width = ({ low, high }: typeof twice): number => (high ?? NaN) - (low ?? NaN);
    expect(width(twice)).toBeGreaterThan(1.2 * width(asOne));
  });
});

describe('fitLogistic', () => {
  test.each(reference.logistic)('$name: as scikit-learn', ({ scores, rewards, slope, intercept }) => {
    const own = fitLogistic(scores, rewards);
    expect(own.slope / slope).toBeCloseTo(1, 6);
    expect(own.intercept / intercept).toBeCloseTo(1, 6);
  });

  test('a score that never moves says the base rate', () => {
    const fit = fitLogistic([3, 3, 3, 3], [1, 0, 0, 0]);
    expect(fit.slope).toBe(0);
    expect(applyLogistic(fit, [3])[0]).toBeCloseTo(0.25, 10);
  });

  test('all successes leave a finite answer', () => {
    const [p] = applyLogistic(fitLogistic([1, 2, 3], [1, 1, 1]), [2]);
    expect(p).toBeGreaterThan(0.99);
  });
});
