/** Values of MathJSON expressions: exactly, as rational numbers, or as complex doubles. */
import { Complex } from 'complex-esm';
import { add, divide, multiply, parseRational, power, rational } from './rational.js';
import type { Rational } from './rational.js';

/** A parsed expression: a number, a symbol (or a quoted text), or [head, ...operands]. */
export type MathJson = number | string | { readonly num: string } | readonly [string, ...MathJson[]];

/** Thrown for what has no value here: texts, sums with dots, unknown functions. */
export class Unsupported extends Error {
  override readonly name = 'Unsupported';
}

/** Largest argument of a factorial, and bound of |exponent| for doubles to stay meaningful. */
const MAX_FACTORIAL = 170;

const real = (x: number): Complex => new Complex(x, 0);

const CONSTANTS: ReadonlyMap<string, Complex> = new Map<string, Complex>(Object.entries({
  Pi: real(Math.PI), e: real(Math.E), ExponentialE: real(Math.E), i: new Complex(0, 1), ImaginaryUnit: new Complex(0, 1),
})); // prettier-ignore

const NOT_VARIABLES = new Set([...CONSTANTS.keys(), 'PositiveInfinity', 'NegativeInfinity', 'Nothing']);

// complex-esm declares these as `any`.
const plus = (x: Complex, y: Complex): Complex => x.add(y) as Complex;
const minus = (x: Complex, y: Complex): Complex => x.sub(y) as Complex;
const times = (x: Complex, y: Complex): Complex => x.mul(y) as Complex;
const quotient = (x: Complex, y: Complex): Complex => (y.abs() === 0 ? real(NaN) : (x.div(y) as Complex));

/** Functions of one complex variable by MathJSON head. */
const FUNCTIONS: ReadonlyMap<string, (z: Complex) => Complex> = new Map<string, (z: Complex) => Complex>(Object.entries({
  Negate: (z) => z.neg(), Sqrt: (z) => z.sqrt(), Exp: (z) => z.exp(), Ln: (z) => z.log(), Lb: (z) => quotient(z.log(), real(Math.LN2)),
  Abs: (z) => real(z.abs()), Degrees: (z) => times(z, real(Math.PI / 180)),
  Sin: (z) => z.sin(), Cos: (z) => z.cos(), Tan: (z) => z.tan(), Cot: (z) => z.cot(), Sec: (z) => z.sec(), Csc: (z) => z.csc(),
  Arcsin: (z) => z.asin(), Arccos: (z) => z.acos(), Arctan: (z) => z.atan(),
  Sinh: (z) => z.sinh(), Cosh: (z) => z.cosh(), Tanh: (z) => z.tanh(), Coth: (z) => z.coth(), Sech: (z) => z.sech(), Csch: (z) => z.csch(),
  Floor: (z) => onReal(z, Math.floor), Ceil: (z) => onReal(z, Math.ceil), Factorial: (z) => onReal(z, factorial),
})); // prettier-ignore

const INVERSES: ReadonlyMap<string, string> = new Map<string, string>(Object.entries({ Sin: 'Arcsin', Cos: 'Arccos', Tan: 'Arctan' }));
const NAMED = new Set(['Exp', 'Binomial', 'GCD', 'LCM', 'Max', 'Min', 'Arcsin', 'Arccos', 'Arctan']);

const near = (a: number, b: number): boolean => Math.abs(a - b) < 1e-9 * Math.max(1, Math.abs(b));

function onReal(z: Complex, f: (x: number) => number): Complex {
  // A double that is almost an integer is that integer: floor(0.1 · 30) is 3.
  const x = near(z.re, Math.round(z.re)) ? Math.round(z.re) : z.re;
  return real(near(z.im, 0) ? f(x) : NaN);
}

function factorial(n: number): number {
  if (!Number.isInteger(n) || n < 0 || n > MAX_FACTORIAL) {
    return NaN;
  }
  let product = 1;
  for (let k = 2; k <= n; k += 1) {
    product *= k;
  }
  return product;
}

function gcd(a: number, b: number): number {
  return b === 0 ? Math.abs(a) : gcd(b, a % b);
}

