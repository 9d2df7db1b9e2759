/** Are two answers the same? Cheap comparisons first; `Symbolic` is asked only when they do not decide. */
import { parseAnswer } from './answer.js';
import type { Answer } from './answer.js';
import { compact } from './latex.js';
import { parseBase, splitUnit, unitRatio } from './quantity.js';
import type { Quantity } from './quantity.js';
import { divide, multiply, parseRational, same } from './rational.js';
import { quote } from './verdict.js';

/** Outcome of a comparison, with a sentence for people. */
export interface Outcome {
  readonly result: 'equal' | 'different' | 'undecided';
  readonly reason: string;
}

/** Decides whether two LaTeX expressions are identical, or two equations have the same solutions. May be slow. */
export type Symbolic = (gold: string, answer: string, mode: 'expression' | 'equation') => Promise<Outcome>;

/** Most items of a set whose pairs are all compared. */
const MAX_ITEMS = 40;

type Unordered = Extract<Answer, { items: readonly Answer[] }>;
type Of<K extends Answer['kind']> = Extract<Answer, { kind: K }>;

const equal = (reason: string): Outcome => ({ result: 'equal', reason });
const different = (reason: string): Outcome => ({ result: 'different', reason });
const undecided = (reason: string): Outcome => ({ result: 'undecided', reason });

/** All must be equal; the first difference decides; otherwise the first doubt. */
async function every(pairs: readonly (readonly [Answer, Answer])[], symbolic: Symbolic, reason: string): Promise<Outcome> {
  let doubt: Outcome | undefined;
  for (const [gold, answer] of pairs) {
    const outcome = await compareParsed(gold, answer, symbolic);
    if (outcome.result === 'different') {
      return outcome;
    }
    doubt ??= outcome.result === 'undecided' ? outcome : undefined;
  }
  return doubt ?? equal(reason);
}

async function compareUnordered(gold: readonly Answer[], answer: readonly Answer[], symbolic: Symbolic): Promise<Outcome> {
  if (gold.length > MAX_ITEMS || answer.length > MAX_ITEMS) {
    return undecided(`more than ${MAX_ITEMS} items`);
  }
  const table: Outcome['result'][][] = [];
  for (const left of gold) {
    const row: Outcome['result'][] = [];
    for (const right of answer) {
      row.push((await compareParsed(left, right, symbolic)).result);
    }
    table.push(row);
  }
  const lines = [...table, ...answer.map((_, j) => table.map((row) => row[j] ?? 'different'))];
  if (lines.every((line) => line.includes('equal'))) {
    return equal('the same items');
  }
  const missing = lines.some((line) => line.every((result) => result === 'different'));
  return missing ? different('not the same items') : undecided('not every pair of items could be compared');
}

/** Infinity with its sign. */
function infinite(text: string): 1 | -1 | undefined {
  const match = /^([+-]?)\\infty$/.exec(compact(text));
  return match === null ? undefined : match[1] === '-' ? -1 : 1;
}

/** A text in words; `sure` when it is marked as text or cannot be a product of variables. */
function asWords(text: string): { words: string; sure: boolean } | undefined {
  const words = text.replaceAll(/\\text\{([^{}]*)\}/g, ' $1 ').replaceAll(/\s+/g, ' ').trim().replace(/\.$/, '').toLowerCase();
  if (words.includes('\\') || !/[a-z]/.test(words)) {
    return undefined;
  }
  if (text.includes('\\text{')) {
    return { words, sure: true };
  }
  return /^[a-z][a-z'’-]*(?: [a-z\d'’-]+)*$/.test(words) ? { words, sure: /[a-z]{4}/.test(words) } : undefined;
}

const NUMBER_WORDS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve'];

function compareWords(gold: string, answer: string): Outcome | undefined {
  const [left, right] = [asWords(gold), asWords(answer)];
  if (left?.sure !== true && right?.sure !== true) {
    return undefined;
  }
  if (left !== undefined && right !== undefined) {
    const bare = (words: string): string => words.replaceAll(/[\s()]/g, '');
    return bare(left.words) === bare(right.words) ? equal('the same text') : different(`expected the text ${quote(gold)}`);
  }
  const number = parseRational(left === undefined ? gold : answer);
  const written = NUMBER_WORDS.indexOf((left ?? right)?.words ?? '');
  if (number !== undefined && written >= 0) {
    return same(number, { n: BigInt(written), d: 1n }) ? equal('the same number') : different('another number');
  }
  return number === undefined ? undecided('a text against a formula') : different('a text against a number');
}

