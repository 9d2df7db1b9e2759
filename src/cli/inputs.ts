/** The inputs of a command: texts, files, prompt lists, token lists. Read before the model is loaded. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { ChatMessage, Model } from '../model/model.js';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { parseJson } from '../util/json.js';
import type { OptionTable } from './argv.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';

const INPUT = 'Input (one of -p, -f, --prompts, --tokens):';

/** Options of {@link readInputFlags}. */
export const INPUT_OPTIONS: OptionTable = {
  prompt: { alias: 'p', type: 'string', array: true, group: INPUT, describe: 'a prompt; may be repeated' },
  file: { alias: 'f', type: 'string', group: INPUT, describe: 'a file that is one prompt (less one final line break); - is stdin' },
  prompts: { type: 'string', group: INPUT, describe: 'JSON lines: "text", {"prompt"}, {"tokens"} or {"messages"}, each with an optional "id"; - is stdin' },
  tokens: { type: 'string', group: INPUT, describe: 'a JSON array of arrays of token ids; needs no tokenizer' },
  chat: { type: 'boolean', group: INPUT, describe: "put texts into the model's chat template as a user message" },
  'no-escape': { type: 'boolean', group: INPUT, describe: 'keep \\n, \\t, \\" … in -p and -f as they are' },
};

/** One input as given. */
export interface RawInput {
  /** Where it came from, for messages: "-p", "prompts.jsonl:3". */
  source: string;
  id?: string | number | undefined;
  text?: string | undefined;
  tokens?: readonly number[] | undefined;
  messages?: readonly ChatMessage[] | undefined;
}

/** One input as token ids. */
export interface Input {
  source: string;
  id: string | number | undefined;
  /** The text that was tokenized, chat template applied; undefined for token ids. */
  text: string | undefined;
  tokens: Int32Array;
}

/** Which inputs a command line asks for. */
export interface InputFlags {
  kind: 'prompt' | 'file' | 'prompts' | 'tokens';
  values: readonly string[];
  chat: boolean;
  escape: boolean;
}

/** Reads {@link INPUT_OPTIONS}; exactly one kind of input must be given. */
export function readInputFlags(flags: Flags): InputFlags {
  const given = (['prompt', 'file', 'prompts', 'tokens'] as const).filter((kind) => flags.list(kind).length > 0);
  const kind = given[0];
  if (kind === undefined) {
    throw new UsageError('no input: expected one of -p TEXT, -f FILE, --prompts FILE.jsonl, --tokens FILE.json');
  }
  if (given.length > 1) {
    throw new UsageError(`expected one kind of input, got ${given.map((name) => `--${name}`).join(' and ')}`);
  }
  const chat = flags.on('chat');
  if (chat && kind === 'tokens') {
    throw new UsageError('--chat: token ids have no text to put into a chat template');
  }
  return { kind, values: flags.list(kind), chat, escape: !flags.on('no-escape') };
}

/** Reads the inputs. Errors: IO, INVALID_ARGUMENT with file and line. */
export async function readInputs(flags: InputFlags): Promise<RawInput[]> {
  const [first = ''] = flags.values;
  const unescape = (text: string): string => (flags.escape ? processEscapes(text) : text);
  switch (flags.kind) {
    case 'prompt':
      return flags.values.map((text, i) => ({ source: flags.values.length === 1 ? '-p' : `-p #${i + 1}`, text: unescape(text) }));
    case 'file':
      return [{ source: first === '-' ? 'stdin' : first, text: unescape((await readText(first)).replace(/\n$/, '')) }];
    case 'prompts':
      return parsePromptLines(await readText(first), first === '-' ? 'stdin' : first);
    case 'tokens':
      return parseTokenLists(await readText(first), first === '-' ? 'stdin' : first);
  }
}

