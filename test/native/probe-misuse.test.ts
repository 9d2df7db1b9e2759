/** Wrong arguments, overlapping calls, disposal and divergence of the probe trainer; what its results must not depend on. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { BareProbe, ProbeSpec, ProbeWeights, TrainerParams } from '../../src/probe/trainer.js';
import { ProbeTrainer, initialWeights, predictPermuted, predictSets } from '../../src/probe/trainer.js';
import { halfTable } from '../../src/util/half.js';
import { mulberry32 } from '../../src/util/random.js';

const WIDTH = 19; // no multiple of any register
const LAYERS = 2;
const LENGTHS = Int32Array.of(3, 1, 7);
const REWARDS = Float32Array.of(1, 0, 1, 0, 1, 1); // two columns
const COUNT = 11;

/** Half floats of magnitude 1/16 to 1. */
function halves(count: number, seed: number): Uint16Array {
  const random = mulberry32(seed);
  return Uint16Array.from({ length: count }, () => {
    const bits = Math.floor(random() * 0x10000);
    return (bits & 0x83ff) | ((11 + ((bits >> 10) & 3)) << 10);
  });
}

const widen = (values: Uint16Array): Float32Array => Float32Array.from(values, (bits) => halfTable()[bits] as number);
const HALF_ROWS = halves(COUNT * LAYERS * WIDTH, 1);
const ROWS = widen(HALF_ROWS);

function spec(changes: Partial<ProbeSpec> = {}): ProbeSpec {
  const inputs = changes.neurons?.length ?? WIDTH;
  const hidden = changes.hidden ?? 16;
  return {
    layer: 0,
    hidden,
    head: 'sigmoid',
    target: 'mc',
    lambda: 0.9,
    rewardColumn: 0,
    learningRate: 1e-2,
    weightDecay: 0.01,
    mean: new Float32Array(inputs).fill(0.25),
    scale: new Float32Array(inputs).fill(1.5),
    weights: initialWeights(inputs, hidden, 7),
    ...changes,
  };
}

/** Probes of every kind. */
const kinds = (): ProbeSpec[] => [
  spec(),
  spec({ target: 'td0', head: 'identity', layer: 1, hidden: 33 }),
  spec({ target: 'td-lambda', hidden: 0, rewardColumn: 1 }),
  spec({ target: 'td0-residual', neurons: Int32Array.of(18, 3, 0, 7) }),
  spec({ target: 'terminal', layer: 1 }),
];

const params = (probes: readonly ProbeSpec[], threads = 1): TrainerParams => ({ width: WIDTH, layers: LAYERS, gamma: 0.99, threads, probes });

const code = (name: string): unknown => expect.objectContaining({ code: name });
const names = (parameter: string): unknown => expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(parameter) as unknown });
/** For arguments that the types forbid. */
const wrong = <T>(value: unknown): T => value as T;

let trainer: ProbeTrainer;
beforeEach(() => {
  trainer = new ProbeTrainer(params([spec(), spec({ rewardColumn: 1, hidden: 0 })]));
});
afterEach(async () => trainer.dispose());

