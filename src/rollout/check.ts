/** Answer checkers: is a completion right? What cannot be decided is `unknown`, never wrong. */

/** Outcome of a check, with what was read from the completion and why. */
export interface Verdict {
  readonly verdict: 'correct' | 'wrong' | 'unknown';
  readonly extracted: string | undefined;
  readonly reason: string;
}

/** Extracts the answer of a completion, or undefined when there is none. */
type Extract = (completion: string) => string | undefined;

const NUMBER = String.raw`-?[\d,]*\.?\d+`;

function lastMatch(pattern: RegExp): Extract {
  return (completion) => [...completion.matchAll(pattern)].at(-1)?.[1];
}

/** `gsm8k`: the number after the last `#### `; `math`: the last `\boxed{…}`; `choice`: the last `(X)`. */
export const CHECKS = {
  gsm8k: lastMatch(new RegExp(`####\\s*(${NUMBER})`, 'g')),
  math: lastMatch(/\\boxed\{([^{}]*)\}/g),
  choice: lastMatch(/\(([A-Z])\)/g),
} satisfies Record<string, Extract>;

/** Name of a checker. */
export type CheckName = keyof typeof CHECKS;

/** Numbers compare by value ("07" is 7), everything else as trimmed text. */
function normalise(answer: string): string {
  const text = answer.trim().replaceAll(',', '');
  return new RegExp(`^${NUMBER}$`).test(text) ? String(Number(text)) : text;
}

/** Judges a completion against the gold answer. */
export function checkAnswer(check: CheckName, completion: string, gold: string): Verdict {
  const extracted = CHECKS[check](completion);
  if (extracted === undefined) {
    return { verdict: 'unknown', extracted, reason: `no answer in the format '${check}'` };
  }
  const correct = normalise(extracted) === normalise(gold);
  return { verdict: correct ? 'correct' : 'wrong', extracted, reason: correct ? 'equal' : `expected ${gold}` };
}
