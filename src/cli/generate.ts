/** `rewardlens generate`: sampling with optional interventions. */
import { randomInt } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { readInterventions } from '../intervene/file.js';
import type { Intervention } from '../intervene/types.js';
import type { Model } from '../model/model.js';
import type { SessionOptions } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import { generate } from '../run/generate.js';
import type { RunProgress } from '../run/engine.js';
import { createManifest } from '../run/manifest.js';
import type { SamplingOptions, SequenceRequest, SequenceResult } from '../run/request.js';
import { checkInterventions, checkOutput } from './checks.js';
import type { Command, Io } from './command.js';
import type { Flags } from './flags.js';
import type { Input, InputFlags } from './inputs.js';
import { INPUT_OPTIONS, contextFor, processEscapes, readInputFlags, readInputs, tokenizeInputs } from './inputs.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, openModel, plural, rate, readModelFlags, readSessionFlags } from './options.js';

const SAMPLING = 'Sampling:';
const OUTPUT = 'Interventions and output:';
const MAX_SEED = 0xfffffffe;

interface GenerateFlags {
  model: ModelFlags;
  session: SessionOptions;
  inputs: InputFlags;
  /** -1: until the context is full. */
  predict: number;
  sampling: SamplingOptions;
  seed: number;
  samples: number;
  stop: string[];
  grammarFile: string | undefined;
  logProbabilities: boolean;
  ignoreEog: boolean;
  intervene: string | undefined;
  output: string | undefined;
  force: boolean;
}

