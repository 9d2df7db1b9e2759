/** Dopamine neurons on planted trajectories: what was planted is found whatever the seed, and nothing where nothing is. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { stepErrors } from '../../src/rpe/tdErrors.js';
import { sealLine } from '../../src/store/journal.js';
import { DOPAMINE_DEFAULTS, runDopamine } from '../../src/study/dopamine.js';
import type { DopamineData } from '../../src/study/dopamineData.js';
import { dopamineSchema } from '../../src/report/dopamineSchema.js';
import { BASELINES, itemsOf } from '../../src/study/dopamineData.js';
import { dopamineSelfTest, plantedDopamine } from '../../src/study/dopaminePlanted.js';
import { baselineScores } from '../../src/study/dopamineProbe.js';
import { fileHash } from '../../src/study/stage.js';
import type { Values } from '../../src/report/valuesSchema.js';
import { valuesSchema } from '../../src/report/valuesSchema.js';
import type { TrajectoryValues } from '../../src/study/valuesFormat.js';
import { mulberry32 } from '../../src/util/random.js';
import { saveTensors } from '../../src/util/safetensors.js';

const WIDTH = 40;
const SCALES = [0.01, 0.3, 1, 30, 100];

describe('the self-test', () => {
  test.each([1, 2])('seed %i: planted coordinates at scales from 0.01 to 100 come first, nulls stay null', async (seed) => {
    const { passed, checks } = await dopamineSelfTest({ threads: 1, seed });
    expect(checks.filter((check) => !check.passed)).toEqual([]);
    expect(passed).toBe(true);
    expect(checks[0]).toMatchObject({ name: expect.stringContaining('0.01 to 100'), observed: '9 of 9' });
  });

  test('errors of the next step are not what was planted: the check fails', async () => {
    const late = (data: DopamineData): DopamineData => ({
      ...data,
      trajectories: data.trajectories.map((own) => ({ ...own, steps: own.steps.map((step, k) => ({ ...step, error: own.steps[(k + 1) % own.steps.length]?.error ?? null })) })),
    });
    const { checks } = await dopamineSelfTest({ threads: 1, spoil: late });
    expect(checks[1]?.passed).toBe(false);
  });

  test('features that know the error without any neuron showing it: the check of the twin fails', async () => {
    const leaking = (data: DopamineData): DopamineData => ({
      ...data,
      read: async (i) => {
        const rows = (await data.read(i)).slice();
        rows[0] = 0;
        data.trajectories[i]?.steps.forEach(({ begin, end, error }) => {
          for (let at = begin + 1; at <= end && at * data.width < rows.length; at++) {
            rows[at * data.width] = error as number;
          }
        });
        return rows;
      },
    });
    const { passed, checks } = await dopamineSelfTest({ threads: 1, spoil: leaking });
    expect(passed).toBe(false);
    expect(checks[3]).toMatchObject({ name: expect.stringContaining('no coordinate shows'), passed: false });
  });
});

test('what δ is made of is no baseline of it', () => {
  const { data } = plantedDopamine({ width: 2, trajectories: 40, scales: [1], seed: 1 });
  const random = mulberry32(1);
  const told = { ...data, trajectories: data.trajectories.map((own) => ({ ...own, steps: own.steps.map((step) => ({ ...step, baselines: Object.fromEntries(Object.values(BASELINES).map((name) => [name, random()])) })) })) };
  const names = (error: 'mc' | 'probe'): string[] => baselineScores(told, itemsOf(told), { threshold: 0.3, seed: 1, error }).map(({ name }) => name);
  expect(names('mc')).toEqual(Object.values(BASELINES));
  expect(names('probe')).toEqual([BASELINES.index, BASELINES.tokens, BASELINES.logProbability, BASELINES.value]);
});

describe('a folder', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rewardlens-dopamine-'));
  });
  afterEach(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  /** A store with noise in layer 3 and the planted trajectories in layer 5, and its values. Returns the planted neurons. */
  async function plantFolder(change: Partial<Values['settings']> = {}): Promise<number[]> {
    const { data, planted } = plantedDopamine({ width: WIDTH, trajectories: 150, scales: SCALES, seed: 4 });
    const { data: noise } = plantedDopamine({ width: WIDTH, trajectories: 150, scales: SCALES, seed: 4, signal: false });
    const parts: Float32Array[] = [];
    const records: object[] = [];
    const lines: TrajectoryValues[] = [];
    let row = 0;
    for (const [i, { reward, steps, part, group, value }] of data.trajectories.entries()) {
      const [signal, other] = [await data.read(i), await noise.read(i)];
      const states = signal.length / WIDTH;
      const rows = new Float32Array(states * 2 * WIDTH);
      for (let s = 0; s < states; s++) {
        rows.set(other.subarray(s * WIDTH, (s + 1) * WIDTH), 2 * s * WIDTH);
        rows.set(signal.subarray(s * WIDTH, (s + 1) * WIDTH), (2 * s + 1) * WIDTH);
      }
      parts.push(rows);
      const problem = `p${String(i).padStart(3, '0')}`;
      records.push({ problem, sample: 0, reward, prompt: group, promptLength: 3, gold: '', tokens: Array<number>(states).fill(1), pieces: Array.from({ length: states }, (_, t) => `t${t}`), logProbabilities: Array<number>(states).fill(-0.1 * i), rows: [[0, row, row + states]] });
      row += states;
      // back from the planted errors to the values that gave them
      let before = value as number;
      const values = steps.map(({ error }) => {
        const own = before;
        before = own + (error as number);
        return own;
      });
      lines.push({
        problem, sample: 0, group, part, reward, finishReason: 'eog',
        steps: steps.map(({ begin, end }) => ({ begin, end, text: '' })),
        values: values.map((own) => ({ value: own, low: 0, high: 1, n: 8, unknown: 0, tokens: 1 })),
        tdErrors: stepErrors(values, reward, 1), variances: values.map(() => 0), probe: null,
      });
    }
    await mkdir(join(directory, 'activations'));
    await writeFile(join(directory, 'store.json'), JSON.stringify({ format: 'rewardlens.store', version: 1, dtype: 'f32', sites: [{ site: 'residPost', layers: [3, 5], width: WIDTH }], positions: 'response' }));
    const all = new Float32Array(row * 2 * WIDTH);
    parts.reduce((at, own) => (all.set(own, at), at + own.length), 0);
    await saveTensors(join(directory, 'activations/residPost-00000.safetensors'), new Map([['residPost', { shape: [row, 2, WIDTH], data: all }]]), {});
    await writeFile(join(directory, 'trajectories.jsonl'), records.map((record) => `${sealLine(record)}\n`).join(''));
    await writeFile(join(directory, 'values.jsonl'), lines.map((line) => `${sealLine(line)}\n`).join(''));
    const summary: Values = {
      format: 'rewardlens.values', version: 2, manifest: {},
      settings: { steps: 'line', counts: { min: 8, max: 8, width: 1 }, budget: null, limit: null, gamma: 1, seed: 1, maxTokens: 99, sampling: {}, stop: [], ...change },
      trajectoriesSha256: await fileHash(join(directory, 'trajectories.jsonl')),
      linesSha256: await fileHash(join(directory, 'values.jsonl')),
      probesSha256: '',
      counts: { trajectories: 150, steps: 0, states: 0, distinctStates: 0, withoutValue: 0, continuations: { made: 0, found: 0, unknown: 0 } },
      tokens: { sampled: 0, computed: 0, shared: 0 }, exhausted: false, meanWidth: null,
      tdErrors: { known: 0, mean: null, deviation: null, large: null, noise: 0.1, telescopeGap: null }, probe: null, seconds: 0,
    };
    await writeFile(join(directory, 'values.json'), JSON.stringify(valuesSchema.parse(summary)));
    return planted;
  }

  const SETTINGS = { ...DOPAMINE_DEFAULTS, radius: 3, neurons: 2, permutations: 50, draws: 3 };

  test('the planted layer and neurons are found from end to end; averages rise with good news and fall with bad', async () => {
    const planted = await plantFolder();
    const result = await runDopamine(directory, SETTINGS, { threads: 1 });
    expect(dopamineSchema.parse(result)).toEqual(result);
    expect(result.bestLayer).toBe(5);
    expect(result.ranking.slice(0, planted.length).map(({ neuron }) => neuron).sort((a, b) => a - b)).toEqual(planted);
    const [noise, signal] = result.layers.map(({ scores }) => scores[0]?.large.spearman);
    expect(signal?.low).toBeGreaterThan(0.5);
    expect(noise?.low).toBeLessThan(0.1);
    expect(result.pruning.find(({ kept }) => kept === 4)).toMatchObject({ top: { low: expect.any(Number) } });
    const few = result.pruning.find(({ kept }) => kept === 4);
    expect(few?.top.value).toBeGreaterThan((few?.random.mean as number) + 0.3);
    for (const { positive, negative, random } of result.events) {
      expect(positive.mean[3]).toBeGreaterThan(0.3);
      expect(negative.mean[3]).toBeLessThan(-0.3);
      expect(Math.abs(random.mean[3] as number)).toBeLessThan(0.3);
      expect(positive.events + negative.events).toBe(random.events);
    }
    expect(result.examples).toHaveLength(SETTINGS.examples);
    expect(new Set(result.examples.map(({ reward }) => reward))).toEqual(new Set([0, 1]));
    for (const { tokens, trace, steps } of result.examples) {
      expect(trace).toHaveLength(tokens.length);
      expect(trace.indexOf(null)).toBe(tokens.length - 1);
      expect(steps.at(-1)?.end).toBe(tokens.length);
      expect(steps.every(({ predicted }) => predicted !== null)).toBe(true);
    }
    expect(result.steps.large.train).toBeGreaterThan(20);
    expect(result.baselines.map(({ name }) => name)).toEqual(expect.arrayContaining(['number of the step', 'mean log-probability of the step']));
    const { positive, negative, expectedSuccess, expectedFailure } = result.surprise.groups;
    expect(positive + negative + expectedSuccess + expectedFailure).toBeLessThanOrEqual(110);
    expect(positive + negative + expectedSuccess + expectedFailure).toBeGreaterThan(90);
  });

  test('what is missing or does not fit is named', async () => {
    await plantFolder();
    const run = async (change: Partial<typeof SETTINGS>): Promise<unknown> => runDopamine(directory, { ...SETTINGS, ...change }, { threads: 1 });
    await expect(run({ threshold: 0.99 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('|δ|') });
    await expect(run({ error: 'probe' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('probe') });
    await expect(run({ site: 'mlpOut' })).rejects.toMatchObject({ code: 'SITE_NOT_FOUND' });
    await writeFile(join(directory, 'trajectories.jsonl'), sealLine({ problem: 'other', reward: 1, rows: [] }) + '\n');
    await expect(run({})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('rewardlens values') });
    await rm(join(directory, 'values.json'));
    await expect(run({})).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('rewardlens values') });
  });
});