async function readText(path: string): Promise<string> {
  try {
    if (path !== '-') {
      return await readFile(path, 'utf8');
    }
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) {
      chunks.push(chunk as Buffer);
    }
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw new RewardLensError('IO', `cannot read ${path === '-' ? 'stdin' : `'${path}'`}: ${(error as Error).message}`, { cause: error, details: { path } });
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', "'": "'", '"': '"', '\\': '\\' };

/** Escape sequences of llama.cpp's -p (common.cpp, string_process_escapes); `\xHH` is a byte, others stay as they are. */
export function processEscapes(text: string): string {
  const bytes = Buffer.from(text, 'utf8').toString('latin1');
  const out = bytes.replace(/\\(?:([nrt'"\\])|x([0-9a-fA-F]{2}))/g, (_, simple: string | undefined, hex: string | undefined) =>
    simple === undefined ? String.fromCharCode(parseInt(hex ?? '', 16)) : (ESCAPES[simple] ?? ''),
  );
  return Buffer.from(out, 'latin1').toString('utf8');
}

const tokenList = z.array(z.number('a token id').int('a token id').min(0, 'a token id ≥ 0'), 'an array of token ids').min(1, 'at least one token id');
const promptLine = z.object(
  {
    id: z.union([z.string(), z.number()], 'a string or a number').optional(),
    prompt: z.string('a string').min(1, 'a text that is not empty').optional(),
    tokens: tokenList.optional(),
    messages: z
      .array(z.object({ role: z.string('a string'), content: z.string('a string') }, 'an object with role and content'), 'a list of messages')
      .min(1, 'at least one message')
      .optional(),
  },
  'a string or an object',
);

function issueError(error: z.ZodError, value: unknown, where: string): RewardLensError {
  const issue = error.issues[0] as z.core.$ZodIssue;
  const path = issue.path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`)).join('');
  const received = issue.path.reduce<unknown>((here, key) => (here as Record<PropertyKey, unknown> | undefined)?.[key], value);
  return invalidArgument(path === '' ? where : `${where}: ${path}`, issue.message, received);
}

/** Parses `--prompts`: one JSON value per line, empty lines skipped. Errors name `name` and the line, counted from 1. */
export function parsePromptLines(text: string, name: string): RawInput[] {
  const out: RawInput[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') {
      continue;
    }
    const source = `${name}:${i + 1}`;
    const value = parseJson(line, name, i + 1);
    const parsed = promptLine.safeParse(typeof value === 'string' ? { prompt: value } : value);
    if (!parsed.success) {
      throw issueError(parsed.error, value, source);
    }
    const { id, prompt, tokens, messages } = parsed.data;
    if ([prompt, tokens, messages].filter((part) => part !== undefined).length !== 1) {
      const keys = Object.keys(value as object).map((key) => JSON.stringify(key));
      throw new RewardLensError('INVALID_ARGUMENT', `${source}: expected one of "prompt", "tokens", "messages", got ${keys.length === 0 ? 'no keys' : keys.join(', ')}`);
    }
    out.push({ source, id, text: prompt, tokens, messages });
  }
  if (out.length === 0) {
    throw invalidArgument(name, 'at least one prompt', 'none');
  }
  return out;
}

/** Parses `--tokens`: a JSON array of arrays of token ids. Errors name the place, e.g. `tokens.json: [2][5]`. */
export function parseTokenLists(text: string, name: string): RawInput[] {
  const value = parseJson(text, name);
  const parsed = z.array(tokenList, 'an array of arrays of token ids').min(1, 'at least one sequence').safeParse(value);
  if (!parsed.success) {
    throw issueError(parsed.error, value, name);
  }
  return parsed.data.map((tokens, i) => ({ source: `${name}: [${i}]`, tokens }));
}

/**
 * Token ids of every input; token ids are checked against the vocabulary. With `chat`, texts become a user message of
 * the model's template. Errors: INVALID_ARGUMENT naming the input.
 */
export function tokenizeInputs(model: Model, inputs: readonly RawInput[], options: { chat: boolean }): Input[] {
  return inputs.map((input) => {
    const { source, id } = input;
    if (input.tokens !== undefined) {
      const bad = input.tokens.findIndex((token) => token >= model.info.vocabSize);
      if (bad >= 0) {
        throw invalidArgument(`${source}[${bad}]`, `a token id in 0..${model.info.vocabSize - 1}`, input.tokens[bad]);
      }
      return { source, id, text: undefined, tokens: Int32Array.from(input.tokens) };
    }
    try {
      const messages = input.messages ?? (options.chat ? [{ role: 'user', content: input.text ?? '' }] : undefined);
      const text = messages === undefined ? (input.text ?? '') : model.applyChatTemplate(messages);
      const tokens = model.tokenize(text, { addSpecial: messages === undefined });
      if (tokens.length === 0) {
        throw invalidArgument('the prompt', 'at least one token', text);
      }
      return { source, id, text, tokens };
    } catch (error) {
      throw error instanceof RewardLensError ? new RewardLensError(error.code, `${source}: ${error.message}`, { cause: error, details: { ...error.details, source } }) : error;
    }
  });
}

/** The session's tokens per sequence: what `-c` says, or the longest input plus `extra`. Errors: CONTEXT_FULL naming the input. */
export function contextFor(inputs: readonly Input[], extra: number, given: number | undefined): number {
  const longest = inputs.reduce((a, b) => (b.tokens.length > a.tokens.length ? b : a));
  if (given !== undefined && longest.tokens.length > given) {
    throw new RewardLensError('CONTEXT_FULL', `${longest.source}: the prompt has ${longest.tokens.length} tokens, -c ${given} holds fewer`, {
      details: { promptTokens: longest.tokens.length, contextLength: given },
    });
  }
  return given ?? longest.tokens.length + extra;
}
