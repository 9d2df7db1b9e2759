/** Which positions of a sequence a capture or an intervention means. */
import type { NativePositions } from '../native/addon.js';
import { invalidArgument } from '../native/errors.js';

/**
 * - `all`: every position that is computed
 * - `prompt`: the prompt's positions
 * - `completion`: sampled tokens (the last one is never fed back, so it has no state)
 * - `response`: s_0 and the completion: the states from which tokens are sampled
 * - `s0`: the last prompt position, which predicts the first completion token
 * - `last`: the last position computed (capture only)
 * - a list: absolute positions; negative ones count from the end of the prompt, so -1 is s_0
 */
export type Positions = 'all' | 'prompt' | 'completion' | 'response' | 's0' | 'last' | readonly number[];

const NAMES = ['all', 'prompt', 'completion', 'response', 's0', 'last'];

/** Checks a value from outside; throws INVALID_ARGUMENT naming `parameter`. */
export function asPositions(value: unknown, parameter: string, options: { allowLast: boolean }): Positions {
  const names = options.allowLast ? NAMES : NAMES.filter((name) => name !== 'last');
  if (Array.isArray(value)) {
    const list: readonly unknown[] = value;
    list.forEach((entry, i) => {
      if (!Number.isInteger(entry)) {
        throw invalidArgument(`${parameter}[${i}]`, 'an integer position', entry);
      }
    });
    if (list.length === 0) {
      throw invalidArgument(parameter, 'at least one position', value);
    }
    return list as number[];
  }
  if (typeof value === 'string' && names.includes(value)) {
    return value as Positions;
  }
  throw invalidArgument(parameter, `${names.join(', ')} or a list of positions`, value);
}

/** The addon's form. `from`: only positions ≥ this. */
export function toNativePositions(positions: Positions, from = 0): NativePositions {
  if (typeof positions === 'string') {
    return { kind: positions, from };
  }
  return { kind: 'list', list: Int32Array.from(new Set(positions)).sort(), from };
}

/**
 * How many positions p with begin ≤ p < end (and p ≥ from) belong to the set, for a prompt of `promptLength`. This is
 * arithmetic on the definition, independent of the engine's own row-by-row test: the two are compared after every run.
 */
export function countPositions(positions: Positions, promptLength: number, begin: number, end: number, from = 0): number {
  const low = Math.max(begin, from);
  const span = (a: number, b: number): number => Math.max(0, Math.min(b, end) - Math.max(a, low));
  if (typeof positions !== 'string') {
    const absolute = new Set(positions.map((p) => (p >= 0 ? p : promptLength + p)));
    return [...absolute].filter((p) => p >= low && p < end && p >= 0).length;
  }
  switch (positions) {
    case 'all':
      return span(0, Infinity);
    case 'prompt':
      return span(0, promptLength);
    case 'completion':
      return span(promptLength, Infinity);
    case 'response':
      return span(promptLength - 1, Infinity);
    case 's0':
      return span(promptLength - 1, promptLength);
    case 'last':
      return end > Math.max(low, promptLength - 1) ? 1 : 0;
  }
}
