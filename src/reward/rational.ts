/** Exact rational numbers, read from the ways people write them. */

/** n / d in lowest terms, d > 0. */
export interface Rational {
  readonly n: bigint;
  readonly d: bigint;
}

/** Largest exponent and most digits that are computed with; beyond, the answer is "too large", not a hang. */
const MAX_EXPONENT = 4000;
const MAX_DIGITS = 4000;

function gcd(a: bigint, b: bigint): bigint {
  while (b !== 0n) {
    [a, b] = [b, a % b];
  }
  return a < 0n ? -a : a;
}

/** n / d, undefined for d = 0. */
export function rational(n: bigint, d = 1n): Rational | undefined {
  if (d === 0n) {
    return undefined;
  }
  const divisor = gcd(n, d) * (d < 0n ? -1n : 1n);
  return { n: n / divisor, d: d / divisor };
}

/** a + b. */
export function add(a: Rational, b: Rational): Rational | undefined {
  return rational(a.n * b.d + b.n * a.d, a.d * b.d);
}

/** a · b. */
export function multiply(a: Rational, b: Rational): Rational | undefined {
  return rational(a.n * b.n, a.d * b.d);
}

/** a / b, undefined for b = 0. */
export function divide(a: Rational, b: Rational): Rational | undefined {
  return rational(a.n * b.d, a.d * b.n);
}

/** a^b for an integer b of moderate size, undefined otherwise. */
export function power(a: Rational, b: Rational): Rational | undefined {
  if (b.d !== 1n) {
    return undefined;
  }
  const size = b.n < 0n ? -b.n : b.n;
  const bits = BigInt(Math.max(a.n.toString(2).length, a.d.toString(2).length));
  if (size * bits > BigInt(MAX_EXPONENT * 4) || (a.n === 0n && b.n <= 0n)) {
    return undefined;
  }
  return b.n < 0n ? rational(a.d ** size, a.n ** size) : rational(a.n ** size, a.d ** size);
}

/** Whether a = b. */
export function same(a: Rational, b: Rational): boolean {
  return a.n === b.n && a.d === b.d;
}

const DECIMAL = String.raw`(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+`;
const SIGNED = String.raw`[+-]?(?:${DECIMAL})`;
const anchored = (pattern: string): RegExp => new RegExp(`^(?:${pattern})$`);

const PATTERNS = {
  decimal: anchored(DECIMAL),
  repeating: anchored(String.raw`(\d*)\.(\d*)\\overline\{(\d+)\}`),
  fraction: anchored(String.raw`\\frac\{(${SIGNED})\}\{(${SIGNED})\}`),
  slash: anchored(String.raw`\(?(${SIGNED})\)?\s*/\s*\(?(${SIGNED})\)?`),
  mixed: anchored(String.raw`(\d+)\s*\\frac\{(\d+)\}\{(\d+)\}|(\d+)\s+(\d+)/(\d+)`),
  scientific: anchored(String.raw`(?:(${SIGNED})\s*(?:\\cdot|x)\s*)?10\s*\^\s*(?:\{\s*([+-]?\d+)\s*\}|([+-]?\d+))|(${DECIMAL})[eE]([+-]?\d+)`),
};

function decimal(text: string): Rational | undefined {
  const plain = text.replaceAll(',', '');
  const sign = plain.startsWith('-') ? -1n : 1n;
  const [whole = '', part = ''] = plain.replace(/^[+-]/, '').split('.');
  return rational(sign * BigInt(`${whole}${part}` || '0'), 10n ** BigInt(part.length));
}

function scientific(mantissa: string, exponent: string): Rational | undefined {
  const size = Number(exponent);
  const value = decimal(mantissa);
  if (value === undefined || Math.abs(size) > MAX_EXPONENT) {
    return undefined;
  }
  const scale = 10n ** BigInt(Math.abs(size));
  return size < 0 ? rational(value.n, value.d * scale) : rational(value.n * scale, value.d);
}

function over(a: string, b: string): Rational | undefined {
  const [n, d] = [decimal(a), decimal(b)];
  return n === undefined || d === undefined ? undefined : divide(n, d);
}

function repeating(whole: string, fixed: string, period: string): Rational | undefined {
  const nines = BigInt('9'.repeat(period.length) + '0'.repeat(fixed.length));
  return rational(BigInt(whole + fixed + period) - BigInt(`0${whole}${fixed}`), nines);
}

function mixed(parts: readonly (string | undefined)[]): Rational | undefined {
  const [whole = '', n = '', d = ''] = parts.filter((part) => part !== undefined);
  const [a, b] = [decimal(whole), over(n, d)];
  return a === undefined || b === undefined ? undefined : add(a, b);
}

/** How each pattern's groups become a number. */
const READERS: readonly (readonly [RegExp, (groups: readonly (string | undefined)[]) => Rational | undefined])[] = [
  [PATTERNS.decimal, ([whole = '']) => decimal(whole)],
  [PATTERNS.repeating, ([, whole = '', fixed = '', period = '']) => repeating(whole, fixed, period)],
  [PATTERNS.fraction, ([, n = '', d = '']) => over(n, d)],
  [PATTERNS.slash, ([, n = '', d = '']) => over(n, d)],
  [PATTERNS.mixed, ([, ...parts]) => mixed(parts)],
  [PATTERNS.scientific, ([, mantissa, braced, bare, plain, e]) => scientific(mantissa ?? plain ?? '1', braced ?? bare ?? e ?? '0')],
];

function unsigned(text: string): Rational | undefined {
  for (const [pattern, read] of READERS) {
    const match = pattern.exec(text);
    if (match !== null) {
      return read(match);
    }
  }
  return undefined;
}

/**
 * A number written as an integer, decimal (thousands separated by commas or not), repeating decimal, fraction, mixed number or in
 * scientific notation, with an optional sign; text as `normalise` leaves it. Undefined: something else, or too large.
 */
export function parseRational(text: string): Rational | undefined {
  const trimmed = text.trim();
  if (trimmed.length > MAX_DIGITS) {
    return undefined;
  }
  const sign = /^[+-]/.exec(trimmed)?.[0];
  const value = unsigned(sign === undefined ? trimmed : trimmed.slice(1).trim());
  return value !== undefined && sign === '-' ? { n: -value.n, d: value.d } : value;
}
