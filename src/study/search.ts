/** Does a value probe find better answers, step by step, than chance, log-probability, or more answers for the same tokens? */
import { join } from 'node:path';
import type { Candidate, CandidateScorer, DrawOptions, SearchItem, TokenCost } from '../apply/search.js';
import { answersCost, answersWithin, drawAnswers, guidedSearch } from '../apply/search.js';
import { groupAnswers } from '../apply/answers.js';
import type { Session } from '../model/session.js';
import { loadModel } from '../model/model.js';
import { RewardLensError } from '../native/errors.js';
import type { TrainedProbe } from '../probe/train.js';
import type { RankingMethod } from '../rank/scores.js';
import type { SearchResult } from '../report/searchSchema.js';
import { SEARCH_FORMAT, SEARCH_VERSION } from '../report/searchSchema.js';
import type { Verdict } from '../reward/types.js';
import type { Splitter } from '../rpe/steps.js';
import { formatSplitter } from '../rpe/steps.js';
import { writeJson } from '../rollout/folder.js';
import type { RunProgress } from '../run/engine.js';
import { createManifest } from '../run/manifest.js';
import type { ConfidenceModel } from './confidence.js';
import type { AskedRecord, SampledHow } from './confidenceModel.js';
import { sameBy, sampledHow, withPromptTokens } from './confidenceModel.js';
import { layerFor, rankedNeurons, recordsOf, refitProbes } from './confidenceScores.js';
import type { WorkOptions } from './options.js';
import type { ProbedFolder } from './probedFolder.js';
import { mainProbe, openProbed } from './probedFolder.js';
import { Judge } from './sample.js';
import type { Guide } from './searchScorers.js';
import { DopamineScorer, GUIDES, ValueScorer, byChance, byLogProbability } from './searchScorers.js';
import type { FittedGuide } from './searchDopamine.js';
import { fitGuide } from './searchDopamine.js';
import type { Chosen } from './searchResult.js';
import { compareMethods, searchFindings, searchMethods } from './searchResult.js';

/** File of the result inside the rollout folder. */
export const SEARCH_FILE = 'search.json';

/** What to search, and how. */
export interface SearchSettings {
  /** What chooses; the first is compared with all others and sets the budget of whole answers. Empty: all that the folder allows. */
  readonly guides: readonly Guide[];
  readonly candidates: number;
  readonly beam: number;
  readonly step: Splitter;
  readonly seeds: number;
  /** Most held-out problems. */
  readonly limit: number;
  /** Number of value neurons, on which the probe is trained anew; undefined: the whole probe. */
  readonly neurons: number | undefined;
  readonly method: RankingMethod;
  /** Undefined: the layer whose probe is best at the middle on validation trajectories. */
  readonly layer: number | undefined;
}

export const SEARCH_DEFAULTS: SearchSettings = { guides: [], candidates: 4, beam: 1, step: { kind: 'line' }, seeds: 3, limit: 100, neurons: undefined, method: 'l1-zscore', layer: undefined };

/** Whole answers drawn per problem, times what a guided search draws: enough to spend its tokens. */
const ANSWERS_MARGIN = 2;

/**
 * Answers held-out problems of a probed rollout by guided search and by whole answers at the same cost, with several seeds, and
 * writes `search.json` in the folder. The model must be the one of the rollout. Errors: those of reading and of the engine; INVALID_ARGUMENT for
 * another model, or a step that is not told by its end; ABORTED. Cost: per seed and problem, `candidates` × `beam` answers for each guide, twice as many whole ones, and one training run of
 * the probe when it reads few neurons.
 */
