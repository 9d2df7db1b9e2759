/** Data sets from files and from the Hugging Face hub. */
import { createHash } from 'node:crypto';
import { RewardLensError, invalidArgument, throwIfAborted } from '../native/errors.js';
import type { ParsedProblem, RawRecord } from './formats.js';
import { BadRecord, FORMAT_NAMES, detectFormat, parseRecord, validateCheck } from './formats.js';
import type { HubOptions } from './hub.js';
import { openHub } from './hub.js';
import { isHubSpec, parseHubSpec } from './hubSpec.js';
import { nameOfFile, nameOfHub } from './name.js';
import type { Entries, Entry } from './records.js';
import { readRecords } from './records.js';
import type { BadLine, Dataset, DatasetFormat, Problem } from './types.js';

/** Options of {@link loadDataset}; those of the hub matter for `hf:` only. */
export interface LoadOptions extends HubOptions {
  /** Default: detected from the fields of the records. */
  readonly format?: DatasetFormat | undefined;
  /** hf: only, where the specification does not say it. */
  readonly split?: string | undefined;
  readonly config?: string | undefined;
  readonly revision?: string | undefined;
  /** Only the first problems, as many as this. */
  readonly limit?: number | undefined;
  /** Leave out lines that cannot be read, and list them in `skipped`, instead of failing. Default false. */
  readonly skipBad?: boolean | undefined;
  /** Reward function for every problem, instead of the format's or the record's own. */
  readonly check?: string | undefined;
}

/** Where records come from. */
interface Source {
  readonly name: string;
  readonly source: string;
  /** Code may come from a file of the user's, never from a download. */
  readonly modules: boolean;
  readonly read: Entries;
}

/** Bad lines that a message lists; the rest is counted. */
const LISTED = 20;

/**
 * Loads the data set that `spec` names: a file (.jsonl, .ndjson, .json, .parquet) or
 * `hf:owner/name[@revision][:config][/split]`. See docs/datasets.md for the formats.
 *
 * Errors: INVALID_ARGUMENT for a bad specification, records of unknown or several formats, bad lines (unless `skipBad`; all are in
 * `details.bad`), duplicate ids, and a data set without problems; IO when it cannot be read or downloaded; ABORTED. Cost: all of the
 * data set is held in memory, with its records.
 */
export async function loadDataset(spec: string, options: LoadOptions = {}): Promise<Dataset> {
  validate(options);
  const opened = isHubSpec(spec) ? await openFromHub(spec, options) : await openFile(spec, options);
  throwIfAborted('loading a data set', options.signal);
  const { read, source, name } = opened;
  const records = read.entries.flatMap((entry): { line: number; record: RawRecord }[] => ('record' in entry ? [entry] : []));
  const known = options.format ?? (records.length === 0 ? undefined : detectFormat(records, source));
  const { problems, bad } = known === undefined ? { problems: [], bad: badEntries(read.entries) } : collect(opened, known, options);
  if (bad.length > 0 && (options.skipBad !== true || problems.length === 0)) {
    throw badLines(source, read.unit, bad, options.skipBad === true);
  }
  if (known === undefined || problems.length === 0) {
    throw new RewardLensError('INVALID_ARGUMENT', `${source}: the data set is empty`, { details: { source } });
  }
  return { name, source, format: known, sha256: hashProblems(problems), problems, skipped: bad };
}

function validate({ format, limit, check }: LoadOptions): void {
  if (format !== undefined && !FORMAT_NAMES.includes(format)) {
    throw invalidArgument('format', `one of ${FORMAT_NAMES.join(', ')}`, format);
  }
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 1)) {
    throw invalidArgument('limit', 'an integer ≥ 1', limit);
  }
  if (check !== undefined) {
    validateCheck(check);
  }
}

