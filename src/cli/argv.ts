/** Brings a command line into the one form that yargs reads without surprises: `--name=value`. */
import type { Options } from 'yargs';
import { UsageError } from './errors.js';

/** Options of a command by their long name, as for yargs. Values are strings until `Flags` reads them. */
export type OptionTable = Readonly<Record<string, Options>>;

/** llama.cpp's flags of several letters after a single dash. */
const SINGLE_DASH: Readonly<Record<string, string>> = {
  ngl: 'gpu-layers',
  dev: 'device',
  ub: 'ubatch-size',
  fa: 'flash-attn',
  ctk: 'cache-type-k',
  ctv: 'cache-type-v',
  np: 'parallel',
};

/** Flags that yargs itself provides. */
const BUILT_IN = ['-h', '--help', '--version'];

interface Known {
  name: string;
  boolean: boolean;
  repeatable: boolean;
}

function knownFlags(options: OptionTable): Map<string, Known> {
  const known = new Map<string, Known>();
  for (const [name, option] of Object.entries(options)) {
    const entry = { name, boolean: option.type === 'boolean', repeatable: option.array === true };
    const aliases = typeof option.alias === 'string' ? [option.alias] : (option.alias ?? []);
    for (const key of [name, ...aliases]) {
      known.set(key.length === 1 ? `-${key}` : `--${key}`, entry);
    }
    for (const [short, long] of Object.entries(SINGLE_DASH)) {
      if (long === name) {
        known.set(`-${short}`, entry);
      }
    }
  }
  return known;
}

/**
 * Rewrites `-ngl 99`, `-p "- text"`, `--temp 0`, `-n=5` to `--name=value`, so that values may begin with a dash and
 * llama.cpp's multi-letter flags work. A flag given twice counts once, with the last value, as in llama.cpp, unless it
 * is repeatable. Errors: UsageError for an unknown flag, a missing value, a switch with a value.
 */
export function normalizeArgv(argv: readonly string[], options: OptionTable): string[] {
  const known = knownFlags(options);
  const out: string[] = [];
  const last = new Map<string, number>();
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] as string;
    if (word === '--') {
      return [...out, ...argv.slice(i)];
    }
    const equals = word.startsWith('-') ? word.indexOf('=') : -1;
    const flag = equals < 0 ? word : word.slice(0, equals);
    const entry = known.get(flag);
    if (entry === undefined) {
      if (word.length > 1 && word.startsWith('-') && !BUILT_IN.includes(word)) {
        throw new UsageError(`unknown flag ${flag}`);
      }
      out.push(word);
      continue;
    }
    const value = entry.boolean ? switchValue(word, equals) : equals < 0 ? followingValue(argv, ++i, flag, known) : word.slice(equals + 1);
    const previous = entry.repeatable ? undefined : last.get(entry.name);
    last.set(entry.name, previous ?? out.length);
    out[previous ?? out.length] = value === undefined ? `--${entry.name}` : `--${entry.name}=${guardQuotes(value)}`;
  }
  return out;
}

/** yargs takes one pair of quotes off a value; texts may begin and end with quotes of their own. */
function guardQuotes(value: string): string {
  return /^(["']).*\1$/s.test(value) ? `"${value}"` : value;
}

function switchValue(word: string, equals: number): undefined {
  if (equals >= 0) {
    throw new UsageError(`${word.slice(0, equals)}: takes no value, got ${JSON.stringify(word.slice(equals + 1))}`);
  }
  return undefined;
}

function followingValue(argv: readonly string[], at: number, flag: string, known: ReadonlyMap<string, Known>): string {
  const value = argv[at];
  if (value === undefined) {
    throw new UsageError(`${flag}: expected a value`);
  }
  if (known.has(value)) {
    throw new UsageError(`${flag}: expected a value, got the flag ${value} (if it is the value, write ${flag}=${value})`);
  }
  return value;
}