/** Samples completions; sampling defaults are llama.cpp's, not the library's. */
export const generateCommand: Command = {
  name: 'generate',
  describe: 'Sample completions, many side by side, with optional interventions.',
  options: {
    ...INPUT_OPTIONS,
    predict: { alias: ['n', 'n-predict'], type: 'string', group: SAMPLING, describe: 'most tokens to sample; -1: until the context is full; default 128' },
    temp: { alias: 'temperature', type: 'string', group: SAMPLING, describe: 'temperature; 0 is greedy; default 0.8' },
    'top-k': { type: 'string', group: SAMPLING, describe: '0 is off; default 40' },
    'top-p': { type: 'string', group: SAMPLING, describe: '1 is off; default 0.95' },
    'min-p': { type: 'string', group: SAMPLING, describe: '0 is off; default 0.05' },
    seed: { alias: 's', type: 'string', group: SAMPLING, describe: 'sequence i uses seed + i; -1 draws one and prints it; default -1' },
    samples: { type: 'string', group: SAMPLING, describe: 'completions per prompt; default 1' },
    stop: { alias: ['r', 'reverse-prompt'], type: 'string', array: true, group: SAMPLING, describe: 'end before this text; may be repeated' },
    grammar: { type: 'string', group: SAMPLING, describe: 'GBNF grammar with a rule root' },
    'grammar-file': { type: 'string', group: SAMPLING, describe: 'a file with the grammar' },
    'ignore-eos': { type: 'boolean', group: SAMPLING, describe: 'go on after an end-of-generation token' },
    intervene: { type: 'string', group: OUTPUT, describe: 'interventions (JSON, see docs/interventions.md)' },
    logprobs: { type: 'boolean', group: OUTPUT, describe: 'log-probability and entropy of every token (in JSON)' },
    output: { alias: 'o', type: 'string', group: OUTPUT, describe: 'write JSON lines to this file too, as sequences finish' },
    force: { type: 'boolean', group: OUTPUT, describe: 'replace the output file if it exists' },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [
    ['rewardlens generate -m model.gguf -p "2+2=" -n 8 --temp 0', 'greedy'],
    ['rewardlens generate -m model.gguf --prompts set.jsonl --samples 4 -s 1 --json', 'four samples per prompt, as JSON lines'],
    ['rewardlens generate -m model.gguf --chat -p "Hello" --intervene edits.json', 'under interventions'],
  ],
  prepare(flags: Flags) {
    const seed = flags.integer('seed', -1, MAX_SEED) ?? -1;
    const grammar = flags.text('grammar');
    const inputs = readInputFlags(flags);
    const parsed: GenerateFlags = {
      model: readModelFlags(flags),
      session: readSessionFlags(flags),
      inputs,
      predict: flags.integer('predict', -1) ?? 128,
      sampling: {
        temperature: flags.number('temp', 0, 1e6) ?? 0.8,
        topK: flags.integer('top-k', 0) ?? 40,
        topP: flags.number('top-p', 0, 1) ?? 0.95,
        minP: flags.number('min-p', 0, 1) ?? 0.05,
        ...(grammar === undefined ? {} : { grammar }),
      },
      seed: seed < 0 ? randomInt(0, MAX_SEED) : seed,
      samples: flags.integer('samples', 1, 1e6) ?? 1,
      stop: flags.list('stop').map((text) => (inputs.escape ? processEscapes(text) : text)),
      grammarFile: flags.text('grammar-file'),
      logProbabilities: flags.on('logprobs'),
      ignoreEog: flags.on('ignore-eos'),
      intervene: flags.text('intervene'),
      output: flags.text('output'),
      force: flags.on('force'),
    };
    return (io) => runGenerate(parsed, io);
  },
};

interface Job {
  flags: GenerateFlags;
  io: Io;
  inputs: Input[];
  interventions: Intervention[];
  results: SequenceResult[];
  /** One JSON line per sequence, to stdout with --json and to the output file. */
  record: (value: unknown) => void;
}

async function runGenerate(given: GenerateFlags, io: Io): Promise<void> {
  if (given.output !== undefined) {
    await checkOutput(given.output, given.force);
  }
  const raw = await readInputs(given.inputs);
  const interventions = given.intervene === undefined ? [] : await readInterventions(given.intervene);
  const flags = await withGrammar(given);
  await using model = await openModel(flags.model, io);
  const inputs = tokenizeInputs(model, raw, { chat: flags.inputs.chat });
  await using session = model.createSession({
    ...flags.session,
    contextLength: contextLength(model, inputs, flags, io),
    parallel: flags.session.parallel ?? Math.min(inputs.length * flags.samples, 32),
  });
  await checkInterventions(session, interventions, flags.intervene);
  const manifest = await createManifest(session, { hashModel: false });
  const file = flags.output === undefined ? undefined : openOutput(flags.output);
  const record = (value: unknown): void => {
    if (io.json) {
      io.line(value);
    }
    if (file !== undefined) {
      writeSync(file, `${JSON.stringify(value)}\n`);
    }
  };
  try {
    const job: Job = { flags, io, inputs, interventions, results: [], record };
    const total = inputs.length * flags.samples;
    io.progress.start('generating', total);
    const run = generate(session, requests(job, session.info.contextLength), { signal: io.signal, onProgress: (progress) => showProgress(io, progress, total, flags.predict) });
    const totals = await takeAll(run, job, total);
    io.progress.stop();
    finish(job, totals, manifest);
  } finally {
    if (file !== undefined) {
      closeSync(file);
    }
  }
}

async function withGrammar(flags: GenerateFlags): Promise<GenerateFlags> {
  if (flags.grammarFile === undefined) {
    return flags;
  }
  try {
    return { ...flags, sampling: { ...flags.sampling, grammar: await readFile(flags.grammarFile, 'utf8') } };
  } catch (error) {
    throw new RewardLensError('IO', `cannot read '${flags.grammarFile}': ${(error as Error).message}`, { cause: error });
  }
}

function openOutput(path: string): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    throw new RewardLensError('IO', `cannot write '${path}': ${(error as Error).message}`, { cause: error });
  }
}

/** Tokens per sequence when -n -1 and no -c say nothing. */
const OPEN_END_TOKENS = 2048;

function contextLength(model: Model, inputs: readonly Input[], flags: GenerateFlags, io: Io): number {
  const length = contextFor(inputs, flags.predict < 0 ? OPEN_END_TOKENS : flags.predict, flags.session.contextLength);
  const { trainContextLength } = model.info;
  if (trainContextLength > 0 && length > trainContextLength) {
    io.warn(`sequences may reach ${length} tokens; the model was trained on ${trainContextLength}`);
  }
  return length;
}

function requests({ flags, inputs, interventions }: Job, context: number): SequenceRequest[] {
  return inputs.flatMap((input, i) =>
    Array.from({ length: flags.samples }, (_, k) => ({
      ...flags.sampling,
      prompt: input.tokens,
      maxTokens: flags.predict < 0 ? context : flags.predict,
      seed: seedOf(flags, i * flags.samples + k),
      stop: flags.stop,
      logProbabilities: flags.logProbabilities,
      ignoreEog: flags.ignoreEog,
      ...(interventions.length === 0 ? {} : { interventions }),
    })),
  );
}