/** Two ratios a:b; proportional ones may still be times of day. */
function compareRatios(gold: string, answer: string): Outcome | undefined {
  const [left, right] = [gold, answer].map((text) => text.split(':').map((part) => parseRational(part)));
  if (left === undefined || right === undefined || Math.max(left.length, right.length) < 2 || [...left, ...right].includes(undefined)) {
    return undefined;
  }
  const quotient = ([a, b]: typeof left): ReturnType<typeof parseRational> => (a === undefined || b === undefined ? a : divide(a, b));
  if (left.length <= 2 && right.length <= 2) {
    const [a, b] = [quotient(left), quotient(right)];
    if (a === undefined || b === undefined) {
      return undefined;
    }
    const identical = left.length !== right.length || left.every((part, i) => part !== undefined && same(part, right[i] ?? part));
    return !same(a, b) ? different('another ratio') : identical ? equal('the same ratio') : undecided('proportional, but not the same numbers');
  }
  const identical = left.length === right.length && left.every((part, i) => part !== undefined && same(part, right[i] ?? part));
  return identical ? equal('the same ratio') : undecided('ratios of more than two numbers');
}

async function compareValues(gold: string, answer: string, symbolic: Symbolic): Promise<Outcome> {
  if (compact(gold) === compact(answer)) {
    return equal('the same expression');
  }
  const [left, right] = [parseRational(gold), parseRational(answer)];
  if (left !== undefined && right !== undefined) {
    return same(left, right) ? equal('the same number') : different(`expected ${quote(gold)}`);
  }
  const [endLeft, endRight] = [infinite(gold), infinite(answer)];
  if (endLeft !== undefined && endRight !== undefined) {
    return endLeft === endRight ? equal('the same infinity') : different('the other infinity');
  }
  if ((endLeft !== undefined && right !== undefined) || (endRight !== undefined && left !== undefined)) {
    return different('a number against infinity');
  }
  return compareWords(gold, answer) ?? compareRatios(gold, answer) ?? symbolic(gold, answer, 'expression');
}

/** What a marked value is as a bare number: 50 % is 1/2, 90° is π/2. */
const MARKS: ReadonlyMap<string, string> = new Map([['%', '\\frac{1}{100}'], ['°', '\\frac{\\pi}{180}']]); // prettier-ignore

function scale(value: string, factor: string): string {
  const [number, ratio] = [parseRational(value), parseRational(factor)];
  const exact = number === undefined || ratio === undefined ? undefined : multiply(number, ratio);
  return exact === undefined ? `(${value})\\cdot ${factor}` : `\\frac{${exact.n}}{${exact.d}}`;
}

async function compareQuantities(gold: Quantity, answer: Quantity, symbolic: Symbolic): Promise<Outcome> {
  if (gold.unit === answer.unit) {
    return compareTexts(gold.value, answer.value, symbolic);
  }
  if (gold.unit !== undefined && answer.unit !== undefined) {
    const ratio = unitRatio(gold.unit, answer.unit);
    if (ratio === null || ratio === undefined) {
      const reason = `different units: ${gold.unit} and ${answer.unit}`;
      return ratio === null ? different(reason) : undecided(reason);
    }
    return compareTexts(scale(gold.value, ratio), answer.value, symbolic);
  }
  const bare = await compareTexts(gold.value, answer.value, symbolic);
  const mark = MARKS.get(gold.unit ?? answer.unit ?? '');
  if (bare.result === 'equal' || mark === undefined) {
    return bare;
  }
  const marked = (side: Quantity): string => (side.unit === undefined ? side.value : scale(side.value, mark));
  const meant = await compareTexts(marked(gold), marked(answer), symbolic);
  return meant.result === 'equal' ? meant : bare;
}

