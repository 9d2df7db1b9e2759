/** What the arms of a sweep do to plain language: KL divergence from the base and perplexity on a neutral text. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Intervention } from '../intervene/types.js';
import type { Session } from '../model/session.js';
import { invalidArgument } from '../native/errors.js';
import { makeFolder } from '../util/makeFolder.js';
import { lockFolder } from '../rollout/lock.js';
import type { CapturedChunk } from '../run/engine.js';
import { runSequences } from '../run/engine.js';
import { klDivergence, logPartition } from '../stats/divergence.js';
import { Journal } from '../store/journal.js';
import { contentHash } from '../util/hash.js';
import type { Arm } from './arms.js';
import type { NeutralText } from './neutralText.js';

/** File inside the sweep's folder: one sealed line per edit and text. */
export const NEUTRAL_FILE = 'neutral.jsonl';
/** Most tokens of the text: the base's scores of all of them are kept in memory. */
const MOST_TOKENS = 256;
/** Raised when the numbers of an unchanged input would differ. */
const VERSION = 1;

/** Numbers of one arm. */
export interface NeutralScore {
  /** Mean over the text's positions of KL(base ‖ arm) of the next token, in nats. */
  readonly kl: number;
  /** exp of the mean negative log-probability of the text's next tokens. */
  readonly perplexity: number;
}

/** Outcome of {@link measureNeutral}. */
export interface NeutralResult {
  readonly text: { readonly source: string; readonly sha256: string; readonly tokens: number; readonly predicted: number; readonly cut: boolean };
  /** In the order of the arms. */
  readonly arms: readonly NeutralScore[];
}

interface NeutralRecord extends NeutralScore {
  readonly key: string;
  readonly arm: string;
  readonly edited: number;
}

/** How to measure. */
export interface NeutralOptions {
  readonly directory: string;
  /** Model hash, release, devices …: what decides whether a number may be taken from an earlier run. */
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal | undefined;
  /** Edits measured so far, of those that the folder did not have. */
  readonly onProgress?: ((finished: number, total: number) => void) | undefined;
}

/**
 * Reads `text` (its first 256 tokens, or what the session holds) once under the edits of every arm and compares each row
 * of scores with the base's. A text has no prompt and no completion, so every edit acts at all positions, whatever the
 * arm's own; arms that then do the same are measured once. What `directory` has is not measured again. Memory: tokens × vocabulary × 4 bytes for the base, and rows
 * of an arm only while they pass. Errors: INVALID_ARGUMENT for a text of less than two tokens, SITE_NOT_FOUND, HOOK_NOT_FIRED,
 * BUSY, IO, ABORTED. Cost: one forward pass over the text per different edit, and about 20 ns per score.
 */
export async function measureNeutral(
  session: Session,
  arms: readonly Arm[],
  text: NeutralText,
  options: NeutralOptions,
): Promise<NeutralResult> {
  const { tokens, cut } = neutralTokens(session, text);
  const edits = arms.map(({ interventions }) => interventions.map((entry): Intervention => ({ ...entry, positions: 'all' })));
  const shared = contentHash([VERSION, options.inputs, tokens]);
  const keys = edits.map((list) => contentHash([shared, list]));
  await makeFolder(options.directory);
  const unlock = await lockFolder(options.directory);
  try {
    const path = join(options.directory, NEUTRAL_FILE);
    const done = new Map<string, NeutralScore>();
    await Journal.recover(path, (record) => {
      const { key, kl, perplexity, crc32 } = record as unknown as NeutralRecord & { crc32?: string };
      const sealed = crc32 !== undefined; // else the seal itself was hit: a record is trusted whole or not at all
      if (sealed) {
        done.set(key, { kl, perplexity });
      }
      return sealed;
    });
    const missing = new Map(keys.flatMap((key, i) => (done.has(key) ? [] : [[key, { arm: arms[i]?.name ?? '', edits: edits[i] as Intervention[] }]])));
    if (missing.size > 0) {
      await measureMissing(session, tokens, { missing, done, path, options });
    }
    return {
      text: { source: text.source, sha256: createHash('sha256').update(text.text).digest('hex'), tokens: tokens.length, predicted: tokens.length - 1, cut },
      arms: keys.map((key) => done.get(key) as NeutralScore),
    };
  } finally {
    await unlock();
  }
}

