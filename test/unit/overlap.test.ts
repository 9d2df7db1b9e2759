import { describe, expect, test } from '@jest/globals';
import { overlap } from '../../src/rank/overlap.js';
import { mulberry32, pickRandom } from '../../src/util/random.js';

const flat = new Float64Array(64).fill(1);

describe('overlap', () => {
  test('by hand', () => {
    const result = overlap([1, 2, 3, 4], [3, 4, 5], flat, flat);
    expect(result).toMatchObject({ shared: 2, iou: 2 / 5, expected: 12 / 64 });
    // C(3,2) C(61,2) + C(3,3) C(61,1) over C(64,4)
    expect(result.p).toBeCloseTo((3 * 1830 + 61) / 635376, 12);
    expect(overlap([1], [2], flat, flat)).toMatchObject({ shared: 0, iou: 0, p: 1, pMatched: 1 });
    expect(overlap([7, 9], [9, 7], flat, flat)).toMatchObject({ shared: 2, iou: 1 });
    // neuron 7 is one of 16 alike in either set
    expect(overlap([7], [7], flat, flat)).toMatchObject({ pMatched: 1 / 16, leastMatched: 1 / 16 });
    // 7 and 60 are in different strata: whatever is drawn instead of 7 is not 60
    expect(overlap([7], [60], flat, flat).leastMatched).toBe(1);
  });

  test('excluded neurons make the pool smaller', () => {
    expect(overlap([1, 2], [2, 3], flat, flat, [60, 61, 62, 63]).expected).toBe(4 / 60);
  });

  test('sets that only share a liking for large neurons overlap beyond chance, but not beyond their magnitudes', () => {
    const width = 512;
    const rms = Float64Array.from({ length: width }, (_, i) => 1 + i);
    const large = (seed: number): number[] => pickRandom(32, 16, seed).map((i) => width - 32 + i);
    const results = Array.from({ length: 40 }, (_, i) => overlap(large(i + 1), large(i + 101), rms, rms));
    expect(results.filter(({ p }) => p < 1e-3).length).toBe(40);
    expect(results.filter(({ pMatched }) => pMatched <= 0.05).length).toBeLessThanOrEqual(6); // 7 of 40 come by chance once in 300 times
    const expected = results.reduce((sum, { matchedExpected }) => sum + matchedExpected, 0) / results.length;
    expect(Math.abs(expected - 8)).toBeLessThan(0.5); // half of each stratum is in either set
  });

  test('sets that share more than that do so beyond their magnitudes too', () => {
    const rms = Float64Array.from({ length: 512 }, mulberry32(5));
    const common = pickRandom(512, 12, 1);
    const with4 = (seed: number): number[] => [...common, ...pickRandom(512, 8, seed).filter((i) => !common.includes(i)).slice(0, 4)];
    const { shared, pMatched } = overlap(with4(2), with4(3), rms, rms);
    expect(shared).toBeGreaterThanOrEqual(12);
    expect(pMatched).toBeLessThan(1e-9);
  });

  test('the matched p-value is the share of redrawn sets that overlap as much', () => {
    const rms = Float64Array.from({ length: 64 }, mulberry32(9));
    const order = [...rms.keys()].sort((i, j) => (rms[i] as number) - (rms[j] as number));
    const strata = [0, 1, 2, 3].map((s) => order.slice(16 * s, 16 * s + 16));
    const a = [...order.slice(50, 58), ...order.slice(0, 3)];
    const b = [...order.slice(52, 60), order[1] as number, order[20] as number];
    const { shared, pMatched } = overlap(a, b, rms, rms);
    const random = mulberry32(77);
    let hits = 0;
    const draws = 20_000;
    for (let d = 0; d < draws; d++) {
      const drawn = strata.flatMap((members) => pickRandom(16, members.filter((i) => a.includes(i)).length, Math.floor(random() * 2 ** 32)).map((i) => members[i] as number));
      hits += Number(drawn.filter((i) => b.includes(i)).length >= shared);
    }
    const error = Math.sqrt((pMatched * (1 - pMatched)) / draws);
    expect(Math.abs(hits / draws - pMatched)).toBeLessThan(4 * error);
  });
});
