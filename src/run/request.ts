/** Requests and results of a run. */
import type { Intervention } from '../intervene/types.js';
import type { EditCount } from '../intervene/types.js';
import type { Model } from '../model/model.js';
import type { NativeRequest } from '../native/addon.js';
import { RewardLensError, invalidArgument } from '../native/errors.js';

/**
 * How tokens are drawn; llama.cpp's samplers in its order (grammar, top-k, top-p, min-p, temperature). The defaults are
 * the model's own distribution: temperature 1 and nothing cut off, as the method needs. llama.cpp's command-line
 * defaults differ (0.8, 40, 0.95, 0.05).
 */
export interface SamplingOptions {
  /** 0 is greedy. Default 1. */
  readonly temperature?: number;
  /** 0 is off (default). */
  readonly topK?: number;
  /** 1 is off (default). */
  readonly topP?: number;
  /** 0 is off (default). */
  readonly minP?: number;
  /** Seed of this sequence alone, 0..2^32-2 (llama.cpp reads 2^32-1 as "draw one"). Default 0. */
  readonly seed?: number;
  /** GBNF grammar with a rule `root`. */
  readonly grammar?: string;
}

/** One sequence to process. */
export interface SequenceRequest extends SamplingOptions {
  /** Raw text (tokenized with the model's BOS and special tokens) or token ids. */
  readonly prompt: string | Int32Array | readonly number[];
  /** Tokens to sample; 0 only reads the prompt. Default 0. */
  readonly maxTokens?: number;
  /** Edits of this sequence, in list order. Sequences share edited prefixes only when they carry the same array object. */
  readonly interventions?: readonly Intervention[];
  /** Name of a list in the run's `arms`, instead of `interventions`. */
  readonly arm?: string;
  /** Generation ends before any of these texts. */
  readonly stop?: readonly string[];
  /** Report log-probability and entropy of every sampled token. Default false. */
  readonly logProbabilities?: boolean;
  /** Go on after an end-of-generation token. Default false. */
  readonly ignoreEog?: boolean;
  /**
   * Take a prefix from the cache only as far as another sequence read it as its prompt. Tokens that were sampled one at a time leave cells that
   * differ in the last bits from those of a prompt (docs/engine.md), so without this a prompt that goes on from another's completion may too. Default false.
   */
  readonly promptCellsOnly?: boolean;
  /** Anything of the caller's, returned with the result. */
  readonly label?: unknown;
}

/**
 * Why a sequence ended: `prompt` (nothing to sample), `eog` (end-of-generation token), `stop` (stop string), `length`
 * (maxTokens), `context` (no room left).
 */
export type FinishReason = 'prompt' | 'eog' | 'stop' | 'length' | 'context';

/** What became of one request. */
export interface SequenceResult {
  /** Index of the request in the order in which they were given. */
  index: number;
  label: unknown;
  arm: string | undefined;
  finishReason: FinishReason;
  /** Text of the sampled tokens, without the end-of-generation token and cut before a stop string. */
  text: string;
  /** Sampled tokens, the end-of-generation token included. */
  tokens: Int32Array;
  promptTokens: Int32Array;
  /** Natural-log probability of each sampled token under the model's own distribution (temperature 1, nothing cut). */
  logProbabilities: Float32Array | undefined;
  /** Entropy in nats of the distribution each token was drawn from, likewise. */
  entropies: Float32Array | undefined;
  /** Prompt positions taken from another sequence's cache instead of being computed. */
  sharedPrefix: number;
  /** How many of the lowest layers were not computed again for the other prompt positions, because an earlier pass had. */
  skippedLayers: number;
  /** Positions that went through the model: prompt plus all sampled tokens but the last. */
  processedTokens: number;
  /** One count per intervention of the sequence, in list order. */
  edits: EditCount[];
}

/** Token ids of a request's prompt. Errors: INVALID_ARGUMENT naming the request, CONTEXT_FULL. */
export function promptTokens(model: Model, prompt: SequenceRequest['prompt'], name: string): Int32Array {
  if (typeof prompt === 'string') {
    return model.tokenize(prompt);
  }
  const tokens = Int32Array.from(prompt);
  tokens.forEach((token, i) => {
    if (token !== prompt[i] || token < 0 || token >= model.info.vocabSize) {
      throw invalidArgument(`${name}.prompt[${i}]`, `a token id in 0..${model.info.vocabSize - 1}`, prompt[i]);
    }
  });
  return tokens;
}

/** Checks a request and gives it the addon's form. Errors: INVALID_ARGUMENT, CONTEXT_FULL; the message names the request. */
export function compileRequest(
  request: SequenceRequest,
  target: { id: number; prompt: Int32Array; edits: number; contextLength: number },
): NativeRequest {
  const name = `requests[${target.id}]`;
  if (target.prompt.length === 0) {
    throw invalidArgument(`${name}.prompt`, 'at least one token', request.prompt);
  }
  if (target.prompt.length > target.contextLength) {
    throw new RewardLensError(
      'CONTEXT_FULL',
      `${name}: the prompt has ${target.prompt.length} tokens, the session holds ${target.contextLength} per sequence; give createSession a larger contextLength`,
      { details: { request: target.id, promptTokens: target.prompt.length, contextLength: target.contextLength } },
    );
  }
  const number = (key: keyof SamplingOptions | 'maxTokens', fallback: number, low: number, high: number, integer: boolean): number => {
    const value = request[key] ?? fallback;
    if (typeof value !== 'number' || !(value >= low && value <= high) || (integer && !Number.isInteger(value))) {
      throw invalidArgument(`${name}.${key}`, `${integer ? 'an integer' : 'a number'} in ${low}..${high}`, value);
    }
    return value;
  };
  return {
    id: target.id,
    prompt: target.prompt,
    maxTokens: number('maxTokens', 0, 0, 0x7fffffff, true),
    edits: target.edits,
    temperature: number('temperature', 1, 0, 1e6, false),
    topK: number('topK', 0, 0, 0x7fffffff, true),
    topP: number('topP', 1, 0, 1, false),
    minP: number('minP', 0, 0, 1, false),
    seed: number('seed', 0, 0, 0xfffffffe, true),
    grammar: request.grammar ?? '',
    stop: stopStrings(request.stop, name),
    statistics: request.logProbabilities ?? false,
    ignoreEog: request.ignoreEog ?? false,
    promptCellsOnly: request.promptCellsOnly ?? false,
  };
}

function stopStrings(stop: SequenceRequest['stop'], name: string): string[] {
  const list: unknown = stop ?? [];
  if (!Array.isArray(list) || list.some((text) => typeof text !== 'string' || text === '')) {
    throw invalidArgument(`${name}.stop`, 'a list of texts that are not empty', stop);
  }
  return [...(list as string[])];
}