function seedOf(flags: GenerateFlags, index: number): number {
  return (flags.seed + index) % (MAX_SEED + 1);
}

/** Sequences may end early: the bar follows whichever says more, tokens or finished sequences. */
function showProgress(io: Io, progress: RunProgress, total: number, predict: number): void {
  const sequences = total === 1 ? '' : `${progress.finished}/${total} sequences, `;
  const done = predict > 0 ? Math.max(progress.finished, progress.completionTokens / predict) : progress.finished;
  io.progress.update(done, `${sequences}${plural(progress.completionTokens, 'token')} ${rate(progress.completionTokens, progress.busyMs)}`);
}

/** Prints results as they finish: JSON at once, text in the order of the prompts. */
async function takeAll(run: AsyncGenerator<SequenceResult, RunProgress, void>, job: Job, total: number): Promise<RunProgress> {
  const waiting = new Map<number, SequenceResult>();
  let next = 0;
  while (true) {
    const step = await run.next();
    if (step.done === true) {
      return step.value;
    }
    const result = step.value;
    job.results.push(result);
    job.record(toJson(result, job));
    waiting.set(result.index, result);
    for (let ready = waiting.get(next); !job.io.json && ready !== undefined; ready = waiting.get(++next)) {
      waiting.delete(next);
      job.io.out(total === 1 ? ready.text : `${header(ready, job)}\n${ready.text}\n`);
    }
  }
}

function header(result: SequenceResult, { flags, inputs }: Job): string {
  const input = inputs[Math.floor(result.index / flags.samples)];
  const name = input?.id ?? input?.source ?? '';
  const sample = flags.samples === 1 ? '' : `, sample ${result.index % flags.samples}`;
  return `=== ${name}${sample} (seed ${seedOf(flags, result.index)}, ${result.finishReason}, ${plural(result.tokens.length, 'token')})`;
}

function toJson(result: SequenceResult, { flags, inputs, interventions }: Job): Record<string, unknown> {
  const input = inputs[Math.floor(result.index / flags.samples)];
  return {
    index: result.index,
    id: input?.id ?? null,
    ...(flags.samples === 1 ? {} : { sample: result.index % flags.samples }),
    prompt: input?.text ?? null,
    text: result.text,
    tokens: [...result.tokens],
    finishReason: result.finishReason,
    promptTokens: result.promptTokens.length,
    sharedPrefix: result.sharedPrefix,
    ...(flags.logProbabilities ? { logProbabilities: [...(result.logProbabilities ?? [])], entropies: [...(result.entropies ?? [])] } : {}),
    edits: result.edits.map((edit, i) => ({ kind: interventions[i]?.kind, ...edit })),
    seed: seedOf(flags, result.index),
  };
}

function finish(job: Job, totals: RunProgress, manifest: object): void {
  const { flags, io, interventions, results } = job;
  const edits = interventions.map(({ kind }, i) => {
    const sum = (key: 'changed' | 'expected' | 'shared'): number => results.reduce((total, result) => total + (result.edits[i]?.[key] ?? 0), 0);
    return { kind, changed: sum('changed'), expected: sum('expected'), shared: sum('shared') };
  });
  job.record({
    summary: {
      sequences: results.length,
      promptTokens: totals.promptTokens,
      sharedTokens: totals.sharedTokens,
      completionTokens: totals.completionTokens,
      tokensPerSecond: totals.busyMs > 0 ? (totals.completionTokens * 1000) / totals.busyMs : null,
      busyMs: totals.busyMs,
      seed: flags.seed,
      sampling: flags.sampling,
      edits,
      manifest,
    },
  });
  const speed = rate(totals.completionTokens, totals.busyMs);
  const shared = totals.sharedTokens > 0 ? ` (and ${totals.sharedTokens.toLocaleString('en-US')} shared)` : '';
  io.summary(`${plural(totals.completionTokens, 'token')} sampled${speed === '' ? '' : `, ${speed}`}; ${plural(totals.promptTokens, 'prompt token')} read${shared}; seed ${flags.seed}`);
  edits.forEach((edit, i) =>
    io.summary(`intervention ${i} (${edit.kind}): ${plural(edit.changed, 'value')} written, ${edit.expected.toLocaleString('en-US')} expected${edit.shared > 0 ? `, ${edit.shared.toLocaleString('en-US')} in shared prefixes` : ''}`),
  );
}
