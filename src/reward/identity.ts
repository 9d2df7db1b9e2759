/**
 * Are two LaTeX expressions identical? Compute Engine parses them; equality is tested at fixed points, exactly where the values are
 * rational (Schwartz–Zippel: two different rational functions agree at a random point almost never), as complex doubles elsewhere.
 * Compute Engine's own `isEqual` is not used: it does not expand, takes no answer for "false", and evaluating 10^{10^{10}} eats all memory.
 */
import { ComputeEngine } from '@cortex-js/compute-engine';
import { collectVariables, exact, numeric, resolve, Unsupported } from './evaluate.js';
import type { MathJson } from './evaluate.js';
import type { Outcome } from './compare.js';
import { same } from './rational.js';
import type { Rational } from './rational.js';

/** Two doubles within this relative distance are the same value, beyond `FAR` different ones, between them it is not decided. */
const NEAR = 1e-9;
const FAR = 1e-6;
/** Doubles up to this size may be what rounding left of 0. */
const ROUNDING = 1e-13;
/** A fraction with more digits that comes close to an irrational-looking value may be a rounded one: 2.718281828 is not e. */
const LONG = 10n ** 7n;
/** Points of defined value that must agree before two expressions with variables count as identical. */
const MIN_POINTS = 4;
const MAX_VARIABLES = 12;

/** The part of Compute Engine that is used; its own types do not resolve under NodeNext. */
interface Parser {
  parse(latex: string, options: { canonical: false }): { readonly isValid: boolean; readonly json: unknown };
}
const ParserClass = ComputeEngine as unknown as new () => Parser;

let engine: Parser | undefined;

/** Commands that the parser does not know, in words that it does. */
function readable(latex: string): string {
  return latex
    .replaceAll(/\\binom\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g, '\\operatorname{Binomial}($1,$2)')
    .replaceAll(/\\gcd(?![A-Za-z])/g, '\\operatorname{GCD}')
    .replaceAll('%', '\\%')
    .replaceAll('°', '^\\circ ');
}

/** The parser takes x_1 for an element of a list: every subscripted letter becomes a letter that neither text uses. */
function withoutSubscripts(texts: readonly string[]): string[] {
  const used = texts.join('');
  const free = [...'zyxwvutsrqponmlkjhgfcbaABCFGHJKLMOPQRSTUVWXYZ'].filter((letter) => !used.includes(letter));
  const letters = new Map<string, string>();
  return texts.map((text) =>
    text.replaceAll(/\\[A-Za-z]+(?:_(?:\d|\{[^{}]*\}))?|([A-Za-z])_\s*(?:\{([^{}]*)\}|(\w))/g, (whole, letter: string | undefined, braced: string | undefined, single: string | undefined) => {
      if (letter === undefined) {
        return whole;
      }
      const name = `${letter}_${braced ?? single ?? ''}`;
      const known = letters.get(name) ?? free.pop();
      if (known === undefined) {
        throw new Unsupported('too many variables with subscripts');
      }
      letters.set(name, known);
      return ` ${known} `;
    }),
  );
}

