/** Training of probes: determinism, early stopping, the null, normalisation, abort, moments, and probes on disk. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { LayerMoments, TrajectoryData } from '../../src/probe/data.js';
import { groupByRows, measureMoments } from '../../src/probe/data.js';
import { memoryData } from '../../src/probe/memory.js';
import type { ProbeJob, TrainOptions, TrainProgress, TrainedProbe } from '../../src/probe/train.js';
import { TRAIN_DEFAULTS, normalisation, permutation, shuffledRewards, trainProbes } from '../../src/probe/train.js';
import { ProbeTrainer } from '../../src/probe/trainer.js';
import { loadProbes, saveProbes } from '../../src/study/probeFiles.js';
import { halfTable } from '../../src/util/half.js';
import { mulberry32 } from '../../src/util/random.js';
import { SafetensorsReader, saveTensors } from '../../src/util/safetensors.js';

const WIDTH = 12;
const LAYERS = [3, 5];
const CARRIER = 2;
const CONSTANT = 5;
const FAR = 7;

/** Trajectories of 2 to 6 states; one coordinate of layer 5 knows the reward, one of both is constant, one far from 0. */
function makeData(count: number, seed: number): TrajectoryData {
  const random = mulberry32(seed);
  const trajectories = Array.from({ length: count }, (_, i) => {
    const reward = i % 2;
    const states = 2 + (i % 5);
    const row = (layer: number): number[] =>
      Array.from({ length: WIDTH }, (__, j) => {
        const noise = 2 * random() - 1;
        const known = layer === 5 && j === CARRIER ? 2 * reward - 1 : 0;
        return j === CONSTANT ? 1000.1 : j === FAR ? 4000 + noise : known + noise;
      });
    return { problem: `p${i}`, reward, states: Float32Array.from(Array.from({ length: states }, () => LAYERS.flatMap(row)).flat()) };
  });
  return memoryData('residPost', LAYERS, WIDTH, trajectories);
}

const data = makeData(60, 1);
const split = { train: Array.from({ length: 40 }, (_, i) => i), validation: Array.from({ length: 20 }, (_, i) => 40 + i) };
let moments: LayerMoments[];
beforeAll(async () => {
  moments = await measureMoments(data, split.train);
});

const job = (changes: Partial<ProbeJob> = {}): ProbeJob => ({
  name: 'value',
  layer: 5,
  hidden: 16,
  head: 'sigmoid',
  target: 'mc',
  lambda: 0.9,
  inputs: 'zscore',
  shuffledRewards: false,
  ...changes,
});
const OPTIONS: TrainOptions = { ...TRAIN_DEFAULTS, learningRate: 1e-2, maxEpochs: 12, seed: 5, threads: 1 };
const train = async (jobs: readonly ProbeJob[], changes: Partial<TrainOptions> = {}, on = data): Promise<TrainedProbe[]> =>
  trainProbes(on, split, moments, jobs, { ...OPTIONS, ...changes });
const JOBS = [job(), job({ name: 'linear', hidden: 0, layer: 3 }), job({ name: 'few', neurons: Int32Array.of(9, CARRIER) }), job({ name: 'shuffled', shuffledRewards: true })];

