/** Clean and corrupted prompts: reading them, and turning them into tokens that can be compared position by position. */
import { z } from 'zod';
import { badLines } from '../dataset/load.js';
import type { BadLine } from '../dataset/types.js';
import { readRecords } from '../dataset/records.js';
import type { Model } from '../model/model.js';
import { RewardLensError } from '../native/errors.js';

/** One pair as given: texts as they go into the tokenizer, no chat template. */
export interface RawPair {
  /** Line of the file, for messages; counted from 1. */
  readonly line: number;
  readonly id: string;
  readonly clean: string;
  readonly corrupted: string;
  /** What the clean prompt is to be continued with, its leading space included where the model needs one. */
  readonly answer: string;
  readonly wrong?: string | undefined;
}

/** Pairs of one file, and the lines that were left out. */
export interface PairSource {
  /** File name or "the command line", for messages. */
  readonly name: string;
  readonly unit: string;
  readonly pairs: readonly RawPair[];
  readonly skipped: readonly BadLine[];
}

/** One pair as token ids; clean and corrupted have the same number. */
export interface PatchPair {
  readonly id: string;
  readonly clean: Int32Array;
  readonly corrupted: Int32Array;
  readonly answer: number;
  /** Without it there is no logit difference. */
  readonly wrong?: number | undefined;
}

const text = z.string('a text').min(1, 'a text that is not empty');
const record = z.object({
  id: z.union([z.string().min(1), z.number()], 'a text or a number').optional(),
  clean: text,
  corrupted: text,
  answer: text,
  wrong: text.nullish(),
});

function parsePair(value: unknown, line: number, name: string): RawPair | string {
  const parsed = record.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0] as z.core.$ZodIssue;
    const received = issue.path.reduce<unknown>((here, key) => (here as Record<PropertyKey, unknown> | undefined)?.[key], value);
    return `${issue.path.join('.')}: expected ${issue.message}, got ${received === undefined ? 'nothing' : JSON.stringify(received).slice(0, 60)}`;
  }
  const { id, wrong, ...texts } = parsed.data;
  return { line, id: String(id ?? `${name}-${line}`), ...texts, ...(wrong === null || wrong === undefined ? {} : { wrong }) };
}

/**
 * Reads pairs {id?, clean, corrupted, answer, wrong?} from JSON lines, a JSON array or Parquet. Errors: IO; INVALID_ARGUMENT with
 * the number and reason of every bad line, unless `skipBad` leaves them out and some pair is left.
 */
export async function readPairs(path: string, options: { skipBad?: boolean; limit?: number | undefined; signal?: AbortSignal | undefined } = {}): Promise<PairSource> {
  const { unit, entries } = await readRecords(path, options.signal);
  const pairs = new Map<string, RawPair>();
  const skipped: BadLine[] = [];
  for (const entry of entries) {
    if (pairs.size === options.limit) {
      break;
    }
    const pair = 'record' in entry ? parsePair(entry.record, entry.line, 'pair') : entry.message;
    const other = typeof pair === 'string' ? undefined : pairs.get(pair.id);
    if (typeof pair === 'string' || other !== undefined) {
      skipped.push({ line: entry.line, message: typeof pair === 'string' ? pair : `id: ${JSON.stringify(pair.id)} is the id of ${unit} ${other?.line ?? 0} too` });
    } else {
      pairs.set(pair.id, pair);
    }
  }
  const source = { name: path, unit, pairs: [...pairs.values()], skipped };
  refuseBad(source, options.skipBad === true);
  return source;
}

function refuseBad({ name, unit, pairs, skipped }: PairSource, skipBad: boolean): void {
  if (skipped.length > 0 && (!skipBad || pairs.length === 0)) {
    throw badLines(name, unit, skipped, skipBad, 'pair');
  }
  if (pairs.length === 0) {
    throw new RewardLensError('INVALID_ARGUMENT', `${name}: there is no pair`, { details: { source: name } });
  }
}