/** Errors: Unsupported for what is no formula; the parser takes some stray characters for symbols. */
function parse(latex: string): MathJson {
  engine ??= new ParserClass();
  // Not canonical: making an expression canonical may already compute a huge power.
  const boxed = engine.parse(readable(latex), { canonical: false });
  if (!boxed.isValid || latex.trim() === '' || /[#@?"`;]|[^ -~°]/.test(latex)) {
    throw new Unsupported(`cannot read ${JSON.stringify(latex.slice(0, 40))} as a formula`);
  }
  return resolve(boxed.json as MathJson);
}

/** Fixed points: fractions of either sign, small ones, integers, large ones. Index: point, then variable. */
function pointValue(point: number, variable: number): Rational {
  // A linear congruential sequence; any fixed one does.
  const random = (Math.imul(point * 31 + variable + 1, 0x9e3779b1) >>> 8) % 1000;
  if (point < 8) {
    const sign = (random & 1) === 0 || point < 2 ? 1n : -1n;
    return { n: sign * BigInt(101 + 2 * random), d: 1013n };
  }
  if (point < 12) {
    return { n: BigInt((random % 2 === 0 ? 1 : -1) * (1 + (random % 97))), d: 101n };
  }
  return point < 17 ? { n: BigInt(2 + ((random + point) % 9)), d: 1n } : { n: BigInt(1000 + 7 * random), d: 101n };
}
const POINTS = 21;

interface Point {
  readonly exact: Map<string, Rational>;
  readonly float: Map<string, number>;
}

function points(names: readonly string[]): Point[] {
  return Array.from({ length: names.length === 0 ? 1 : POINTS }, (_, point) => {
    const values = names.map((name, variable) => [name, pointValue(point, variable)] as const);
    return { exact: new Map(values), float: new Map(values.map(([name, { n, d }]) => [name, Number(n) / Number(d)])) };
  });
}

type Agreement = 'equal' | 'different' | 'close' | 'undefined';

function isLong(value: Rational | undefined): boolean {
  return value !== undefined && (value.n > LONG || value.n < -LONG || value.d > LONG);
}

/** Whether both have the same value at a point; `real` tells whether both values are real numbers. */
function agree(left: MathJson, right: MathJson, point: Point): { agreement: Agreement; real: boolean } {
  const [p, q] = [exact(left, point.exact), exact(right, point.exact)];
  if (p !== undefined && q !== undefined) {
    return { agreement: same(p, q) ? 'equal' : 'different', real: true };
  }
  const [z, w] = [numeric(left, point.float), numeric(right, point.float)];
  const [size, smallest] = [Math.max(z.abs(), w.abs()), Math.min(z.abs(), w.abs())];
  if (!Number.isFinite(size)) {
    return { agreement: 'undefined', real: false };
  }
  const tiny = NEAR * Math.max(size, ROUNDING);
  const isReal = ({ im }: { im: number }): boolean => Math.abs(im) <= tiny;
  const distance = size === 0 ? 0 : (z.sub(w) as typeof z).abs() / size;
  let agreement: Agreement = distance <= NEAR ? 'equal' : distance >= FAR ? 'different' : 'close';
  if (size <= ROUNDING && agreement === 'different') {
    // sin π is not quite 0; between two such remainders nothing can be told.
    agreement = smallest === 0 ? 'equal' : 'close';
  }
  if (agreement === 'equal' && (p === undefined) !== (q === undefined) && point.exact.size === 0 && isLong(p ?? q)) {
    agreement = 'close';
  }
  // One real and one complex value: outside the domain of one of them.
  return { agreement: isReal(z) === isReal(w) ? agreement : 'undefined', real: isReal(z) && isReal(w) };
}

function compareExpressions(left: MathJson, right: MathJson): Outcome {
  const names = new Set<string>();
  collectVariables(left, names);
  collectVariables(right, names);
  if (names.size > MAX_VARIABLES) {
    throw new Unsupported(`more than ${MAX_VARIABLES} variables`);
  }
  const all = points([...names].sort()).map((point) => agree(left, right, point));
  const real = all.filter((entry) => entry.real && entry.agreement !== 'undefined');
  const valid = (real.length > 0 ? real : all).map(({ agreement }) => agreement).filter((agreement) => agreement !== 'undefined');
  if (valid.includes('different')) {
    return { result: 'different', reason: names.size === 0 ? 'another value' : 'not the same expression' };
  }
  if (valid.length < (names.size === 0 ? 1 : MIN_POINTS) || valid.includes('close')) {
    return { result: 'undecided', reason: valid.includes('close') ? 'too close to tell apart' : 'no value that could be compared' };
  }
  return { result: 'equal', reason: names.size === 0 ? 'the same value' : 'the same expression' };
}

/** A point of the curve f = 0 at which g is not 0, found by scanning one variable, shows that the equations differ. */
function rootOutside(f: MathJson, g: MathJson, names: readonly string[]): boolean {
  const [moving, ...fixed] = names;
  if (moving === undefined) {
    return false;
  }
  const at = (json: MathJson, point: Map<string, number>, x: number): number => {
    const { re, im } = numeric(json, point.set(moving, x));
    return im === 0 ? re : NaN;
  };
  for (let index = 0; index < 8; index += 1) {
    const point = new Map(fixed.map((name, variable) => [name, Number(pointValue(index, variable).n) / 1013]));
    let [low, below] = [-20.05, at(f, point, -20.05)];
    for (let high = -20.05; high < 20; high += 0.1) {
      const above = at(f, point, high);
      if (below * above < 0) {
        const solution = bisect((x) => at(f, point, x), low, high);
        // |g| against its size nearby, so that scale does not matter.
        const nearby = Math.abs(at(g, point, solution + 0.37)) + Math.abs(at(g, point, solution - 0.29));
        if (Math.abs(at(f, point, solution)) < 1e-6 * (Math.abs(below) + Math.abs(above)) && Math.abs(at(g, point, solution)) > FAR * 100 * nearby) {
          return true;
        }
      }
      [low, below] = [high, above];
    }
  }
  return false;
}

function bisect(f: (x: number) => number, from: number, to: number): number {
  let [low, high] = [from, to];
  const sign = Math.sign(f(low));
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2;
    [low, high] = Math.sign(f(middle)) === sign ? [middle, high] : [low, middle];
  }
  return (low + high) / 2;
}

/** f = 0 and g = 0 have the same solutions when f / g is a constant; when some solution of one is none of the other they differ. */
function compareEquations(f: MathJson, g: MathJson): Outcome {
  const names = new Set<string>();
  collectVariables(f, names);
  collectVariables(g, names);
  const quotient: MathJson = ['Divide', f, g];
  const firstPoint = points([...names].sort())[0] as Point;
  const constant = exact(quotient, firstPoint.exact);
  const factor: MathJson = constant === undefined ? { num: String(numeric(quotient, firstPoint.float).re) } : ['Rational', { num: String(constant.n) }, { num: String(constant.d) }];
  if (names.size > 0 && (constant === undefined || constant.n !== 0n) && compareExpressions(f, ['Multiply', factor, g]).result === 'equal') {
    return { result: 'equal', reason: 'the same equation' };
  }
  const sorted = [...names].sort();
  return rootOutside(f, g, sorted) || rootOutside(g, f, sorted)
    ? { result: 'different', reason: 'an equation with other solutions' }
    : { result: 'undecided', reason: 'equations that could not be compared' };
}

/**
 * Compares two expressions, or two equations `a=b`, in LaTeX as `normalise` leaves it. Never throws; deterministic. May take long or
 * much memory on hostile input: run it in a worker with limits.
 */
export function identical(gold: string, answer: string, mode: 'expression' | 'equation'): Outcome {
  try {
    const [left = '', right = ''] = withoutSubscripts([gold, answer]);
    if (mode === 'expression') {
      return compareExpressions(parse(left), parse(right));
    }
    const [f, g] = [left, right].map((equation): MathJson => {
      const at = equation.indexOf('=');
      return ['Subtract', parse(equation.slice(0, at)), parse(equation.slice(at + 1))];
    });
    return compareEquations(f as MathJson, g as MathJson);
  } catch (error) {
    return { result: 'undecided', reason: error instanceof Unsupported ? error.message : `cannot be computed: ${(error as Error).message}` };
  }
}
