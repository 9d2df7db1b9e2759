import { describe, expect, test } from '@jest/globals';
import { agreementShare, groupAnswers, majorityShare } from '../../src/apply/answers.js';
import { Judge } from '../../src/study/sample.js';
import { sameBy } from '../../src/study/confidenceModel.js';

const asTexts = async (a: string, b: string): Promise<boolean> => a === b;
const answers = (...texts: (string | null)[]): { extracted: string | null }[] => texts.map((extracted) => ({ extracted }));

describe('groups of answers', () => {
  test('the most frequent first, ties by first appearance, no answer in no group', async () => {
    const groups = await groupAnswers(answers('7', null, '5', ' 5', '7', '3'), asTexts);
    expect(groups).toEqual([
      { answer: '7', members: [0, 4] },
      { answer: '5', members: [2, 3] },
      { answer: '3', members: [5] },
    ]);
    expect(majorityShare(groups, 6)).toBeCloseTo(2 / 6, 12);
  });

  test('a sample without an answer is a share that agrees with nothing', async () => {
    const groups = await groupAnswers(answers('5', null, null, null), asTexts);
    expect(majorityShare(groups, 4)).toBe(0.25);
    expect(await agreementShare(groups, 4, '5', asTexts)).toBe(0.25);
    expect(await agreementShare(groups, 4, null, asTexts)).toBe(0);
    expect(await agreementShare(groups, 4, '6', asTexts)).toBe(0);
    expect(majorityShare(await groupAnswers(answers(null, null), asTexts), 2)).toBe(0);
  });

  test('the check decides what is the same', async () => {
    await using judge = new Judge();
    const math = await groupAnswers(answers('\\frac{1}{2}', '0.5', '2', '\\frac12'), sameBy(judge, 'math'));
    expect(math.map(({ members }) => members)).toEqual([[0, 1, 3], [2]]);
    const numbers = await groupAnswers(answers('1,000', '1000', '0100'), sameBy(judge, 'gsm8k'));
    expect(numbers.map(({ members }) => members)).toEqual([[0, 1], [2]]);
    const letters = await groupAnswers(answers('A', 'B', 'A'), sameBy(judge, 'choice'));
    expect(letters.map(({ members }) => members)).toEqual([[0, 2], [1]]);
  });
});
