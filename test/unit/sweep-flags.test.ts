import { describe, expect, test } from '@jest/globals';
import { Flags } from '../../src/cli/flags.js';
import { readSweepChoice } from '../../src/cli/sweepFlags.js';
import { SWEEP_DEFAULTS } from '../../src/study/sweepStage.js';

const read = (values: Record<string, string | boolean>): ReturnType<typeof readSweepChoice> => readSweepChoice(new Flags(values));

describe('flags of a study’s sweep', () => {
  test('defaults: the best layer, 1 %, as many draws as a verdict needs', () => {
    expect(read({})).toEqual(SWEEP_DEFAULTS);
    expect(SWEEP_DEFAULTS).toEqual({ layers: 'best', shares: [0.01], draws: undefined, items: 100, datasets: undefined });
  });

  test('every flag is read; --no-ablate leaves the sweep out but not the check of the others', () => {
    const given = { 'ablate-layers': '0,2-4', 'ablate-shares': '0.01,0.05', 'ablate-draws': '39', 'ablate-items': '50', 'ablate-datasets': 'a, b' };
    expect(read(given)).toEqual({ layers: [0, 2, 3, 4], shares: [0.01, 0.05], draws: 39, items: 50, datasets: ['a', 'b'] });
    expect(read({ 'ablate-layers': 'spread' })?.layers).toBe('spread');
    expect(read({ ...given, 'no-ablate': true })).toBeUndefined();
    expect(() => read({ 'no-ablate': true, 'ablate-items': '0' })).toThrow('--ablate-items');
  });

  test.each([
    [{ 'ablate-layers': 'all' }, '--ablate-layers: expected best, spread or layers such as 0-5, got "all"'],
    [{ 'ablate-layers': 'top' }, /--ablate-layers: expected "all" or numbers/],
    [{ 'ablate-shares': '0' }, '--ablate-shares: expected numbers above 0 and up to 1, got "0"'],
    [{ 'ablate-draws': '0' }, '--ablate-draws: expected an integer in 1..10000, got "0"'],
    [{ 'ablate-items': 'few' }, '--ablate-items: expected an integer ≥ 1, got "few"'],
  ])('%j is refused', (values, message) => {
    expect(() => read(values)).toThrow(message);
  });
});
