import { describe, expect, test } from '@jest/globals';
import { aucByPlace, decileIndices, placeIndices } from '../../src/probe/places.js';
import { splitByProblem } from '../../src/probe/split.js';
import { tdErrors } from '../../src/probe/td.js';

describe('places', () => {
  test.each([
    [1, { s0: 0, middle: 0, last: 0 }],
    [2, { s0: 0, middle: 0, last: 1 }],
    [3, { s0: 0, middle: 1, last: 2 }],
    [100, { s0: 0, middle: 49, last: 99 }],
  ])('of %i states', (states, expected) => expect(placeIndices(states)).toEqual(expected));

  test('deciles', () => {
    expect(decileIndices(100)).toEqual([5, 15, 25, 35, 45, 55, 65, 75, 85, 95]);
    expect(decileIndices(10)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(decileIndices(1)).toEqual(new Array(10).fill(0));
    expect(decileIndices(3)).toEqual([0, 0, 0, 1, 1, 1, 1, 2, 2, 2]);
    for (let states = 1; states < 50; states++) {
      expect(decileIndices(states).every((i) => i >= 0 && i < states)).toBe(true);
    }
  });

  test('a trajectory without states is refused', () => {
    expect(() => placeIndices(0)).toThrow('states: expected an integer of at least 1, got 0');
    expect(() => decileIndices(2.5)).toThrow('states');
  });

  test('AUC at each place, clustered by problem', () => {
    const predictions = { s0: [1, 2, 3, 4], middle: [4, 3, 2, 1], last: [1, 1, 1, 1] };
    const result = aucByPlace(predictions, [0, 0, 1, 1], ['a', 'b', 'a', 'b']);
    expect([result.s0.value, result.middle.value, result.last.value]).toEqual([1, 0, 0.5]);
    expect(result.s0.low).toBeGreaterThan(0);
    expect(aucByPlace(predictions, [0, 0, 1, 1], ['a', 'b', 'c', 'c']).s0.low).toBeNull();
  });
});

describe('splitByProblem', () => {
  const ids = Array.from({ length: 400 }, (_, i) => `problem ${i >> 2}`);

  test('every trajectory once, no problem in two parts, the shares asked for', () => {
    const { train, validation, test: held } = splitByProblem(ids, { seed: 1 });
    expect([...train, ...validation, ...held].sort((a, b) => a - b)).toEqual(ids.map((_, i) => i));
    const problems = [train, validation, held].map((part) => new Set(part.map((i) => ids[i])));
    expect(problems.map((part) => part.size)).toEqual([65, 15, 20]);
    expect(new Set(problems.flatMap((part) => [...part])).size).toBe(100);
  });

  test('the order and the number of trajectories do not matter, the seed does', () => {
    const held = (list: string[], seed: number): string[] =>
      [...new Set(splitByProblem(list, { seed }).test.map((i) => list[i] as string))].sort();
    expect(held([...ids].reverse(), 1)).toEqual(held(ids, 1));
    expect(held([...new Set(ids)], 1)).toEqual(held(ids, 1));
    expect(held(ids, 2)).not.toEqual(held(ids, 1));
    // pinned: a changed hash would mix the splits of old and new runs
    expect(held(ids.slice(0, 40), 1)).toEqual(['problem 5', 'problem 9']);
  });

  test('three problems are enough, two are not, nonsense shares are refused', () => {
    const { train, validation, test: held } = splitByProblem(['a', 'b', 'c', 'a'], { seed: 0 });
    expect([train, validation, held].every((part) => part.length > 0)).toBe(true);
    expect(() => splitByProblem(['a', 'b', 'a'], { seed: 0 })).toThrow('problemIds: expected more than 2 different problems');
    expect(() => splitByProblem(ids, { seed: 0, test: 0.6, validation: 0.4 })).toThrow('test, validation: expected shares');
  });
});

describe('tdErrors', () => {
  test('by hand', () => {
    expect(tdErrors([0.5, 0.25, 1], 0, 0.5)).toEqual([0.125 - 0.5, 0.5 - 0.25, -1]);
    expect(tdErrors([0.5, 0.25], null, 1)).toEqual([-0.25, null]);
    expect(tdErrors([0.25], 1, 0.9)).toEqual([0.75]);
    expect(tdErrors([], 1, 0.9)).toEqual([]);
  });

  test('discounted they sum to γ^T r − V(s_0)', () => {
    const values = Float32Array.from({ length: 30 }, (_, t) => Math.sin(t));
    const gamma = 0.97;
    const sum = tdErrors(values, 0.7, gamma).reduce<number>((total, delta, t) => total + gamma ** t * (delta as number), 0);
    expect(sum).toBeCloseTo(gamma ** 29 * 0.7 - (values[0] as number), 12);
  });
});
