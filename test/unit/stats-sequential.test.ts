// References: SciPy's multivariate normal (tools/stats/make_paired_fixtures.py), published boundaries, simulation.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { mcnemar } from '../../src/stats/paired.js';
import { sequentialBoundaries, sequentialDecision, type SequentialLook } from '../../src/stats/sequential.js';
import { mulberry32 } from '../../src/util/random.js';

const reference = JSON.parse(readFileSync('test/fixtures/stats/paired.json', 'utf8')) as {
  sequential: { looks: number[]; alpha: number; z: number[] }[];
};

/** One comparison under a plan: arm loses an item with probability b, wins one with probability c. */
function compare(plan: SequentialLook[], b: number, c: number, random: () => number): { found: boolean; items: number } {
  const looks = new Set(plan.map((look) => look.items));
  const lost = { b: 0, c: 0 };
  for (let items = 1; ; items++) {
    const u = random();
    lost.b += u < b ? 1 : 0;
    lost.c += u >= b && u < b + c ? 1 : 0;
    if (looks.has(items)) {
      const decision = sequentialDecision(plan, items, lost.b, lost.c);
      if (decision !== 'continue') {
        return { found: decision === 'different', items };
      }
    }
  }
}

function rate(plan: SequentialLook[], b: number, c: number, comparisons: number, seed: number): number {
  const random = mulberry32(seed);
  let found = 0;
  for (let i = 0; i < comparisons; i++) {
    found += compare(plan, b, c, random).found ? 1 : 0;
  }
  return found / comparisons;
}

describe('boundaries', () => {
  test.each(reference.sequential)('looks $looks at $alpha: as the multivariate normal of SciPy', ({ looks, alpha, z }) => {
    const plan = sequentialBoundaries(looks, alpha);
    expect(plan.map(({ items }) => items)).toEqual(looks);
    plan.forEach((look, i) => expect(look.z).toBeCloseTo(z[i] as number, 3));
    expect(plan[plan.length - 1]?.spent).toBeCloseTo(alpha, 12);
  });

  test('five equal looks as published (Reboussin, DeMets, Kim & Lan 2000)', () => {
    const z = sequentialBoundaries([1, 2, 3, 4, 5]).map((look) => look.z.toFixed(2));
    expect(z).toEqual(['4.88', '3.36', '2.68', '2.29', '2.03']);
  });

  test('exactly alpha is spent on normal data', () => {
    const plan = sequentialBoundaries([10, 20, 50, 80, 100], 0.1);
    const random = mulberry32(5);
    let crossed = 0;
    for (let i = 0; i < 10_000; i++) {
      let [sum, before] = [0, 0];
      for (const { share, z } of plan) {
        const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
        sum += Math.sqrt(share - before) * normal;
        before = share;
        if (Math.abs(sum) >= z * Math.sqrt(share)) {
          crossed++;
          break;
        }
      }
    }
    // ± 4 standard errors
    expect(Math.abs(crossed / 10_000 - 0.1)).toBeLessThan(0.012);
  });

  test('levels for a sweep are far smaller, and a first look near the start costs nothing', () => {
    const plan = sequentialBoundaries([1, 500, 1000], 0.05 / 600);
    expect(plan[0]?.spent).toBe(0);
    expect(plan[2]?.level).toBeLessThanOrEqual(0.05 / 600);
    expect(plan[2]?.level).toBeGreaterThan(0.9 * (0.05 / 600));
  });

  test('refuses impossible plans', () => {
    expect(() => sequentialBoundaries([])).toThrow('looks: expected at least one number of items, got 0');
    expect(() => sequentialBoundaries([10, 10])).toThrow('looks[1]: expected an integer above 10, got 10');
    expect(() => sequentialBoundaries([0, 10])).toThrow('looks[0]: expected an integer above 0, got 0');
    expect(() => sequentialBoundaries([10], 1)).toThrow('alpha: expected a number between 0 and 1, got 1');
  });
});

describe('decision', () => {
  const plan = sequentialBoundaries([20, 40, 60, 80, 100]);

  test('only at a look, by the exact test at the level of that look', () => {
    expect(sequentialDecision(plan, 39, 39, 0)).toBe('continue');
    expect(sequentialDecision(plan, 40, 39, 0)).toBe('different');
    expect(sequentialDecision(plan, 40, 0, 12)).toBe('different');
    expect(mcnemar(0, 10)).toBeLessThan(0.05);
    expect(sequentialDecision(plan, 40, 0, 10)).toBe('continue');
    expect(sequentialDecision(plan, 100, 0, 10)).toBe('different');
    expect(sequentialDecision(plan, 100, 5, 10)).toBe('undecided');
  });

  test('refuses counts that do not fit', () => {
    expect(() => sequentialDecision(plan, 101, 0, 0)).toThrow('items: expected at most 100, the planned number, got 101');
    expect(() => sequentialDecision(plan, 20, 20, 1)).toThrow('b + c: expected at most 20, the number of items, got 21');
    expect(() => sequentialDecision([], 1, 0, 0)).toThrow('items: expected at most 0');
  });

  // 4000 comparisons: standard error 0.0034 at 5 %
  test.each([
    { b: 0.02, c: 0.02 },
    { b: 0.15, c: 0.15 },
    { b: 0.4, c: 0.4 },
  ])('false alarms stay within alpha without a difference: $b lost, $c won', ({ b, c }) => {
    expect(rate(plan, b, c, 4000, 1)).toBeLessThan(0.05 + 0.0068);
  });

  test('with many items almost all of alpha is used, looks without correction use far more', () => {
    const long = sequentialBoundaries([100, 200, 300, 400, 500]);
    const own = rate(long, 0.2, 0.2, 2000, 2);
    expect(own).toBeGreaterThan(0.03);
    expect(own).toBeLessThan(0.06);
    const naive = long.map((look) => ({ ...look, level: 0.05 }));
    expect(rate(naive, 0.2, 0.2, 2000, 2)).toBeGreaterThan(0.1);
  });

  test('a large effect is found early', () => {
    const random = mulberry32(3);
    const outcomes = Array.from({ length: 500 }, () => compare(plan, 0.5, 0.02, random));
    expect(outcomes.every(({ found }) => found)).toBe(true);
    expect(outcomes.reduce((sum, { items }) => sum + items, 0) / 500).toBeLessThan(50);
  });
});
