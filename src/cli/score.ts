/** `rewardlens score`: judges anybody's outputs. */
import { open } from 'node:fs/promises';
import { RewardLensError, invalidArgument, throwIfAborted } from '../native/errors.js';
import { CHECK_NAMES, createScorer } from '../reward/scorer.js';
import type { ScorerOptions } from '../reward/scorer.js';
import type { ScoreItem, Scorer, VerdictKind } from '../reward/types.js';
import { parseJson } from '../util/json.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';

const CHECK = 'Check:';

/** Longest line that is read, in characters; a file without line breaks is no JSONL. */
const MAX_LINE = 256 * 1024 * 1024;

interface ScoreFlags {
  readonly path: string;
  readonly check: string;
  readonly options: ScorerOptions;
  readonly skipBad: boolean;
}

/** Judges the records of a JSONL file, line by line. */
export const scoreCommand: Command = {
  name: 'score',
  describe: 'Judge completions in a JSONL file: records {gold, text}, from whatever model.',
  positionals: [{ name: 'file', describe: 'JSON lines with gold, text, optionally id and fields of the problem; - is stdin' }],
  options: {
    check: { type: 'string', group: CHECK, describe: `${CHECK_NAMES.join(', ')}, or the path of a .js or .ts module` },
    mode: { type: 'string', group: CHECK, describe: 'gsm8k: strict (the number after ####; default) or flexible (the last number)' },
    pattern: { type: 'string', group: CHECK, describe: "regex: the answer is the last match's first group; default: gold is the pattern" },
    'ignore-case': { type: 'boolean', group: CHECK, describe: 'exact, regex: case does not matter' },
    'time-limit': { type: 'string', group: CHECK, describe: 'math, regex, modules: seconds for one completion; default 5, modules 60' },
    'skip-bad': { type: 'boolean', group: CHECK, describe: 'report lines that cannot be read and go on; default: stop at the first' },
  },
  examples: [
    ['rewardlens score --check math outputs.jsonl', 'one {"verdict", "extracted", "reason"} a line, then the totals'],
    ['jq -c "{gold: .answer, text: .output}" run.jsonl | rewardlens score --check gsm8k --mode flexible -', 'records of another shape'],
    ['rewardlens score --check ./my-check.ts outputs.jsonl', 'with a reward function of your own'],
  ],
  prepare(flags: Flags) {
    const settings = readFlags(flags);
    return (io) => run(settings, io);
  },
};

function readFlags(flags: Flags): ScoreFlags {
  // yargs hands over a lone dash as an empty text.
  const word = flags.text('file', { allowEmpty: true });
  const path = word === '' ? '-' : word;
  if (path === undefined) {
    throw new UsageError('expected a JSONL file, or - for stdin');
  }
  const mode = flags.choice('mode', ['strict', 'flexible']);
  const pattern = flags.text('pattern');
  const seconds = flags.number('time-limit', 0.001, 86_400);
  return {
    path,
    check: flags.required('check', `one of ${CHECK_NAMES.join(', ')}, or a module`),
    options: {
      ...(mode === undefined ? {} : { mode }),
      ...(pattern === undefined ? {} : { pattern }),
      ...(flags.on('ignore-case') ? { ignoreCase: true } : {}),
      ...(seconds === undefined ? {} : { timeLimitMs: Math.ceil(seconds * 1000) }),
    },
    skipBad: flags.on('skip-bad'),
  };
}

async function openScorer({ check, options }: ScoreFlags): Promise<Scorer> {
  try {
    return await createScorer(check, options);
  } catch (error) {
    if (error instanceof RewardLensError && error.code === 'INVALID_ARGUMENT') {
      const flag = error.message.replace(/^check:/, '--check:').replace(/^options\.(\w+)/, (_, name: string) => `--${FLAG[name] ?? name}`);
      throw new UsageError(flag, { cause: error });
    }
    throw error;
  }
}
const FLAG: Readonly<Record<string, string>> = { ignoreCase: 'ignore-case', timeLimitMs: 'time-limit' };

