import { describe, expect, test } from '@jest/globals';
import { mulberry32, pickRandom } from '../../src/util/random.js';
import { wilson } from '../../src/stats/proportion.js';

describe('wilson', () => {
  // statsmodels.stats.proportion.proportion_confint(k, n, method='wilson')
  test.each([
    [50, 100, 0.40383, 0.59617],
    [9, 10, 0.59585, 0.98213],
    [0, 10, 0, 0.27753],
    [10, 10, 0.72247, 1],
  ])('%i of %i', (k, n, low, high) => {
    const interval = wilson(k, n);
    expect(interval.share).toBe(k / n);
    expect(interval.low).toBeCloseTo(low, 4);
    expect(interval.high).toBeCloseTo(high, 4);
  });
});

describe('seeded randomness', () => {
  test('the same seed gives the same numbers, another seed others', () => {
    const draw = (seed: number): number[] => Array.from({ length: 5 }, mulberry32(seed));
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    expect(draw(1).every((value) => value >= 0 && value < 1)).toBe(true);
  });

  test('pickRandom draws different integers, each about equally often', () => {
    const counts = new Array<number>(10).fill(0);
    for (let seed = 0; seed < 3000; seed++) {
      const picked = pickRandom(10, 3, seed);
      expect(new Set(picked).size).toBe(3);
      picked.forEach((i) => (counts[i] = (counts[i] ?? 0) + 1));
    }
    // 900 expected each, standard deviation 25: five of them
    counts.forEach((count) => expect(Math.abs(count - 900)).toBeLessThan(125));
  });
});
