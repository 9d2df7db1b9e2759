/** From problems to the texts that a model is given. */
import { createHash } from 'node:crypto';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { hasBox } from '../reward/boxed.js';
import { readStrict } from '../reward/gsm8k.js';
import { pickRandom } from '../util/random.js';
import { loadDataset } from './load.js';
import type { LoadedTemplate, TemplateExample, TemplateProblem } from './templates.js';
import { TEMPLATES, loadTemplate } from './templates.js';
import type { Dataset, DatasetFormat, Problem } from './types.js';

/** A message for a chat template. */
export interface PromptMessage {
  readonly role: string;
  readonly content: string;
}

/** Options of {@link createPromptBuilder}. */
export interface PromptOptions {
  readonly dataset: Dataset;
  /**
   * `chat` (the model's chat template), a name of `describeTemplates`, or a Jinja file. Default: raw for plain JSONL; otherwise chat
   * when there is `renderChat`, else qa for gsm8k, math-boxed for math, choice for arc and mmlu.
   */
  readonly template?: string | undefined;
  /** System message; for chat and for files that use it. */
  readonly system?: string | undefined;
  /** Solved examples in front of every problem. Default 0. */
  readonly fewShot?: number | undefined;
  /** Where examples come from: a data set or the specification of one. Default: `dataset` itself. */
  readonly fewShotFrom?: string | Dataset | undefined;
  /** Chooses the examples. Default 0. */
  readonly seed?: number | undefined;
  /** The model's chat template, ready for the assistant's turn; undefined: the model has none. */
  readonly renderChat?: ((messages: readonly PromptMessage[]) => string) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A prompt as it is tokenized. */
export interface Prompt {
  readonly text: string;
  /** Whether the tokenizer adds its own special tokens; a chat template has written them already. */
  readonly addSpecial: boolean;
}

/** What determines the prompts besides the problems, for people. */
export interface PromptDescription {
  readonly template: string;
  /** SHA-256 of the template's text, in hex. */
  readonly templateSha256: string;
  readonly system: string | undefined;
  /** Ids of the examples, and the data set they are from. */
  readonly fewShot: readonly string[];
  readonly fewShotFrom: string | undefined;
}

/** Turns problems into prompts. */
export interface PromptBuilder {
  /** The problems of the data set that are not among the examples. */
  readonly problems: readonly Problem[];
  /** `<template>-<16 hex digits>`; equal fingerprints give equal prompts for equal problems and the same model. */
  readonly fingerprint: string;
  /** Errors: INVALID_ARGUMENT when the template fails on this problem. */
  readonly prompt: (problem: Problem) => Prompt;
  readonly describe: () => PromptDescription;
}

/** Templates for models without a chat template. */
const DEFAULTS: Readonly<Record<DatasetFormat, string>> = { gsm8k: 'qa', math: 'math-boxed', arc: 'choice', mmlu: 'choice', jsonl: 'raw' };

/**
 * What is asked for so that the check can read the answer. math: as the model cards of Qwen2.5-Math and DeepSeek-R1 have it;
 * choice: the wording of MMLU-Pro's prompt.
 */
const INSTRUCTIONS: Readonly<Record<string, string>> = {
  gsm8k: 'Please reason step by step, and put your final answer, a number, after "#### " on the last line.',
  math: 'Please reason step by step, and put your final answer within \\boxed{}.',
  choice: 'Think step by step and then finish your answer with "the answer is (X)" where X is the correct letter choice.',
};

/** The answer as the check reads it. */
function finalAnswer({ answer, check }: Problem): string {
  switch (check) {
    case 'gsm8k':
      return `#### ${answer}`;
    case 'math':
      return `\\boxed{${answer}}`;
    case 'choice':
      return `(${answer})`;
    default:
      return answer;
  }
}

/** The record's own worked solution where it ends in the form that the check reads, otherwise the answer alone. */
function solutionOf(problem: Problem): string {
  const { source, check } = problem;
  const field = check === 'gsm8k' ? source['answer'] : check === 'math' ? source['solution'] : undefined;
  const worked = typeof field === 'string' && (check === 'gsm8k' ? readStrict(field) !== undefined : hasBox(field));
  return worked ? field.trim() : finalAnswer(problem);
}

function toTemplateProblem({ question, choices = [] }: Problem): TemplateProblem {
  return { question, choices, options: choices.map(({ label, text }) => `(${label}) ${text}`).join('\n') };
}

function toExample(problem: Problem): TemplateExample {
  return { ...toTemplateProblem(problem), solution: solutionOf(problem), answer: problem.answer };
}

/** What makes two problems the same one, in whatever data set. */
function contentOf({ question, choices }: Problem): string {
  return JSON.stringify([question.trim(), choices?.map(({ text }) => text) ?? null]);
}

async function chooseExamples(options: PromptOptions): Promise<{ examples: Problem[]; from: Dataset }> {
  const { dataset, fewShot = 0, fewShotFrom = dataset, seed = 0, signal } = options;
  if (!(Number.isSafeInteger(fewShot) && fewShot >= 0)) {
    throw invalidArgument('fewShot', 'an integer ≥ 0', fewShot);
  }
  if (fewShot === 0) {
    if (options.fewShotFrom !== undefined) {
      throw invalidArgument('fewShotFrom', 'nothing without fewShot ≥ 1', typeof options.fewShotFrom === 'string' ? options.fewShotFrom : options.fewShotFrom.name);
    }
    return { examples: [], from: dataset };
  }
  const from = typeof fewShotFrom === 'string' ? await loadDataset(fewShotFrom, { signal }) : fewShotFrom;
  if (from.format !== dataset.format) {
    throw invalidArgument('fewShotFrom', `a data set of the format ${dataset.format}, as ${dataset.source} is`, `${from.source} (${from.format})`);
  }
  const distinct = [...new Map(from.problems.map((problem) => [contentOf(problem), problem])).values()];
  if (distinct.length < fewShot) {
    throw invalidArgument('fewShot', `at most ${distinct.length}, the problems of ${from.source}`, fewShot);
  }
  return { examples: pickRandom(distinct.length, fewShot, seed).map((i) => distinct[i] as Problem), from };
}

/** Without examples' answers in the set: a problem that is shown solved says nothing when it is asked. */
function without(dataset: Dataset, examples: readonly Problem[]): readonly Problem[] {
  const shown = new Set(examples.map(contentOf));
  const left = shown.size === 0 ? dataset.problems : dataset.problems.filter((problem) => !shown.has(contentOf(problem)));
  if (left.length === 0) {
    throw new RewardLensError('INVALID_ARGUMENT', `${dataset.source}: all ${dataset.problems.length} problems are among the few-shot examples`);
  }
  return left;
}

interface Writer {
  readonly name: string;
  /** The template's Jinja text. */
  readonly text: string;
  readonly write: (problem: Problem) => Prompt;
}

function writeWith(template: LoadedTemplate, examples: readonly TemplateExample[], system: string, instruct: (problem: Problem) => string): Writer {
  const write = (problem: Problem): Prompt => ({
    text: template.render({ ...toTemplateProblem(problem), fewshot: examples, instruction: instruct(problem), system }),
    addSpecial: true,
  });
  return { name: template.name, text: template.text, write };
}

/** Examples become turns of the conversation. */
async function chatWriter(options: PromptOptions, examples: readonly Problem[], instruct: (problem: Problem) => string): Promise<Writer> {
  const { renderChat, system } = options;
  if (renderChat === undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `template: the model carries no chat template; expected one of ${Object.keys(TEMPLATES).join(', ')}, or a file with a Jinja template`);
  }
  const user = writeWith(await loadTemplate('instruct'), [], '', instruct);
  const shown: PromptMessage[] = examples.flatMap((problem) => [
    { role: 'user', content: user.write(problem).text },
    { role: 'assistant', content: solutionOf(problem) },
  ]);
  const first: PromptMessage[] = system === undefined ? shown : [{ role: 'system', content: system }, ...shown];
  const write = (problem: Problem): Prompt => ({ text: renderChat([...first, { role: 'user', content: user.write(problem).text }]), addSpecial: false });
  return { name: 'chat', text: user.text, write };
}

