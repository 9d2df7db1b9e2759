/** trajectories.jsonl: one JSON object a line, each sealed with a checksum, only ever appended to. */
import { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, rename, truncate } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { RewardLensError } from '../native/errors.js';

const SEAL = ',"crc32":"';
const hex = (value: number): string => value.toString(16).padStart(8, '0');

/** A line with its checksum as last field: CRC-32 of the line without that field. */
export function sealLine(value: object): string {
  const text = JSON.stringify(value);
  return `${text.slice(0, -1)}${SEAL}${hex(crc32(text))}"}`;
}

/**
 * The object of a line, or why it is not intact. Lines without checksum (other programs write them) count as intact when
 * they are JSON objects.
 */
export function openLine(line: string): { value: Record<string, unknown> } | { fault: string } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { fault: 'not valid JSON' };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { fault: 'not a JSON object' };
  }
  const record = value as Record<string, unknown>;
  const at = line.lastIndexOf(SEAL);
  if (record.crc32 !== undefined) {
    const body = at < 0 ? '' : `${line.slice(0, at)}}`;
    if (record.crc32 !== hex(crc32(body))) {
      return { fault: 'the checksum differs' };
    }
  }
  return { value: record };
}

/** One line of a journal. `offset` and `bytes` are of the line without its line break. */
export interface JournalLine {
  /** Counted from 1. */
  number: number;
  offset: number;
  bytes: number;
  text: string;
  /** False for a last line without line break: a write that was cut off. */
  complete: boolean;
}

const NEWLINE = 0x0a;

/** Lines of a file, in constant memory; empty lines are skipped. A missing file has none. Errors: IO. */
export async function* readLines(path: string): AsyncGenerator<JournalLine, void, void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let offset = 0;
  let number = 0;
  const take = (end: Buffer, complete: boolean): JournalLine => {
    const text = Buffer.concat([...rest, end]).toString('utf8');
    const line = { number: ++number, offset, bytes: restBytes + end.length, text, complete };
    offset += line.bytes + 1;
    rest = [];
    restBytes = 0;
    return line;
  };
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) {
      const buffer = piece as Buffer;
      let from = 0;
      for (let at = buffer.indexOf(NEWLINE); at >= 0; at = buffer.indexOf(NEWLINE, from)) {
        const line = take(buffer.subarray(from, at), true);
        from = at + 1;
        if (line.text.trim() !== '') {
          yield line;
        }
      }
      rest.push(buffer.subarray(from));
      restBytes += buffer.length - from;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return;
    }
    throw new RewardLensError('IO', `cannot read '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
  }
  if (restBytes > 0) {
    yield take(Buffer.alloc(0), false);
  }
}

/** What `Journal.recover` found. */
export interface Recovery {
  /** Whole lines whose checksum or JSON was wrong, by line number; they were taken out. */
  damaged: number[];
  /** A write that was cut off at the end was removed. */
  torn: boolean;
}

/** Appends sealed lines. */
export class Journal {
  readonly path: string;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Opens for appending; the file is made when missing. Run {@link recover} first. Errors: IO. */
  static async open(path: string): Promise<Journal> {
    try {
      return new Journal(path, await open(path, 'a'));
    } catch (error) {
      throw new RewardLensError('IO', `cannot write '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
    }
  }

  /**
   * Makes a journal whole after a crash: a torn last line is cut off, damaged lines are taken out (the file is rewritten
   * beside itself and swapped in). `keep` sees every intact record and may refuse it. Errors: IO.
   */
  static async recover(path: string, keep: (record: Record<string, unknown>) => boolean | Promise<boolean>): Promise<Recovery> {
    const damaged: number[] = [];
    let torn: number | undefined;
    for await (const line of readLines(path)) {
      if (!line.complete) {
        torn = line.offset; // even if it parses: the next append must begin on a line of its own
        break;
      }
      const opened = openLine(line.text);
      if (!('value' in opened) || !(await keep(opened.value))) {
        damaged.push(line.number);
      }
    }
    if (torn !== undefined) {
      await truncate(path, torn);
    }
    if (damaged.length > 0) {
      await rewriteLines(path, (line) => (damaged.includes(line.number) ? undefined : line.text));
    }
    return { damaged, torn: torn !== undefined };
  }

  /** Appends one record. It survives the process being killed once this resolves; power loss after {@link sync}. Errors: IO. */
  async append(value: object): Promise<void> {
    try {
      await this.#file.appendFile(`${sealLine(value)}\n`);
    } catch (error) {
      throw new RewardLensError('IO', `writing '${this.path}' failed: ${(error as Error).message}`, { cause: error, details: { path: this.path } });
    }
  }

  async sync(): Promise<void> {
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.sync();
    await this.#file.close();
  }
}

/** Replaces a file by one whose lines are what `map` returns (undefined drops a line), all at once. Errors: IO. */
export async function rewriteLines(path: string, map: (line: JournalLine) => string | undefined | Promise<string | undefined>): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    const file = await open(temporary, 'w');
    try {
      for await (const line of readLines(path)) {
        const text = await map(line);
        if (text !== undefined) {
          await file.appendFile(`${text}\n`);
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    throw error instanceof RewardLensError
      ? error
      : new RewardLensError('IO', `rewriting '${path}' failed: ${(error as Error).message}`, { cause: error, details: { path } });
  }
}
