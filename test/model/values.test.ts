/** Values of states by continuation: forked from caches, counted, resumed, within a budget. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Problem } from '../../src/dataset/types.js';
import type { Model } from '../../src/model/model.js';
import { loadModel } from '../../src/model/model.js';
import type { Session } from '../../src/model/session.js';
import { runRollout } from '../../src/rollout/rollout.js';
import type { Continuation, ForkOptions, ForkResult, ForkState } from '../../src/rollout/values.js';
import { forkValues } from '../../src/rollout/values.js';
import type { RunProgress } from '../../src/run/engine.js';
import { runSequences } from '../../src/run/engine.js';
import type { SequenceRequest, SequenceResult } from '../../src/run/request.js';
import { VALUES_DEFAULTS, openValuesSession, prepareValues, runValues } from '../../src/study/values.js';
import { VALUES_FILES, readValues } from '../../src/study/valuesFormat.js';
import { pieceBytesOf } from '../../src/study/valuesInput.js';
import { hashFiles } from '../../src/run/manifest.js';

const MODEL = 'models/reasoner-base.gguf';
const MAX_TOKENS = 96;
let model: Model;
let session: Session;
let directory: string;
beforeAll(async () => {
  model = await loadModel(MODEL, { gpuLayers: 0, isolate: false });
  session = model.createSession({ parallel: 16, contextLength: 128, threads: 1 });
});
afterAll(async () => {
  await session.dispose();
  await model.dispose();
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-values-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const judge: ForkOptions['judge'] = async ({ gold }, text) => {
  const said = /\\boxed\{(\d+)\}$/.exec(text)?.[1];
  return { verdict: said === gold ? 'correct' : 'wrong', extracted: said, reason: '', reward: said === gold ? 1 : 0 };
};

async function rollout(problems: number, samples: number): Promise<void> {
  const lines = (await readFile('data/feedback-search/train.jsonl', 'utf8')).split('\n').slice(0, 60 * problems).filter((_, i) => i % 60 === 59);
  await runRollout(session, {
    directory,
    problems: lines.map((line): Problem => {
      const { id, prompt, answer } = JSON.parse(line) as { id: string; prompt: string; answer: string };
      return { id, question: prompt, answer, check: 'math', source: {} };
    }),
    prompt: ({ question }) => ({ text: question, tokens: model.tokenize(question) }),
    samples,
    maxTokens: MAX_TOKENS,
    sampling: { temperature: 1, topP: 0.95 },
    stop: [],
    seed: 2,
    judge: async ({ answer }, text) => judge({ gold: answer, problem: '', check: '' }, text),
    capture: undefined,
    dtype: 'f16',
    inputs: { model: await hashFiles([MODEL]) },
    about: {},
  });
}

const LINES = { splitter: { kind: 'line' as const }, limit: undefined };

async function fork(change: Partial<ForkOptions> = {}, own = session): Promise<ForkResult> {
  const prepared = await prepareValues(model, directory, LINES);
  return forkValues(own, {
    ...prepared.inputs,
    journal: join(directory, VALUES_FILES.journal),
    trajectories: prepared.trajectories.map(({ states }) => states),
    counts: { min: 4, max: 4, width: 1 },
    seed: 1,
    inputs: {},
    judge,
    checkFingerprint: (check) => check,
    pieceBytes: pieceBytesOf(model),
    ...change,
  });
}

async function journal(name: string = VALUES_FILES.journal): Promise<Map<string, Continuation>> {
  const records = (await readFile(join(directory, name), 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line) as Continuation & { crc32?: string });
  return new Map(records.map(({ crc32: _, ...record }) => [`${record.key}/${record.k}`, record]));
}

describe('forking from caches', () => {
  test('values, tokens and log-probabilities equal those of recomputed prefixes bit for bit, and what was saved is counted exactly', async () => {
    await rollout(3, 2);
    let last: RunProgress | undefined;
    const shared = await fork({ onProgress: ({ run }) => (last = run) });
    const apart = await fork({ sharePrefixes: false, journal: join(directory, 'apart.jsonl') });
    expect(apart.values).toEqual(shared.values);
    const own = await journal();
    expect(await journal('apart.jsonl')).toEqual(own);
    expect(shared.made).toBe(own.size);
    // every prefix token is counted once, as read or as taken from a cache, as the engine itself counts
    const prepared = await prepareValues(model, directory, LINES);
    const distinct = new Map(prepared.trajectories.flatMap(({ states }) => states).map(({ tokens }) => [tokens.join(), tokens.length]));
    expect(shared.states).toBe(distinct.size);
    const prefixes = 4 * [...distinct.values()].reduce((a, b) => a + b, 0);
    expect(shared.computedTokens + shared.sharedTokens).toBe(prefixes);
    expect([apart.computedTokens, apart.sharedTokens]).toEqual([prefixes, 0]);
    expect({ promptTokens: last?.promptTokens, sharedTokens: last?.sharedTokens, completionTokens: last?.completionTokens }).toEqual({
      promptTokens: shared.computedTokens,
      sharedTokens: shared.sharedTokens,
      completionTokens: shared.sampledTokens,
    });
    // two tokens of every request, each trajectory once, and less than 16 where the engine does not wait for another sequence that is reading them
    expect(shared.computedTokens).toBeLessThan(prefixes / 4);
  });

  test('cells of sampled tokens are not taken for those of a prompt', async () => {
    const prompt = model.tokenize('6*x+09=147 x in 01-24\n');
    const shared = async (promptCellsOnly: boolean): Promise<number> => {
      async function* requests(): AsyncGenerator<SequenceRequest> {
        yield { prompt, maxTokens: 40, seed: 3 };
        const { tokens } = await first;
        yield { prompt: [...prompt, ...tokens.subarray(0, 30)], maxTokens: 1, promptCellsOnly };
      }
      let resolve: (result: SequenceResult) => void = () => undefined;
      const first = new Promise<SequenceResult>((done) => (resolve = done));
      let last = 0;
      for await (const result of runSequences(session, requests())) {
        resolve(result);
        last = result.sharedPrefix;
      }
      return last;
    };
    expect(await shared(false)).toBe(prompt.length + 28);
    expect(await shared(true)).toBe(prompt.length);
  });

  test('a state that a continuation passed through takes the prompt alone from its cache', async () => {
    await rollout(1, 1);
    const [s0] = (await prepareValues(model, directory, LINES)).trajectories[0]?.states as [ForkState];
    const counts = { min: 1, max: 1, width: 1 };
    await fork({ trajectories: [[s0]], counts, journal: join(directory, 'first.jsonl') });
    const [{ tokens }] = [...(await journal('first.jsonl')).values()] as [Continuation];
    const long = { ...s0, tokens: Int32Array.from([...s0.tokens, ...tokens.slice(0, 30)]) };
    await using single = model.createSession({ parallel: 1, contextLength: 128, threads: 1 });
    const { sharedTokens, made } = await fork({ trajectories: [[s0], [long]], counts }, single);
    expect({ sharedTokens, made }).toEqual({ sharedTokens: s0.tokens.length, made: 2 });
  });

  test('whole completions are judged, also where a stop text begins before the state', async () => {
    await rollout(3, 1);
    const prepared = await prepareValues(model, directory, LINES);
    const starts = new Set(prepared.trajectories.flatMap(({ steps }) => steps.map((_, k) => steps.slice(0, k).map(({ text }) => text).join(''))));
    const texts: string[] = [];
    const watching: ForkOptions['judge'] = async (item, text) => {
      texts.push(text);
      return judge(item, text);
    };
    await fork({ judge: watching });
    expect(texts.length).toBeGreaterThan(20);
    for (const start of starts) {
      expect(texts.some((text) => text.startsWith(start) && text.length > start.length)).toBe(true);
    }
    expect(texts.filter((text) => /\\boxed\{\d+\}$/.test(text)).length).toBeGreaterThan(0.9 * texts.length);
    texts.length = 0;
    // lines begin with the factor and '*': the line break before it belongs to the state
    await fork({ judge: watching, stop: ['\n\\'], journal: join(directory, 'stopped.jsonl') });
    expect(texts.length).toBeGreaterThan(20);
    const held = [...starts].filter((start) => start.includes('boxed')); // states that lie behind one already
    expect(texts.filter((text) => text.includes('boxed') && !held.some((start) => text.startsWith(start.trimEnd())))).toEqual([]);
  });
});

describe('how many', () => {
  test('more where the interval is wide, up to the most', async () => {
    await rollout(4, 1);
    const { values } = await fork({ counts: { min: 4, max: 12, width: 0.55 } });
    const counts = values.flat().map(({ estimate: { n, low, high } }) => [n, (high as number) - (low as number)] as const);
    expect(new Set(counts.map(([n]) => n))).toEqual(new Set([4, 8, 12]));
    counts.forEach(([n, width]) => expect(width <= 0.55 || n === 12).toBe(true));
    const first = await fork({ journal: join(directory, 'four.jsonl') });
    values.flat().forEach(({ rewards }, i) => expect(rewards.slice(0, 4)).toEqual(first.values.flat()[i]?.rewards));
  });

  test('the budget is never passed and decides the same whatever runs beside; what it left out has no value', async () => {
    await rollout(3, 1);
    const counts = { min: 3, max: 12, width: 0.5 };
    const whole = await fork({ counts });
    const budget = Math.floor(whole.sampledTokens / 3);
    const cut = await fork({ counts, budget, journal: join(directory, 'cut.jsonl') });
    expect(cut.exhausted).toBe(true);
    expect(cut.sampledTokens).toBeLessThanOrEqual(budget);
    expect(cut.sampledTokens).toBeGreaterThan(budget - MAX_TOKENS);
    // one after the other, and out of a journal that already holds more
    await using single = model.createSession({ parallel: 1, contextLength: 128, threads: 1 });
    const alone = await fork({ counts, budget, journal: join(directory, 'alone.jsonl') }, single);
    expect(alone.values.map((own) => own.map(({ estimate }) => estimate.n))).toEqual(cut.values.map((own) => own.map(({ estimate }) => estimate.n)));
    expect((await fork({ counts, budget })).values).toEqual(cut.values);
    const left = await fork({ budget: 100, journal: join(directory, 'little.jsonl') });
    expect(left.values.flat().some(({ estimate }) => estimate.value === null && estimate.n === 0)).toBe(true);
  });
});

describe('the folder', () => {
  test('an interrupted run goes on where it stopped and ends with the same values; a changed check judges again without sampling', async () => {
    await rollout(3, 1);
    const whole = await fork({ journal: join(directory, 'whole.jsonl') });
    let judged = 0;
    const cut: ForkOptions['judge'] = async (item, text) => {
      if (++judged > 10) {
        throw new Error('cut off');
      }
      return judge(item, text);
    };
    await expect(fork({ judge: cut })).rejects.toThrow('cut off');
    const kept = (await journal()).size;
    expect(kept).toBe(10);
    const resumed = await fork();
    expect(resumed).toMatchObject({ found: kept, made: whole.made - kept });
    expect(resumed.values).toEqual(whole.values);
    const stopped = new AbortController();
    stopped.abort();
    await expect(fork({ signal: stopped.signal })).rejects.toMatchObject({ code: 'ABORTED' });
    const all = await fork({ judge: async () => ({ verdict: 'correct', extracted: '', reason: '', reward: 1 }), checkFingerprint: () => 'changed' });
    expect(all.made).toBe(0);
    expect(all.values.flat().every(({ estimate }) => estimate.value === 1)).toBe(true);
  });

  test('values.json and values.jsonl: errors telescope, the end has the value of the reward, another model is refused', async () => {
    await rollout(2, 1);
    const settings = { ...VALUES_DEFAULTS, ...LINES, counts: { min: 4, max: 4, width: 1 }, gamma: 0.9 };
    const prepared = await prepareValues(model, directory, settings);
    await using own = openValuesSession(model, prepared, { threads: 1, parallel: 16 });
    const made = await runValues(own, prepared, settings, { threads: 1 });
    const { summary, trajectories } = await readValues(directory);
    expect(summary).toEqual(made);
    expect(summary.counts.trajectories).toBe(2);
    expect(summary.tdErrors.telescopeGap).toBeLessThan(1e-12);
    for (const { values, tdErrors, variances, reward, steps } of trajectories) {
      // of four rewards of 0 and 1 whose mean is m, under Beta(½, ½): the posterior's mean p and variance p (1 − p) / 6
      const own = values.map(({ value }) => [value as number, (4 * (value as number) + 0.5) / 5] as const).map(([m, p]) => (p * (1 - p)) / 6 + (m - p) ** 2);
      variances.forEach((variance, k) => expect(variance).toBeCloseTo((own[k] as number) + 0.81 * (own[k + 1] ?? 0), 9));
      expect(steps[0]?.begin).toBe(0);
      expect(tdErrors.at(-1)).toBeCloseTo((reward as number) - (values.at(-1)?.value as number), 12);
      expect(tdErrors[0]).toBeCloseTo(0.9 * (values[1]?.value as number) - (values[0]?.value as number), 12);
    }
    await using other = await loadModel('models/planted.gguf', { gpuLayers: 0, isolate: false });
    await expect(prepareValues(other, directory, settings)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('another model') });
  });
});
