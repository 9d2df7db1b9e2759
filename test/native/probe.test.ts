/** Probe training against PyTorch: all probes of the fixture side by side in one trainer. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import type { ProbeSpec, ProbeWeights, TrainerParams } from '../../src/probe/trainer.js';
import { ProbeTrainer } from '../../src/probe/trainer.js';
import { SafetensorsReader } from '../../src/util/safetensors.js';

/** A probe of the fixture; see tools/probe/make_fixture.py. */
interface TorchProbe extends Omit<ProbeSpec, 'mean' | 'scale' | 'neurons' | 'weights'> {
  name: string;
  initial: string;
  zscore: boolean;
  neurons: number[] | null;
}

const PARTS = ['w1', 'b1', 'w2', 'b2'] as const;
/** Trajectories of a mini-batch. */
const BATCH = 4;
/** Of every loss of 200 steps, relative. Seen: 2e-5. */
const LOSS_TOLERANCE = 1e-3;
/** Of every final weight, absolute: a twentieth of what one step may change it by. Seen: 1.6e-5. */
const WEIGHT_TOLERANCE = 1e-4;

let file: SafetensorsReader;
let facts: { gamma: number; probes: TorchProbe[] };
let states: Float32Array;
let shape: number[];
let lengths: Int32Array;
let rewards: Float32Array;
let batches: Int32Array;
beforeAll(async () => {
  file = await SafetensorsReader.open(fileURLToPath(new URL('../fixtures/probe/torch.safetensors', import.meta.url)));
  facts = JSON.parse(file.header.metadata['fixture'] ?? '') as typeof facts;
  ({ data: states, shape } = (await file.read('states')) as { data: Float32Array; shape: number[] });
  lengths = (await file.read('lengths')).data as Int32Array;
  rewards = await floats('rewards');
  batches = (await file.read('batches')).data as Int32Array;
});
afterAll(async () => file?.close());

async function floats(name: string): Promise<Float32Array> {
  return (await file.read(name)).data as Float32Array;
}

async function weightsOf(name: string): Promise<ProbeWeights> {
  const [w1, b1, w2, b2] = await Promise.all(PARTS.map((part) => floats(`${name}.${part}`)));
  return { w1, b1, w2, b2 } as ProbeWeights;
}

async function toSpec({ name, initial, zscore, neurons, ...rest }: TorchProbe): Promise<ProbeSpec> {
  const inputs = neurons?.length ?? shape[2] ?? 0;
  return {
    ...rest,
    mean: zscore ? await floats(`${name}.mean`) : new Float32Array(inputs),
    scale: zscore ? await floats(`${name}.scale`) : new Float32Array(inputs).fill(1),
    ...(neurons === null ? {} : { neurons: Int32Array.from(neurons) }),
    weights: await weightsOf(initial),
  };
}

/** Rows, lengths and rewards [2, chosen] of some trajectories. */
function batchOf(chosen: readonly number[]): [Float32Array, Int32Array, Float32Array] {
  const stride = (shape[1] as number) * (shape[2] as number);
  const starts = [0];
  lengths.forEach((length) => starts.push((starts.at(-1) as number) + length));
  const rows = chosen.flatMap((i) => [...states.subarray((starts[i] as number) * stride, (starts[i + 1] as number) * stride)]);
  const column = (c: number): number[] => chosen.map((i) => rewards[c * lengths.length + i] as number);
  return [Float32Array.from(rows), Int32Array.from(chosen, (i) => lengths[i] as number), Float32Array.from([...column(0), ...column(1)])];
}

/** Bits of half floats, for values that are half floats. */
function halves(values: Float32Array): Uint16Array {
  return Uint16Array.from(values, (value) => {
    const bits = new Uint32Array(Float32Array.of(value).buffer)[0] as number;
    const exponent = ((bits >>> 23) & 0xff) - 112;
    const sign = (bits >>> 16) & 0x8000;
    return exponent > 0 ? sign | (exponent << 10) | ((bits >>> 13) & 0x3ff) : sign | Math.round(Math.abs(value) * 2 ** 24);
  });
}

const paramsOf = (probes: ProbeSpec[], threads = 1): TrainerParams => ({ width: shape[2] as number, layers: shape[1] as number, gamma: facts.gamma, threads, probes });

const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, Number.isNaN(value) ? Infinity : value), 0);
/** Largest |a − b| / |b|. */
const relative = (a: readonly number[], b: Float32Array): number => largest(Array.from(b, (value, i) => Math.abs((a[i] ?? NaN) / value - 1)));
/** Largest |a − b|. */
const absolute = (a: Float32Array, b: Float32Array): number => largest(Array.from(b, (value, i) => Math.abs((a[i] ?? NaN) - value)));

/** Trains on the fixture's batches; losses [probe][step]. */
async function train(trainer: ProbeTrainer, half: boolean): Promise<number[][]> {
  const curves: number[][] = facts.probes.map(() => []);
  for (let at = 0; at < batches.length; at += BATCH) {
    const [rows, ...rest] = batchOf([...batches.subarray(at, at + BATCH)]);
    (await trainer.step(half ? halves(rows) : rows, ...rest)).forEach((loss, p) => curves[p]?.push(loss));
  }
  return curves;
}

test('the fixture has every target with both heads, linear and z-scored probes, and 200 steps', () => {
  const kinds = new Set(facts.probes.map(({ target, head }) => `${target} ${head}`));
  expect(kinds.size).toBe(10);
  expect(facts.probes.map(({ hidden }) => hidden)).toContain(0);
  expect(facts.probes.some(({ zscore }) => zscore)).toBe(true);
  expect(facts.probes.some(({ neurons }) => neurons !== null)).toBe(true);
  expect(batches.length).toBe(200 * BATCH);
});

describe('agreement with PyTorch', () => {
  test.each([
    ['f32 rows, one thread', false, 1],
    ['f16 rows, two threads', true, 2],
    ['f32 rows, more threads than probes', false, 20],
  ])('loss curves and final weights, %s', async (_, half, threads) => {
    await using trainer = new ProbeTrainer(paramsOf(await Promise.all(facts.probes.map(toSpec)), threads));
    const curves = await train(trainer, half);
    for (const [p, { name }] of facts.probes.entries()) {
      const torch = await weightsOf(name);
      const weights = trainer.weights(p);
      const losses = await floats(`${name}.losses`);
      expect([curves[p]?.length, PARTS.map((part) => weights[part].length)]).toEqual([losses.length, PARTS.map((part) => torch[part].length)]);
      const apart = { losses: relative(curves[p] as number[], losses), weights: largest(PARTS.map((part) => absolute(weights[part], torch[part]))) };
      expect({ name, ...apart, close: apart.losses <= LOSS_TOLERANCE && apart.weights <= WEIGHT_TOLERANCE }).toMatchObject({ close: true });
    }
  });
});