export async function runSearch(directory: string, settings: SearchSettings, target: ConfidenceModel, work: WorkOptions): Promise<SearchResult> {
  const started = performance.now();
  await using folder = await openProbed(directory);
  const how = sampledHow(folder);
  const steps = stepEnd(settings.step);
  const guide = settings.guides.length === 0 || settings.guides.includes('dopamine') ? await fitGuide(folder, settings.guides.length > 0, work) : undefined;
  const guides = settings.guides.length > 0 ? settings.guides : GUIDES.filter((name) => name !== 'dopamine' || guide !== undefined);
  await using model = await loadModel(target.model, { ...target.load, ...(work.signal === undefined ? {} : { signal: work.signal }) });
  const records = withPromptTokens(model, await heldOut(folder, settings.limit, guide));
  const longest = records.reduce((most, { promptTokens }) => Math.max(most, promptTokens.length), 1);
  const perItem = settings.candidates * settings.beam;
  await using session = model.createSession({ ...target.session, contextLength: target.session.contextLength ?? longest + how.maxTokens, parallel: target.session.parallel ?? Math.min(256, Math.max(64, 2 * perItem)) });
  const manifest = await createManifest(session, { hashModel: true, signal: work.signal });
  if (manifest.model.sha256 !== how.model) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${target.model}' is not the model that the answers in '${directory}' were sampled from: their checksums differ`, { details: { model: target.model } });
  }
  const layer = settings.layer ?? (await layerFor(folder, 'middle', work));
  const probe = await probeFor(folder, layer, settings, work);
  await using value = new ValueScorer(probe, folder.data.site, work.threads);
  await using dopamine = guide === undefined ? undefined : new DopamineScorer(guide.probe, folder.data.site, guide.mode, work.threads);
  await using judge = new Judge();
  const sampling = how.sampling.temperature === 0 ? { ...how.sampling, temperature: 1 } : how.sampling; // equal candidates leave nothing to choose
  const bench = new Bench(session, records, { settings: { ...settings, guides }, steps, how: { ...how, sampling }, value, dopamine, judge, work });
  for (let seed = 0; seed < settings.seeds; seed++) {
    await bench.runSeed(how.seed + 2 + seed); // other samples than the rollout's and those of self-consistency
  }
  const problems = records.map(({ problem }) => problem);
  const methods = searchMethods(bench.chosen, problems);
  const comparisons = compareMethods(methods, problems, guides[0] as Guide);
  const spent = (pick: (run: RunProgress) => number): number => bench.runs.reduce((sum, run) => sum + pick(run), 0);
  const result: SearchResult = {
    format: SEARCH_FORMAT,
    version: SEARCH_VERSION,
    manifest,
    directory,
    trajectoriesSha256: folder.trajectoriesSha256,
    site: folder.data.site,
    layer,
    neurons: probe.neurons === undefined ? null : [...probe.neurons],
    step: formatSplitter(settings.step),
    candidates: settings.candidates,
    beam: settings.beam,
    sampling: { ...sampling },
    maxTokens: how.maxTokens,
    seeds: Array.from({ length: settings.seeds }, (_, i) => how.seed + 2 + i),
    problems,
    budgetOf: guides[0] as Guide,
    dopamine: guide === undefined ? null : { layer: guide.probe.layer, zscore: guide.mode, errors: guide.errors },
    methods,
    comparisons,
    spent: { promptTokens: spent((run) => run.promptTokens), sharedTokens: spent((run) => run.sharedTokens), completionTokens: spent((run) => run.completionTokens), seconds: (performance.now() - started) / 1000 },
    findings: searchFindings(methods, comparisons),
  };
  await writeJson(join(directory, SEARCH_FILE), result);
  return result;
}

/** No limit but the answer's own. */
const MAX_STEP = 1 << 30;

/** Where a step ends while it is sampled. Errors: INVALID_ARGUMENT for splitters that need the text behind it. */
function stepEnd(step: Splitter): { stop: string[]; maxTokens: number } {
  switch (step.kind) {
    case 'line':
      return { stop: ['\n'], maxTokens: MAX_STEP };
    case 'blank-line':
      return { stop: ['\n\n'], maxTokens: MAX_STEP };
    case 'tokens':
      return { stop: [], maxTokens: step.count };
    default:
      throw new RewardLensError('INVALID_ARGUMENT', `step: expected line, blank-line or tokens:N, whose end is known when it comes, got ${formatSplitter(step)}`);
  }
}

