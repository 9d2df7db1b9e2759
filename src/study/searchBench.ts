/** Every way to answer, run on the same problems: guided searches and whole answers at the same cost. */
import { join } from 'node:path';
import type { Candidate, CandidateScorer, DrawOptions, SearchItem, TokenCost } from '../apply/search.js';
import { answersCost, answersWithin, completionText, drawAnswers, guidedSearch } from '../apply/search.js';
import { groupAnswers } from '../apply/answers.js';
import type { Session } from '../model/session.js';
import type { Verdict } from '../reward/types.js';
import type { RunProgress } from '../run/engine.js';
import type { AskedRecord, SampledHow } from './confidenceModel.js';
import { sameBy } from './confidenceModel.js';
import type { WorkOptions } from './options.js';
import type { Judge } from './sample.js';
import type { SearchSettings } from './search.js';
import type { Chosen, DrawnAnswers } from './searchResult.js';
import { GUIDED } from './searchResult.js';
import type { DopamineScorer, Guide, ValueScorer } from './searchScorers.js';
import { byChance, byLogProbability } from './searchScorers.js';
import { runStage } from './stage.js';

/** Whole answers drawn per problem, times what a guided search draws: enough to spend its tokens. */
const ANSWERS_MARGIN = 2;

/** What a bench works with. */
export interface BenchParts {
  readonly settings: Pick<SearchSettings, 'guides' | 'candidates' | 'beam'>;
  readonly steps: { readonly stop: readonly string[]; readonly maxTokens: number };
  readonly how: SampledHow;
  readonly value: ValueScorer;
  readonly dopamine: DopamineScorer | undefined;
  readonly judge: Judge;
  readonly work: WorkOptions;
  /** Folder of finished pieces, and what determines them besides their names and seeds. */
  readonly folder: string;
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** Choices of one method or several for all problems, and what the engine counted. */
interface Piece {
  readonly chosen: Readonly<Record<string, readonly Chosen[]>>;
  readonly run: RunProgress;
  /** Of a guided search: tokens put through the model, by rule. */
  readonly budgets?: readonly number[];
  readonly drawn?: DrawnAnswers;
}

/** Runs every method on the same problems, seed by seed. Each piece is kept in the folder, and not made again. */
export class Bench {
  /** Per method and seed, the chosen answers in the order of the problems. */
  readonly chosen = new Map<string, (readonly Chosen[])[]>();
  /** What the engine counted, by piece: greedy answers serve every seed, and are drawn once. */
  readonly runs = new Map<string, RunProgress>();
  /** Whole answers of every seed. */
  readonly drawn: DrawnAnswers[] = [];
  readonly #session: Session;
  readonly #records: readonly AskedRecord[];
  readonly #items: SearchItem[];
  readonly #parts: BenchParts;

  constructor(session: Session, records: readonly AskedRecord[], parts: BenchParts) {
    this.#session = session;
    this.#records = records;
    this.#items = records.map(({ problem, promptTokens }) => ({ id: problem, prompt: promptTokens }));
    this.#parts = parts;
  }

  /** Errors: those of the engine, IO, ABORTED; finished pieces stay. */
  async runSeed(seed: number): Promise<void> {
    let budgets: readonly number[] | undefined;
    for (const guide of this.#parts.settings.guides) {
      const made = await this.#piece(guide, { seed }, async () => this.#guided(guide, seed));
      budgets ??= made.budgets;
    }
    await this.#piece('answers', { seed, budgets }, async () => this.#whole(seed, budgets ?? []));
    await this.#piece('greedy', {}, async () => this.#greedy());
  }

