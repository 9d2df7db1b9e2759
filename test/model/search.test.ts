/** Guided search: what it chooses among, what it costs, and that a planted signal helps where it is causal. */
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Candidate, CandidateScorer, SearchItem, SearchOptions } from '../../src/apply/search.js';
import { answersCost, completionText, drawAnswers, guidedSearch } from '../../src/apply/search.js';
import type { Model, Session } from '../../src/index.js';
import { loadModel } from '../../src/index.js';
import type { SearchResult } from '../../src/report/searchSchema.js';
import { searchSchema } from '../../src/report/searchSchema.js';
import type { SearchSettings } from '../../src/study/search.js';
import { SEARCH_DEFAULTS, SEARCH_FILE, SEARCH_FOLDER, runSearch } from '../../src/study/search.js';
import { byChance, byLogProbability } from '../../src/study/searchScorers.js';
import { PLANTED_MODELS, plantedFolder } from '../helpers/planted.js';

let model: Model;
let session: Session;
let items: SearchItem[];
beforeAll(async () => {
  model = await loadModel('models/reasoner-base.gguf', { gpuLayers: 0, isolate: false });
  session = model.createSession({ parallel: 18, contextLength: 256, threads: 1 });
  items = Array.from({ length: 6 }, (_, i) => ({ id: `p${i}`, prompt: model.tokenize(`${i + 2}*x+1${i}=0${60 + 3 * i} x in 01-04\n`) }));
});
afterAll(async () => {
  await session.dispose();
  await model.dispose();
});

const LINES: Omit<SearchOptions, 'score'> = { candidates: 3, beam: 1, step: { stop: ['\n'], maxTokens: 1 << 30 }, maxTokens: 60, sampling: { temperature: 1, topP: 0.95 }, seed: 5 };

/** Scores by `score` and notes all candidates. */
function watched(score: CandidateScorer): { seen: Candidate[]; score: CandidateScorer } {
  const seen: Candidate[] = [];
  return { seen, score: async (candidates) => (seen.push(...candidates), score(candidates)) };
}
const first: CandidateScorer = async (candidates) => candidates.map(({ number }) => -number);
const last: CandidateScorer = async (candidates) => candidates.map(({ number }) => number);
const rows = (tokens: number): number => tokens - 1;

