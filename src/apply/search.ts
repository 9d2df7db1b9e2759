/** Guided search: several candidates for every step from a shared cache, the best kept; and whole answers at the same cost. */
import type { CapturePlan } from '../capture/plan.js';
import type { Model } from '../model/model.js';
import type { Session } from '../model/session.js';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { trajectorySeed } from '../rollout/rollout.js';
import type { RunProgress } from '../run/engine.js';
import type { GenerateResult } from '../run/generate.js';
import { generate } from '../run/generate.js';
import type { FinishReason, SamplingOptions, SequenceRequest } from '../run/request.js';

/** One problem to answer. */
export interface SearchItem {
  readonly id: string;
  readonly prompt: Int32Array;
}

/** Tokens of the model, counted: sampled; put through the model; taken from a cache instead. */
export interface TokenCost {
  sampled: number;
  computed: number;
  shared: number;
}

/** A completion so far. */
export interface Candidate {
  /** Index of its item. */
  readonly item: number;
  /** Number among the candidates of its item in this step, from 0. */
  readonly number: number;
  /** Step it ends with, from 0. */
  readonly step: number;
  /** All sampled tokens, the end-of-generation token included. */
  readonly tokens: Int32Array;
  /** Sum of their natural-log probabilities. */
  readonly logProbability: number;
  /** What it goes on from; undefined for the prompt. */
  readonly from: Candidate | undefined;
  /**
   * Captured rows of this step's states, [rows, width] row-major; none without a capture. With positions `response` they begin at the state before its first
   * token; the last one is that before the last sampled token, dropped ones included.
   */
  readonly states: Float32Array;
  readonly rows: number;
  /** Why the answer is over; undefined while it goes on. */
  readonly ended: Exclude<FinishReason, 'prompt'> | undefined;
}

/** A number for every candidate; the highest is kept. */
export type CandidateScorer = (candidates: readonly Candidate[]) => Promise<ArrayLike<number>>;

/** What to read of candidates: the last state of a step, or all of them. */
export type CandidateCapture = CapturePlan & { readonly positions: 'last' | 'response' };

