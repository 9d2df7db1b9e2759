/** Puts the ledgers of several folders together. */
import { open, rename, rm, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { RewardLensError, throwIfAborted } from '../native/errors.js';
import { makeFolder } from '../util/makeFolder.js';
import { lockFolder } from '../rollout/lock.js';
import type { JournalLine } from '../store/journal.js';
import { openLine, readLines } from '../store/journal.js';
import { contentHash } from '../util/hash.js';
import type { LedgerRecord } from './ledger.js';
import { LEDGER_FILE } from './ledger.js';

/** What a merge did. */
export interface MergeTotals {
  /** Records in the output, those that it had before included. */
  readonly records: number;
  /** Records that another one equals. */
  readonly duplicates: number;
  /** Lines that were left out, as "file:line: why". */
  readonly damaged: readonly string[];
}

/** Where a key was first seen, and a hash of its outcome. */
interface Seen {
  readonly outcome: string;
  readonly place: string;
}

/**
 * Writes the records of the ledgers in `sources` and in `output` to the ledger in `output`, each key once, all at once at the
 * end: an error changes nothing. Lines that are damaged are left out and listed. Errors: INVALID_ARGUMENT naming both lines when
 * two records of one key differ; IO, also for a folder without ledger; BUSY; ABORTED. Memory: two short hashes per key.
 */
export async function mergeLedgers(sources: readonly string[], output: string, options: { signal?: AbortSignal | undefined } = {}): Promise<MergeTotals> {
  for (const directory of sources) {
    if (!(await exists(join(directory, LEDGER_FILE)))) {
      throw new RewardLensError('IO', `'${join(directory, LEDGER_FILE)}' does not exist: '${directory}' is no folder of a sweep`, { details: { directory } });
    }
  }
  await makeFolder(output);
  const unlock = await lockFolder(output);
  try {
    return await writeAll([output, ...sources].map((directory) => join(directory, LEDGER_FILE)), join(output, LEDGER_FILE), options.signal);
  } finally {
    await unlock();
  }
}

const exists = async (path: string): Promise<boolean> => stat(path).then(() => true, () => false);

async function writeAll(paths: readonly string[], target: string, signal: AbortSignal | undefined): Promise<MergeTotals> {
  const temporary = `${target}.merge`;
  const seen = new Map<string, Seen>();
  const damaged: string[] = [];
  let duplicates = 0;
  let file: FileHandle | undefined;
  try {
    file = await open(temporary, 'w');
    for (const path of new Set(paths)) {
      for await (const line of readLines(path)) {
        throwIfAborted('merging', signal);
        const place = `${path}:${line.number}`;
        const record = intact(line);
        if (typeof record === 'string') {
          damaged.push(`${place}: ${record}`);
        } else if (isNew(seen, record, place)) {
          await file.appendFile(`${line.text}\n`);
        } else {
          duplicates++;
        }
      }
    }
    await file.sync();
    await file.close();
    file = undefined;
    await rename(temporary, target);
  } catch (error) {
    await file?.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw error instanceof RewardLensError
      ? error
      : new RewardLensError('IO', `writing '${target}' failed: ${(error as Error).message}`, { cause: error, details: { path: target } });
  }
  return { records: seen.size, duplicates, damaged };
}

/** The record of a line, or why it is none. */
function intact(line: JournalLine): LedgerRecord | string {
  if (!line.complete) {
    return 'a write that was cut off';
  }
  const opened = openLine(line.text);
  if ('fault' in opened) {
    return opened.fault;
  }
  return opened.value.crc32 === undefined || typeof opened.value.key !== 'string' ? 'not a record of a ledger' : (opened.value as unknown as LedgerRecord);
}

/** Whether a key is seen for the first time. The name of the arm may differ: arms that edit alike share their records. */
function isNew(seen: Map<string, Seen>, record: LedgerRecord, place: string): boolean {
  const { key, item, verdict, reward, extracted, text, tokens, finishReason, edited, expected } = record;
  const outcome = contentHash([item, verdict, reward, extracted, text, tokens, finishReason, edited, expected]);
  const before = seen.get(key);
  if (before === undefined) {
    seen.set(key, { outcome, place });
    return true;
  }
  if (before.outcome !== outcome) {
    throw new RewardLensError('INVALID_ARGUMENT', `${before.place} and ${place} differ, but are of the same arm and item ('${record.arm}', '${item}'), model and settings: one of them is wrong`, {
      details: { key, first: before.place, second: place },
    });
  }
  return false;
}
