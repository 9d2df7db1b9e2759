// References: scikit-learn, SciPy and NumPy (tools/stats/make_fixtures.py).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { brier, calibrationCurve, expectedCalibrationError } from '../../src/stats/calibration.js';
import { Z95 } from '../../src/stats/estimate.js';
import { ColumnMoments, mean, median, quantile } from '../../src/stats/moments.js';
import { meanError, proportion, wilson } from '../../src/stats/proportion.js';
import { mulberry32 } from '../../src/util/random.js';

const reference = JSON.parse(readFileSync('test/fixtures/stats/reference.json', 'utf8')) as {
  calibration: {
    predicted: number[];
    rewards: number[];
    fractional: number[];
    brier: number;
    brierFractional: number;
    observed: number[];
    meanPredicted: number[];
    expectedError: number;
  };
  moments: {
    rows: number[];
    mean: number[];
    std: number[];
    rms: number[];
    maxAbs: number[];
    shares: number[];
    quantiles: number[];
    normal975: number;
  };
};

function expectClose(actual: ArrayLike<number>, expected: number[], relative = 1e-12): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((value, i) => expect(Math.abs((actual[i] as number) - value)).toBeLessThanOrEqual(relative * Math.abs(value)));
}

describe('calibration', () => {
  const { predicted, rewards, fractional, observed, meanPredicted } = reference.calibration;

  test('Brier score as scikit-learn, also for rewards between 0 and 1', () => {
    expect(brier(predicted, rewards)).toBeCloseTo(reference.calibration.brier, 12);
    expect(brier(predicted, fractional)).toBeCloseTo(reference.calibration.brierFractional, 12);
    expect(brier([], [])).toBeNaN();
    expect(() => brier([0.5], [])).toThrow('predicted: expected 0 values, one per reward, got 1');
  });

  test('curve as scikit-learn', () => {
    const curve = calibrationCurve(predicted, rewards);
    expect(curve.map(({ low }) => low)).toEqual([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]);
    expectClose(curve.map((bin) => bin.observed.value as number), observed);
    expectClose(curve.map((bin) => bin.meanPredicted as number), meanPredicted);
    expect(expectedCalibrationError(curve)).toBeCloseTo(reference.calibration.expectedError, 12);
    curve.forEach(({ observed: { value, low, high, n } }) => {
      const interval = wilson((value as number) * n, n);
      expect([low, high]).toEqual([expect.closeTo(interval.low, 12), expect.closeTo(interval.high, 12)]);
    });
  });

  test('edges belong to the bin below, values outside 0 and 1 to the outermost bins, empty bins have no numbers', () => {
    const curve = calibrationCurve([-0.5, 0, 0.5, 1, 1.5], [0, 0, 1, 1, 1], 4);
    expect(curve.map((bin) => bin.observed.n)).toEqual([2, 1, 0, 2]);
    expect(curve[2]).toEqual({ low: 0.5, high: 0.75, meanPredicted: null, observed: { value: null, low: null, high: null, n: 0 } });
    expect(curve[3]?.meanPredicted).toBe(1.25);
  });

  test('expected error: weighted by counts', () => {
    // bin 1: three at 0.25, one success (gap 1/12); bin 2: one at 0.75, failure (gap 0.75)
    expect(expectedCalibrationError(calibrationCurve([0.25, 0.25, 0.25, 0.75], [1, 0, 0, 0], 2))).toBeCloseTo((3 / 12 + 0.75) / 4, 12);
    expect(expectedCalibrationError(calibrationCurve([], []))).toBeNull();
  });
});

describe('moments', () => {
  const { rows, shares, quantiles } = reference.moments;

  test('columns that come in pieces as NumPy has them whole', () => {
    const moments = new ColumnMoments(4);
    const all = Float32Array.from(rows);
    [0, 1, 30, 57].forEach((end, i, ends) => moments.push(all.subarray((ends[i - 1] ?? 0) * 4, end * 4)));
    expect(moments.count).toBe(57);
    expectClose(moments.mean, reference.moments.mean, 1e-10);
    expectClose(moments.std(), reference.moments.std, 1e-9);
    expectClose(moments.rms(), reference.moments.rms, 1e-10);
    expectClose(moments.maxAbs, reference.moments.maxAbs, 1e-6);
    expect(() => moments.push([1, 2, 3])).toThrow('rows: expected a multiple of 4 values, got 3');
  });

  test('a spread far below the mean survives', () => {
    const moments = new ColumnMoments(1);
    moments.push([1e8 - 1, 1e8, 1e8 + 1]);
    expect(moments.std()[0]).toBeCloseTo(Math.sqrt(2 / 3), 12);
  });

  test('quantiles as SciPy', () => {
    const column = rows.filter((_, i) => i % 4 === 0);
    expectClose(shares.map((share) => quantile(column, share)), quantiles, 1e-12);
    expect(median([3, 1, 2])).toBe(2);
    expect(median([])).toBeNaN();
    expect(mean([1, 2, 6])).toBe(3);
    expect(() => quantile([1], 1.5)).toThrow('share: expected a number from 0 to 1, got 1.5');
  });
});

test('the normal quantile is SciPy’s, a proportion of nothing has no numbers', () => {
  expect(Z95).toBeCloseTo(reference.moments.normal975, 14);
  expect(proportion(0, 0)).toEqual({ value: null, low: null, high: null, n: 0 });
  expect(proportion(1, 4).value).toBe(0.25);
});

describe('the error of a mean of rewards', () => {
  test('by hand', () => {
    // Beta(3.5, 5.5): mean 7/18, variance 3.5 · 5.5 / (81 · 10)
    expect(meanError([1, 0, 0, 1, 0, 0, 1, 0])).toBeCloseTo((3.5 * 5.5) / 810 + (3 / 8 - 7 / 18) ** 2, 15);
    expect(meanError([1, 1, 1])).toBeGreaterThan(0.01);
    expect(meanError([0.5, 1])).toBeCloseTo(0.125 / 2, 15);
    expect(meanError([1])).toBeNull();
  });

  test.each([[8, 8], [8, 32], [4, 64]])('%i to %i draws, more while they disagree: as large as the error is', (least, most) => {
    const random = mulberry32(most);
    let [squared, said, sample] = [0, 0, 0];
    for (let state = 0; state < 6000; state++) {
      const share = random() < 0.4 ? 1 - 0.1 * random() : random(); // many are nearly sure
      const rewards: number[] = [];
      for (let wanted = least; rewards.length < wanted; ) {
        rewards.push(random() < share ? 1 : 0);
        const { low, high } = wilson(rewards.reduce((a, b) => a + b, 0), rewards.length);
        wanted = rewards.length === wanted && wanted < most && high - low > 0.35 ? 2 * wanted : wanted;
      }
      const own = mean(rewards);
      squared += (own - share) ** 2;
      said += meanError(rewards) as number;
      sample += (own * (1 - own)) / (rewards.length - 1);
    }
    // 6000 squares have a standard error of 2 to 3 %; the prior is not the one they were drawn from
    expect(said / squared).toBeGreaterThan(0.85);
    expect(said / squared).toBeLessThan(1.15);
    expect(sample / squared < 0.85).toBe(most > least); // what looking before going on does to the sample variance
  });
});
