/** Counting positions, against the definition applied to one position at a time. */
import { describe, expect, test } from '@jest/globals';
import { asPositions, countPositions, toNativePositions } from '../../src/model/positions.js';
import type { Positions } from '../../src/model/positions.js';
import { createRandom } from '../helpers/tiny-gguf.mjs';

/** The documentation of `Positions`, one position at a time; `end` is where the sequence was computed to. */
function belongs(positions: Positions, p: number, promptLength: number, end: number): boolean {
  switch (positions) {
    case 'all':
      return true;
    case 'prompt':
      return p < promptLength;
    case 'completion':
      return p >= promptLength;
    case 'response':
      return p >= promptLength - 1;
    case 's0':
      return p === promptLength - 1;
    case 'last':
      return p === end - 1;
    default:
      return positions.some((q) => (q < 0 ? promptLength + q : q) === p);
  }
}

describe('countPositions', () => {
  const names: Positions[] = ['all', 'prompt', 'completion', 'response', 's0'];

  test('random cases equal brute force', () => {
    const random = createRandom(7);
    const below = (n: number): number => Math.floor(random() * n);
    for (let i = 0; i < 5000; i++) {
      const promptLength = 1 + below(12);
      const end = promptLength + below(8);
      const begin = below(promptLength + 1);
      const from = below(3) === 0 ? below(16) : 0;
      const list = Array.from({ length: 1 + below(5) }, () => below(40) - 20);
      const positions = names[below(7)] ?? list;
      let expected = 0;
      for (let p = begin; p < end; p++) {
        expected += p >= from && belongs(positions, p, promptLength, end) ? 1 : 0;
      }
      expect({ positions, promptLength, begin, end, from, count: countPositions(positions, promptLength, begin, end, from) }).toEqual({
        positions,
        promptLength,
        begin,
        end,
        from,
        count: expected,
      });
    }
  });

  test('last is one position of every sequence that was computed', () => {
    expect(countPositions('last', 5, 0, 5)).toBe(1);
    expect(countPositions('last', 5, 0, 9)).toBe(1);
    expect(countPositions('last', 1, 0, 1)).toBe(1);
  });

  test('a position and its negative form count once', () => {
    expect(countPositions([4, -1, 4], 5, 0, 5)).toBe(1);
    expect(countPositions([-6], 5, 0, 5)).toBe(0);
  });
});

describe('asPositions', () => {
  test.each([['all'], ['prompt'], ['completion'], ['s0'], ['last'], [[0, -1]]])('takes %j', (value) => {
    expect(asPositions(value, 'x', { allowLast: true })).toEqual(value);
  });

  test.each<[unknown, string]>([
    ['last', 'x: expected all, prompt, completion, response, s0 or a list of positions, got "last"'],
    [[], 'x: expected at least one position'],
    [[0, 1.5], 'x[1]: expected an integer position, got 1.5'],
    [3, 'got 3'],
  ])('refuses %j', (value, message) => {
    expect(() => asPositions(value, 'x', { allowLast: false })).toThrow(message);
  });
});

test('toNativePositions sorts and drops repetitions', () => {
  expect(toNativePositions([10, 9, -1, 10], 3)).toEqual({ kind: 'list', list: Int32Array.of(-1, 9, 10), from: 3 });
  expect(toNativePositions('s0')).toEqual({ kind: 's0', from: 0 });
});
