/** Stages of a study: each notes what it was made from, and is not made again while that holds. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { writeJson } from '../rollout/folder.js';

/** Short SHA-256 of plain data; keys in any order give the same hash. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(canonical(value)).digest('hex').slice(0, 32);
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map(canonical).join(',')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, entry]) => entry !== undefined);
    return `{${entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, entry]) => `${JSON.stringify(key)}:${canonical(entry)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}

/** SHA-256 of a file's bytes, '' when it does not exist. */
export async function fileHash(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
      hash.update(chunk as Buffer);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return '';
    }
    throw error;
  }
  return hash.digest('hex');
}

/** What a stage file holds: the hash of the inputs, and the result. */
interface StageFile<T> {
  readonly inputs: string;
  readonly seconds: number;
  readonly result: T;
}

/** The result kept in a stage's file; undefined when there is none that can be read. */
export async function readStageResult<T>(path: string): Promise<T | undefined> {
  return readFile(path, 'utf8').then((text) => (JSON.parse(text) as StageFile<T>).result).catch(() => undefined);
}

/** A result, and whether it was found rather than made. */
export interface Staged<T> {
  readonly result: T;
  readonly seconds: number;
  readonly reused: boolean;
}

/**
 * Runs `make` unless the file at `path` was made from equal `inputs` and what it made is still `intact`; the file appears complete
 * or not at all. A file that is damaged or of other inputs is made again. Errors: those of `make`, IO.
 */
export async function runStage<T>(path: string, inputs: unknown, make: () => Promise<T>, intact: (before: T) => Promise<boolean> = async () => true): Promise<Staged<T>> {
  const hash = hashOf(inputs);
  const before = await readFile(path, 'utf8').then((text) => JSON.parse(text) as StageFile<T>).catch(() => undefined);
  if (before?.inputs === hash && (await intact(before.result))) {
    return { result: before.result, seconds: before.seconds, reused: true };
  }
  const started = performance.now();
  const result = await make();
  const seconds = (performance.now() - started) / 1000;
  await writeJson(path, { inputs: hash, seconds, result } satisfies StageFile<T>);
  return { result, seconds, reused: false };
}
