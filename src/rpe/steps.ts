/** Completions cut into steps: where one ends is found in the text and mapped to whole tokens. */
import { invalidArgument } from '../native/errors.js';

/**
 * How to cut: after blank lines (paragraphs, the paper's steps), after line breaks, after sentences (Unicode's rules, UAX #29), after every match of a
 * pattern, or after every `count` tokens.
 */
export type Splitter =
  | { readonly kind: 'blank-line' | 'line' | 'sentence' }
  | { readonly kind: 'regex'; readonly pattern: string }
  | { readonly kind: 'tokens'; readonly count: number };

/** Tokens [begin, end) of a completion, and their text. A character that tokens share is text of the last of them. */
export interface Step {
  readonly begin: number;
  readonly end: number;
  readonly text: string;
}

/** Reads "blank-line", "line", "sentence", "regex:PATTERN", "tokens:N". Errors: INVALID_ARGUMENT. */
export function parseSplitter(text: string): Splitter {
  const at = text.indexOf(':');
  const [kind, value] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
  switch (kind) {
    case 'blank-line':
    case 'line':
    case 'sentence':
      if (at < 0) {
        return { kind };
      }
      break;
    case 'regex':
      if (value !== '') {
        compilePattern(value);
        return { kind, pattern: value };
      }
      break;
    case 'tokens':
      if (/^[1-9]\d{0,8}$/.test(value)) {
        return { kind, count: Number(value) };
      }
      break;
  }
  throw invalidArgument('steps', 'blank-line, line, sentence, regex:PATTERN or tokens:N', text);
}

/** What {@link parseSplitter} reads. */
export function formatSplitter(splitter: Splitter): string {
  return splitter.kind === 'regex' ? `regex:${splitter.pattern}` : splitter.kind === 'tokens' ? `tokens:${splitter.count}` : splitter.kind;
}

function compilePattern(pattern: string): RegExp {
  try {
    return new RegExp(pattern, 'gu');
  } catch (cause) {
    throw invalidArgument('steps', `a regular expression behind "regex:" (${(cause as Error).message})`, pattern);
  }
}

/**
 * The steps of a completion: they cover its tokens in order, without gaps, and their texts joined are its text. `pieces`: bytes of every token, none
 * for control tokens (the end-of-generation token). A step ends after the token that holds the last character of the separator, so a separator and
 * what follows it in the same token belong to the step before; borders that fall on one token are one. Steps of white space alone
 * are joined to the next one (at the end: to the one before), except where a pattern or a count decides. Bytes that are no UTF-8
 * read as U+FFFD. Empty for no tokens. Errors: INVALID_ARGUMENT. Cost: one pass.
 */
export function splitSteps(pieces: readonly Uint8Array[], splitter: Splitter): Step[] {
  const { text, ends } = decode(pieces);
  const borders = splitter.kind === 'tokens' ? tokenBorders(pieces.length, splitter.count) : textBorders(text, splitter).map((at) => tokenAfter(ends, at));
  const joinSpace = splitter.kind !== 'tokens' && splitter.kind !== 'regex';
  const steps: Step[] = [];
  let begin = 0;
  for (const end of [...borders, pieces.length]) {
    const own = text.slice(ends[begin - 1] ?? 0, ends[end - 1] ?? 0);
    if (end <= begin || (joinSpace && own.trim() === '' && end < pieces.length)) {
      continue;
    }
    steps.push({ begin, end, text: own });
    begin = end;
  }
  return joinSpace ? joinLast(steps) : steps;
}

/** Text of all tokens, and for each the number of UTF-16 units that are complete after it. */
function decode(pieces: readonly Uint8Array[]): { text: string; ends: number[] } {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let text = '';
  const ends = pieces.map((piece, i) => {
    text += decoder.decode(piece, { stream: i < pieces.length - 1 });
    return text.length;
  });
  return { text, ends };
}

function tokenBorders(tokens: number, count: number): number[] {
  if (!Number.isInteger(count) || count < 1) {
    throw invalidArgument('steps', 'tokens:N with N of at least 1', count);
  }
  return Array.from({ length: Math.max(0, Math.ceil(tokens / count) - 1) }, (_, i) => (i + 1) * count);
}

/** Offsets inside the text (not at its ends) after which a step begins, ascending. */
function textBorders(text: string, splitter: Exclude<Splitter, { kind: 'tokens' }>): number[] {
  const inside = (offsets: number[]): number[] => offsets.filter((at) => at > 0 && at < text.length);
  if (splitter.kind === 'sentence') {
    return inside([...new Intl.Segmenter('en', { granularity: 'sentence' }).segment(text)].map(({ index }) => index));
  }
  const pattern = splitter.kind === 'regex' ? compilePattern(splitter.pattern) : splitter.kind === 'line' ? /\r?\n/g : /\n(?:[^\S\n]*\n)+/g;
  return inside([...text.matchAll(pattern)].map((match) => match.index + match[0].length));
}

/** Number of tokens up to and with the one that completes character `at` − 1. */
function tokenAfter(ends: readonly number[], at: number): number {
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    [low, high] = (ends[middle] as number) >= at ? [low, middle] : [middle + 1, high];
  }
  return low + 1;
}

function joinLast(steps: Step[]): Step[] {
  const [last, before] = [steps.at(-1), steps.at(-2)];
  return last === undefined || before === undefined || last.text.trim() !== ''
    ? steps
    : [...steps.slice(0, -2), { begin: before.begin, end: last.end, text: before.text + last.text }];
}