/** Functions of several real numbers. */
const REAL_FUNCTIONS: ReadonlyMap<string, (...x: number[]) => number> = new Map<string, (...x: number[]) => number>(Object.entries({
  Max: Math.max,
  Min: Math.min,
  GCD: (...x) => (x.every(Number.isInteger) ? x.reduce(gcd) : NaN),
  LCM: (...x) => (x.every(Number.isInteger) ? x.reduce((a, b) => Math.abs(a * b) / gcd(a, b)) : NaN),
  Binomial: (n = NaN, k = NaN) => Math.round(factorial(n) / factorial(k) / factorial(n - k)),
  Mod: (a = NaN, b = NaN) => a - b * Math.floor(a / b),
}));

const isCall = (json: MathJson | undefined): json is readonly [string, ...MathJson[]] => Array.isArray(json);
const isInteger = (json: MathJson | undefined): boolean => typeof json === 'number' && Number.isInteger(json);

/** Operands of `f(a, b)` as the parser leaves it: ["Delimiter", ["Sequence", a, b], …] or ["Delimiter", a]. */
function callArguments(json: MathJson | undefined): readonly MathJson[] {
  if (!isCall(json) || json[0] !== 'Delimiter') {
    return json === undefined ? [] : [json];
  }
  const inner = json[1];
  return isCall(inner) && inner[0] === 'Sequence' ? inner.slice(1) : inner === undefined ? [] : [inner];
}

/** Gives the parser's juxtapositions a meaning: 2½ is 2 + 1/2, `exp (x)` a call, all else a product. Brackets vanish. */
export function resolve(json: MathJson): MathJson {
  if (!isCall(json)) {
    if (typeof json === 'string' && json.startsWith("'")) {
      throw new Unsupported(`a text inside a formula: ${json}`);
    }
    return json;
  }
  const [head, ...operands] = json;
  if (head === 'Delimiter') {
    const inner = callArguments(json);
    if (inner.length !== 1) {
      throw new Unsupported('a list inside a formula');
    }
    return resolve(inner[0] as MathJson);
  }
  if (head === 'Apply' && isCall(operands[0]) && operands[0][0] === 'InverseFunction') {
    const name = operands[0][1];
    const inverse = typeof name === 'string' ? INVERSES.get(name) : undefined;
    if (inverse === undefined) {
      throw new Unsupported('the inverse of a function');
    }
    return [inverse, ...operands.slice(1).flatMap(callArguments).map(resolve)];
  }
  return head === 'InvisibleOperator' ? juxtaposed(operands) : [head, ...operands.map(resolve)];
}

function juxtaposed(operands: readonly MathJson[]): MathJson {
  const factors: MathJson[] = [];
  for (let i = 0; i < operands.length; i += 1) {
    const [here, next] = [operands[i] as MathJson, operands[i + 1]];
    if (typeof here === 'string' && NAMED.has(here) && next !== undefined) {
      factors.push([here, ...callArguments(next).map(resolve)]);
      i += 1;
    } else if (i === 0 && isInteger(here) && isCall(next) && next[0] === 'Divide' && isInteger(next[1]) && isInteger(next[2])) {
      factors.push(['Add', here, next]);
      i += 1;
    } else {
      factors.push(resolve(here));
    }
  }
  return factors.length === 1 ? (factors[0] as MathJson) : ['Multiply', ...factors];
}

/** Names of the variables of a resolved expression, added to `names`. */
export function collectVariables(json: MathJson, names: Set<string>): void {
  if (isCall(json)) {
    json.slice(1).forEach((operand) => collectVariables(operand, names));
  } else if (typeof json === 'string' && !NOT_VARIABLES.has(json)) {
    names.add(json);
  }
}

/** The exact value; undefined when it is not rational, not defined, or too large. */
export function exact(json: MathJson, variables: ReadonlyMap<string, Rational>): Rational | undefined {
  if (!isCall(json)) {
    return typeof json === 'string' ? variables.get(json) : parseRational(typeof json === 'number' ? String(json) : json.num);
  }
  const values: Rational[] = [];
  for (const operand of json.slice(1)) {
    const value = exact(operand, variables);
    if (value === undefined) {
      return undefined;
    }
    values.push(value);
  }
  return exactCall(json[0], values);
}

