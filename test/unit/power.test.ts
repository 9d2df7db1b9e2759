import { describe, expect, test } from '@jest/globals';
import { rankPValue } from '../../src/stats/controls.js';
import { holm } from '../../src/stats/multiple.js';
import { itemsForMcnemar, mcnemar, powerOfMcnemar } from '../../src/stats/paired.js';
import { drawsForRank, planPower } from '../../src/stats/power.js';
import { mulberry32 } from '../../src/util/random.js';

describe('draws', () => {
  test.each([1, 2, 3, 7, 24, 60])('of %d sets: the least with which a rank p-value can reach 0.05 after Holm', (sets) => {
    const least = (draws: number): number => holm(Array.from({ length: sets }, (_, i) => rankPValue(i === 0 ? -1 : 1, new Float64Array(draws), 'less')))[0] as number;
    const draws = drawsForRank(sets);
    expect(least(draws)).toBeLessThanOrEqual(0.05 + 1e-12);
    expect(least(draws - 1)).toBeGreaterThan(0.05);
  });
});

describe('a plan', () => {
  const plan = planPower({ items: 200, accuracy: 0.7, sets: 10 });

  test('has the items that McNemar needs, alone and after Holm', () => {
    expect(plan.rows.map(({ effect }) => effect)).toEqual([0.02, 0.05, 0.1, 0.2]);
    const row = plan.rows[2];
    expect(row?.discordance).toBeCloseTo(0.7 * 0.4 + 0.3 * 0.6, 12);
    expect(row?.items).toBe(itemsForMcnemar(0.1, row?.discordance as number));
    expect(row?.itemsHolm).toBe(itemsForMcnemar(0.1, row?.discordance as number, { alpha: 0.005 }));
    expect(row?.power).toBe(powerOfMcnemar(200, 0.1, row?.discordance as number));
    expect(plan.rows.map(({ items }) => items as number)).toEqual(plan.rows.map(({ items }) => items as number).sort((a, b) => b - a));
    expect([plan.draws, plan.drawsHolm]).toEqual([19, 199]);
    expect(plan.detectableHolm as number).toBeGreaterThan(plan.detectable as number);
  });

  test('its power is what independent answers give', () => {
    const random = mulberry32(5);
    let found = 0;
    for (let sweep = 0; sweep < 2000; sweep++) {
      let [b, c] = [0, 0];
      for (let item = 0; item < 200; item++) {
        const [base, arm] = [random() < 0.7, random() < 0.6];
        b += base && !arm ? 1 : 0;
        c += arm && !base ? 1 : 0;
      }
      found += mcnemar(b, c) <= 0.05 ? 1 : 0;
    }
    // four standard errors
    expect(Math.abs(found / 2000 - (plan.rows[2]?.power as number))).toBeLessThan(4 * Math.sqrt(0.25 / 2000));
  });

  test('takes a discordance, and leaves out falls that there is no room for', () => {
    const given = planPower({ items: 200, accuracy: 0.1, discordance: 0.06 });
    expect(given.rows.map(({ effect, discordance }) => [effect, discordance])).toEqual([[0.02, 0.06], [0.05, 0.06], [0.1, 0.1]]);
    expect(planPower({ items: 5, accuracy: 0.9, discordance: 0.1 }).detectable).toBeNull();
  });

  test('refuses what is no plan', () => {
    expect(() => planPower({ items: 0, accuracy: 0.5 })).toThrow('items: expected an integer from 1, got 0');
    expect(() => planPower({ items: 10, accuracy: 1 })).toThrow('accuracy: expected a number between 0 and 1, got 1');
    expect(() => planPower({ items: 10, accuracy: 0.5, discordance: 0 })).toThrow('discordance: expected a number between 0 and 1, got 0');
    expect(() => planPower({ items: 10, accuracy: 0.5, sets: 1.5 })).toThrow('sets: expected an integer from 1, got 1.5');
  });
});
