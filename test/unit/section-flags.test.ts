import { describe, expect, test } from '@jest/globals';
import { Flags } from '../../src/cli/flags.js';
import { readSectionChoice } from '../../src/cli/sectionFlags.js';
import { SECTIONS } from '../../src/report/sectionsSchema.js';
import { SECTION_DEFAULTS, namesFor } from '../../src/study/sectionChoice.js';

const read = (values: Record<string, string>): ReturnType<typeof readSectionChoice> => readSectionChoice(new Flags(values));

describe('flags of a study’s sections', () => {
  test('none unless named', () => {
    expect(read({})).toEqual(SECTION_DEFAULTS);
    expect(SECTION_DEFAULTS.names).toEqual([]);
    expect(read({ sections: 'all' })).toMatchObject({ names: SECTIONS, transfer: true });
    expect(read({ sections: 'search, values' })).toMatchObject({ names: ['values', 'search'], transfer: false });
    expect(read({ sections: 'transfer' })).toMatchObject({ names: [], transfer: true });
  });

  test('every flag is read', () => {
    const given = { sections: 'search', 'sections-datasets': 'a, b', steps: 'tokens:5', 'values-trajectories': '7', 'values-continuations': '3', 'confidence-samples': '0', 'interplay-draws': '4', 'search-problems': '5', 'search-seeds': '2' };
    const choice = read(given);
    expect(choice).toEqual({ names: ['search'], transfer: false, datasets: ['a', 'b'], steps: { kind: 'tokens', count: 5 }, trajectories: 7, continuations: 3, samples: 0, draws: 4, problems: 5, seeds: 2 });
    expect([namesFor(choice, 'b'), namesFor(choice, 'c'), namesFor({ ...choice, datasets: undefined }, 'c')]).toEqual([['search'], [], ['search']]);
  });

  test.each([
    [{ sections: 'values,all' }, '--sections: expected some of values, dopamine, interplay, confidence, search, transfer, got "all"'],
    [{ steps: 'word' }, /steps/],
    [{ 'values-trajectories': '0' }, '--values-trajectories: expected an integer ≥ 1, got "0"'],
    [{ 'confidence-samples': '-1' }, '--confidence-samples'],
    [{ 'search-seeds': 'x' }, '--search-seeds'],
  ])('%j is refused', (values, message) => {
    expect(() => read(values as Record<string, string>)).toThrow(message);
  });
});