function compareBases(gold: string, answer: string): Outcome | undefined {
  const [left, right] = [parseBase(gold), parseBase(answer)];
  if (left !== undefined && right !== undefined) {
    return left.value === right.value ? equal('the same number') : different(`expected ${quote(gold)}`);
  }
  const based = left ?? right;
  const plain = left === undefined ? gold : answer;
  if (based === undefined || !/^[0-9A-Za-z]+$/.test(plain)) {
    return undefined;
  }
  const possible = plain.toUpperCase() === based.digits || (/^\d+$/.test(plain) && BigInt(plain) === based.value);
  return possible ? undecided('only one of the two says its base') : different(`expected ${quote(gold)}`);
}

async function compareTexts(gold: string, answer: string, symbolic: Symbolic): Promise<Outcome> {
  const upright = (text: string): string => compact(text.replaceAll(/\\text\{([^{}]*)\}/g, '$1'));
  if (upright(gold) === upright(answer)) {
    return equal('the same expression');
  }
  const bases = compareBases(gold, answer);
  if (bases !== undefined) {
    return bases;
  }
  const [left, right] = [splitUnit(gold), splitUnit(answer)];
  return left.unit === undefined && right.unit === undefined ? compareValues(gold, answer, symbolic) : compareQuantities(left, right, symbolic);
}

async function compareExpressions(gold: Of<'expression'>, answer: Of<'expression'>, symbolic: Symbolic): Promise<Outcome> {
  const [left, right] = [gold.name, answer.name].map((name) => (name === undefined || name.includes('(') ? undefined : compact(name)));
  if (left !== undefined && right !== undefined && left !== right) {
    return different(`expected ${left}, got ${right}`);
  }
  return compareTexts(gold.text, answer.text, symbolic);
}

const constant = (text: string): boolean => !/[a-zA-Z]/.test(text.replaceAll(/\\[A-Za-z]+/g, ''));

/** `x = 2 + 3 = 5` or `5 = x` against 5; an equation between variables against a value stays undecided. */
async function compareChain(gold: Of<'expression'>, answer: Of<'relation'>, symbolic: Symbolic): Promise<Outcome> {
  const values = answer.parts.filter((part) => !/^\\?[A-Za-z]+$/.test(part));
  if (answer.operators.some((operator) => operator !== '=') || values.length === 0 || !values.every(constant)) {
    return undecided('an equation or inequality against a value');
  }
  const outcomes = await Promise.all(values.map(async (part) => compareTexts(gold.text, part, symbolic)));
  const last = outcomes.at(-1) as Outcome;
  return last.result === 'different' && outcomes.some(({ result }) => result !== 'different') ? undecided('the equation holds several values') : last;
}

const REVERSED: Readonly<Record<string, string>> = { '<': '>', '>': '<', '\\le': '\\ge', '\\ge': '\\le' };

async function compareRelations(gold: Of<'relation'>, answer: Of<'relation'>, symbolic: Symbolic): Promise<Outcome> {
  const equations = [gold, answer].every(({ operators }) => operators.length === 1 && operators[0] === '=');
  if (equations) {
    return symbolic(gold.parts.join('='), answer.parts.join('='), 'equation');
  }
  const reversed = { operators: [...answer.operators].reverse().map((operator) => REVERSED[operator] ?? operator), parts: [...answer.parts].reverse() };
  let doubt = undecided('relations of different shape');
  for (const side of [answer, reversed]) {
    if (side.operators.join(' ') === gold.operators.join(' ')) {
      const outcomes: Outcome[] = [];
      for (const [i, part] of gold.parts.entries()) {
        outcomes.push(await compareTexts(part, side.parts[i] ?? '', symbolic));
      }
      const unequal = outcomes.filter(({ result }) => result !== 'equal');
      if (unequal.length === 0) {
        return equal('the same relation');
      }
      doubt = unequal.length === 1 && unequal[0]?.result === 'different' ? different('another relation') : doubt;
    }
  }
  return doubt;
}