describe('arguments of the constructor', () => {
  const short = new Float32Array(3);
  test.each<[string, Partial<ProbeSpec>, string]>([
    ['too few means', { mean: short }, 'probes[1].mean: expected 19 values, got 3'],
    ['too few scales', { scale: short }, 'probes[1].scale: expected 19 values, got 3'],
    ['means of all inputs for some neurons', { neurons: Int32Array.of(1), mean: new Float32Array(WIDTH) }, 'probes[1].mean'],
    ['w1 of another shape', { weights: { ...spec().weights, w1: short } }, 'probes[1].weights.w1'],
    ['b1 of another shape', { weights: { ...spec().weights, b1: short } }, 'probes[1].weights.b1'],
    ['w2 of another shape', { weights: { ...spec().weights, w2: short } }, 'probes[1].weights.w2'],
    ['b2 of another shape', { weights: { ...spec().weights, b2: short } }, 'probes[1].weights.b2'],
    ['weights of a linear probe', { weights: initialWeights(WIDTH, 0, 1) }, 'probes[1].weights.w1'],
    ['no weights', { weights: wrong(undefined) }, 'weights'],
    ['doubles as means', { mean: wrong(new Float64Array(WIDTH)) }, 'mean: expected a Float32Array'],
    ['a layer that is not there', { layer: 2 }, 'probes[1].layer: expected 0..1, got 2'],
    ['a layer below 0', { layer: -1 }, 'probes[1].layer'],
    ['a neuron that is not there', { neurons: Int32Array.of(0, WIDTH) }, 'probes[1].neurons: expected numbers in 0..18, got 19'],
    ['no neurons', { neurons: new Int32Array(0), ...{ mean: short } }, 'neurons: expected at least one'],
    ['hidden units below 0', { hidden: -1, weights: spec().weights }, 'hidden'],
    ['a reward column below 0', { rewardColumn: -1 }, 'rewardColumn'],
    ['an unknown target', { target: wrong('q') }, "target: expected td0, td0-residual, td-lambda, mc or terminal, got 'q'"],
    ['an unknown head', { head: wrong('tanh') }, 'head: expected sigmoid or identity'],
    ['a λ above 1', { lambda: 1.5 }, 'probes[1].lambda: expected a number in 0..1, got 1.5'],
    ['a learning rate below 0', { learningRate: -1 }, 'probes[1].learningRate'],
    ['a learning rate that is no number', { learningRate: NaN }, 'learningRate'],
    ['an infinite weight decay', { weightDecay: Infinity }, 'weightDecay'],
  ])('%s', (_, changes, message) => {
    expect(() => new ProbeTrainer(params([spec(), spec(changes)]))).toThrow(names(message));
  });

  test.each<[string, Partial<TrainerParams>, string]>([
    ['no probes', { probes: [] }, 'probes: expected at least one'],
    ['probes that are no array', { probes: wrong({}) }, 'probes: expected an array'],
    ['a width of 0', { width: 0 }, 'width'],
    ['no layers', { layers: 0 }, 'layers'],
    ['a fractional width', { width: 1.5 }, 'width'],
    ['too many threads', { threads: 513 }, 'threads: expected 0 (automatic) to 512, got 513'],
    ['a discount above 1', { gamma: 1.01 }, 'gamma: expected a number in 0..1, got 1.01'],
    ['a discount that is no number', { gamma: NaN }, 'gamma'],
  ])('%s', (_, changes, message) => {
    expect(() => new ProbeTrainer({ ...params([spec()]), ...changes })).toThrow(names(message));
  });
});

