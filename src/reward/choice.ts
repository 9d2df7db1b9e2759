/** The check `choice`: the label of the chosen option. */
import { lastBox } from './boxed.js';
import type { ScoreItem, Verdict } from './types.js';
import { decided, quote, unknown } from './verdict.js';

const BARE = String.raw`[\s*_$({\[]{0,8}(?:\\text(?:bf)?\{)?\s?\(?([A-Za-z1-9])(?![A-Za-z0-9])`;
// After "answer is": a small letter counts only in brackets or when nothing but punctuation follows ("the answer is a number").
const ANSWER_IS = new RegExp(String.raw`\b(?:answer|option|choice)\b(?:\s+(?:is|would be|should be|must be)\b|\s{0,4}[*_]{0,2}\s{0,2}[:=])[\s*_]{0,6}:?(?:\s+(?:option|choice))?${BARE}`, 'gi');
const IN_BRACKETS = /\(\s?([A-Za-z1-9])\s?\)/g;
const STANDALONE = /(?<![\w'’])([A-Z1-9])(?![\w'’])/g;
/** "(A) or (B)", "A and B", "A, B": no single answer. */
const SEVERAL = /^[\s)}\]*_]*(?:,|\/|or\b|and\b)[\s({[*_]*(?:(?:or|and)\s)?\(?[A-Z1-9](?=[\s)}\]*_]*(?:$|[.,;\n]|or\b|and\b))/;

/** Labels that an answer may have, from the problem's `choices` where it gives them. */
function labels(gold: string, problem: ScoreItem['problem']): ReadonlySet<string> {
  const choices = problem?.['choices'];
  const listed = Array.isArray(choices)
    ? choices.map((choice: unknown) => (choice as { label?: unknown } | null)?.label)
    : ((choices as { label?: unknown } | undefined)?.label ?? []);
  const given = Array.isArray(listed) ? listed.filter((label): label is string => typeof label === 'string' && label.length === 1) : [];
  if (given.length > 0) {
    return new Set(given.map((label) => label.toUpperCase()));
  }
  return new Set(/\d/.test(gold) ? '123456789' : 'ABCDEFGHIJKLMNOPQRSTUVWXYZ');
}

interface Found {
  readonly label: string;
  readonly several: boolean;
}

/** The last match of `pattern` whose label is allowed. */
function lastLabel(text: string, pattern: RegExp, allowed: ReadonlySet<string>, keep: (match: RegExpExecArray) => boolean = () => true): Found | undefined {
  let found: Found | undefined;
  for (const match of text.matchAll(pattern)) {
    const label = (match[1] ?? '').toUpperCase();
    if (allowed.has(label) && keep(match)) {
      const rest = text.slice(match.index + match[0].length, match.index + match[0].length + 40);
      found = { label, several: SEVERAL.test(rest) };
    }
  }
  return found;
}

function smallLetterStandsAlone(match: RegExpExecArray): boolean {
  const letter = match[1] ?? '';
  const rest = match.input.slice(match.index + match[0].length, match.index + match[0].length + 20);
  return letter === letter.toUpperCase() ? isNoWord(match) : match[0].endsWith(`(${letter}`) || /^[\s*_$)}\].]*(?:\n|$)/.test(rest);
}

/** "A dog …", "I think …": an article or a pronoun, not a label. */
function isNoWord(match: RegExpExecArray): boolean {
  const rest = match.input.slice(match.index + match[0].length, match.index + match[0].length + 3);
  return !/^[AI]$/.test(match[1] ?? '') || !/^\s[a-z]/.test(rest) || /^\s(?:or|and|is)\b/.test(match.input.slice(match.index + match[0].length, match.index + match[0].length + 5));
}

function extract(text: string, allowed: ReadonlySet<string>): Found | undefined {
  const box = lastBox(text);
  if (box !== undefined) {
    const label = /^[\s({]*(?:\\text(?:bf)?\{|\\mathrm\{)?[\s(]*([A-Za-z1-9])(?![A-Za-z0-9])/.exec(box)?.[1]?.toUpperCase();
    return label === undefined || !allowed.has(label) ? undefined : { label, several: /(?:,|\\text\{ ?(?:or|and) ?\}|\bor\b|\band\b)\s*\(?[A-Z1-9]\b/.test(box) };
  }
  return (
    lastLabel(text, ANSWER_IS, allowed, smallLetterStandsAlone) ??
    lastLabel(text, IN_BRACKETS, allowed) ??
    lastLabel(text, STANDALONE, allowed, isNoWord)
  );
}

/** Judges a multiple-choice completion. */
export function checkChoice({ text, gold, problem }: ScoreItem): Verdict {
  const right = /^[\s(]*([A-Za-z1-9])[\s).]*$/.exec(gold)?.[1]?.toUpperCase();
  const allowed = labels(gold, problem);
  if (right === undefined || !allowed.has(right)) {
    return unknown(`the right answer ${JSON.stringify(quote(gold))} is not the label of an option`);
  }
  const found = extract(text, allowed);
  if (found === undefined) {
    return unknown('no label of an option found');
  }
  if (found.several) {
    return unknown('several options are given', found.label);
  }
  return decided(found.label === right, found.label, found.label === right ? `chose ${right}` : `chose ${found.label}, expected ${right}`);
}
