// References: SciPy and statsmodels (tools/stats/make_paired_fixtures.py).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { rankPValue, standardisedEffect, type Direction } from '../../src/stats/controls.js';
import type { Estimate } from '../../src/stats/estimate.js';
import { holm } from '../../src/stats/multiple.js';
import {
  accuracyChange,
  discordantPairs,
  itemsForMcnemar,
  mcnemar,
  powerOfMcnemar,
  scoreInterval,
  signFlipPValue,
} from '../../src/stats/paired.js';
import { detectableFall } from '../../src/stats/power.js';
import { mulberry32 } from '../../src/util/random.js';

interface ChangeCase {
  name: string;
  base: number[];
  arm: number[];
  items: (string | number)[];
  value: number;
  low: number;
  high: number;
  standardError: number;
  signFlipP: number;
  n: number;
}

const reference = JSON.parse(readFileSync('test/fixtures/stats/paired.json', 'utf8')) as {
  mcnemar: { b: number; c: number; p: number }[];
  change: ChangeCase[];
  power: { n: number; effect: number; discordance: number; alpha: number; power: number }[];
  connor: { effect: number; discordance: number; alpha: number; power: number; items: number }[];
  holm: { p: number[]; adjusted: number[] }[];
  rank: { direction: Direction; observed: number; draws: number[]; p: number; z: number }[];
};

const width = ({ low, high }: Estimate): number => (high as number) - (low as number);

describe('McNemar', () => {
  test.each(reference.mcnemar)('exact p of $b and $c as statsmodels', ({ b, c, p }) => {
    expect(Math.abs(mcnemar(b, c) / p - 1)).toBeLessThan(1e-10);
    expect(mcnemar(c, b)).toBe(mcnemar(b, c));
  });

  test('counts items that only one of the two gets right; 0.5 is not right', () => {
    expect(discordantPairs([1, 1, 1, 0, 0, 0.5, 0.6], [1, 0, 0.5, 1, 0, 1, 0.4])).toEqual({ b: 3, c: 2 });
    expect(discordantPairs([], [])).toEqual({ b: 0, c: 0 });
  });

  test('refuses what is no count and no reward', () => {
    expect(() => mcnemar(1.5, 2)).toThrow('b: expected an integer from 0, got 1.5');
    expect(() => mcnemar(1, -1)).toThrow('c: expected an integer from 0, got -1');
    expect(() => discordantPairs([1, 0], [1])).toThrow('arm: expected 2 values, one per reward of the base, got 1');
    expect(() => discordantPairs([1, NaN], [1, 1])).toThrow('base[1]: expected a reward from 0 to 1, got NaN');
  });
});

describe('change of accuracy', () => {
  // an end of 10 000 resamples varies by about 0.03 standard errors
  test.each(reference.change)('$name: as the bootstrap of SciPy', (known) => {
    const change = accuracyChange(known.base, known.arm, known.items, { resamples: 10_000 });
    expect(change.value).toBeCloseTo(known.value, 12);
    expect(change.n).toBe(known.n);
    const tolerance = 0.1 * known.standardError;
    expect(Math.abs((change.low as number) - known.low)).toBeLessThan(tolerance);
    expect(Math.abs((change.high as number) - known.high)).toBeLessThan(tolerance);
  });

  test('one seed, one interval, whatever the items are called', () => {
    const { base, arm, items } = reference.change[2] as ChangeCase;
    const one = accuracyChange(base, arm, items, { seed: 3 });
    expect(accuracyChange(base, arm, items.map((item) => `other ${item}`), { seed: 3 })).toEqual(one);
    expect(accuracyChange(base, arm, items, { seed: 4 })).not.toEqual(one);
  });

  test('copies of a trajectory add nothing to what an item knows', () => {
    const { base, arm } = reference.change[1] as ChangeCase;
    const copied = (values: number[]): number[] => [...values, ...values, ...values];
    const items = copied(base.map((_, i) => i));
    const few = { resamples: 1000 };
    const own = accuracyChange(base, arm, undefined, few);
    expect(accuracyChange(copied(base), copied(arm), items, few)).toEqual(own);
    expect(width(accuracyChange(copied(base), copied(arm), undefined, few))).toBeLessThan(0.7 * width(own));
  });

  test('every item counts the same, however many entries it has', () => {
    expect(accuracyChange([1, 1, 1, 0], [0, 0, 0, 0], ['a', 'a', 'a', 'b']).value).toBe(-0.5);
  });

  test('an interval of some width even when nothing changes (Tango 1998)', () => {
    const same = [1, 0, 1, 1, 0, 0, 1, 0, 1, 0];
    const change = accuracyChange(same, same);
    const w = 1.959963984540054 ** 2 / (10 + 1.959963984540054 ** 2);
    expect(change).toEqual({ value: 0, low: expect.closeTo(-w, 12), high: expect.closeTo(w, 12), n: 10 });
    const broken = accuracyChange([1, 1, 1], [0, 0, 0]);
    expect(broken).toEqual({ value: -1, low: -1, high: expect.closeTo(-1 + 2 * (1.95996 ** 2 / (3 + 1.95996 ** 2)), 4), n: 3 });
    // 0.9 − 0.7 and 0.3 − 0.1 differ in the last bit
    expect(width(accuracyChange([0.7, 0.1], [0.9, 0.3]))).toBeGreaterThan(1);
    expect(accuracyChange([], [])).toEqual({ value: null, low: null, high: null, n: 0 });
  });

  test('covers the true change in about 95 % of samples', () => {
    const random = mulberry32(11);
    let covered = 0;
    for (let sample = 0; sample < 400; sample++) {
      // base right 70 %; the arm loses 20 % of all items and wins 5 %
      const draw = Array.from({ length: 30 }, () => random());
      const base = draw.map((u) => (u < 0.7 ? 1 : 0));
      const arm = draw.map((u) => ((u >= 0.2 && u < 0.7) || u > 0.95 ? 1 : 0));
      const { low, high } = accuracyChange(base, arm, undefined, { seed: sample, resamples: 250 });
      covered += (low as number) <= -0.15 + 1e-9 && (high as number) >= -0.15 - 1e-9 ? 1 : 0;
    }
    expect(covered / 400).toBeGreaterThan(0.92);
    expect(covered / 400).toBeLessThan(0.98);
  });

  test('refuses unequal lengths', () => {
    expect(() => accuracyChange([1, 0], [1, 0], ['a'])).toThrow('items: expected 2 values, one per reward, got 1');
    expect(() => accuracyChange([1], [2])).toThrow('arm[0]: expected a reward from 0 to 1, got 2');
    expect(() => accuracyChange([1], [0], undefined, { resamples: 0 })).toThrow('resamples: expected an integer from 1');
  });
});

