/** δ of steps: hand-computed, and sums that telescope for any values. */
import { describe, expect, test } from '@jest/globals';
import { tdErrors } from '../../src/probe/td.js';
import { stepErrors, telescopeGap } from '../../src/rpe/tdErrors.js';
import { mulberry32 } from '../../src/util/random.js';

describe('δ per step', () => {
  test('the last step ends in the reward', () => {
    expect(stepErrors([0.5, 0.75, 0.25], 1, 1)).toEqual([0.25, -0.5, 0.75]);
    expect(stepErrors([0.5, 1], 0, 0.5)).toEqual([0, -1]);
    expect(stepErrors([0.25], 1, 0.9)).toEqual([0.75]);
    expect(stepErrors([], 1, 1)).toEqual([]);
  });

  test('what is not known is null, and nothing else', () => {
    expect(stepErrors([0.5, null, 0.25, 0.5], null, 1)).toEqual([null, null, 0.25, null]);
    expect(telescopeGap([0.5, null], [null, null], 1, 1)).toBeNull();
    expect(telescopeGap([0.5], [null], null, 1)).toBeNull();
  });
});

describe('Σ γ^t δ_t = γ^T r − V(s_0)', () => {
  test.each([1, 1 - 1e-5, 0.9, 0.5, 0])('γ = %d, random values', (gamma) => {
    const random = mulberry32(11);
    for (let round = 0; round < 200; round++) {
      const values = Array.from({ length: 1 + Math.floor(random() * 30) }, random);
      const reward = random();
      for (const errors of [stepErrors(values, reward, gamma), tdErrors(Float64Array.from(values), reward, gamma)]) {
        expect(Math.abs(telescopeGap(values, errors, reward, gamma) as number)).toBeLessThan(1e-12);
        if (gamma === 1) {
          const sum = errors.reduce<number>((total, error) => total + (error as number), 0);
          expect(sum).toBeCloseTo(reward - (values[0] as number), 12);
        }
      }
      // values of two trajectories mixed up do not telescope
      const mixed = [...stepErrors(values, reward, 1)];
      mixed[0] = (mixed[0] as number) + 0.5;
      expect(Math.abs(telescopeGap(values, mixed, reward, 1) as number)).toBeGreaterThan(0.4);
    }
  });
});