describe('arguments of calls', () => {
  test.each<[string, Float32Array | Uint16Array, Int32Array, Float32Array, string]>([
    ['rows that are no whole rows', ROWS.subarray(1), LENGTHS, REWARDS, 'rows: expected a multiple of 38 values'],
    ['no rows', new Float32Array(0), LENGTHS, REWARDS, 'rows'],
    ['rows as doubles', wrong(new Float64Array(ROWS.length)), LENGTHS, REWARDS, 'rows: expected a Uint16Array of half floats or a Float32Array'],
    ['rows that are nothing', wrong(undefined), LENGTHS, REWARDS, 'rows'],
    ['lengths of fewer states', ROWS, Int32Array.of(3, 7), Float32Array.of(1, 0, 0, 0), 'lengths: expected numbers that add up to the 11 rows, got 10'],
    ['a length of 0', ROWS, Int32Array.of(4, 0, 7), REWARDS, 'lengths: expected at least one state per trajectory, got 0'],
    ['a negative length', ROWS, Int32Array.of(12, -1), REWARDS, 'lengths'],
    ['no lengths', ROWS, new Int32Array(0), REWARDS, 'lengths'],
    ['lengths as an array', ROWS, wrong([3, 1, 7]), REWARDS, 'lengths'],
    ['one column of rewards for two', ROWS, LENGTHS, REWARDS.subarray(3), 'rewards: expected 2 columns of 3 values, got 3'],
    ['rewards that are no whole columns', ROWS, LENGTHS, new Float32Array(7), 'rewards'],
    ['rewards as an array', ROWS, LENGTHS, wrong([1, 0, 1, 0, 1, 1]), 'rewards: expected a Float32Array'],
  ])('%s', async (_, rows, lengths, rewards, message) => {
    await expect(trainer.step(rows, lengths, rewards)).rejects.toEqual(names(message));
    await expect(trainer.loss(rows, lengths, rewards)).rejects.toEqual(names(message));
    expect(await trainer.loss(ROWS, LENGTHS, REWARDS)).toHaveLength(2); // and it goes on
  });

  test('a count that is not that of the rows', async () => {
    await expect(trainer.predict(ROWS, 10)).rejects.toEqual(names('rows: expected 10 rows of 38 values'));
  });

  test.each([-1, 2, 0.5, NaN])('probe number %p', (probe) => {
    expect(() => trainer.weights(probe)).toThrow(names('probe'));
    expect(() => trainer.setWeights(probe, spec().weights)).toThrow(names('probe'));
  });

  test('weights of another probe', () => {
    expect(() => trainer.setWeights(1, spec().weights)).toThrow(names('weights.w1: expected 0 values'));
    trainer.setWeights(0, spec().weights);
  });

  const net: BareProbe = { hidden: 16, head: 'sigmoid', weights: initialWeights(WIDTH, 16, 1) };
  const x = ROWS.subarray(0, 4 * WIDTH);
  test.each<[string, () => Promise<unknown>, string]>([
    ['an input that is not there', async () => predictSets(net, x, 4, [Int32Array.of(1), Int32Array.of(WIDTH)], 1), 'sets[1]: expected inputs in 0..18, got 19'],
    ['an empty set', async () => predictSets(net, x, 4, [new Int32Array(0)], 1), 'sets[0]: expected at least one input'],
    ['weights for other inputs', async () => predictSets(net, x.subarray(4), 4, [], 1), 'weights: expected the sizes of 18 inputs and 16 hidden units'],
    ['a permutation out of range', async () => predictPermuted(net, x, 4, Int32Array.of(0, 1, 2, 4), 1), 'permutation: expected 4 numbers in 0..3'],
    ['too many threads', async () => predictSets(net, x, 4, [Int32Array.of(0)], 513), 'threads: expected 0 (automatic) to 512, got 513'],
    ['a short permutation', async () => predictPermuted(net, x, 4, Int32Array.of(0, 1, 2), 1), 'permutation'],
    ['an empty permutation', async () => predictPermuted(net, x, 4, new Int32Array(0), 1), 'permutation'],
  ])('%s', async (_, call, message) => {
    await expect(call()).rejects.toEqual(names(message));
  });
});