async function chooseWriter(options: PromptOptions, examples: readonly Problem[]): Promise<Writer> {
  const { dataset, system } = options;
  const template = options.template ?? (dataset.format === 'jsonl' || options.renderChat === undefined ? DEFAULTS[dataset.format] : 'chat');
  // The prompts of plain JSONL are complete.
  const instruct = (problem: Problem): string => (dataset.format === 'jsonl' ? '' : (INSTRUCTIONS[problem.check] ?? ''));
  if (template === 'chat') {
    return chatWriter(options, examples, instruct);
  }
  if (system !== undefined && Object.hasOwn(TEMPLATES, template)) {
    throw invalidArgument('system', `none, because the template '${template}' has no place for it`, system);
  }
  return writeWith(await loadTemplate(template), examples.map(toExample), system ?? '', instruct);
}

function sha256(value: unknown): string {
  return createHash('sha256').update(typeof value === 'string' ? value : JSON.stringify(value)).digest('hex');
}

/**
 * Chooses template and examples. Problems that are among the examples (the same question and options) are left out of `problems`.
 *
 * Errors: INVALID_ARGUMENT for an unknown template (the message lists the names), one that does not parse or ignores the question,
 * `chat` without `renderChat`, a system message that has no place, too many examples or examples of another format; what
 * {@link loadDataset} throws for `fewShotFrom`; IO for a template file that cannot be read.
 */
export async function createPromptBuilder(options: PromptOptions): Promise<PromptBuilder> {
  const { dataset, system } = options;
  const { examples, from } = await chooseExamples(options);
  const problems = without(dataset, examples);
  const { name, text, write } = await chooseWriter(options, examples);
  const known = name === 'chat' || Object.hasOwn(TEMPLATES, name);
  // A file's path does not matter, its text does.
  const content = [known ? name : 'file', text, system ?? null, INSTRUCTIONS, dataset.format === 'jsonl', examples.map(toExample)];
  return {
    problems,
    fingerprint: `${known ? name : 'file'}-${sha256(content).slice(0, 16)}`,
    prompt: write,
    describe: () => ({
      template: name,
      templateSha256: sha256(text),
      system,
      fewShot: examples.map(({ id }) => id),
      fewShotFrom: examples.length === 0 ? undefined : from.source,
    }),
  };
}
