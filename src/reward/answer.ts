/** The shape of an answer: one expression, or a list, set, tuple, interval, union, matrix of them. */
import { closingBrace } from './boxed.js';
import { normalise, splitTopLevel } from './latex.js';
import { splitUnit } from './quantity.js';
import { parseRational } from './rational.js';

/** An answer taken apart. Items of `list`, `set` and `union` have no order; those of the others have. */
export type Answer =
  | { readonly kind: 'expression'; readonly text: string; readonly name?: string | undefined }
  | { readonly kind: 'list' | 'set' | 'union'; readonly items: readonly Answer[] }
  | { readonly kind: 'tuple'; readonly open: string; readonly close: string; readonly items: readonly Answer[] }
  | { readonly kind: 'matrix'; readonly rows: readonly (readonly Answer[])[] }
  /** `parts` stand around `operators`: 1 < x ≤ 2. */
  | { readonly kind: 'relation'; readonly operators: readonly string[]; readonly parts: readonly string[] };

const SEPARATOR = /[,;]\s*(?:\\text\{\s*(?:and|or)\s*\}|(?:and|or)\b)?|\\text\{[\s,]*(?:and|or)\s*\}|(?<=\s)(?:and|or)(?=\s)/;
const RELATION = /\\(?:le|ge|ne)(?![A-Za-z])|[<>=]/;
const NAME = /^((?:m?\\angle ?)?\\?[A-Za-z]+(?:_(?:\{[^{}]*\}|\w))?'?(?:\([A-Za-z](?:,\s?[A-Za-z])*\))?)\s*(?:=|\\in(?![A-Za-z]))\s*([^=][\s\S]*)$/;
/** `(x, y) =` before a pair. */
const COORDINATES = /^\([A-Za-z](?:,\s?[A-Za-z])+\)\s*=\s*(?=\()/;
const MATRIX = /^\\begin\s*\{([pbB]?matrix|array|smallmatrix)\}(?:\{[^{}]*\})?([\s\S]*)\\end\s*\{\1\}$/;
const MAX_DEPTH = 20;

const flip: Readonly<Record<string, string>> = { '<': '>', '>': '<', '\\le': '\\ge', '\\ge': '\\le', '\\ne': '\\ne', '=': '=' };

/** Offset of the bracket that closes the one at 0; round and square ones may close each other, as in [1, 2). */
function closing(text: string): number {
  let depth = 0;
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i] as string;
    if (char === '\\') {
      i += 1;
    } else if ('([{'.includes(char)) {
      depth += 1;
    } else if (')]}'.includes(char)) {
      depth -= 1;
      if (depth === 0) {
        return i;
      }
    }
  }
  return -1;
}

function expression(text: string, name?: string): Answer {
  return { kind: 'expression', text, name };
}

function tuple(open: string, close: string, items: readonly Answer[]): Answer {
  return { kind: 'tuple', open, close, items };
}

/** `x > 3` as (3, ∞), `1 < x \le 2` as (1, 2]; undefined when it does not bound one letter. */
function interval(operators: readonly string[], parts: readonly string[]): Answer | undefined {
  const letter = (text: string | undefined): boolean => text !== undefined && /^(?:[a-zA-Z]|\\(?:theta|alpha|beta|lambda))$/.test(text);
  const at = parts.findIndex(letter);
  const others = parts.filter((_, i) => i !== at);
  if (at < 0 || others.some((part) => /[a-zA-Z]/.test(part.replaceAll(/\\[A-Za-z]+/g, ''))) || operators.some((operator) => operator === '=' || operator === '\\ne')) {
    return undefined;
  }
  const ends = (low: string | undefined, lowOperator: string, high: string | undefined, highOperator: string): Answer =>
    tuple(lowOperator === '<' ? '(' : '[', highOperator === '<' ? ')' : ']', [expression(low ?? '-\\infty'), expression(high ?? '\\infty')]);
  const [first = '', second = ''] = operators;
  if (parts.length === 2) {
    // Read with the letter on the left.
    const operator = at === 0 ? first : (flip[first] ?? first);
    return operator === '<' || operator === '\\le' ? ends(undefined, '<', others[0], operator) : ends(others[0], flip[operator] ?? operator, undefined, '<');
  }
  const up = [first, second].every((operator) => operator === '<' || operator === '\\le');
  const down = [first, second].every((operator) => operator === '>' || operator === '\\ge');
  if (parts.length !== 3 || at !== 1 || (!up && !down)) {
    return undefined;
  }
  return up ? ends(others[0], first, others[1], second) : ends(others[1], flip[second] ?? '', others[0], flip[first] ?? '');
}