/** The tokens of a text that are measured. Errors: INVALID_ARGUMENT for less than two, and for a text that the vocabulary cannot spell. */
export function neutralTokens(session: Session, { text }: NeutralText): { tokens: Int32Array; cut: boolean } {
  const all = session.model.tokenize(text);
  const tokens = all.slice(0, Math.min(MOST_TOKENS, session.info.contextLength));
  if (tokens.length < 2) {
    throw invalidArgument('neutral', 'a text of at least two tokens', text.slice(0, 80));
  }
  return { tokens, cut: all.length > tokens.length };
}

/** Whether the model's tokenizer, if it has one, has tokens for the text: a vocabulary without bytes knows only some characters. */
export function canSpell(session: Session, { text }: NeutralText): boolean {
  try {
    return session.model.tokenize(text).length > 1;
  } catch {
    return false;
  }
}

interface Missing {
  readonly missing: ReadonlyMap<string, { arm: string; edits: readonly Intervention[] }>;
  readonly done: Map<string, NeutralScore>;
  readonly path: string;
  readonly options: NeutralOptions;
}

/** Rows of the base: scores and the logarithm of their sum of exponentials, by position. */
interface BaseRow {
  readonly logits: Float32Array;
  readonly partition: number;
}

async function measureMissing(session: Session, tokens: Int32Array, { missing, done, path, options }: Missing): Promise<void> {
  const { signal, onProgress } = options;
  let finished = 0;
  const base: BaseRow[] = [];
  const plan = { capture: { site: 'logits', layers: [-1] }, promptOnly: true, releaseRows: true, signal } as const;
  const takeBase = (chunk: CapturedChunk): void => eachRow(chunk, (logits, position) => (base[position] = { logits: logits.slice(), partition: logPartition(logits) }));
  for await (const result of runSequences(session, [{ prompt: tokens }], { ...plan, onRows: takeBase })) {
    void result; // the rows are what counts
  }
  const sums = new Map<number, { kl: number; loss: number }>();
  const take = (chunk: CapturedChunk): void => {
    const sum = sums.get(chunk.id) ?? { kl: 0, loss: 0 };
    sums.set(chunk.id, sum);
    eachRow(chunk, (logits, position) => {
      const { logits: before, partition: beforePartition } = base[position] as BaseRow;
      const partition = logPartition(logits);
      sum.kl += klDivergence(before, beforePartition, logits, partition);
      const next = tokens[position + 1];
      sum.loss += next === undefined ? 0 : partition - (logits[next] as number);
    });
  };
  const journal = await Journal.open(path);
  onProgress?.(finished, missing.size);
  try {
    const requests = [...missing].map(([key, { arm, edits }]) => ({ prompt: tokens, interventions: edits, label: { key, arm } }));
    for await (const { index, label, edits } of runSequences(session, requests, { ...plan, onRows: take })) {
      const { kl, loss } = sums.get(index) as { kl: number; loss: number };
      sums.delete(index);
      const score: NeutralScore = { kl: kl / tokens.length, perplexity: Math.exp(loss / (tokens.length - 1)) };
      const { key, arm } = label as { key: string; arm: string };
      await journal.append({ key, arm, ...score, edited: edits.reduce((total, { changed }) => total + changed, 0) } satisfies NeutralRecord);
      done.set(key, score);
      onProgress?.(++finished, missing.size);
    }
  } finally {
    await journal.close();
  }
}

function eachRow(chunk: CapturedChunk, take: (row: Float32Array, position: number) => void): void {
  const rows = new Float32Array(chunk.blocks[0] as ArrayBuffer);
  const width = rows.length / chunk.rowCount;
  chunk.positions.forEach((position, r) => take(rows.subarray(r * width, (r + 1) * width), position));
}
