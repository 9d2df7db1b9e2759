/** Records of one file, whatever holds them: JSON lines, a JSON array, or Parquet. */
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { TextDecoder } from 'node:util';
import { RewardLensError, aborted, throwIfAborted } from '../native/errors.js';
import { parseJson } from '../util/json.js';
import type { RawRecord } from './formats.js';

/** Extensions of files that can be read. */
export const EXTENSIONS = ['.jsonl', '.ndjson', '.json', '.parquet'];

/** What one line (JSONL), element (JSON) or row (Parquet) holds; counted from 1. */
export type Entry = { readonly line: number } & ({ readonly record: RawRecord } | { readonly message: string });

/** All of a file. */
export interface Entries {
  /** What is counted, for messages. */
  readonly unit: 'line' | 'record' | 'row';
  readonly entries: readonly Entry[];
}

function entryOf(line: number, value: unknown): Entry {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? { line, record: value as RawRecord }
    : { line, message: `expected an object with fields, got ${Array.isArray(value) ? 'an array' : JSON.stringify(value)?.slice(0, 60)}` };
}

function parseLine(bytes: Uint8Array, line: number, decoder: TextDecoder): Entry | undefined {
  try {
    const text = decoder.decode(bytes);
    return text.trim() === '' ? undefined : entryOf(line, parseJson(text, '', line));
  } catch (error) {
    const known = error instanceof RewardLensError;
    // parseJson says ": not valid JSON: … at line 3, column 5"; the line is told anyway.
    return { line, message: known ? error.message.slice(2).replace(/ at line \d+, column/, ' at column') : 'not UTF-8 text' };
  }
}

/** Lines end at \n alone: U+2028 and U+2029 may stand inside a JSON string. A whole file may exceed what one string can hold. */
function parseLines(bytes: Uint8Array): Entry[] {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const entries: Entry[] = [];
  for (let start = 0, line = 1; start < bytes.length; line++) {
    const found = bytes.indexOf(10, start);
    const end = found < 0 ? bytes.length : found;
    const entry = parseLine(bytes.subarray(start, end), line, decoder);
    if (entry !== undefined) {
      entries.push(entry);
    }
    start = end + 1;
  }
  return entries;
}

/** Whether the first character that is not space opens an array. */
function isArray(bytes: Uint8Array): boolean {
  return /^[\ufeff\s]*\[/.test(Buffer.from(bytes.subarray(0, 1000)).toString('utf8'));
}

function parseText(bytes: Uint8Array, path: string): Entries {
  if (!isArray(bytes)) {
    return { unit: 'line', entries: parseLines(bytes) };
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${path}': not UTF-8 text`, { cause, details: { path } });
  }
  return { unit: 'record', entries: (parseJson(text, path) as unknown[]).map((value, i) => entryOf(i + 1, value)) };
}

/** Parquet's values as JSON has them: 64-bit integers become numbers where they fit, texts where they do not; dates become texts. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') {
    return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  }
  if (value instanceof Date) {
    return value.toISOString();
  }
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    return Array.from(value as unknown as ArrayLike<unknown>, plain);
  }
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)])) : value;
}

async function parseParquet(bytes: Uint8Array, path: string): Promise<Entries> {
  // Loaded when needed: most data sets are text.
  const [{ parquetReadObjects }, { compressors }] = await Promise.all([import('hyparquet'), import('hyparquet-compressors')]);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  try {
    const rows = await parquetReadObjects({ file, compressors });
    return { unit: 'row', entries: rows.map((row, i) => entryOf(i + 1, plain(row))) };
  } catch (cause) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${path}': not a Parquet file that can be read: ${(cause as Error).message}`, { cause, details: { path } });
  }
}

/**
 * Reads a file of {@link EXTENSIONS}; a text file may hold JSON lines or one JSON array, whatever its extension. Empty lines do not
 * count as entries, but as lines. Errors: IO; ABORTED; INVALID_ARGUMENT for another extension, a broken array or Parquet file.
 * A line that is not a JSON object is an entry with a message. Cost: the file is held in memory, twice while it is read.
 */
export async function readRecords(path: string, signal?: AbortSignal): Promise<Entries> {
  const extension = extname(path).toLowerCase();
  if (!EXTENSIONS.includes(extension)) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${path}': expected a data set file (${EXTENSIONS.join(', ')}) or hf:owner/name, got ${extension || 'no extension'}`, { details: { path } });
  }
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path, signal === undefined ? {} : { signal });
  } catch (cause) {
    throw signal?.aborted === true
      ? aborted('reading a data set', signal)
      : new RewardLensError('IO', `cannot read the data set '${path}': ${(cause as Error).message}`, { cause, details: { path } });
  }
  const entries = extension === '.parquet' ? await parseParquet(bytes, path) : parseText(bytes, path);
  throwIfAborted('reading a data set', signal);
  return entries;
}