/** Held-out records with different prompts, on which no dopamine probe was trained either. */
async function heldOut(folder: ProbedFolder, limit: number, guide: FittedGuide | undefined): Promise<Partial<AskedRecord>[]> {
  const { data, split } = folder;
  const seen = new Set(guide?.trainedOn);
  const first = split.test.filter((i) => !seen.has(data.problems[i] as string) && seen.add(data.problems[i] as string));
  return recordsOf(folder, first.slice(0, limit));
}

async function probeFor(folder: ProbedFolder, layer: number, { neurons, method }: SearchSettings, work: WorkOptions): Promise<TrainedProbe> {
  if (neurons === undefined) {
    return mainProbe(folder, layer);
  }
  const [probe] = await refitProbes(folder, layer, [rankedNeurons(folder, layer, method, neurons)], work);
  return probe as TrainedProbe;
}

interface BenchParts {
  settings: SearchSettings;
  steps: { stop: string[]; maxTokens: number };
  how: SampledHow;
  value: ValueScorer;
  dopamine: DopamineScorer | undefined;
  judge: Judge;
  work: WorkOptions;
}

/** Runs every method on the same problems, seed by seed. */
class Bench {
  /** Per method and seed, the chosen answers in the order of the problems. */
  readonly chosen = new Map<string, Chosen[][]>();
  readonly runs: RunProgress[] = [];
  readonly #session: Session;
  readonly #records: readonly AskedRecord[];
  readonly #items: SearchItem[];
  readonly #parts: BenchParts;
  #greedy: Chosen[] | undefined;

  constructor(session: Session, records: readonly AskedRecord[], parts: BenchParts) {
    this.#session = session;
    this.#records = records;
    this.#items = records.map(({ problem, promptTokens }) => ({ id: problem, prompt: promptTokens }));
    this.#parts = parts;
  }

  async runSeed(seed: number): Promise<void> {
    let budgets: number[] | undefined;
    for (const guide of this.#parts.settings.guides) {
      const { outcomes, run } = await this.#guided(guide, seed);
      this.runs.push(run);
      budgets ??= outcomes.map(({ cost }) => cost.computed);
      this.#add(guide, 'guided', await Promise.all(outcomes.map(async ({ answer, steps, cost }, i) => this.#judged(answer, i, { steps, cost, answers: 1 }))));
    }
    await this.#whole(seed, budgets ?? []);
    this.#greedy ??= await this.#answerGreedily();
    this.#add('greedy', 'answers', this.#greedy);
  }

