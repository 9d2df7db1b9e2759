/** Numbers with a unit, a percent sign, a base. */

/** A value and its unit: "cm^2", "%", "°", a word; undefined for a bare value. */
export interface Quantity {
  readonly value: string;
  readonly unit: string | undefined;
}

/** Dimension and size of common units; sizes are exact fractions of the first unit of the dimension. */
const UNITS: ReadonlyMap<string, readonly [dimension: string, numerator: number, denominator: number]> = new Map(Object.entries({
  m: ['length', 1, 1], mm: ['length', 1, 1000], cm: ['length', 1, 100], dm: ['length', 1, 10], km: ['length', 1000, 1],
  in: ['imperial length', 1, 1], ft: ['imperial length', 12, 1], yd: ['imperial length', 36, 1], mi: ['imperial length', 63360, 1],
  s: ['time', 1, 1], min: ['time', 60, 1], h: ['time', 3600, 1], day: ['time', 86400, 1], week: ['time', 604800, 1],
  g: ['mass', 1, 1], mg: ['mass', 1, 1000], kg: ['mass', 1000, 1], lb: ['imperial mass', 16, 1], oz: ['imperial mass', 1, 1],
  l: ['volume', 1, 1], ml: ['volume', 1, 1000], dollar: ['money', 1, 1], cent: ['money', 1, 100],
} as const)); // prettier-ignore

const NAMES: ReadonlyMap<string, string> = new Map(Object.entries({
  meter: 'm', metre: 'm', millimeter: 'mm', millimetre: 'mm', centimeter: 'cm', centimetre: 'cm', kilometer: 'km', kilometre: 'km',
  inch: 'in', inche: 'in', foot: 'ft', feet: 'ft', yard: 'yd', mile: 'mi', second: 's', sec: 's', minute: 'min', hour: 'h', hr: 'h',
  gram: 'g', kilogram: 'kg', milligram: 'mg', pound: 'lb', ounce: 'oz', liter: 'l', litre: 'l', milliliter: 'ml', millilitre: 'ml',
  usd: 'dollar', degree: '°', deg: '°', percent: '%', 'percentage point': '%',
})); // prettier-ignore

/** A unit's name as in {@link UNITS}, with its power: "square centimeters" and "cm^2" are "cm^2". */
function canonical(unit: string): string {
  const words = unit.replaceAll(/\\text\{|[{}\\]/g, ' ').replaceAll(/\s*([/^])\s*/g, '$1').replaceAll(/\s+/g, ' ').trim().toLowerCase().replace(/\.$/, '');
  const [, shape, base = '', exponent] = /^(square|sq\.?|cubic|cu\.?)?\s*(.*?)(?:\^(\d))?$/.exec(words) ?? [];
  const power = shape === undefined ? exponent : shape.startsWith('sq') ? '2' : '3';
  const singular = base.length > 3 ? base.replace(/s$/, '') : base.replace(/^(hr|lb|day|yd|min|sec)s$/, '$1');
  const name = NAMES.get(base) ?? NAMES.get(singular) ?? singular;
  return power === undefined ? name : `${name}^${power}`;
}

const UPRIGHT = /^([\s\S]*?[\w)}\]!°.])\s*((?:\\text\{[^{}]*\}|\{\\text\{[^{}]*\}\})(?:\s*\^\s*\{?\s*[23]\s*\}?)?(?:\s*(?:\/|\\cdot)?\s*\\text\{[^{}]*\}(?:\^\{?[23]\}?)?)*)$/;
const PLAIN = /^([-+]?[\d.,]*\d(?:\s*\/\s*\d+)?|[\s\S]*\}|[\s\S]*\\pi)(\s*)((?:(?:square|sq\.?|cubic|cu\.?) )?[A-Za-z]{2,}(?:[ /][A-Za-z]+)*(?:\^\{?[23]\}?)?)$/;

/** Without `\text`, letters after a value are a unit when the unit is known, or are a word apart from a number: "5 apples". */
function plainUnit(text: string): RegExpExecArray | null {
  const match = PLAIN.exec(text);
  const [, value = '', space = '', unit = ''] = match ?? [];
  const base = canonical(unit).replace(/\^\d$/, '');
  const known = UNITS.has(base) || [...NAMES.values()].includes(base);
  return known || (space !== '' && /\d$/.test(value) && /[A-Za-z]{3,}/.test(unit)) ? match : null;
}

/** Splits the unit off; text as `normalise` leaves it. A lone letter is a variable, not a unit, unless in `\text`. */
export function splitUnit(text: string): Quantity {
  const mark = /^([\s\S]*[\w)}\]])\s*([%°])$/.exec(text);
  const match = mark ?? UPRIGHT.exec(text) ?? plainUnit(text);
  if (match === null || /\\(?:text|frac|sqrt)$|[-+*/=^]$|\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])/.test(match[1] ?? '')) {
    return { value: text, unit: undefined };
  }
  const value = (match[1] ?? '').trim();
  return { value, unit: mark === null ? canonical(match.at(-1) ?? '') : match[2] };
}

/** How many `b` are one `a`, as a LaTeX fraction; null: they measure different things; undefined: it is not known. */
export function unitRatio(a: string, b: string): string | null | undefined {
  const split = (unit: string): [string, number] => [unit.replace(/\^\d$/, ''), Number(/\^(\d)$/.exec(unit)?.[1] ?? 1)];
  const [[nameA, powerA], [nameB, powerB]] = [split(a), split(b)];
  const [sizeA, sizeB] = [UNITS.get(nameA), UNITS.get(nameB)];
  if (sizeA === undefined || sizeB === undefined) {
    return undefined;
  }
  if (sizeA[0] !== sizeB[0] || powerA !== powerB) {
    return sizeA[0].replace('imperial ', '') === sizeB[0].replace('imperial ', '') && powerA === powerB ? undefined : null;
  }
  return `\\frac{${(sizeA[1] * sizeB[2]) ** powerA}}{${(sizeA[2] * sizeB[1]) ** powerA}}`;
}

/** `1011_2`, `2A_{16}`: digits and value; undefined for anything else. */
export function parseBase(text: string): { digits: string; value: bigint } | undefined {
  const match = /^([0-9A-Za-z]{1,200})_\{?(?:\\text\{)?\s*(\d+|two|eight|ten|sixteen)\s*\}{0,2}$/.exec(text);
  const digits = match?.[1]?.toUpperCase() ?? '';
  const words: Readonly<Record<string, number>> = { two: 2, eight: 8, ten: 10, sixteen: 16 };
  const base = words[match?.[2] ?? ''] ?? Number(match?.[2]);
  if (match === null || !(base >= 2 && base <= 36) || !/^\d/.test(digits)) {
    return undefined;
  }
  let value = 0n;
  for (const char of digits) {
    const digit = parseInt(char, 36);
    if (digit >= base) {
      return undefined;
    }
    value = value * BigInt(base) + BigInt(digit);
  }
  return { digits, value };
}
