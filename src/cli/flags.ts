/** Typed reading of a parsed command line; every refusal is a UsageError that names the flag. */
import { UsageError } from './errors.js';

type FlagValue = string | number | boolean | readonly string[] | undefined;

/** Values of one command's options, by long name. */
export class Flags {
  readonly #values: Readonly<Record<string, FlagValue>>;
  readonly #words: readonly string[];

  /** `words`: names of positional words among the values, which messages show without dashes. */
  constructor(values: Readonly<Record<string, unknown>>, words: readonly string[] = []) {
    this.#values = values as Readonly<Record<string, FlagValue>>;
    this.#words = words;
  }

  /** A text, undefined when not given. An empty one is refused unless `allowEmpty`. */
  text(name: string, options: { allowEmpty?: boolean } = {}): string | undefined {
    const value = this.#values[name];
    if (value === undefined) {
      return undefined;
    }
    const text = String(value);
    if (text === '' && options.allowEmpty !== true) {
      throw this.#error(name, 'a value that is not empty', text);
    }
    return text;
  }

  /** A text that must be given. */
  required(name: string, what: string): string {
    const value = this.text(name);
    if (value === undefined) {
      throw new UsageError(`${this.#shown(name)}: expected ${what}, but it is missing`);
    }
    return value;
  }

  /** All values of a repeatable flag. */
  list(name: string): string[] {
    const value = this.#values[name];
    return value === undefined ? [] : (Array.isArray(value) ? (value as readonly string[]) : [value]).map(String);
  }

  /** A switch. */
  on(name: string): boolean {
    return this.#values[name] === true;
  }

  /** An integer in low..high, undefined when not given. */
  integer(name: string, low: number, high = 0x7fffffff): number | undefined {
    return this.#number(name, /^[+-]?\d+$/, high === 0x7fffffff ? `an integer ≥ ${low}` : `an integer in ${low}..${high}`, low, high);
  }

  /** A number in low..high, undefined when not given. */
  number(name: string, low: number, high = Infinity): number | undefined {
    const expected = high === Infinity ? `a number ≥ ${low}` : `a number in ${low}..${high}`;
    return this.#number(name, /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i, expected, low, high);
  }

  /** One of `choices`, undefined when not given. */
  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const text = this.text(name);
    if (text !== undefined && !(choices as readonly string[]).includes(text)) {
      throw this.#error(name, `one of ${choices.join(', ')}`, text);
    }
    return text as T | undefined;
  }

  #number(name: string, pattern: RegExp, expected: string, low: number, high: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) {
      return undefined;
    }
    const value = Number(text);
    if (!pattern.test(text) || !(value >= low && value <= high)) {
      throw this.#error(name, expected, text);
    }
    return value;
  }

  #error(name: string, expected: string, received: string): UsageError {
    return new UsageError(`${this.#shown(name)}: expected ${expected}, got ${JSON.stringify(received)}`);
  }

  #shown(name: string): string {
    return this.#words.includes(name) ? name.toUpperCase() : `--${name}`;
  }
}
