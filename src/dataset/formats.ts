/** The shapes of record that are recognised, and how each becomes a problem. */
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { hasBox, lastBox } from '../reward/boxed.js';
import { readStrict } from '../reward/gsm8k.js';
import { CHECK_NAMES } from '../reward/scorer.js';
import type { DatasetFormat, Problem } from './types.js';

/** A record of a file, before anything is known about it. */
export type RawRecord = Readonly<Record<string, unknown>>;

/** A problem that may still need an id. */
export type ParsedProblem = Omit<Problem, 'id'> & { readonly id: string | undefined };

/** Why a record is no problem; the message names the field. */
export class BadRecord extends Error {}

interface Format {
  /** The fields by which the format is known, for messages. */
  readonly fields: string;
  matches(record: RawRecord): boolean;
  parse(record: RawRecord): Omit<ParsedProblem, 'id' | 'source'>;
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';

function show(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function bad(field: string, expected: string, value: unknown): BadRecord {
  return new BadRecord(`${field}: expected ${expected}, got ${show(value)}`);
}

function textOf(record: RawRecord, field: string): string {
  const value = record[field];
  if (typeof value !== 'string' || value.trim() === '') {
    throw bad(field, 'a text', value);
  }
  return value;
}

/** Options by position: whatever labels a file uses, the first is A. */
function lettered(texts: unknown, field: string): { label: string; text: string }[] {
  if (!Array.isArray(texts) || texts.length < 2 || texts.length > LETTERS.length) {
    throw bad(field, `2 to ${LETTERS.length} options`, texts);
  }
  return texts.map((text: unknown, i) => {
    if (typeof text !== 'string') {
      throw bad(`${field}[${i}]`, 'a text', text);
    }
    return { label: LETTERS.charAt(i), text };
  });
}

const FORMATS: Readonly<Record<DatasetFormat, Format>> = {
  jsonl: {
    fields: 'prompt, answer, check',
    matches: (record) => 'prompt' in record && 'answer' in record,
    parse(record) {
      // The check is looked at when the record's own is needed: see parseRecord.
      return { question: textOf(record, 'prompt'), answer: textOf(record, 'answer'), check: record['check'] as string };
    },
  },
  arc: {
    fields: 'question, choices {text, label}, answerKey',
    matches: (record) => 'question' in record && 'choices' in record && 'answerKey' in record,
    parse(record) {
      const question = textOf(record, 'question');
      const given = record['choices'];
      if (typeof given !== 'object' || given === null) {
        throw bad('choices', 'an object with text and label', given);
      }
      const { text, label } = given as RawRecord;
      const choices = lettered(text, 'choices.text');
      const unique = Array.isArray(label) && label.length === choices.length && new Set(label).size === label.length;
      if (!unique || !label.every((name) => typeof name === 'string' && name !== '')) {
        throw bad('choices.label', `${choices.length} different labels`, label);
      }
      const right = choices[label.indexOf(record['answerKey'])];
      if (right === undefined) {
        throw bad('answerKey', `one of ${label.join(', ')}`, record['answerKey']);
      }
      return { question, choices, answer: right.label, check: 'choice' };
    },
  },
  mmlu: {
    fields: 'question, choices (a list), answer (an index or a letter)',
    matches: (record) => 'question' in record && 'choices' in record && 'answer' in record,
    parse(record) {
      const question = textOf(record, 'question');
      const choices = lettered(record['choices'], 'choices');
      const answer = record['answer'];
      const right = typeof answer === 'number' ? choices[answer] : choices.find(({ label }) => label === answer);
      if (right === undefined) {
        throw bad('answer', `an index 0..${choices.length - 1} or a letter A..${LETTERS.charAt(choices.length - 1)}`, answer);
      }
      return { question, choices, answer: right.label, check: 'choice' };
    },
  },
  math: {
    fields: 'problem, and answer or solution with \\boxed{}',
    matches: (record) => 'problem' in record && ('answer' in record || 'solution' in record),
    parse(record) {
      const question = textOf(record, 'problem');
      const field = (record['answer'] ?? undefined) === undefined ? 'solution' : 'answer';
      // Some sets of integer answers store numbers.
      const given = Number.isFinite(record[field]) ? String(record[field]) : textOf(record, field);
      const answer = field === 'answer' && !hasBox(given) ? given.trim() : lastBox(given);
      if (answer === undefined) {
        throw bad(field, 'a text with \\boxed{}', given);
      }
      return { question, answer, check: 'math' };
    },
  },
  gsm8k: {
    fields: 'question, answer with "#### " and a number',
    matches: (record) => 'question' in record && 'answer' in record && !('choices' in record),
    parse(record) {
      const question = textOf(record, 'question');
      const given = textOf(record, 'answer');
      const answer = readStrict(given);
      if (answer === undefined) {
        throw bad('answer', 'a solution that ends with "#### " and a number', given.slice(-60));
      }
      return { question, answer: answer.replaceAll(/[,$\s]/g, ''), check: 'gsm8k' };
    },
  },
};

/** The formats, in the order in which they are tried. */
export const FORMAT_NAMES = Object.keys(FORMATS) as readonly DatasetFormat[];

/** Names of formats with the fields by which they are known, a line each. */
function formatTable(): string {
  return FORMAT_NAMES.map((name) => `  ${name.padEnd(6)} ${FORMATS[name].fields}`).join('\n');
}

/**
 * The format of records, by their fields; records of no format do not count as long as others have one. Errors:
 * INVALID_ARGUMENT when none has one or they have several, with the fields found and the formats known.
 */
export function detectFormat(records: readonly { line: number; record: RawRecord }[], where: string): DatasetFormat {
  const first = new Map<DatasetFormat, number>();
  for (const { line, record } of records) {
    const format = FORMAT_NAMES.find((name) => FORMATS[name].matches(record));
    if (format !== undefined && !first.has(format)) {
      first.set(format, line);
    }
  }
  const [only, ...others] = first.keys();
  if (only !== undefined && others.length === 0) {
    return only;
  }
  const found = [...first].map(([format, line]) => `${format} (first at ${line})`).join(', ');
  const fields = [...new Set(records.slice(0, 100).flatMap(({ record }) => Object.keys(record)))].slice(0, 30);
  throw new RewardLensError(
    'INVALID_ARGUMENT',
    `${where}: ${only === undefined ? 'the format is not known' : `records of several formats: ${found}`}; ` +
      `fields found: ${fields.join(', ') || 'none'}; formats known:\n${formatTable()}\nGive one as format (--format).`,
    { details: { formats: [...first.keys()], fields } },
  );
}

/** Whether a text names a reward function: one of the checks, or the path of a module. */
function isCheck(value: unknown, modules: boolean): value is string {
  return typeof value === 'string' && ((CHECK_NAMES as readonly string[]).includes(value) || (modules && /[\\/]|\.[cm]?[jt]s$/.test(value)));
}

const CHECKS = CHECK_NAMES.join(', ');

/** Errors: INVALID_ARGUMENT when `check` names no reward function. */
export function validateCheck(check: string): void {
  if (!isCheck(check, true)) {
    throw invalidArgument('check', `one of ${CHECKS}, or the path of a JS/TS module`, check);
  }
}

/** `id`, or MATH-500's `unique_id`. */
function readId(record: RawRecord): string | undefined {
  const value = record['id'] ?? record['unique_id'] ?? undefined;
  if (value === undefined) {
    return undefined;
  }
  if ((typeof value === 'string' && value.trim() !== '') || (typeof value === 'number' && Number.isSafeInteger(value))) {
    return String(value);
  }
  throw bad('id' in record ? 'id' : 'unique_id', 'a text or an integer', value);
}

/** A record as a problem. `modules`: whether its `check` may be a module's path, which is code. Throws {@link BadRecord}. */
export function parseRecord(record: RawRecord, format: DatasetFormat, options: { check: string | undefined; modules: boolean }): ParsedProblem {
  const parsed = FORMATS[format].parse(record);
  const check = options.check ?? parsed.check;
  if (!isCheck(check, options.modules || options.check !== undefined)) {
    throw bad('check', `one of ${CHECKS}${options.modules ? ', or the path of a module' : ''}`, check);
  }
  return { id: readId(record), ...parsed, check, source: record };
}