/** Lines of a file or of stdin, in constant memory. Errors: IO. */
async function* lines(path: string): AsyncGenerator<string, void, void> {
  try {
    const file = path === '-' ? undefined : await open(path);
    const stream = file === undefined ? process.stdin : file.createReadStream();
    let rest = '';
    for await (const chunk of stream.setEncoding('utf8') as AsyncIterable<string>) {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop() ?? '';
      if (rest.length > MAX_LINE) {
        throw new Error(`a line has more than ${MAX_LINE} characters`);
      }
      yield* parts;
    }
    if (rest !== '') {
      yield rest;
    }
  } catch (error) {
    throw new RewardLensError('IO', `cannot read ${path === '-' ? 'stdin' : `'${path}'`}: ${(error as Error).message}`, { cause: error, details: { path } });
  }
}

/** A line as an item and its id. Errors: INVALID_ARGUMENT with file and line. */
function parseRecord(line: string, name: string, number: number): { item: ScoreItem; id: unknown } {
  const where = `${name}:${number}`;
  const value = parseJson(line, name, number);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument(where, 'an object with gold and text', value);
  }
  const { gold, text, ...problem } = value as Record<string, unknown>;
  if (typeof gold !== 'string' && typeof gold !== 'number') {
    throw invalidArgument(`${where}: gold`, 'a string or a number', gold);
  }
  if (typeof text !== 'string') {
    throw invalidArgument(`${where}: text`, 'a string', text);
  }
  return { item: { gold: String(gold), text, problem }, id: problem['id'] };
}

async function run(flags: ScoreFlags, io: Io): Promise<void> {
  await using scorer = await openScorer(flags);
  const name = flags.path === '-' ? 'stdin' : flags.path;
  const counts: Record<VerdictKind, number> = { correct: 0, wrong: 0, unknown: 0 };
  let [number, skipped] = [0, 0];
  for await (const line of lines(flags.path)) {
    number += 1;
    throwIfAborted('scoring', io.signal);
    if (line.trim() === '') {
      continue;
    }
    let record: ReturnType<typeof parseRecord>;
    try {
      record = parseRecord(line, name, number);
    } catch (error) {
      if (!flags.skipBad || !(error instanceof RewardLensError)) {
        throw error;
      }
      io.warn(`${error.message}; skipped`);
      skipped += 1;
      continue;
    }
    const { verdict, extracted, reason, reward } = await scorer.score(record.item);
    counts[verdict] += 1;
    const ordinary = reward === { correct: 1, wrong: 0, unknown: null }[verdict];
    io.line({ ...(record.id === undefined ? {} : { id: record.id }), verdict, extracted: extracted ?? null, reason, ...(ordinary ? {} : { reward }) });
  }
  summarise(io, { check: flags.check, fingerprint: scorer.fingerprint, counts, skipped });
}

interface Totals {
  readonly check: string;
  readonly fingerprint: string;
  readonly counts: Readonly<Record<VerdictKind, number>>;
  readonly skipped: number;
}

function summarise(io: Io, { check, fingerprint, counts, skipped }: Totals): void {
  const { correct, wrong, unknown } = counts;
  const decided = correct + wrong;
  // Unknown is not wrong: it does not enter the accuracy.
  const accuracy = decided === 0 ? null : correct / decided;
  if (io.json) {
    io.line({ summary: { check, fingerprint, records: decided + unknown, correct, wrong, unknown, accuracy, skipped } });
    return;
  }
  const share = accuracy === null ? '' : `; ${(100 * accuracy).toFixed(1)} % of the decided ones correct`;
  io.summary(`${decided + unknown} completions: ${correct} correct, ${wrong} wrong, ${unknown} unknown${share}${skipped === 0 ? '' : `; ${skipped} lines skipped`}`);
}
