/** ledger.jsonl: one sealed line per finished (arm, item); what makes a sweep go on where it stopped (docs/sweeps.md). */
import { join } from 'node:path';
import type { Verdict } from '../reward/types.js';
import type { Recovery } from '../store/journal.js';
import { Journal } from '../store/journal.js';

/** File of the ledger inside the sweep's folder. */
export const LEDGER_FILE = 'ledger.jsonl';

/** What the engine made of one (arm, item). */
export interface RawOutcome {
  readonly text: string;
  /** Sampled tokens, an end-of-generation token included. */
  readonly tokens: number;
  readonly finishReason: string;
  /** Values that the arm's edits wrote, those written in a shared prefix included, and the number that its definition demands. */
  readonly edited: number;
  readonly expected: number;
}

/** One finished (arm, item). */
export interface LedgerRecord extends RawOutcome {
  /** Hash of everything that determines the outcome: a changed input makes another key, and old records are left alone. */
  readonly key: string;
  readonly arm: string;
  readonly item: string;
  readonly verdict: Verdict['verdict'];
  readonly reward: number | null;
  readonly extracted: string | null;
}

/** Appended records are forced to the disk after this many, or when this much time has passed since the last time, ms. */
const SYNC_RECORDS = 256;
const SYNC_MS = 2000;

/**
 * The ledger of a folder. A record survives the process being killed as soon as {@link append} resolves, and loss of power
 * after at most 256 further records or the first record that comes 2 s later.
 */
export class Ledger {
  /** Finished pairs by key. */
  readonly done: Map<string, LedgerRecord>;
  /** What was found broken when it was opened. */
  readonly recovery: Recovery;
  readonly #journal: Journal;
  #appends: Promise<void> = Promise.resolve();
  #unsynced = 0;
  #synced = performance.now();

  private constructor(journal: Journal, done: Map<string, LedgerRecord>, recovery: Recovery) {
    this.#journal = journal;
    this.done = done;
    this.recovery = recovery;
  }

  /**
   * Opens the ledger in `directory`, takes out a torn last line and damaged ones, and keeps the records whose key is `wanted` in
   * memory; those of other sweeps stay in the file. Errors: IO.
   */
  static async open(directory: string, wanted: { has(key: string): boolean }): Promise<Ledger> {
    const path = join(directory, LEDGER_FILE);
    const done = new Map<string, LedgerRecord>();
    const recovery = await Journal.recover(path, ({ crc32, ...record }) => {
      const entry = record as unknown as LedgerRecord;
      // Without checksum the seal itself was hit: a record is trusted whole or not at all.
      if (crc32 !== undefined && wanted.has(entry.key)) {
        done.set(entry.key, entry);
      }
      return crc32 !== undefined;
    });
    return new Ledger(await Journal.open(path), done, recovery);
  }

  /** Appends a record, unless its pair is there already. Errors: IO. */
  async append(record: LedgerRecord): Promise<void> {
    const appended = this.#appends.then(() => this.#append(record));
    this.#appends = appended.catch(() => undefined);
    await appended;
  }

  async #append(record: LedgerRecord): Promise<void> {
    if (this.done.has(record.key)) {
      return;
    }
    await this.#journal.append(record);
    this.done.set(record.key, record);
    this.#unsynced++;
    if (this.#unsynced >= SYNC_RECORDS || performance.now() - this.#synced > SYNC_MS) {
      await this.#journal.sync();
      this.#unsynced = 0;
      this.#synced = performance.now();
    }
  }

  /** Forces what is appended to the disk and closes. Errors: IO. */
  async close(): Promise<void> {
    await this.#appends;
    await this.#journal.close();
  }
}