/** Pairs as tokens, with what is worth telling about them. */
export interface ResolvedPairs {
  readonly pairs: readonly PatchPair[];
  /** The pairs as given, in the same order. */
  readonly raw: readonly RawPair[];
  /** Lines left out: those of the source, and those that do not fit the model. */
  readonly skipped: readonly BadLine[];
  /** Answers of several tokens, of which the first one counts. */
  readonly notes: readonly string[];
}

/** Tokens as people see them: each between bars, so that boundaries and spaces show. */
function showTokens(model: Model, tokens: Int32Array): string {
  return `|${Array.from(tokens, (token) => model.tokenPiece(token).toString('utf8').replaceAll('\n', '\\n')).join('|')}|`;
}

/**
 * Tokens that continue `prompt` with `text`: those of both together behind those of the prompt, as many tokenizers put a space of
 * their own before a text that stands alone. Where the two melt into one token, those of the text alone.
 */
function continuation(model: Model, prompt: string, tokens: Int32Array, text: string): Int32Array {
  const whole = model.tokenize(prompt + text);
  const fits = whole.length > tokens.length && tokens.every((token, i) => whole[i] === token);
  return fits ? whole.subarray(tokens.length) : model.tokenize(text, { addSpecial: false, parseSpecial: false });
}

function resolvePair(model: Model, pair: RawPair): { pair: PatchPair; notes: string[] } | string {
  const notes: string[] = [];
  const clean = model.tokenize(pair.clean);
  const corrupted = model.tokenize(pair.corrupted);
  if (clean.length !== corrupted.length) {
    return `clean has ${clean.length} tokens and corrupted ${corrupted.length}; activations are patched position by position, so they must be as many\n    clean     ${showTokens(model, clean)}\n    corrupted ${showTokens(model, corrupted)}`;
  }
  if (clean.every((token, i) => token === corrupted[i])) {
    return `clean and corrupted are the same tokens: ${showTokens(model, clean)}`;
  }
  const first = (name: 'answer' | 'wrong', text: string): number | undefined => {
    const tokens = continuation(model, pair.clean, clean, text);
    if (tokens.length > 1) {
      notes.push(`${pair.id}: ${name} ${JSON.stringify(text)} is ${tokens.length} tokens, ${showTokens(model, tokens)}; the first one counts`);
    }
    return tokens[0];
  };
  const answer = first('answer', pair.answer);
  const wrong = pair.wrong === undefined ? undefined : first('wrong', pair.wrong);
  if (answer === undefined || (pair.wrong !== undefined && wrong === undefined)) {
    return `${answer === undefined ? 'answer' : 'wrong'}: expected a text of at least one token`;
  }
  if (answer === wrong) {
    return `answer ${JSON.stringify(pair.answer)} and wrong ${JSON.stringify(pair.wrong)} begin with the same token, ${showTokens(model, Int32Array.of(answer))}: their logits never differ`;
  }
  return { pair: { id: pair.id, clean, corrupted, answer, wrong }, notes };
}

/**
 * Tokenizes pairs (with the model's BOS). The first token of `answer` and `wrong` as they continue the clean prompt counts; `notes` names those of
 * several tokens. Errors: INVALID_ARGUMENT naming every pair whose prompts have different numbers of tokens (with both
 * tokenizations) or do not differ, or whose answers are the same token; `skipBad` leaves those out while any pair is left.
 */
export function resolvePairs(model: Model, source: PairSource, options: { skipBad?: boolean } = {}): ResolvedPairs {
  const skipped: BadLine[] = [...source.skipped];
  const kept = source.pairs.flatMap((raw) => {
    const resolved = resolvePair(model, raw);
    if (typeof resolved === 'string') {
      skipped.push({ line: raw.line, message: `${raw.id}: ${resolved}` });
      return [];
    }
    return [{ raw, ...resolved }];
  });
  skipped.sort((a, b) => a.line - b.line);
  const raw = kept.map((entry) => entry.raw);
  refuseBad({ ...source, pairs: raw, skipped }, options.skipBad === true);
  return { pairs: kept.map(({ pair }) => pair), raw, skipped, notes: kept.flatMap(({ notes }) => notes) };
}
