/** Hashes of plain data. */
import { createHash } from 'node:crypto';

/** SHA-256 (its first 32 hex digits) of a value's JSON, typed arrays as arrays of numbers. Keys count in the order they were set. */
export function contentHash(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(value, (_, entry: unknown) => (entry instanceof Float32Array || entry instanceof Int32Array ? [...entry] : entry)))
    .digest('hex')
    .slice(0, 32);
}
