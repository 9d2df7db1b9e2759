/** Parts of a sweep for job arrays. */
import { invalidArgument } from '../native/errors.js';

/** Part `index` of `count`, counted from 1. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/**
 * The items of a part: every count-th, so that all arms of an item stay together and share its prompt, sizes differ by at most
 * one, and further items at the end move none. The parts of 1..count together are all items, each once. Errors: INVALID_ARGUMENT.
 */
export function shardItems<T>(items: readonly T[], { index, count }: Shard): T[] {
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(index) || index < 1 || index > count) {
    throw invalidArgument('shard', 'i/n with 1 ≤ i ≤ n', `${index}/${count}`);
  }
  return items.filter((_, i) => i % count === index - 1);
}