describe('guidedSearch', () => {
  test.each([[1, 3], [2, 2]])('beam %i of %i candidates: every token is accounted for, and no prefix is computed twice', async (beam, candidates) => {
    const { seen, score } = watched(byLogProbability);
    const { outcomes, run } = await guidedSearch(session, items, { ...LINES, beam, candidates, score });
    const sum = (pick: (cost: (typeof outcomes)[number]['cost']) => number): number => outcomes.reduce((total, { cost }) => total + pick(cost), 0);
    expect(sum(({ sampled }) => sampled)).toBe(run.completionTokens);
    expect(sum(({ computed }) => computed)).toBe(run.promptTokens + run.completionTokens - seen.length);
    expect(sum(({ shared }) => shared)).toBe(run.sharedTokens);
    // the first candidate reads the prompt; all others two tokens of what they go on from
    expect(run.promptTokens).toBe(items.reduce((total, { prompt }) => total + prompt.length - 2, 0) + 2 * seen.length);
    expect(Math.max(...outcomes.map(({ steps }) => steps))).toBeGreaterThan(2);
  });

  test('steps end where they should, and answers are made of kept steps', async () => {
    const { seen, score } = watched(last);
    const { outcomes } = await guidedSearch(session, items, { ...LINES, score });
    for (const [i, { answer, steps }] of outcomes.entries()) {
      const own = seen.filter(({ item }) => item === i);
      expect(own).toHaveLength(3 * steps);
      for (let step = 0; step < steps; step++) {
        const kept = own.find((candidate) => candidate.step === step && candidate.number === 2) as Candidate;
        expect([...answer.tokens.subarray(0, kept.tokens.length)]).toEqual([...kept.tokens]);
        const text = model.detokenize(kept.tokens);
        expect(text.split('\n').length - 1).toBe(kept.ended === undefined ? step + 1 : step);
      }
      expect(answer.tokens.length).toBeLessThanOrEqual(60);
      expect(answer.ended).toBeDefined();
    }
  });

  test('two scorers choose among the same candidates until they choose differently', async () => {
    const [a, b] = [watched(first), watched(last)];
    const [one, two] = [await guidedSearch(session, items, { ...LINES, score: a.score }), await guidedSearch(session, items, { ...LINES, score: b.score })];
    const begin = (seen: Candidate[]): number[][] => seen.filter(({ step }) => step === 0).sort((x, y) => x.item - y.item || x.number - y.number).map(({ tokens }) => [...tokens]);
    expect(begin(a.seen)).toEqual(begin(b.seen));
    expect(one.outcomes.map(({ answer }) => [...answer.tokens])).not.toEqual(two.outcomes.map(({ answer }) => [...answer.tokens]));
  });

  test('the same again, with other company', async () => {
    const options = { ...LINES, score: byChance(5, (item) => items[item]?.id ?? '') };
    const texts = async (own: Session, some: readonly SearchItem[]): Promise<number[][]> => (await guidedSearch(own, some, options)).outcomes.map(({ answer }) => [...answer.tokens]);
    const whole = await texts(session, items);
    expect(await texts(session, items)).toEqual(whole);
    const costs = async (own: Session): Promise<{ byRule: number[]; counted: number }> => {
      const { outcomes } = await guidedSearch(own, items, options);
      return { byRule: outcomes.map(({ computedByRule }) => computedByRule), counted: outcomes.reduce((sum, { cost }) => sum + cost.computed, 0) };
    };
    await using narrow = model.createSession({ parallel: 2, contextLength: 256, threads: 1 }); // caches are lost: more is computed, what is reckoned is not more
    const [wide, slow] = [await costs(session), await costs(narrow)];
    expect(slow.byRule).toEqual(wide.byRule);
    expect(slow.counted).toBeGreaterThan(wide.counted);
    const reckoned = wide.byRule.reduce((sum, own) => sum + own, 0);
    expect(Math.abs(wide.counted - reckoned)).toBeLessThan(0.05 * reckoned);
    await using small = model.createSession({ parallel: 6, contextLength: 256, threads: 1 }); // one item at a time
    expect(await texts(small, items.slice(0, 4))).toEqual(whole.slice(0, 4));
  });

  test('a step of N tokens is scored by the state that has read them', async () => {
    const { seen, score } = watched(last);
    const options = { ...LINES, step: { stop: [], maxTokens: 4 }, capture: { layers: [2], positions: 'last' as const }, score };
    await guidedSearch(session, items.slice(0, 2), options);
    for (const { step, tokens, ended } of seen) {
      expect(ended === undefined ? tokens.length === 4 * (step + 1) : tokens.length <= 4 * (step + 1)).toBe(true);
    }
    // the state equals that of a candidate that goes on from the same tokens and is read as a prompt
    const open = seen.filter(({ ended }) => ended === undefined).slice(0, 6);
    const { answers } = await drawAnswers(session, open.map(({ item, tokens }, i) => ({ id: `again-${i}`, prompt: Int32Array.of(...(items[item] as SearchItem).prompt, ...tokens) })), 1, { ...options, maxTokens: 1 });
    open.forEach(({ states: state }, i) => {
      const again = answers[i]?.[0]?.states as Float32Array;
      const [difference, size] = [again.reduce((sum, value, j) => sum + (value - (state[j] ?? NaN)) ** 2, 0), again.reduce((sum, value) => sum + value ** 2, 0)];
      expect(Math.sqrt(difference / size)).toBeLessThan(0.02); // sampled and read tokens go through other kernels
    });
  });

  test('a text that ends answers ends them, step by step and whole', async () => {
    const options = { ...LINES, stop: ['='] }; // in the middle of the first line
    const { outcomes } = await guidedSearch(session, items, { ...options, score: last });
    const { answers } = await drawAnswers(session, items, 1, options);
    for (const answer of [...outcomes.map((outcome) => outcome.answer), ...answers.flat()]) {
      const text = completionText(model, answer.tokens);
      expect({ text, ended: answer.ended, stops: text.indexOf('=') === text.length - 1 }).toEqual({ text, ended: 'stop', stops: true });
    }
  });

  test('whole answers cost what is said', async () => {
    const count = 4;
    const { answers, run } = await drawAnswers(session, items, count, { ...LINES });
    const costs = answers.map((own, i) => answersCost(items[i]?.prompt.length ?? 0, own, count));
    expect(costs.reduce((sum, { sampled }) => sum + sampled, 0)).toBe(run.completionTokens);
    expect(costs.reduce((sum, { computed }) => sum + computed, 0)).toBe(run.promptTokens + answers.flat().reduce((sum, { tokens }) => sum + rows(tokens.length), 0));
    expect(costs.reduce((sum, { shared }) => sum + shared, 0)).toBe(run.sharedTokens);
  });

  test('numbers that make no search are refused', async () => {
    await expect(guidedSearch(session, items, { ...LINES, candidates: 0, score: last })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const controller = new AbortController();
    const stopped = guidedSearch(session, items, { ...LINES, signal: controller.signal, score: async (all) => (controller.abort(), last(all)) });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

const SETTINGS: SearchSettings = { ...SEARCH_DEFAULTS, step: { kind: 'tokens', count: 1 }, seeds: 4, neurons: 1 };

describe('rewardlens search on a planted signal', () => {
  const folders: string[] = [];
  const results = new Map<string, SearchResult>();
  beforeAll(async () => {
    for (const which of ['planted', 'null'] as const) {
      const directory = await plantedFolder(which, { count: 300, maxTokens: 3 });
      folders.push(directory);
      const target = { model: PLANTED_MODELS[which], load: { gpuLayers: 0, isolate: false }, session: { threads: 1 } };
      results.set(which, await runSearch(directory, SETTINGS, target, { threads: 1 }));
    }
  }, 60_000);
  afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

  const against = (which: string, name: string): SearchResult['comparisons'][number] => results.get(which)?.comparisons.find((entry) => entry.against === name) as SearchResult['comparisons'][number];

  test('one neuron finds better answers than chance where it is causal, and on the twin it does not', () => {
    expect(results.get('planted')?.neurons).toEqual([37]);
    expect(against('planted', 'guided by random').difference.low).toBeGreaterThan(0.05);
    expect(against('planted', 'guided by random').pHolm).toBeLessThan(0.01);
    expect(against('null', 'guided by random').pHolm).toBeGreaterThan(0.05);
  });

  test('what was spent is every piece once, whatever the number of seeds', () => {
    const folder = join(folders[0] ?? '', SEARCH_FOLDER);
    const pieces = readdirSync(folder).filter((name) => name.endsWith('.json')).map((name) => (JSON.parse(readFileSync(join(folder, name), 'utf8')) as { result: { run: SearchResult['spent'] } }).result.run);
    expect(pieces).toHaveLength(4 * SETTINGS.seeds + 1); // three guides and whole answers for each seed, greedy answers once
    for (const part of ['promptTokens', 'sharedTokens', 'completionTokens'] as const) {
      expect(results.get('planted')?.spent[part]).toBe(pieces.reduce((sum, run) => sum + run[part], 0));
    }
  });

  test('a second run searches nothing and finds the same; a lost piece is made again', async () => {
    const tasks = new Set<string>();
    const again = async (): Promise<SearchResult> => {
      tasks.clear();
      const target = { model: PLANTED_MODELS.planted, load: { gpuLayers: 0, isolate: false }, session: { threads: 1 } };
      return runSearch(folders[0] ?? '', SETTINGS, target, { threads: 1, onProgress: (task) => tasks.add(task) });
    };
    const seed = results.get('planted')?.seeds[1] ?? 0;
    expect((await again()).methods).toEqual(results.get('planted')?.methods);
    expect([...tasks].filter((task) => task.includes('seed'))).toEqual([]);
    rmSync(join(folders[0] ?? '', SEARCH_FOLDER, `value-${seed}.json`));
    expect((await again()).methods).toEqual(results.get('planted')?.methods);
    expect([...tasks].filter((task) => task.includes('seed'))).toEqual([`guided by value, seed ${seed}`]);
  });

  test('the file is what was returned, and fits its schema', () => {
    const read = searchSchema.parse(JSON.parse(readFileSync(join(folders[0] ?? '', SEARCH_FILE), 'utf8')));
    const { spent: _spent, manifest: _manifest, ...own } = read;
    expect(results.get('planted')).toMatchObject(own); // written anew by the run above, at another time
    for (const { rewards, accuracy } of read.methods) {
      expect(rewards).toHaveLength(4);
      expect(rewards.every((own) => own.length === read.problems.length)).toBe(true);
      expect(accuracy.value).toBeCloseTo(rewards.flat().reduce((a, b) => a + b, 0) / rewards.flat().length, 12);
    }
    expect(read.methods.map(({ name }) => name)).toEqual(['guided by value', 'guided by logprob', 'guided by random', 'one answer', 'best of n by log-probability', 'best of n by value', 'majority of n', 'greedy']);
  });
});