  #draw(seed: number, capture: DrawOptions['capture'], task: string): DrawOptions {
    const { how, work } = this.#parts;
    return {
      sampling: how.sampling, maxTokens: how.maxTokens, seed, signal: work.signal,
      capture,
      onProgress: (done, total) => work.onProgress?.(`${task}, seed ${seed}`, done / total, `${done}/${total}`),
    };
  }

  async #guided(guide: Guide, seed: number): ReturnType<typeof guidedSearch> {
    const { settings, steps, value, dopamine } = this.#parts;
    const chance = byChance(seed, (item) => this.#items[item]?.id ?? '');
    const scorer = { value, dopamine, logprob: { score: byLogProbability, capture: undefined }, random: { score: chance, capture: undefined } }[guide];
    const { score, capture } = scorer as { score: CandidateScorer; capture: DrawOptions['capture'] };
    return guidedSearch(this.#session, this.#items, { ...this.#draw(seed, capture, `guided by ${guide}`), candidates: settings.candidates, beam: settings.beam, step: steps, score });
  }

  /** Whole answers: the first, the best and the majority of as many as the guided search's tokens buy. */
  async #whole(seed: number, budgets: readonly number[]): Promise<void> {
    const { settings, value } = this.#parts;
    const { answers, run } = await drawAnswers(this.#session, this.#items, Math.ceil(ANSWERS_MARGIN * settings.candidates * settings.beam), this.#draw(seed, value.capture, 'whole answers'));
    this.runs.push(run);
    const counts = answersWithin(this.#items.map(({ prompt }) => prompt.length), answers, budgets);
    const bought = answers.map((own, i) => own.slice(0, counts[i]));
    const best = async (score: (own: readonly Candidate[]) => Promise<ArrayLike<number>>, count?: number): Promise<Chosen[]> =>
      Promise.all(bought.map(async (own, i) => {
        const scores = await score(own.slice(0, count));
        const at = Array.from(scores).reduce((high, s, k) => (s > (scores[high] as number) ? k : high), 0);
        return this.#answered(own, i, at, count ?? own.length);
      }));
    this.#add('one answer', 'answers', await best(byLogProbability, 1));
    this.#add('best of n by log-probability', 'answers', await best(byLogProbability));
    const values = await value.score(bought.flat()); // one at a time: the trainer takes no second call meanwhile
    let first = 0;
    const valueOf = new Map(bought.map((own) => [own, Array.from({ length: own.length }, () => values[first++] as number)]));
    this.#add('best of n by value', 'answers', await Promise.all(bought.map(async (own, i) => {
      const scores = valueOf.get(own) as number[];
      return this.#answered(own, i, scores.indexOf(Math.max(...scores)), own.length);
    })));
    this.#add('majority of n', 'answers', await Promise.all(bought.map(async (own, i) => this.#majority(own, i))));
  }

  async #majority(own: readonly Candidate[], i: number): Promise<Chosen> {
    const verdicts = await Promise.all(own.map(async (candidate) => this.#verdict(candidate, i)));
    const groups = await groupAnswers(verdicts.map(({ extracted }) => ({ extracted: extracted ?? null })), sameBy(this.#parts.judge, this.#records[i]?.check ?? ''));
    return this.#answered(own, i, groups[0]?.members[0] ?? 0, own.length);
  }

  async #answerGreedily(): Promise<Chosen[]> {
    const { answers, run } = await drawAnswers(this.#session, this.#items, 1, { ...this.#draw(0, undefined, 'greedy'), sampling: { temperature: 0 } });
    this.runs.push(run);
    return Promise.all(answers.map(async (own, i) => this.#answered(own, i, 0, 1)));
  }

  /** One of the first `count` answers, at the cost of all of them. */
  async #answered(own: readonly Candidate[], i: number, at: number, count: number): Promise<Chosen> {
    return this.#judged(own[at] as Candidate, i, { steps: 1, answers: count, cost: answersCost(this.#items[i]?.prompt.length ?? 0, own, count) });
  }

  async #judged(answer: Candidate, i: number, facts: { steps: number; answers: number; cost: TokenCost }): Promise<Chosen> {
    const { verdict, reward } = await this.#verdict(answer, i);
    return { ...facts, reward: reward ?? 0, unknown: verdict === 'unknown', length: answer.tokens.length, ended: answer.ended === 'eog' };
  }

  async #verdict({ tokens, ended }: Candidate, i: number): Promise<Verdict> {
    const { problem: id, gold, check, choices } = this.#records[i] as AskedRecord;
    const text = Buffer.concat([...(ended === 'eog' ? tokens.subarray(0, -1) : tokens)].map((token) => this.#session.model.tokenPiece(token))).toString('utf8');
    const stop = this.#parts.how.stop.map((end) => text.indexOf(end)).filter((at) => at >= 0);
    return this.#parts.judge.score(check, { text: stop.length === 0 ? text : text.slice(0, Math.min(...stop)), gold, problem: { id, ...(choices === undefined ? {} : { choices }) } });
  }

  #add(name: string, kind: 'guided' | 'answers', own: Chosen[]): void {
    const key = kind === 'guided' ? `guided by ${name}` : name;
    this.chosen.set(key, [...(this.chosen.get(key) ?? []), own]);
  }
}