describe('score interval', () => {
  const { cases } = JSON.parse(readFileSync('test/fixtures/stats/score_interval.json', 'utf8')) as { cases: { b: number; c: number; n: number; low: number; high: number }[] };

  test.each(cases)('$b lost, $c won of $n: as by a search for the constrained maximum', ({ b, c, n, low, high }) => {
    const own = scoreInterval(b, c, n);
    expect(Math.abs(own.low - low)).toBeLessThan(1e-6);
    expect(Math.abs(own.high - high)).toBeLessThan(1e-6);
  });

  test('mirrors, and refuses what are no counts', () => {
    expect(scoreInterval(3, 1, 40).low).toBeCloseTo(-scoreInterval(1, 3, 40).high, 12);
    expect(scoreInterval(0, 0, 0)).toEqual({ low: -1, high: 1 });
    expect(() => scoreInterval(3, 3, 5)).toThrow('n: expected an integer from 6, got 5');
  });
});

describe('sign flips', () => {
  test.each(reference.change)('$name: p-value as the permutation test of SciPy', (known) => {
    const p = signFlipPValue(known.base, known.arm, known.items);
    // 4 standard errors of 9999 draws
    expect(Math.abs(p - known.signFlipP)).toBeLessThan(4 * Math.sqrt(known.signFlipP / 9999) + 1e-4);
  });

  test('one right-or-wrong entry an item: the p-value of McNemar', () => {
    const { base, arm } = reference.change[1] as ChangeCase;
    const { b, c } = discordantPairs(base, arm);
    const p = mcnemar(b, c);
    expect(Math.abs(signFlipPValue(base, arm) - p)).toBeLessThan(4 * Math.sqrt(p / 9999));
    const balanced = [1, 1, 0, 0, 1, 0];
    expect(signFlipPValue(balanced, [0, 0, 1, 1, 1, 0])).toBe(1);
  });

  test('copies of a trajectory add nothing, and without changes p is 1', () => {
    const { base, arm, items } = reference.change[1] as ChangeCase;
    const p = signFlipPValue(base, arm, items);
    expect(signFlipPValue([...base, ...base], [...arm, ...arm], [...items, ...items])).toBe(p);
    expect(signFlipPValue([...base, ...base], [...arm, ...arm])).toBeLessThan(p / 2);
    expect(signFlipPValue(base, base)).toBe(1);
    expect(signFlipPValue([], [])).toBe(1);
    const broken = new Array<number>(40).fill(1);
    expect(signFlipPValue(broken, broken.map(() => 0), undefined, { flips: 99 })).toBe(0.01);
    expect(() => signFlipPValue([1], [0], undefined, { flips: 0 })).toThrow('flips: expected an integer from 1, got 0');
  });
});