function relation(text: string): Answer | undefined {
  const { parts, separators } = splitTopLevel(text, RELATION);
  if (separators.length === 0 || parts.some((part) => part === '')) {
    return undefined;
  }
  return interval(separators, parts) ?? { kind: 'relation', operators: separators, parts };
}

function items(parts: readonly string[], depth: number): Answer[] {
  return parts.filter((part) => part !== '').map((part) => parse(part, depth + 1));
}

function bracketed(text: string, depth: number): Answer | undefined {
  const matrix = MATRIX.exec(text);
  if (matrix !== null) {
    const rows = splitTopLevel((matrix[2] ?? '').trim().replace(/\\\\$/, ''), /\\\\/).parts;
    return { kind: 'matrix', rows: rows.map((row) => splitTopLevel(row, /&/).parts.map((cell) => parse(cell, depth + 1))) };
  }
  if (text === '\\emptyset') {
    return { kind: 'set', items: [] };
  }
  if (text.startsWith('\\{') && text.endsWith('\\}')) {
    const inner = text.slice(2, -2);
    return /\\mid|[|:]/.test(inner) || inner.includes('\\{') ? undefined : { kind: 'set', items: spread(items(splitTopLevel(inner, SEPARATOR).parts, depth)) };
  }
  if (text.startsWith('\\langle') && text.endsWith('\\rangle')) {
    return tuple('\\langle', '\\rangle', items(splitTopLevel(text.slice(7, -7), SEPARATOR).parts, depth));
  }
  if (!/^[([]/.test(text) || closing(text) !== text.length - 1 || text.endsWith('}')) {
    return undefined;
  }
  const { parts } = splitTopLevel(text.slice(1, -1), /[,;]/);
  if (parts.length === 1) {
    return text.startsWith('(') && text.endsWith(')') ? parse(parts[0] ?? '', depth + 1) : undefined;
  }
  return tuple(text[0] ?? '', text.at(-1) ?? '', items(parts, depth));
}

function plusMinus(text: string, depth: number): Answer | undefined {
  if (!/\\(?:pm|mp)(?![A-Za-z])/.test(text)) {
    return undefined;
  }
  const signed = (plus: string, minus: string): string => text.replaceAll(/\\pm(?![A-Za-z])/g, plus).replaceAll(/\\mp(?![A-Za-z])/g, minus).trim().replace(/^\+/, '');
  return { kind: 'list', items: items([signed('+', '-'), signed('-', '+')], depth) };
}

/** Lists within a list, such as 1 ± 2, as its items. */
function spread(list: readonly Answer[]): Answer[] {
  return list.flatMap((item) => (item.kind === 'list' || item.kind === 'union' ? item.items : [item]));
}

function flatten(list: readonly Answer[]): Answer {
  const flat = spread(list);
  // "x < 1 or x > 2" and (−∞, 1) ∪ (2, ∞) are the same.
  const bounded = flat.every((item) => item.kind === 'tuple' && item.items.length === 2 && item.items.some((end) => end.kind === 'expression' && end.text.includes('\\infty')));
  return { kind: bounded ? 'union' : 'list', items: flat };
}

function parse(text: string, depth: number): Answer {
  if (depth > MAX_DEPTH || text.length === 0 || parseRational(splitUnit(text).value) !== undefined) {
    return expression(text);
  }
  const listed = splitTopLevel(text, SEPARATOR).parts;
  if (listed.length > 1 && listed.filter((part) => part !== '').length > 1) {
    return flatten(items(listed, depth));
  }
  const united = splitTopLevel(text, /\\cup(?![A-Za-z])/).parts;
  if (united.length > 1) {
    return { kind: 'union', items: items(united, depth) };
  }
  const named = NAME.exec(text);
  if (named !== null && splitTopLevel(named[2] ?? '', RELATION).separators.length === 0) {
    const value = parse(named[2] ?? '', depth + 1);
    return value.kind === 'expression' ? { ...value, name: named[1] } : value;
  }
  return bracketed(text, depth) ?? plusMinus(text, depth) ?? relation(text) ?? expression(text);
}

/** Takes an answer apart; what it does not understand stays one expression. Never throws. */
export function parseAnswer(answer: string): Answer {
  const text = normalise(answer).replace(COORDINATES, '');
  // \text{(C)} and \text{5} are what they hold; \text{5 or 6} as well.
  const whole = text.startsWith('\\text{') && closingBrace(text, 5) === text.length - 1 ? text.slice(6, -1).trim() : text;
  return parse(/^(?:[([\d.+-]|\\infty|[A-Z](?:,\s?[A-Z])+$)/.test(whole) ? whole : text, 0);
}
