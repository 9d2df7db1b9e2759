/** The runner of sweeps on the planted model: keys, early decision, and the lane of a worker. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Arm } from '../../src/ablate/arms.js';
import { BASE_ARM, makeArm } from '../../src/ablate/arms.js';
import { Lane } from '../../src/ablate/lane.js';
import type { JobData } from '../../src/ablate/queueFormat.js';
import type { SweepOptions, SweepResult } from '../../src/ablate/sweep.js';
import { runSweep } from '../../src/ablate/sweep.js';
import type { Model } from '../../src/model/model.js';
import { loadModel } from '../../src/model/model.js';
import { CARRIER, plantedProblems } from '../helpers/planted.js';

let model: Model;
let directory: string;
beforeAll(async () => {
  model = await loadModel('models/planted.gguf', { gpuLayers: 0, isolate: false });
});
afterAll(async () => model.dispose());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-runner-'));
});
afterEach(async () => rm(directory, { recursive: true, force: true }));

const arm = (role: Arm['role'], group: string, draw: number, neuron: number, layer = 1): Arm =>
  makeArm({ role, group, draw, site: 'residPost', layer, share: 1 / 64, kind: 'zero', positions: 'all', neurons: [neuron] });
const ARMS = [BASE_ARM, arm('set', 'top', 0, CARRIER), arm('control', 'random', 0, 5), arm('control', 'random', 1, 6)];

async function sweep(change: Partial<SweepOptions> = {}, own: Model = model): Promise<SweepResult> {
  await using session = own.createSession({ parallel: 64, contextLength: 256, threads: 1 });
  return await runSweep(session, {
    directory,
    arms: ARMS,
    items: plantedProblems(12),
    prompt: ({ question }) => ({ text: question, tokens: own.tokenize(question) }),
    maxTokens: 1,
    sampling: { temperature: 1 },
    seed: 3,
    judge: async (_problem, text) => ({ verdict: text === 'y' ? 'correct' : 'wrong', extracted: text, reason: '', reward: text === 'y' ? 1 : 0 }),
    inputs: { model: 'planted' },
    ...change,
  });
}

describe('keys', () => {
  const items = plantedProblems(12);
  const changes: [string, Partial<SweepOptions>, number][] = [
    ['the same', {}, 0],
    ['more items', { items: plantedProblems(13) }, 4],
    ['items in another order', { items: [...items].reverse() }, 0],
    ['another model', { inputs: { model: 'other' } }, 48],
    ['another release', { inputs: { model: 'planted', llamaCpp: 'b2' } }, 48],
    ['another temperature', { sampling: { temperature: 0.9 } }, 48],
    ['another seed', { seed: 4 }, 48],
    ['other stop strings', { stop: ['z'] }, 48],
    ['more tokens', { maxTokens: 2 }, 48],
    ['another version of the check', { checkFingerprint: () => 'v2' }, 48],
    ['another answer to one item', { items: items.map((item, i) => (i === 0 ? { ...item, answer: 'n' } : item)) }, 4],
    ['another prompt of one item', { prompt: ({ id, question }) => ({ text: question, tokens: model.tokenize(id === 'item-0000' ? `${question}a` : question) }) }, 4],
    ['another edit in one arm', { arms: [...ARMS.slice(0, 3), arm('control', 'random', 1, 7)] }, 12],
    ['another position in one arm', { arms: [...ARMS.slice(0, 3), makeArm({ ...(ARMS[3] as Arm), positions: 'prompt' })] }, 12],
    ['another name for the same edit', { arms: [...ARMS.slice(0, 3), arm('control', 'matched', 0, 6)] }, 0],
  ];

  test('a changed input makes new pairs of what it changes, and only of that', async () => {
    expect(await sweep()).toMatchObject({ made: 48, found: 0 });
    for (const [name, change, made] of changes) {
      const result = await sweep(change);
      expect({ name, made: result.made }).toEqual({ name, made });
    }
    expect(await sweep()).toMatchObject({ made: 0, found: 48 });
  });

  test('arms that edit alike run once, and both have the outcomes under their own names', async () => {
    const result = await sweep({ arms: [...ARMS, arm('control', 'matched', 0, 6)] });
    expect(result.made).toBe(48);
    const outcomes = (a: number): unknown => result.records[a]?.map((record) => [record?.item, record?.text]);
    expect(outcomes(4)).toEqual(outcomes(3));
    expect(result.records[4]?.[0]?.arm).toBe('matched#0-1.56%-L1-zero-all');
  });

  test('a completion that the context cuts short is another than one that ends at its limit', async () => {
    const cut = { maxTokens: 300, items: plantedProblems(2), arms: ARMS.slice(0, 1) };
    expect((await sweep(cut)).records[0]?.map((record) => record?.finishReason)).toEqual(['context', 'context']);
    await using session = model.createSession({ parallel: 4, contextLength: 512, threads: 1 });
    const roomy = await runSweep(session, {
      ...cut, directory, prompt: ({ question }) => ({ text: question, tokens: model.tokenize(question) }), sampling: { temperature: 1 }, seed: 3, inputs: { model: 'planted' },
      judge: async () => ({ verdict: 'wrong', extracted: undefined, reason: '', reward: 0 }),
    });
    expect(roomy).toMatchObject({ made: 2, found: 0 });
  });
});

describe('early decision', () => {
  /** Ends in letters after which the model is right in about 80 %. */
  const items = plantedProblems(100).map((problem, i) => ({ ...problem, question: `${problem.question.slice(0, 2)}${'strukzb'[i % 7] ?? ''}` }));
  const early: Partial<SweepOptions> = { early: true, items, arms: [...ARMS, arm('set', 'top', 0, 5, 0), arm('control', 'random', 0, 6, 0)] };

  test('the planted neuron is decided, with its controls; the other layer runs to the end; the same after an interruption', async () => {
    const result = await sweep(early);
    const used = result.records.map((row) => row.filter((record) => record !== undefined).length);
    expect(result.early).toMatchObject({ plan: { looks: [20, 40, 60, 80, 100], comparisons: 2 }, decided: ARMS.slice(1).map(({ name }) => name) });
    expect(used).toEqual([100, used[1], used[1], used[1], 100, 100]);
    expect([20, 40, 60, 80]).toContain(used[1]);
    expect(result.made).toBe(used.reduce((a, b) => a + b, 0));

    await rm(directory, { recursive: true });
    const stop = new AbortController();
    await expect(sweep({ ...early, signal: stop.signal, onProgress: ({ finished }) => finished > 150 && stop.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
    const resumed = await sweep(early);
    expect(resumed.found).toBeGreaterThan(150);
    expect(resumed.records).toEqual(result.records);
    expect(resumed.early).toEqual(result.early);
  });

  test('what was run without it changes neither decision nor numbers', async () => {
    const fresh = await sweep(early);
    await sweep({ ...early, early: false });
    const again = await sweep(early);
    expect(again).toMatchObject({ made: 0, early: fresh.early });
    expect(again.records).toEqual(fresh.records);
  });

  test('on the twin nothing is decided', async () => {
    await using twin = await loadModel('models/planted-null.gguf', { gpuLayers: 0, isolate: false });
    expect((await sweep(early, twin)).early?.decided).toEqual([]);
  });
});

describe('lane of a worker', () => {
  const job = (item: string, prompt: readonly number[]): JobData => ({ item, prompt, maxTokens: 1, seed: 1, pairs: [[0, `${item}-0`], [1, `${item}-1`]] });
  const arms = ARMS.slice(0, 2).map(({ interventions }) => interventions);

  test('jobs that come while others run share the run; one that cannot run fails alone', async () => {
    await using session = model.createSession({ parallel: 4, contextLength: 256, threads: 1 });
    const prompts = plantedProblems(20).map(({ id, question }) => job(id, [...model.tokenize(question)]));
    const lane = new Lane(session, arms, { sampling: { temperature: 1 } });
    const running = lane.run();
    const expected = await Promise.all(prompts.map(async (data) => lane.submit(data)));
    expect(expected.every((outcomes) => outcomes.length === 2)).toBe(true);
    const mixed = await Promise.allSettled([...prompts.slice(0, 7), job('poison', [1, 999_999]), ...prompts.slice(7)].map(async (data) => lane.submit(data)));
    const failed = mixed.flatMap((outcome, i) => (outcome.status === 'rejected' ? [{ i, code: (outcome.reason as { code: string }).code }] : []));
    expect(failed).toEqual([{ i: 7, code: 'INVALID_ARGUMENT' }]);
    expect(mixed.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))).toEqual(expected);
    expect(lane.finished).toBe(80);
    expect(await lane.submit(prompts[0] as JobData)).toEqual(expected[0]); // and it goes on
    lane.close();
    await running;
  });

  test('an error that no job causes ends it, and every job', async () => {
    const session = model.createSession({ parallel: 4, contextLength: 256, threads: 1 });
    await session.dispose();
    const lane = new Lane(session, arms, { sampling: {} });
    const first = lane.submit(job('a', [1]));
    await expect(Promise.all([lane.run(), first])).rejects.toMatchObject({ code: 'DISPOSED' });
    await expect(first).rejects.toMatchObject({ code: 'DISPOSED' });
    await expect(lane.submit(job('b', [1]))).rejects.toMatchObject({ code: 'DISPOSED' });
  });
});