/** A set of one against a value; a formula against anything that is not one. Undefined when neither is an expression. */
async function compareWithExpression(one: Answer, other: Answer, symbolic: Symbolic): Promise<Outcome | undefined> {
  if (other.kind !== 'expression') {
    return undefined;
  }
  if (one.kind === 'set' || one.kind === 'list') {
    // {5} is 5, and so is the double root "5, 5".
    const repeated = await compareUnordered(one.items, [other], symbolic);
    if (repeated.result === 'equal' || one.items.length === 1) {
      return repeated;
    }
  }
  // A formula is not a set, whatever it is; a text or what cannot be read may mean one ("all real numbers").
  const scalar = parseRational(other.text) !== undefined || (await symbolic('0', splitUnit(other.text).value, 'expression')).result !== 'undecided';
  const reason = `a value against a ${one.kind}`;
  return scalar && one.kind !== 'relation' ? different(reason) : undecided(reason);
}

function itemsOf(side: Answer): readonly Answer[] | undefined {
  return side.kind === 'matrix' ? side.rows.flat() : side.kind === 'expression' || side.kind === 'relation' ? undefined : side.items;
}

/** Things of different shape: only some spellings can mean the same. */
async function compareShapes(gold: Answer, answer: Answer, symbolic: Symbolic): Promise<Outcome> {
  if (gold.kind === 'relation' && answer.kind === 'expression' && answer.name !== undefined) {
    return compareRelations(gold, { kind: 'relation', operators: ['='], parts: [answer.name, answer.text] }, symbolic);
  }
  if (gold.kind === 'expression' && answer.kind === 'relation') {
    return gold.name !== undefined && answer.operators.join() === '=' && !answer.parts.every(constant)
      ? compareRelations({ kind: 'relation', operators: ['='], parts: [gold.name, gold.text] }, answer, symbolic)
      : compareChain(gold, answer, symbolic);
  }
  const value = (await compareWithExpression(gold, answer, symbolic)) ?? (await compareWithExpression(answer, gold, symbolic));
  if (value !== undefined) {
    return value;
  }
  const reason = `expected a ${gold.kind}, got a ${answer.kind}`;
  const [left, right] = [itemsOf(gold), itemsOf(answer)];
  if (left === undefined || right === undefined) {
    return undecided(reason);
  }
  // Brackets may have been left out, a vector may be written as a column.
  const loose = [gold, answer].some(({ kind }) => kind === 'list' || kind === 'matrix');
  if (!loose || left.length !== right.length) {
    return different(reason);
  }
  const inOrder = await every(left.map((item, i) => [item, right[i] as Answer] as const), symbolic, reason);
  return inOrder.result === 'different' ? inOrder : undecided(`${reason} of the same items`);
}

async function compareParsed(gold: Answer, answer: Answer, symbolic: Symbolic): Promise<Outcome> {
  if (gold.kind === 'expression' && answer.kind === 'expression') {
    return compareExpressions(gold, answer, symbolic);
  }
  if (gold.kind === 'relation' && answer.kind === 'relation') {
    return compareRelations(gold, answer, symbolic);
  }
  if (gold.kind === 'tuple' && answer.kind === 'tuple') {
    if (gold.open !== answer.open || gold.close !== answer.close || gold.items.length !== answer.items.length) {
      return different('other brackets or another number of items');
    }
    return every(gold.items.map((item, i) => [item, answer.items[i] as Answer] as const), symbolic, 'the same items in the same order');
  }
  if (gold.kind === 'matrix' && answer.kind === 'matrix') {
    if (gold.rows.map(({ length }) => length).join() !== answer.rows.map(({ length }) => length).join()) {
      return different('a matrix of another size');
    }
    return every(gold.rows.flatMap((row, i) => row.map((cell, j) => [cell, answer.rows[i]?.[j] as Answer] as const)), symbolic, 'the same matrix');
  }
  const unordered = (kind: Answer['kind']): boolean => kind === 'list' || kind === 'set';
  if ((unordered(gold.kind) && unordered(answer.kind)) || (gold.kind === 'union' && answer.kind === 'union')) {
    return compareUnordered((gold as Unordered).items, (answer as Unordered).items, symbolic);
  }
  return compareShapes(gold, answer, symbolic);
}

/** Compares two answers as LaTeX or plain text. */
export async function compareAnswers(gold: string, answer: string, symbolic: Symbolic): Promise<Outcome> {
  return gold === answer ? equal('the same text') : compareParsed(parseAnswer(gold), parseAnswer(answer), symbolic);
}