/** How candidates are drawn. */
export interface DrawOptions {
  readonly sampling: Omit<SamplingOptions, 'seed'>;
  /** Most tokens of an answer. */
  readonly maxTokens: number;
  /** Texts before which an answer ends. */
  readonly stop?: readonly string[];
  readonly seed: number;
  /** One site and one layer, which become {@link Candidate.states}. */
  readonly capture?: CandidateCapture | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** How to search. */
export interface SearchOptions extends DrawOptions {
  /** Candidates for the next step of every kept completion. */
  readonly candidates: number;
  /** Completions kept after every step. */
  readonly beam: number;
  /**
   * A step ends after any of these texts, and after this many tokens. Where it ends by its length one more token is sampled and dropped, so that the
   * state that is scored has read the whole step; a text at the end is not read yet, but nothing depends on it.
   */
  readonly step: { readonly stop: readonly string[]; readonly maxTokens: number };
  readonly score: CandidateScorer;
}

/** What became of one item. */
export interface SearchOutcome {
  readonly answer: Candidate;
  readonly score: number;
  readonly steps: number;
  /** As the engine counted; how much comes from the cache depends a little on timing. */
  readonly cost: TokenCost;
  /** Tokens put through the model by rule ({@link computedByRule}), which the seed determines. */
  readonly computedByRule: number;
}

interface Kept {
  candidate: Candidate;
  score: number;
}

/** An item on its way. */
interface Lane {
  item: number;
  step: number;
  kept: Kept[];
  cost: TokenCost;
  byRule: number;
}

interface Draw {
  lane: Lane;
  from: Candidate | undefined;
  number: number;
}

/**
 * Searches an answer to every item. In a round every item that is not done draws `beam` × `candidates` next steps: `candidates` from each kept
 * completion, or all from the prompt at first; their scores, and those of kept completions that are over, decide which `beam`
 * completions stay (ties: the first). An item is done when all that stay are over; the best of them is its answer. Seeds follow from
 * `seed`, the item's id, step and number alone, so that two scorers see the same candidates until they choose differently. Prompts
 * and kept completions are taken from the cache but for two tokens each, as long as the session has twice as many sequences as a round draws: as many
 * items go side by side as allow for that. Errors: those of the engine; INVALID_ARGUMENT.
 */
export async function guidedSearch(session: Session, items: readonly SearchItem[], options: SearchOptions): Promise<{ outcomes: SearchOutcome[]; run: RunProgress }> {
  const perItem = options.candidates * options.beam;
  if (!(perItem >= 1) || !Number.isInteger(options.candidates) || !Number.isInteger(options.beam)) {
    throw invalidArgument('candidates, beam', 'integers of at least 1', `${options.candidates}, ${options.beam}`);
  }
  const side = Math.max(1, Math.floor(session.info.parallel / (2 * perItem)));
  const search = new Search(items, options, side, (tokens) => completionText(session.model, tokens));
  const results = generate(session, search.requests(), { ...(options.capture === undefined ? {} : { capture: options.capture }), signal: options.signal });
  for (let step = await results.next(); ; step = await results.next()) {
    if (step.done === true) {
      return { outcomes: search.outcomes as SearchOutcome[], run: step.value };
    }
    await search.take(step.value);
  }
}

class Search {
  readonly outcomes: (SearchOutcome | undefined)[];
  readonly #items: readonly SearchItem[];
  readonly #options: SearchOptions;
  readonly #side: number;
  readonly #textOf: (tokens: Int32Array) => string;
  #lanes: Lane[] = [];
  #next = 0;
  #waiting = 0;
  #drawn: { draw: Draw; candidate: Candidate }[] = [];
  #roundOver: (() => void) | undefined;

  constructor(items: readonly SearchItem[], options: SearchOptions, side: number, textOf: (tokens: Int32Array) => string) {
    this.#items = items;
    this.#textOf = textOf;
    this.#options = options;
    this.#side = side;
    this.outcomes = items.map(() => undefined);
  }