describe('trainProbes', () => {
  let reference: TrainedProbe[];
  beforeAll(async () => {
    reference = await train(JOBS);
  });

  test('the same seed gives the same probes, on any number of threads; another seed others', async () => {
    expect(await train(JOBS)).toEqual(reference);
    expect(await train(JOBS, { threads: 3 })).toEqual(reference);
    const other = await train(JOBS, { seed: 6 });
    other.forEach((probe, i) => expect(probe.weights).not.toEqual(reference[i]?.weights));
  });

  test('learns what the carrier knows, and nothing from shuffled rewards', () => {
    const best = ({ validationLoss, bestEpoch }: TrainedProbe): number => validationLoss[bestEpoch] as number;
    const [value, linear, few, shuffled] = reference as [TrainedProbe, TrainedProbe, TrainedProbe, TrainedProbe];
    expect(best(value)).toBeLessThan(0.12);
    expect(best(few)).toBeLessThan(0.12);
    expect(best(linear)).toBeGreaterThan(0.2); // another layer, which knows nothing
    expect(best(shuffled)).toBeGreaterThan(0.2);
  });

  test('every probe ends with the weights of its best epoch', async () => {
    const [probe] = (await train([job({ hidden: 64 })], { learningRate: 0.1, maxEpochs: 30 })) as [TrainedProbe];
    const { bestEpoch, validationLoss, trainLoss } = probe;
    expect(validationLoss[bestEpoch]).toBe(Math.min(...validationLoss));
    expect(validationLoss.length).toBe(trainLoss.length);
    expect(validationLoss.length).toBe(bestEpoch + OPTIONS.patience + 1); // it stopped early, and after its patience
    expect(validationLoss.length).toBeLessThan(30);
    await using trainer = new ProbeTrainer({ width: WIDTH, layers: 2, gamma: OPTIONS.gamma, threads: 1, probes: [{ ...probe, layer: 1, rewardColumn: 0, learningRate: 1, weightDecay: 0 }] });
    const lengths = Int32Array.from(split.validation, (i) => data.lengths[i] as number);
    const rewards = Float32Array.from(split.validation, (i) => data.rewards[i] as number);
    const [loss] = await trainer.loss(await data.read(split.validation), lengths, rewards);
    expect(loss).toBeCloseTo(validationLoss[bestEpoch] as number, 6);
  });

  test('every probe stops after its own patience, and at maxEpochs', async () => {
    expect((await train(JOBS, { maxEpochs: 2 })).map(({ validationLoss }) => validationLoss.length)).toEqual([2, 2, 2, 2]);
    for (const { bestEpoch, validationLoss, trainLoss } of reference) {
      expect(validationLoss.length).toBe(Math.min(OPTIONS.maxEpochs, bestEpoch + OPTIONS.patience + 1));
      expect(trainLoss.length).toBe(validationLoss.length);
    }
    expect(new Set(reference.map(({ trainLoss }) => trainLoss.length)).size).toBeGreaterThan(1);
  });

  test('what is trained beside it does not change a probe', async () => {
    for (const [i, one] of JOBS.entries()) {
      expect(await train([one])).toEqual([reference[i]]);
    }
  });

  test('the null is trained on permuted rewards and otherwise the same', async () => {
    const shuffled = shuffledRewards(data.rewards, OPTIONS.seed);
    expect([...shuffled].sort()).toEqual([...data.rewards].sort());
    expect(shuffled).not.toEqual(data.rewards);
    const [plain] = (await train([job()], {}, { ...data, rewards: shuffled })) as [TrainedProbe];
    expect(reference[3]?.weights).toEqual(plain.weights);
    expect(reference[3]?.trainLoss).toEqual(plain.trainLoss);
  });

  test('nothing of held-out trajectories but their loss has an influence', async () => {
    const held = new Set(split.validation);
    const spoilt: TrajectoryData = {
      ...data,
      read: async (list) => (list.some((i) => held.has(i)) ? ((await data.read(list)) as Float32Array).map((x) => x * 3) : data.read(list)),
    };
    expect(await measureMoments(spoilt, split.train)).toEqual(moments);
    const [probe] = (await train(JOBS.slice(0, 1), { maxEpochs: 1 }, spoilt)) as [TrainedProbe];
    const [clean] = (await train(JOBS.slice(0, 1), { maxEpochs: 1 })) as [TrainedProbe];
    expect(probe.weights).toEqual(clean.weights);
    expect(probe.mean).toEqual(moments[1]?.mean);
    expect(probe.validationLoss).not.toEqual(clean.validationLoss);
  });

  test('constant coordinates have weight 0, raw inputs are left alone, neurons have their own statistics', () => {
    const [probe, , few] = reference as [TrainedProbe, TrainedProbe, TrainedProbe];
    expect([...probe.scale].flatMap((scale, j) => (scale === 0 ? [j] : []))).toEqual([CONSTANT]);
    expect(probe.scale[FAR]).toBeCloseTo(1 / (moments[1]?.std[FAR] as number), 4);
    expect(few.mean).toEqual(Float32Array.of(probe.mean[9] as number, probe.mean[CARRIER] as number));
    const raw = normalisation({ inputs: 'raw' }, moments[0] as LayerMoments);
    expect([...raw.mean, ...raw.scale]).toEqual([...new Array<number>(WIDTH).fill(0), ...new Array<number>(WIDTH).fill(1)]);
  });

  test('an abort ends it, before and in the middle; so does a reading error', async () => {
    await expect(train(JOBS, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } });
    const controller = new AbortController();
    const onProgress = ({ epoch }: TrainProgress): void => {
      if (epoch === 1) {
        controller.abort();
      }
    };
    await expect(train(JOBS, { signal: controller.signal, onProgress })).rejects.toMatchObject({ code: 'ABORTED' });
    let reads = 0;
    const read = async (list: readonly number[]): Promise<Float32Array | Uint16Array> => {
      if (++reads === 3) {
        throw new RangeError('gone');
      }
      return data.read(list);
    };
    await expect(train(JOBS, {}, { ...data, read })).rejects.toThrow(new RangeError('gone'));
  });

  test('progress only goes forward', async () => {
    const seen: number[] = [];
    await train(JOBS.slice(0, 1), { maxEpochs: 3, onProgress: ({ epoch, share }) => seen.push(epoch + share) });
    expect(seen).toHaveLength(3 * 10); // mini-batches of 4 out of 40
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(3);
  });
});