describe('calls that overlap, and disposal', () => {
  test('another call meanwhile is BUSY; afterwards it is not', async () => {
    const inputs = 2000; // long enough a step to be caught at it
    const wide = spec({ hidden: 512, mean: new Float32Array(inputs), scale: new Float32Array(inputs), weights: initialWeights(inputs, 512, 1) });
    await using own = new ProbeTrainer({ ...params([wide]), width: inputs, layers: 1 });
    const batch = [new Float32Array(256 * inputs), Int32Array.of(256), REWARDS.subarray(0, 1)] as const;
    const step = own.step(...batch);
    await expect(own.step(...batch)).rejects.toEqual(code('BUSY'));
    await expect(own.predict(batch[0], 256)).rejects.toEqual(code('BUSY'));
    expect(() => own.weights(0)).toThrow(code('BUSY'));
    expect(() => own.setWeights(0, wide.weights)).toThrow(code('BUSY'));
    await step;
    expect(own.weights(0).w1).toHaveLength(512 * inputs);
    expect(await own.step(...batch)).toHaveLength(1);
  });

  test('after disposal every call is DISPOSED; disposing twice is fine', async () => {
    await Promise.all([trainer.dispose(), trainer.dispose()]);
    await expect(trainer.step(ROWS, LENGTHS, REWARDS)).rejects.toEqual(code('DISPOSED'));
    await expect(trainer.loss(ROWS, LENGTHS, REWARDS)).rejects.toEqual(code('DISPOSED'));
    await expect(trainer.predict(ROWS, COUNT)).rejects.toEqual(code('DISPOSED'));
    expect(() => trainer.weights(0)).toThrow(code('DISPOSED'));
    expect(() => trainer.setWeights(0, spec().weights)).toThrow(code('DISPOSED'));
  });

  test('disposal while a step is in flight lets it end', async () => {
    for (let i = 0; i < 20; i++) {
      const own = new ProbeTrainer(params(kinds(), 2));
      const step = own.step(ROWS, LENGTHS, REWARDS);
      await own.dispose();
      expect(await step).toHaveLength(5);
    }
  });

  test('garbage collection while calls are in flight, of trainer, rows and nets', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const start = (): Promise<Float32Array>[] => {
      const own = new ProbeTrainer(params([spec({ layer: 1 })])); // never disposed
      const net: BareProbe = { hidden: 16, head: 'identity', weights: spec().weights };
      const step = own.step(Float32Array.from(ROWS), LENGTHS, REWARDS);
      return [step, step.then(async () => own.predict(Float32Array.from(ROWS), COUNT)), predictSets(net, ROWS.slice(0, WIDTH), 1, [Int32Array.of(2)], 2)];
    };
    const [expected] = (await Promise.all(start())) as [Float32Array];
    for (let i = 0; i < 10; i++) {
      const calls = start();
      collect();
      await new Promise((resolve) => setTimeout(resolve, 1));
      collect();
      const [losses, values, kept] = (await Promise.all(calls)) as [Float32Array, Float32Array, Float32Array];
      expect(losses).toEqual(expected);
      expect([values.length, kept.length]).toEqual([COUNT, 1]);
    }
  });
});

describe('results', () => {
  test('a probe that diverges is NON_FINITE by name; the trainer can be used again', async () => {
    await using own = new ProbeTrainer(params([spec(), spec({ head: 'identity', learningRate: 1e30, weightDecay: 0 })]));
    const many = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) {
        await own.step(ROWS, LENGTHS, REWARDS);
      }
    };
    await expect(many()).rejects.toEqual(expect.objectContaining({ code: 'NON_FINITE', message: expect.stringContaining('probes[1]') as unknown }));
    own.setWeights(1, spec().weights);
    expect((await own.loss(ROWS, LENGTHS, REWARDS)).every(Number.isFinite)).toBe(true);
  });

  test('rows that are not finite are NON_FINITE', async () => {
    const rows = Float32Array.from(ROWS);
    rows[0] = Infinity;
    await expect(trainer.loss(rows, LENGTHS, REWARDS)).rejects.toEqual(code('NON_FINITE'));
  });

  /** Losses of five steps, values and weights of everything. */
  async function everything(threads: number, rows: Float32Array | Uint16Array, select: readonly number[] = [0, 1, 2, 3, 4]): Promise<unknown[]> {
    await using own = new ProbeTrainer(params(select.map((i) => kinds()[i] as ProbeSpec), threads));
    const losses: number[][] = [];
    for (let i = 0; i < 5; i++) {
      losses.push([...(await own.step(rows, LENGTHS, REWARDS))]);
    }
    const values = await own.predict(rows, COUNT);
    return select.map((_, p) => [losses.map((of) => of[p]), values.slice(p * COUNT, (p + 1) * COUNT), own.weights(p)]);
  }

  test('do not depend on threads, on half or whole floats, or on which probes are trained beside', async () => {
    const reference = await everything(1, ROWS);
    for (const threads of [2, 7]) {
      expect(await everything(threads, ROWS)).toEqual(reference);
    }
    expect(await everything(2, HALF_ROWS)).toEqual(reference);
    for (const [p, expected] of reference.entries()) {
      expect(await everything(2, ROWS, [p])).toEqual([expected]);
    }
  });

  test('rows may be a part of a buffer, and in shared memory', async () => {
    const shared = new Float32Array(new SharedArrayBuffer(4 * (ROWS.length + 3)), 12);
    shared.set(ROWS);
    expect(await trainer.loss(shared, LENGTHS, REWARDS)).toEqual(await trainer.loss(ROWS, LENGTHS, REWARDS));
  });

  test('of `loss` are those of `step` and change nothing', async () => {
    const before = trainer.weights(0);
    const loss = await trainer.loss(ROWS, LENGTHS, REWARDS);
    expect(trainer.weights(0)).toEqual(before);
    expect(await trainer.step(ROWS, LENGTHS, REWARDS)).toEqual(loss);
    expect(trainer.weights(0)).not.toEqual(before);
  });

  test('the size of a batch may change from step to step', async () => {
    await using own = new ProbeTrainer(params([spec()]));
    const rows = widen(halves(300 * LAYERS * WIDTH, 5));
    const alone = async (count: number): Promise<Float32Array> => own.loss(rows.subarray(0, count * LAYERS * WIDTH), Int32Array.of(count), Float32Array.of(1));
    const first = await alone(1);
    for (const count of [300, 1, 17, 300, 16]) {
      await alone(count);
    }
    expect(await alone(1)).toEqual(first);
  });
});