  /** The draws of one round after the other; a round begins when the one before is decided. */
  async *requests(): AsyncGenerator<SequenceRequest, void, void> {
    for (;;) {
      while (this.#lanes.length < this.#side && this.#next < this.#items.length) {
        this.#lanes.push({ item: this.#next++, step: 0, kept: [], cost: { sampled: 0, computed: 0, shared: 0 }, byRule: 0 });
      }
      if (this.#lanes.length === 0) {
        return;
      }
      const draws = this.#lanes.flatMap((lane) => this.#drawsOf(lane));
      this.#waiting = draws.length;
      this.#drawn = [];
      const over = new Promise<void>((resolve) => (this.#roundOver = resolve));
      for (const draw of draws) {
        yield this.#request(draw);
      }
      await over;
    }
  }

  #drawsOf(lane: Lane): Draw[] {
    const { candidates, beam } = this.#options;
    const open = lane.kept.map(({ candidate }) => candidate).filter(({ ended }) => ended === undefined);
    const from = lane.step === 0 ? Array.from({ length: candidates * beam }, () => undefined) : open.flatMap((candidate) => Array.from({ length: candidates }, () => candidate));
    return from.map((candidate, number) => ({ lane, from: candidate, number }));
  }

  #request(draw: Draw): SequenceRequest {
    const { sampling, maxTokens, seed, step } = this.#options;
    const { id, prompt } = this.#items[draw.lane.item] as SearchItem;
    const before = draw.from?.tokens ?? new Int32Array();
    return {
      ...sampling,
      prompt: Int32Array.of(...prompt, ...before),
      maxTokens: Math.min(step.maxTokens + 1, maxTokens - before.length),
      stop: [...step.stop, ...(this.#options.stop ?? [])],
      seed: trajectorySeed(seed, `${id}/${draw.lane.step}`, draw.number),
      logProbabilities: true,
      label: draw,
    };
  }

  async take(result: GenerateResult): Promise<void> {
    const draw = result.label as Draw;
    const { lane, from, number } = draw;
    addCost(lane.cost, result);
    lane.byRule += computedByRule(result.promptTokens.length, from === undefined && number === 0, result.tokens.length);
    const { maxTokens, step } = this.#options;
    const candidate = candidateOf(result, { item: lane.item, number, step: lane.step, from, maxTokens, stepTokens: step.maxTokens });
    this.#drawn.push({ draw, candidate: result.finishReason === 'stop' && candidate.ended === undefined && this.#isOver(candidate) ? { ...candidate, ended: 'stop' } : candidate });
    if (--this.#waiting === 0) {
      await this.#decide();
      this.#roundOver?.();
    }
  }

  /** Is one of the texts that end an answer in it? */
  #isOver({ tokens }: Candidate): boolean {
    const text = (this.#options.stop ?? []).length === 0 ? '' : this.#textOf(tokens);
    return (this.#options.stop ?? []).some((stop) => text.includes(stop));
  }

  /** Keeps the best of every lane and closes those that are done. */
  async #decide(): Promise<void> {
    const drawn = this.#drawn.sort((a, b) => a.draw.lane.item - b.draw.lane.item || a.draw.number - b.draw.number);
    const scores = await this.#options.score(drawn.map(({ candidate }) => candidate));
    for (const lane of this.#lanes) {
      const over = lane.kept.filter(({ candidate }) => candidate.ended !== undefined);
      const fresh = drawn.flatMap(({ draw, candidate }, i): Kept[] => (draw.lane === lane ? [{ candidate, score: scores[i] as number }] : []));
      const best = [...over, ...fresh].map((kept, order) => ({ kept, order })).sort((a, b) => b.kept.score - a.kept.score || a.order - b.order);
      lane.kept = best.slice(0, this.#options.beam).map(({ kept }) => kept);
      lane.step++;
      if (lane.kept.every(({ candidate }) => candidate.ended !== undefined)) {
        const [answer] = lane.kept as [Kept];
        this.outcomes[lane.item] = { answer: answer.candidate, score: answer.score, steps: lane.step, cost: lane.cost, computedByRule: lane.byRule };
      }
    }
    this.#lanes = this.#lanes.filter((lane) => this.outcomes[lane.item] === undefined);
    this.#options.onProgress?.(this.outcomes.filter((outcome) => outcome !== undefined).length, this.#items.length);
  }
}

function addCost(cost: TokenCost, { tokens, processedTokens, sharedPrefix }: GenerateResult): void {
  cost.sampled += tokens.length;
  cost.computed += processedTokens - sharedPrefix;
  cost.shared += sharedPrefix;
}

/** Text of sampled tokens. */
export function completionText(model: Model, tokens: Int32Array): string {
  return Buffer.concat([...tokens].map((token) => model.tokenPiece(token))).toString('utf8');
}

interface CandidateFacts extends Pick<Candidate, 'item' | 'number' | 'step'> {
  from: Candidate | undefined;
  maxTokens: number;
  stepTokens: number;
}

function candidateOf(result: GenerateResult, { item, number, step, from, maxTokens, stepTokens }: CandidateFacts): Candidate {
  const own = result.tokens.subarray(0, stepTokens);
  const tokens = Int32Array.of(...(from?.tokens ?? []), ...own);
  const last = own.length === result.tokens.length ? result.finishReason : undefined; // what ended it may have been dropped
  const full = tokens.length >= maxTokens ? 'length' : undefined;
  return {
    item,
    number,
    step,
    tokens,
    logProbability: (from?.logProbability ?? 0) + (result.logProbabilities ?? new Float32Array()).subarray(0, stepTokens).reduce((a, b) => a + b, 0),
    from,
    ...statesOf(result),
    ended: last === 'eog' || last === 'context' ? last : full,
  };
}

function statesOf({ activations }: GenerateResult): Pick<Candidate, 'states' | 'rows'> {
  const block = activations?.blocks[0];
  if (activations === undefined || block === undefined) {
    return { states: new Float32Array(), rows: 0 };
  }
  if (activations.rowCount === 0) {
    throw new RewardLensError('HOOK_NOT_FIRED', 'a candidate has no captured state');
  }
  return { states: activations.get(block.site, block.layer).data.slice(), rows: activations.rowCount };
}

/**
 * Draws `count` whole answers to every item: what best-of-n and majority voting choose from. Returns candidates by item and number, and the
 * run's totals. Cost: the prompt of an item once, two tokens of it for each further answer, and the answers.
 */
export async function drawAnswers(session: Session, items: readonly SearchItem[], count: number, options: DrawOptions): Promise<{ answers: Candidate[][]; run: RunProgress }> {
  const answers = items.map((): Candidate[] => []);
  const requests = function* (): Generator<SequenceRequest, void, void> {
    for (const [item, { id, prompt }] of items.entries()) {
      for (let number = 0; number < count; number++) {
        yield { ...options.sampling, prompt, maxTokens: options.maxTokens, stop: options.stop ?? [], seed: trajectorySeed(options.seed, `${id}/answer`, number), logProbabilities: true, label: { item, number } };
      }
    }
  };
  let done = 0;
  const results = generate(session, requests(), { ...(options.capture === undefined ? {} : { capture: options.capture }), signal: options.signal });
  for (let step = await results.next(); ; step = await results.next()) {
    if (step.done === true) {
      return { answers, run: step.value };
    }
    const { item, number } = step.value.label as { item: number; number: number };
    const { finishReason } = step.value;
    const answer = candidateOf(step.value, { item, number, step: 0, from: undefined, maxTokens: options.maxTokens, stepTokens: options.maxTokens });
    (answers[item] as Candidate[])[number] = finishReason === 'stop' ? { ...answer, ended: 'stop' } : answer;
    options.onProgress?.(++done, items.length * count);
  }
}

/** The last tokens of a prompt are computed for every sequence; shorter prefixes than this are not shared (docs/engine.md). */
const COMPUTED_AGAIN = 2;
const SHORTEST_PREFIX = 16;

/** Tokens put through the model for `sampled` tokens after a prefix: `first` of all reads it, others its last tokens, if it is long enough to be shared. The last sampled token is read by none. */
export function computedByRule(prefix: number, first: boolean, sampled: number): number {
  const again = prefix - COMPUTED_AGAIN >= SHORTEST_PREFIX ? COMPUTED_AGAIN : prefix;
  return (first ? prefix : again) + sampled - 1;
}

/** Tokens of the first `count` answers of an item whose prompt has `prompt` tokens: {@link computedByRule} of each. */
export function answersCost(prompt: number, answers: readonly Candidate[], count: number): TokenCost {
  const own = answers.slice(0, count);
  const sampled = own.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const computed = own.reduce((sum, { tokens }, k) => sum + computedByRule(prompt, k === 0, tokens.length), 0);
  return { sampled, computed, shared: own.length * (prompt - 1) + sampled - computed };
}

/**
 * How many answers of each item, at least one, can be had for the tokens of `budgets`: what one item leaves over goes to the next,
 * so that the sum comes out as near as whole answers allow.
 */
export function answersWithin(prompts: readonly number[], answers: readonly (readonly Candidate[])[], budgets: readonly number[]): number[] {
  let left = 0;
  return answers.map((own, i) => {
    left += budgets[i] as number;
    let count = 1;
    while (count < own.length && answersCost(prompts[i] as number, own, count + 1).computed <= left) {
      count++;
    }
    left -= answersCost(prompts[i] as number, own, count).computed;
    return count;
  });
}
