import { describe, expect, test } from '@jest/globals';
import { checkAnswer } from '../../src/rollout/check.js';

describe('answer checkers', () => {
  test.each([
    ['gsm8k', '062\n018\n#### 18', '18', 'correct', '18'],
    ['gsm8k', '#### 018', '18', 'correct', '018'],
    ['gsm8k', '#### 1,018', '1018', 'correct', '1,018'],
    ['gsm8k', '#### -7', '7', 'wrong', '-7'],
    ['gsm8k', '#### 3\n#### 4', '4', 'correct', '4'],
    ['gsm8k', 'the answer is 18', '18', 'unknown', undefined],
    ['math', '3*4=12 yes\n\\boxed{8}', '8', 'correct', '8'],
    ['math', '\\boxed{08}', '8', 'correct', '08'],
    ['math', '\\boxed{x}', '8', 'wrong', 'x'],
    ['math', '\\boxed{8', '8', 'unknown', undefined],
    ['choice', '81*20=1620\nAnswer: (D)', 'D', 'correct', 'D'],
    ['choice', 'Answer: (A) or (B)', 'B', 'correct', 'B'],
    ['choice', 'Answer: (A)', 'B', 'wrong', 'A'],
    ['choice', '', 'B', 'unknown', undefined],
  ] as const)('%s %j against %s is %s', (check, completion, gold, verdict, extracted) => {
    expect(checkAnswer(check, completion, gold)).toMatchObject({ verdict, extracted });
  });
});