describe('power', () => {
  test.each(reference.power)('$n items, change $effect of $discordance: as summed over all outcomes', (known) => {
    const power = powerOfMcnemar(known.n, known.effect, known.discordance, known.alpha);
    expect(Math.abs(power - known.power)).toBeLessThan(1e-10);
  });

  test.each(reference.connor)('items for a change of $effect at $alpha: about as many as by Connor (1987)', (known) => {
    const { effect, discordance, alpha, power } = known;
    const items = itemsForMcnemar(effect, discordance, { alpha, power }) as number;
    expect(items / known.items).toBeGreaterThan(alpha === 0.05 ? 1 : 0.98);
    expect(items / known.items).toBeLessThan(1.12);
    expect(powerOfMcnemar(items, effect, discordance, alpha)).toBeGreaterThanOrEqual(power);
    expect(powerOfMcnemar(items - 1, effect, discordance, alpha)).toBeLessThan(power);
  });

  test('the detectable effect has the power, a slightly smaller one has not', () => {
    const effect = detectableFall(200, () => 0.25, { most: 0.25 }) as number;
    expect(powerOfMcnemar(200, effect, 0.25)).toBeGreaterThanOrEqual(0.8);
    expect(powerOfMcnemar(200, effect - 2e-4, 0.25)).toBeLessThan(0.8);
    expect(detectableFall(200, () => 0.25, { most: 0.25, alpha: 0.001, power: 0.9 })).toBeGreaterThan(effect);
    // five discordant items cannot give p ≤ 0.05
    expect(detectableFall(5, () => 0.9, { most: 0.9 })).toBeNull();
    expect(itemsForMcnemar(0, 0.2)).toBeNull();
  });

  test('refuses impossible plans', () => {
    expect(() => powerOfMcnemar(100, 0.3, 0.2)).toThrow('effect: expected a change within ±discordance (0.2), got 0.3');
    expect(() => powerOfMcnemar(100, 0.1, 0)).toThrow('discordance: expected a number between 0 and 1, got 0');
    expect(() => itemsForMcnemar(0.1, 0.2, { power: 1 })).toThrow('power: expected a number between 0 and 1');
    expect(() => itemsForMcnemar(0.1, 0.2, { alpha: 0 })).toThrow('alpha: expected a number between 0 and 1, got 0');
  });
});

describe('Holm', () => {
  test.each(reference.holm)('adjusted p-values as statsmodels: $p.length tests', ({ p, adjusted }) => {
    const own = holm(p);
    expect(own).toHaveLength(p.length);
    own.forEach((value, i) => expect(value).toBeCloseTo(adjusted[i] as number, 12));
  });

  test('takes none, refuses what is no p-value', () => {
    expect(holm([])).toEqual([]);
    expect(() => holm([0.1, NaN])).toThrow('pValues[1]: expected a number from 0 to 1, got NaN');
  });
});

describe('against control draws', () => {
  test.each(reference.rank)('rank p-value and standardised effect as SciPy and NumPy: $direction', (known) => {
    // the observed value is among the draws: ties count
    expect(known.draws).toContain(known.observed);
    expect(rankPValue(known.observed, known.draws, known.direction)).toBeCloseTo(known.p, 12);
    expect(standardisedEffect(known.observed, known.draws)).toBeCloseTo(known.z, 12);
  });

  test('beyond all draws: 1/(N + 1), never 0', () => {
    expect(rankPValue(-5, [0, 1, 2, 3], 'less')).toBe(0.2);
    expect(rankPValue(-5, [0, 1, 2, 3], 'greater')).toBe(1);
    expect(rankPValue(-5, [], 'less')).toBe(1);
  });

  test('rounding makes no difference', () => {
    const sum = 0.1 + 0.2;
    expect(sum).not.toBe(0.3);
    expect(rankPValue(sum, [0.3], 'greater')).toBe(1);
    expect(rankPValue(0.3, [sum], 'less')).toBe(1);
    expect(standardisedEffect(1, [0.1, 0.1, 0.1, 0.1, 0.1, 0.1])).toBeNull();
    expect(standardisedEffect(1, [0.3, sum])).toBeNull();
  });

  test('no spread, no standardised effect', () => {
    expect(standardisedEffect(1, [2])).toBeNull();
    expect(standardisedEffect(1, [])).toBeNull();
    expect(standardisedEffect(3, [0, 2])).toBeCloseTo(Math.SQRT2, 12);
  });

  test('refuses what is not finite', () => {
    expect(() => rankPValue(NaN, [1], 'less')).toThrow('observed: expected a finite number, got NaN');
    expect(() => standardisedEffect(1, [1, Infinity])).toThrow('draws[1]: expected a finite number, got Infinity');
    expect(() => rankPValue(1, [1], 'lower' as Direction)).toThrow("direction: expected 'less' or 'greater'");
  });
});