async function openFile(path: string, options: LoadOptions): Promise<Source> {
  for (const name of ['config', 'split', 'revision'] as const) {
    if (options[name] !== undefined) {
      throw invalidArgument(name, `none, because '${path}' is a file`, options[name]);
    }
  }
  return { name: nameOfFile(path), source: path, modules: true, read: await readRecords(path, options.signal) };
}

async function openFromHub(text: string, options: LoadOptions): Promise<Source> {
  const spec = parseHubSpec(text, options);
  const { selection, commit, paths } = await openHub(spec, options);
  const entries: Entry[] = [];
  let unit: Entries['unit'] = 'row';
  for (const path of paths) {
    const read = await readRecords(path, options.signal);
    unit = read.unit;
    // Parts of one split are counted through.
    const before = entries.at(-1)?.line ?? 0;
    for (const entry of read.entries) {
      entries.push({ ...entry, line: before + entry.line });
    }
  }
  const place = spec.path === undefined ? `${selection.config === undefined ? '' : `:${selection.config}`}/${selection.split}` : `/${spec.path}`;
  return { name: nameOfHub(spec.repo, selection.config, selection.split), source: `hf:${spec.repo}@${commit}${place}`, modules: false, read: { unit, entries } };
}

function badEntries(entries: readonly Entry[]): BadLine[] {
  return entries.flatMap((entry) => ('message' in entry ? [{ line: entry.line, message: entry.message }] : []));
}

/** Problems and bad lines up to the line that completes `limit`. */
function collect({ read, name, modules }: Source, format: DatasetFormat, options: LoadOptions): { problems: Problem[]; bad: BadLine[] } {
  const problems: Problem[] = [];
  const bad: BadLine[] = [];
  const lines = new Map<string, number>();
  for (const entry of read.entries) {
    if (problems.length === options.limit) {
      break;
    }
    const { line } = entry;
    const parsed = 'record' in entry ? tryParse(entry.record, format, { check: options.check, modules }) : entry.message;
    if (typeof parsed === 'string') {
      bad.push({ line, message: parsed });
      continue;
    }
    const id = parsed.id ?? `${name}-${line}`;
    const other = lines.get(id);
    if (other !== undefined) {
      bad.push({ line, message: `id: ${JSON.stringify(id)} is the id of ${read.unit} ${other} too` });
      continue;
    }
    lines.set(id, line);
    problems.push({ ...parsed, id });
  }
  return { problems, bad };
}

function tryParse(record: RawRecord, format: DatasetFormat, options: { check: string | undefined; modules: boolean }): ParsedProblem | string {
  try {
    return parseRecord(record, format, options);
  } catch (error) {
    if (error instanceof BadRecord) {
      return error.message;
    }
    throw error;
  }
}

/** The error of a file with bad lines: each with its number and reason, what helps, and all of them in `details.bad`. */
export function badLines(source: string, unit: string, bad: readonly BadLine[], skipping: boolean, noun = 'problem'): RewardLensError {
  const plural = bad.length === 1 ? `1 bad ${unit}` : `${bad.length} bad ${unit}s`;
  const listed = bad.slice(0, LISTED).map(({ line, message }) => `  ${unit} ${line}: ${message}`);
  const rest = bad.length > LISTED ? [`  and ${bad.length - LISTED} more`] : [];
  const advice = skipping ? `no ${noun} is left` : 'skipBad (--skip-bad) leaves them out';
  return new RewardLensError('INVALID_ARGUMENT', [`${source}: ${plural}; ${advice}:`, ...listed, ...rest].join('\n'), { details: { source, bad } });
}

/** What the model and the checker see of the problems; other fields of the records do not count. */
function hashProblems(problems: readonly Problem[]): string {
  const hash = createHash('sha256');
  for (const { id, question, choices, answer, check } of problems) {
    hash.update(`${JSON.stringify([id, question, choices?.map(({ label, text }) => [label, text]) ?? null, answer, check])}\n`);
  }
  return hash.digest('hex');
}
