/** The checks `exact` and `regex`. */
import { invalidArgument } from '../native/errors.js';
import type { JobRunner } from './jobs.js';
import type { ScoreItem, Verdict } from './types.js';
import { decided, quote, unknown } from './verdict.js';

/** Text and right answer, trimmed, must be the same characters (in Unicode's composed form). An empty text is no answer. */
export function checkExact({ text, gold }: ScoreItem, ignoreCase: boolean): Verdict {
  const answer = text.trim();
  if (answer === '') {
    return unknown('the text is empty');
  }
  return compareTexts(answer, gold, ignoreCase);
}

function compareTexts(answer: string, gold: string, ignoreCase: boolean): Verdict {
  const form = (value: string): string => (ignoreCase ? value.trim().normalize('NFC').toLowerCase() : value.trim().normalize('NFC'));
  const correct = form(answer) === form(gold);
  return decided(correct, answer, correct ? 'the same text' : `expected ${quote(gold)}`);
}

/** The pattern itself, when it compiles. Errors: INVALID_ARGUMENT. */
export function compilePattern(pattern: string): string {
  try {
    new RegExp(pattern);
    return pattern;
  } catch (error) {
    throw invalidArgument('options.pattern', `a regular expression (${(error as Error).message})`, pattern);
  }
}

/** Options of {@link checkRegex}. */
export interface RegexOptions {
  readonly pattern: string | undefined;
  readonly ignoreCase: boolean;
  readonly jobs: JobRunner;
}

/**
 * With `pattern`: its last match in the text is the answer, its first group where it has one; compared like `exact`. Without: the right
 * answer is the pattern, and the text is correct when it matches anywhere. `^` and `$` match at line breaks.
 */
export async function checkRegex({ text, gold }: ScoreItem, { pattern, ignoreCase, jobs }: RegexOptions): Promise<Verdict> {
  if (text.trim() === '') {
    return unknown('the text is empty');
  }
  const reply = await jobs.run({ kind: 'regex', pattern: pattern ?? gold, flags: ignoreCase ? 'gmi' : 'gm', text });
  if (!reply.ok) {
    return unknown(reply.message);
  }
  const match = reply.value as { text: string } | null;
  if (pattern !== undefined) {
    return match === null ? unknown('the pattern does not match') : compareTexts(match.text.trim(), gold, ignoreCase);
  }
  return match === null ? decided(false, text.trim(), `no match of ${quote(gold)}`) : decided(true, match.text, `matches ${quote(gold)}`);
}