  async #piece(name: string, inputs: { seed?: number; budgets?: readonly number[] | undefined }, make: () => Promise<Piece>): Promise<Piece> {
    const path = join(this.#parts.folder, `${name}${inputs.seed === undefined ? '' : `-${inputs.seed}`}.json`);
    const { result } = await runStage(path, { ...this.#parts.inputs, name, ...inputs }, make);
    Object.entries(result.chosen).forEach(([method, own]) => this.chosen.set(method, [...(this.chosen.get(method) ?? []), own]));
    this.runs.set(path, result.run);
    this.drawn.push(...(result.drawn === undefined ? [] : [result.drawn]));
    return result;
  }

  #draw(seed: number, capture: DrawOptions['capture'], task: string): DrawOptions {
    const { how, work } = this.#parts;
    return {
      sampling: how.sampling, maxTokens: how.maxTokens, stop: how.stop, seed, signal: work.signal,
      capture,
      onProgress: (done, total) => work.onProgress?.(`${task}, seed ${seed}`, done / total, `${done}/${total}`),
    };
  }

  async #guided(guide: Guide, seed: number): Promise<Piece> {
    const { settings, steps, value, dopamine } = this.#parts;
    const chance = byChance(seed, (item) => this.#items[item]?.id ?? '');
    const scorer = { value, dopamine, logprob: { score: byLogProbability, capture: undefined }, random: { score: chance, capture: undefined } }[guide];
    const { score, capture } = scorer as { score: CandidateScorer; capture: DrawOptions['capture'] };
    const { outcomes, run } = await guidedSearch(this.#session, this.#items, { ...this.#draw(seed, capture, `guided by ${guide}`), candidates: settings.candidates, beam: settings.beam, step: steps, score });
    const chosen = await Promise.all(outcomes.map(async ({ answer, steps: count, cost }, i) => this.#judged(answer, i, { steps: count, cost, answers: 1 })));
    return { chosen: { [`${GUIDED}${guide}`]: chosen }, run, budgets: outcomes.map(({ computedByRule }) => computedByRule) };
  }

  /** Whole answers: the first, the best and the majority of as many as the guided search's tokens buy. */
  async #whole(seed: number, budgets: readonly number[]): Promise<Piece> {
    const { settings, value } = this.#parts;
    const { answers, run } = await drawAnswers(this.#session, this.#items, Math.ceil(ANSWERS_MARGIN * settings.candidates * settings.beam), this.#draw(seed, value.capture, 'whole answers'));
    const counts = answersWithin(this.#items.map(({ prompt }) => prompt.length), answers, budgets);
    const bought = answers.map((own, i) => own.slice(0, counts[i]));
    const scored = async (score: CandidateScorer): Promise<number[][]> => {
      const scores = [...Array.from(await score(answers.flat()))];
      return answers.map((own) => scores.splice(0, own.length));
    };
    const scores = { value: await scored(value.score), 'mean log-probability': await scored(byLogProbability) };
    const highest = (own: readonly number[], count: number): number => own.slice(0, count).reduce((high, score, k) => (score > (own[high] as number) ? k : high), 0);
    const best = async (by: readonly (readonly number[])[]): Promise<Chosen[]> => Promise.all(bought.map(async (own, i) => this.#answered(own, i, highest(by[i] ?? [], own.length), own.length)));
    const rewards = await Promise.all(answers.map(async (own, i) => Promise.all(own.map(async (candidate) => (await this.#verdict(candidate, i)).reward ?? 0))));
    const chosen = {
      'one answer': await Promise.all(bought.map(async (own, i) => this.#answered(own, i, 0, 1))),
      'best of n by log-probability': await best(scores['mean log-probability']),
      'best of n by value': await best(scores.value),
      'majority of n': await Promise.all(bought.map(async (own, i) => this.#majority(own, i))),
    };
    return { chosen, run, drawn: { rewards, scores } };
  }

  async #majority(own: readonly Candidate[], i: number): Promise<Chosen> {
    const verdicts = await Promise.all(own.map(async (candidate) => this.#verdict(candidate, i)));
    const groups = await groupAnswers(verdicts.map(({ extracted }) => ({ extracted: extracted ?? null })), sameBy(this.#parts.judge, this.#records[i]?.check ?? ''));
    return this.#answered(own, i, groups[0]?.members[0] ?? 0, own.length);
  }

  async #greedy(): Promise<Piece> {
    const { answers, run } = await drawAnswers(this.#session, this.#items, 1, { ...this.#draw(0, undefined, 'greedy'), sampling: { temperature: 0 } });
    return { chosen: { greedy: await Promise.all(answers.map(async (own, i) => this.#answered(own, i, 0, 1))) }, run };
  }

  /** One of the first `count` answers, at the cost of all of them. */
  async #answered(own: readonly Candidate[], i: number, at: number, count: number): Promise<Chosen> {
    return this.#judged(own[at] as Candidate, i, { steps: 1, answers: count, cost: answersCost(this.#items[i]?.prompt.length ?? 0, own, count) });
  }

  async #judged(answer: Candidate, i: number, facts: { steps: number; answers: number; cost: TokenCost }): Promise<Chosen> {
    const { verdict, reward } = await this.#verdict(answer, i);
    return { ...facts, reward: reward ?? 0, unknown: verdict === 'unknown', length: answer.tokens.length, ended: answer.ended === 'eog' || answer.ended === 'stop' };
  }

  async #verdict({ tokens, ended }: Candidate, i: number): Promise<Verdict> {
    const { problem: id, gold, check, choices } = this.#records[i] as AskedRecord;
    const text = completionText(this.#session.model, ended === 'eog' ? tokens.subarray(0, -1) : tokens);
    const stop = this.#parts.how.stop.map((end) => text.indexOf(end)).filter((at) => at >= 0);
    return this.#parts.judge.score(check, { text: stop.length === 0 ? text : text.slice(0, Math.min(...stop)), gold, problem: { id, ...(choices === undefined ? {} : { choices }) } });
  }
}
