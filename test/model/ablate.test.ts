/** Sweeps on the planted model, where one neuron carries correctness, and on its twin. */
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Arm } from '../../src/ablate/arms.js';
import { BASE_ARM, makeArm } from '../../src/ablate/arms.js';
import type { LedgerRecord, SweepOptions, SweepResult } from '../../src/ablate/sweep.js';
import { LEDGER_FILE, runSweep } from '../../src/ablate/sweep.js';
import type { Problem } from '../../src/dataset/types.js';
import { loadModel } from '../../src/model/model.js';
import { armSets } from '../../src/rank/armSets.js';
import { rankPValue } from '../../src/stats/controls.js';
import { discordantPairs, mcnemar } from '../../src/stats/paired.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-sweep-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const CARRIER = 37;
const WIDTH = 64;
/** Last letters after which the planted model is right in about 80 %. */
const GOOD = 'strukzb';

const items: Problem[] = Array.from({ length: 120 }, (_, i) => {
  const question = `${'etaoinshrdlcu'[i % 13] ?? ''}${'mwfgypbvkxq'[i % 11] ?? ''}${GOOD[i % GOOD.length] ?? ''}`;
  return { id: `item-${i}`, question, answer: 'y', check: 'planted', source: {} };
});

function arms(positions: Arm['positions'] = 'all'): Arm[] {
  const scores = Float64Array.from({ length: WIDTH }, (_, i) => (i === CARRIER ? 1 : 0));
  const flat = new Float64Array(WIDTH).fill(1);
  const sets = armSets({ width: WIDTH, scores, rms: flat, std: flat }, { groups: ['top', 'random', 'matched'], target: 1, draws: 19, seed: 5 });
  // LEVEL (11) keeps the model to y and n: taking it away breaks everything whatever it encodes
  const usable = sets.filter(({ neurons }) => !neurons.includes(11));
  return [BASE_ARM, ...usable.map((set) => makeArm({ ...set, site: 'residPost', layer: 1, share: 1 / WIDTH, kind: 'zero', positions }))];
}

async function sweep(file: string, own: readonly Arm[], change: Partial<SweepOptions> = {}): Promise<SweepResult> {
  await using model = await loadModel(`models/${file}`, { gpuLayers: 0, isolate: false });
  await using session = model.createSession({ parallel: 64, contextLength: 64, threads: 1 });
  return await runSweep(session, {
    directory,
    arms: own,
    items,
    prompt: ({ question }) => ({ text: question, tokens: model.tokenize(question) }),
    maxTokens: 1,
    sampling: { temperature: 1 },
    seed: 3,
    judge: async (_problem, text) => ({ verdict: text === 'y' ? 'correct' : 'wrong', extracted: text, reason: '', reward: text === 'y' ? 1 : 0 }),
    inputs: { model: file },
    ...change,
  });
}

const rewards = (result: SweepResult, arm: number): number[] => (result.records[arm] ?? []).map((record) => record?.reward ?? NaN);
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe('a planted causal neuron', () => {
  test('is found on the model, and nothing on its twin', async () => {
    const own = arms();
    const top = own.findIndex(({ group }) => group === 'top');
    const draws = own.flatMap(({ group }, i) => (group === 'matched' ? [i] : []));
    for (const [file, found] of [['planted.gguf', true], ['planted-null.gguf', false]] as const) {
      const result = await sweep(file, own);
      const base = rewards(result, 0);
      const { b, c } = discordantPairs(base, rewards(result, top));
      const changes = draws.map((arm) => mean(rewards(result, arm)) - mean(base));
      const rank = rankPValue(mean(rewards(result, top)) - mean(base), changes, 'less');
      expect({ file, significant: mcnemar(b, c) < 0.001, beyondEveryDraw: rank === 1 / (draws.length + 1) }).toEqual({ file, significant: found, beyondEveryDraw: found });
      for (const record of result.records.flat() as LedgerRecord[]) {
        expect(record.edited).toBe(record.expected);
        expect(record.edited > 0).toBe(record.arm !== 'base');
      }
    }
  });

  test('an edit of the completion alone leaves a one-token answer as it was', async () => {
    const result = await sweep('planted.gguf', arms('completion').slice(0, 2));
    expect(rewards(result, 1)).toEqual(rewards(result, 0));
  });
});

describe('ledger', () => {
  test('a second run makes nothing; a torn record is made again; other inputs are another sweep', async () => {
    const own = arms().slice(0, 3);
    const first = await sweep('planted.gguf', own);
    expect([first.made, first.found]).toEqual([360, 0]);
    const again = await sweep('planted.gguf', own);
    expect([again.made, again.found]).toEqual([0, 360]);
    expect(again.records).toEqual(first.records);

    const path = join(directory, LEDGER_FILE);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('"verdict":"correct"', '"verdict":"correcT"')); // one byte in the first record that has it
    await truncate(path, Buffer.byteLength(text) - 5);
    const mended = await sweep('planted.gguf', own);
    expect([mended.made, mended.found]).toEqual([2, 358]);
    expect(mended.records.map((row) => row.map((record) => record?.reward))).toEqual(first.records.map((row) => row.map((record) => record?.reward)));

    const other = await sweep('planted.gguf', own, { seed: 4 });
    expect([other.made, other.found]).toEqual([360, 0]);
    const more = await sweep('planted.gguf', arms().slice(0, 4));
    expect([more.made, more.found]).toEqual([120, 360]);
  });

  test('arms do not depend on each other: a sweep cut in two gives the same records', async () => {
    const own = arms().slice(0, 4);
    const stop = new AbortController();
    await expect(
      sweep('planted.gguf', own, { signal: stop.signal, onProgress: ({ finished }) => finished > 150 && stop.abort() }),
    ).rejects.toMatchObject({ code: 'ABORTED' });
    const resumed = await sweep('planted.gguf', own);
    expect(resumed.found).toBeGreaterThan(150);
    await rm(directory, { recursive: true });
    const whole = await sweep('planted.gguf', own);
    const outcome = (result: SweepResult): unknown => result.records.map((row) => row.map((record) => [record?.text, record?.verdict]));
    expect(outcome(resumed)).toEqual(outcome(whole));
  });
});
