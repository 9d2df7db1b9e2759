/** The check `gsm8k`: a number after `#### ` (strict), or the last number of the text (flexible). */
import { parseRational, same } from './rational.js';
import type { Rational } from './rational.js';
import type { ScoreItem, Verdict } from './types.js';
import { decided, quote, unknown } from './verdict.js';

/** Which of the two readings decides; the other one is told in the reason. */
export type Gsm8kMode = 'strict' | 'flexible';

const NUMBER = String.raw`[-+−]?[ ]?\$?[ ]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+(?![\w.])|\s?/\s?\d+)?`;
const MARKED = new RegExp(String.raw`####[^\S\n]*\\?(${NUMBER})`, 'g');
// A minus after a digit, a letter or a bracket is an operator ("3-4", "x-4").
const FREE = new RegExp(String.raw`(?:(?<![\w.)\]])[-+−]\s?)?(?<![A-Za-z_\d.])\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?`, 'g');

function last(pattern: RegExp, text: string): string | undefined {
  let found: string | undefined;
  for (const match of text.matchAll(pattern)) {
    found = match[1] ?? match[0];
  }
  // "1,018," is 1,018 followed by a comma.
  return found?.trim().replace(/,+$/, '');
}

/** The number after the last `####` that has one on its line. */
export function readStrict(text: string): string | undefined {
  return last(MARKED, text);
}

/** The last number of the text. */
export function readFlexible(text: string): string | undefined {
  return last(FREE, text);
}

function value(text: string): Rational | undefined {
  return parseRational(text.replaceAll(/[\s$,\\]/g, '').replace('−', '-'));
}

function describe(text: string | undefined, gold: Rational): string {
  const read = text === undefined ? undefined : value(text);
  return read === undefined || text === undefined ? 'finds no number' : `reads ${quote(text)} (${same(read, gold) ? 'correct' : 'wrong'})`;
}

/** Judges a GSM8K completion. `gold` is a number, or a solution that ends with `#### n`. */
export function checkGsm8k({ text, gold }: ScoreItem, mode: Gsm8kMode): Verdict {
  const right = value(readStrict(gold) ?? gold);
  if (right === undefined) {
    return unknown(`the right answer ${JSON.stringify(quote(gold))} is not a number`);
  }
  const [own, other] = mode === 'strict' ? [readStrict(text), readFlexible(text)] : [readFlexible(text), readStrict(text)];
  const elsewhere = `${mode === 'strict' ? 'flexible' : 'strict'} ${describe(other, right)}`;
  const read = own === undefined ? undefined : value(own);
  if (own === undefined || read === undefined) {
    return unknown(`${mode === 'strict' ? 'no number after ####' : 'no number in the text'}; ${elsewhere}`);
  }
  const correct = same(read, right);
  return decided(correct, own, `${quote(own)} ${correct ? 'equals' : 'is not'} ${quote(readStrict(gold) ?? gold)}; ${elsewhere}`);
}