test('permutation: every number once, by seed', () => {
  expect([...permutation(50, 3)].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
  expect(permutation(50, 3)).toEqual(permutation(50, 3));
  expect(permutation(50, 3)).not.toEqual(permutation(50, 4));
  expect(permutation(0, 1)).toHaveLength(0);
});

test('groupByRows keeps the order and fills groups up to the limit', () => {
  const lengths = Int32Array.of(3, 4, 5, 20, 1, 1);
  expect([...groupByRows({ lengths }, [0, 1, 2, 3, 4, 5], 8)]).toEqual([[0, 1], [2], [3], [4, 5]]);
  expect([...groupByRows({ lengths }, [], 8)]).toEqual([]);
});

describe('measureMoments', () => {
  /** Mean, standard deviation and RMS of one coordinate, in two passes. */
  function twoPass(values: readonly number[]): { mean: number; std: number; rms: number } {
    const average = (of: (x: number) => number): number => values.reduce((sum, x) => sum + of(x), 0) / values.length;
    const mean = average((x) => x);
    return { mean, std: Math.sqrt(average((x) => (x - mean) ** 2)), rms: Math.sqrt(average((x) => x * x)) };
  }

  /** Rows of some data that hold more than one reading's worth, and what each coordinate's values are. */
  async function check(on: TrajectoryData, list: readonly number[]): Promise<void> {
    const rows = await on.read(list);
    const values = rows instanceof Uint16Array ? Float32Array.from(rows, (bits) => halfTable()[bits] as number) : rows;
    const measured = await measureMoments(on, list);
    for (const [l, layer] of measured.entries()) {
      for (let j = 0; j < WIDTH; j++) {
        const column = Array.from({ length: values.length / (WIDTH * 2) }, (_, r) => values[(r * 2 + l) * WIDTH + j] as number);
        const expected = twoPass(column);
        expect(Math.abs((layer.mean[j] as number) / expected.mean - 1)).toBeLessThan(1e-6);
        expect(Math.abs((layer.rms[j] as number) / expected.rms - 1)).toBeLessThan(1e-6);
        expect(Math.abs((layer.std[j] as number) - expected.std)).toBeLessThan(1e-6 * Math.max(expected.std, 1e-6));
      }
    }
  }

  test('equal a two-pass computation, also far from 0 and over several readings', async () => {
    await check(data, split.train);
    const many = makeData(1500, 2); // 6000 states
    await check(many, many.problems.map((_, i) => i));
  });

  test('of half floats', async () => {
    const random = mulberry32(9);
    const bits = Uint16Array.from({ length: 7 * 2 * WIDTH }, () => 0x3000 + Math.floor(random() * 0x1000));
    await check({ ...data, lengths: Int32Array.of(7), read: async () => bits }, [0]);
  });

  test('can be aborted', async () => {
    await expect(measureMoments(data, split.train, AbortSignal.abort())).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('probes on disk', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rewardlens-probes-'));
  });
  afterAll(async () => rm(folder, { recursive: true, force: true }));

  test('load back equal; tensors have the documented names and shapes', async () => {
    const probes = await train(JOBS, { maxEpochs: 2 });
    const path = join(folder, 'probes.safetensors');
    await saveProbes(path, probes, { made: 'by a test' });
    expect(await loadProbes(path)).toEqual(probes);
    await using reader = await SafetensorsReader.open(path);
    const shapes = Object.fromEntries([...reader.header.tensors].map(([name, { shape }]) => [name, shape]));
    expect(shapes).toMatchObject({ 'value.5.w1': [16, WIDTH], 'value.5.b1': [16], 'value.5.w2': [16], 'value.5.b2': [1], 'value.5.mean': [WIDTH], 'few.5.w1': [16, 2], 'few.5.neurons': [2], 'linear.3.w2': [WIDTH] });
    expect(shapes).not.toHaveProperty(['linear.3.w1']);
    expect(JSON.parse(reader.header.metadata['rewardlens'] ?? '')).toMatchObject({ made: 'by a test', probes: [{ name: 'value', layer: 5 }, {}, {}, {}] });
  });

  test('another kind of file is refused', async () => {
    const path = join(folder, 'other.safetensors');
    await saveTensors(path, new Map([['x', { shape: [1], data: Float32Array.of(1) }]]), {});
    await expect(loadProbes(path)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('holds no probes') as unknown });
    await expect(loadProbes(join(folder, 'none'))).rejects.toMatchObject({ code: 'IO' });
  });
});