/** The value of one row by definition, double precision. */
function valueOf({ hidden, head, weights }: BareProbe, row: ArrayLike<number>): number {
  const dot = (w: Float32Array, from: number, values: ArrayLike<number>): number => Array.from(values).reduce((sum, v, i) => sum + v * (w[from + i] as number), 0);
  const units = Array.from({ length: hidden }, (_, h) => Math.max(0, dot(weights.w1, h * row.length, row) + (weights.b1[h] as number)));
  const z = dot(weights.w2, 0, hidden === 0 ? row : units) + (weights.b2[0] as number);
  return head === 'sigmoid' ? 1 / (1 + Math.exp(-z)) : z;
}

describe.each([
  ['sigmoid', 16],
  ['identity', 0],
  ['identity', 5],
] as const)('a trained probe, %s head, %d hidden units', (head, hidden) => {
  const weights: ProbeWeights = initialWeights(WIDTH, hidden, 3);
  const net: BareProbe = { hidden, head, weights };
  const n = 9;
  const x = ROWS.subarray(0, n * WIDTH);
  const rowsOf = (value: (row: number, input: number) => number): number[] =>
    Array.from({ length: n }, (_, r) => valueOf(net, Array.from({ length: WIDTH }, (__, i) => value(r, i))));
  const at = (r: number, i: number): number => x[r * WIDTH + i] as number;
  const close = (actual: Float32Array, expected: readonly number[]): void => {
    expect(actual).toHaveLength(expected.length);
    expect(Math.max(...expected.map((value, i) => Math.abs(value - (actual[i] as number))))).toBeLessThan(2e-6);
  };

  test('predict is its definition', async () => {
    const identity = spec({ hidden, head, weights, mean: new Float32Array(WIDTH), scale: new Float32Array(WIDTH).fill(1) });
    await using own = new ProbeTrainer({ ...params([identity]), layers: 1 });
    close(await own.predict(x, n), rowsOf(at));
  });

  test('sets: all other inputs are 0', async () => {
    const sets = [Int32Array.of(4), Int32Array.of(18, 0, 7), Int32Array.from({ length: WIDTH }, (_, i) => i)];
    const expected = sets.flatMap((set) => rowsOf((r, i) => (set.includes(i) ? at(r, i) : 0)));
    for (const threads of [1, 2, 7]) {
      close(await predictSets(net, x, n, sets, threads), expected);
    }
    expect(await predictSets(net, x, n, [], 1)).toHaveLength(0);
  });

  test('permutation: one input at a time comes from other rows', async () => {
    const permutation = Int32Array.of(3, 1, 0, 8, 8, 2, 5, 7, 6);
    const expected = Array.from({ length: WIDTH }, (_, j) => rowsOf((r, i) => at(i === j ? (permutation[r] as number) : r, i))).flat();
    for (const threads of [1, 2, 40]) {
      close(await predictPermuted(net, x, n, permutation, threads), expected);
    }
  });
});