function exactCall(head: string, values: readonly Rational[]): Rational | undefined {
  const [a, b] = values;
  if (a === undefined) {
    return undefined;
  }
  const fold = (f: (x: Rational, y: Rational) => Rational | undefined): Rational | undefined =>
    values.slice(1).reduce<Rational | undefined>((x, y) => (x === undefined ? undefined : f(x, y)), a);
  const negative = ({ n, d }: Rational): Rational => ({ n: -n, d });
  switch (head) {
    case 'Add':
      return fold(add);
    case 'Subtract':
      return fold((x, y) => add(x, negative(y)));
    case 'Multiply':
      return fold(multiply);
    case 'Negate':
      return negative(a);
    case 'Abs':
      return a.n < 0n ? negative(a) : a;
    case 'Divide':
    case 'Rational':
      return fold(divide);
    case 'Power':
      return b === undefined ? undefined : power(a, b);
    case 'Factorial':
      return a.d === 1n && a.n >= 0n && a.n <= 1000n ? exactFactorial(a.n) : undefined;
    case 'Sqrt':
      return exactRoot(a);
    default:
      return undefined;
  }
}

/** Square root of the square of a rational number. */
function exactRoot({ n, d }: Rational): Rational | undefined {
  const [p, q] = [integerRoot(n), integerRoot(d)];
  return p * p === n && q * q === d ? rational(p, q) : undefined;
}

/** ⌊√n⌋ by Newton's method, 0 for negative n. */
function integerRoot(n: bigint): bigint {
  if (n < 1n) {
    return 0n;
  }
  let root = 1n << BigInt((n.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) {
      return root;
    }
    root = next;
  }
}

function exactFactorial(n: bigint): Rational | undefined {
  let product = 1n;
  for (let k = 2n; k <= n; k += 1n) {
    product *= k;
  }
  return rational(product);
}

/** The value as a complex double, principal branches; roots of odd order of negative reals are real. NaN: undefined there. */
export function numeric(json: MathJson, variables: ReadonlyMap<string, number>): Complex {
  if (!isCall(json)) {
    return numericAtom(json, variables);
  }
  const [head] = json;
  const values = json.slice(1).map((operand) => numeric(operand, variables));
  const first = values[0];
  if (first === undefined) {
    throw new Unsupported(head);
  }
  const fold = (f: (x: Complex, y: Complex) => Complex): Complex => values.slice(1).reduce(f, first);
  const one = FUNCTIONS.get(head);
  if (one !== undefined && values.length === 1) {
    return one(first);
  }
  const several = REAL_FUNCTIONS.get(head);
  if (several !== undefined) {
    return values.every(({ im }) => near(im, 0)) ? real(several(...values.map(({ re }) => re))) : real(NaN);
  }
  const second = values[1];
  switch (head) {
    case 'Add':
      return fold(plus);
    case 'Subtract':
      return fold(minus);
    case 'Multiply':
      return fold(times);
    case 'Divide':
    case 'Rational':
      return fold(quotient);
    case 'Power':
      return second === undefined ? missing(head) : raise(first, second);
    case 'Root':
      return second === undefined ? first.sqrt() : root(first, second);
    case 'Log':
      return quotient(first.log(), second === undefined ? real(Math.LN10) : second.log());
    default:
      return missing(head);
  }
}

function numericAtom(json: number | string | { readonly num: string }, variables: ReadonlyMap<string, number>): Complex {
  if (typeof json === 'number') {
    return real(json);
  }
  if (typeof json === 'object') {
    return real(Number(json.num));
  }
  const value = variables.get(json);
  return value === undefined ? (CONSTANTS.get(json) ?? missing(json)) : real(value);
}

function missing(name: string): never {
  throw new Unsupported(`${name} is not something that can be computed here`);
}

function raise(base: Complex, exponent: Complex): Complex {
  // Integer powers of reals stay real; complex.js goes through logarithms.
  return base.im === 0 && exponent.im === 0 && (base.re >= 0 || Number.isInteger(exponent.re)) ? real(base.re ** exponent.re) : (base.pow(exponent) as Complex);
}

function root(base: Complex, degree: Complex): Complex {
  const odd = Number.isInteger(degree.re) && degree.im === 0 && Math.abs(degree.re % 2) === 1;
  if (base.im === 0 && base.re < 0 && odd) {
    return real(-((-base.re) ** (1 / degree.re)));
  }
  return raise(base, quotient(real(1), degree));
}
