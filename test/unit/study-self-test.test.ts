/** The self-test: it finds what was planted whatever the seed, and it fails when something is wrong. */
import { describe, expect, test } from '@jest/globals';
import type { MemoryTrajectory } from '../../src/probe/memory.js';
import { splitByProblem } from '../../src/probe/split.js';
import { plantedTrajectories } from '../../src/study/planted.js';
import type { SelfTest, Spoiling } from '../../src/study/selfTest.js';
import { runSelfTest, syntheticChecks } from '../../src/study/selfTest.js';

const OPTIONS = { threads: 1 };
type Checks = SelfTest['checks'];
const failed = (checks: Checks): string[] => checks.filter(({ passed }) => !passed).map(({ name }) => name);
const WIDTH = 96;

describe('synthetic trajectories', () => {
  const SEEDS = [1, 2, 3, 4, 5, 6, 7];
  const bySeed = new Map<number, Promise<Checks>>();
  const checksOf = async (seed: number): Promise<[Checks[number], Checks[number], Checks[number]]> => {
    const checks = bySeed.get(seed) ?? syntheticChecks(OPTIONS, { seed });
    bySeed.set(seed, checks);
    return (await checks) as [Checks[number], Checks[number], Checks[number]];
  };

  test.each(SEEDS)('seed %i: every planted coordinate is found, at scales from 0.01 to 100', async (seed) => {
    const [recovered, value] = await checksOf(seed);
    expect(recovered).toMatchObject({ name: expect.stringContaining('0.01 to 100'), passed: true, observed: expect.stringMatching(/^9 of 9/) });
    expect(value).toMatchObject({ passed: true });
  });

  test('shuffled rewards leave the interval of chance about once in a thousand: at most one of seven seeds', async () => {
    const outside: number[] = [];
    for (const seed of SEEDS) {
      const [, , shuffled] = await checksOf(seed);
      outside.push(...(shuffled.passed ? [] : [seed]));
    }
    expect(outside.length).toBeLessThanOrEqual(1);
  });
});

describe('what is broken is seen', () => {
  const shift = (trajectories: readonly MemoryTrajectory[]): MemoryTrajectory[] =>
    trajectories.map((trajectory, i) => ({ ...trajectory, states: (trajectories[(i + 1) % trajectories.length] as MemoryTrajectory).states }));
  const heldOut = (trajectories: readonly MemoryTrajectory[]): Set<number> => new Set(splitByProblem(trajectories.map(({ problem }) => problem), { seed: 1, test: 0.4 }).test);
  /** Coordinate j where j + 1 belongs. */
  const rotate = (states: Float32Array): Float32Array => Float32Array.from(states, (_, i) => states[i - (i % WIDTH) + (((i % WIDTH) + WIDTH - 1) % WIDTH)] as number);

  test.each<[string, NonNullable<Spoiling['spoil']>, RegExp]>([
    ['rows of the next trajectory', shift, /planted value/],
    ['rewards turned round for held-out problems', (trajectories) => {
      const test = heldOut(trajectories);
      return trajectories.map((trajectory, i) => (test.has(i) ? { ...trajectory, reward: 1 - trajectory.reward } : trajectory));
    }, /planted value/],
    ['coordinates counted from the wrong one', (trajectories) => trajectories.map((trajectory) => ({ ...trajectory, states: rotate(trajectory.states) })), /planted coordinates/],
    ['rows cut at the wrong width', (trajectories) => trajectories.map((trajectory) => ({ ...trajectory, states: Float32Array.from(trajectory.states, (_, i) => trajectory.states[i + Math.floor(i / WIDTH)] ?? 0) })), /planted coordinates/],
    ['rewards that follow nothing', (trajectories) => trajectories.map((trajectory, i) => ({ ...trajectory, reward: (i * 7919) % 2 })), /planted value/],
  ])('%s', async (_, spoil, name) => {
    expect(failed(await syntheticChecks(OPTIONS, { spoil })).join('; ')).toMatch(name);
  });
});

test('planted trajectories: planted coordinates are ascending, distinct and carry the reward at any scale', () => {
  const scales = [0.01, 1, 100];
  const { trajectories, planted } = plantedTrajectories({ width: 20, trajectories: 400, scales, seed: 3 });
  expect([...new Set(planted)].sort((a, b) => a - b)).toEqual(planted);
  expect(planted).toHaveLength(3);
  const last = (j: number): number => {
    const means = [0, 1].map((reward) => {
      const values = trajectories.filter((one) => one.reward === reward).map(({ states }) => states[states.length - 20 + j] as number);
      return values.reduce((sum, value) => sum + value, 0) / values.length;
    });
    const all = trajectories.map(({ states }) => states[states.length - 20 + j] as number);
    const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
    const std = Math.sqrt(all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / all.length);
    return Math.abs((means[1] as number) - (means[0] as number)) / std;
  };
  const effects = Array.from({ length: 20 }, (_, j) => last(j));
  planted.forEach((j) => expect(effects[j]).toBeGreaterThan(0.8));
  effects.forEach((effect, j) => planted.includes(j) || expect(effect).toBeLessThan(0.4));
  expect(trajectories.every(({ states }) => states.length % 20 === 0 && states.length >= 120 && states.length <= 280)).toBe(true);
});

test('the whole: the planted neuron is first on every layer of its model, and the twin shows nothing', async () => {
  const { passed, checks } = await runSelfTest(OPTIONS);
  expect(failed(checks)).toEqual([]);
  expect(passed).toBe(true);
  const model = checks.find(({ name }) => name.includes('first neuron of every layer')) as Checks[number];
  expect(new Set(model.observed.split(', '))).toEqual(new Set([model.expected]));
  expect(model.observed.split(', ').length).toBeGreaterThan(1);
});

test('an aborted self-test ends with ABORTED', async () => {
  await expect(runSelfTest({ ...OPTIONS, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
});
