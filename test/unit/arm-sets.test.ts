/** Sets of neurons of a sweep, and the arms made of them. */
import { describe, expect, test } from '@jest/globals';
import { BASE_ARM, makeArm } from '../../src/ablate/arms.js';
import type { ArmSet, ArmStatistics } from '../../src/rank/armSets.js';
import { ARM_GROUPS, DRAWN_GROUPS, SCORED_GROUPS, armSets, meanOverlap } from '../../src/rank/armSets.js';
import { mulberry32 } from '../../src/util/random.js';

const WIDTH = 300;
const SINKS = [7, 8];
const random = mulberry32(3);
const values = (): Float64Array => Float64Array.from({ length: WIDTH }, () => Math.exp(2 * random()));
const statistics: ArmStatistics = {
  width: WIDTH,
  scores: values(),
  rms: values().with(7, 5000).with(8, 4000),
  std: values(),
  sinks: SINKS,
  others: { wanda: values(), 'next-token': values(), terminal: values() },
};
const options = { groups: ARM_GROUPS.filter((group) => group !== 'list'), target: 12, draws: 19, seed: 4 };
const of = (sets: readonly ArmSet[], group: string): ArmSet[] => sets.filter((set) => set.group === group);
const best = (scores: ArrayLike<number>, count: number): number[] =>
  Array.from(scores, (score, i) => ({ score, i })).sort((a, b) => b.score - a.score).slice(0, count).map(({ i }) => i).sort((a, b) => a - b);

describe('sets of a layer', () => {
  const sets = armSets(statistics, options);
  const top = of(sets, 'top')[0]?.neurons as number[];

  test('one of every score, the best by that score; draws numbered from 0', () => {
    expect(top).toEqual(best(statistics.scores as Float64Array, 12));
    expect(of(sets, 'bottom')[0]?.neurons).toEqual(best((statistics.scores as Float64Array).map((score) => -score), 12));
    expect(of(sets, 'largest')[0]?.neurons).toEqual(best(statistics.rms as Float64Array, 12));
    for (const group of ['wanda', 'next-token', 'terminal'] as const) {
      expect(of(sets, group)).toEqual([{ role: 'set', group, draw: 0, neurons: best(statistics.others?.[group] as Float64Array, 12) }]);
    }
    for (const group of DRAWN_GROUPS) {
      expect(of(sets, group).map(({ role, draw }) => [role, draw])).toEqual(Array.from({ length: 19 }, (_, i) => ['control', i]));
    }
  });

  test('draws: different, of the same size, off the top set, the same for the same seed whatever else is drawn', () => {
    for (const group of DRAWN_GROUPS) {
      const own = of(sets, group).map(({ neurons }) => neurons);
      expect(new Set(own.map(String)).size).toBe(19);
      own.forEach((neurons) => expect([new Set(neurons).size, neurons.filter((neuron) => top.includes(neuron))]).toEqual([12, []]));
      expect(armSets(statistics, { ...options, groups: [group], draws: 5 }).map(({ neurons }) => neurons)).toEqual(own.slice(0, 5));
      expect(armSets(statistics, { ...options, groups: [group] }).map(({ neurons }) => neurons)).toEqual(own);
      expect(armSets(statistics, { ...options, groups: [group], seed: 5 }).map(({ neurons }) => neurons)).not.toEqual(own);
    }
  });

  test('sinks: never in random-no-sinks, in random about as often as others, in no set when excluded', () => {
    const many = armSets(statistics, { ...options, groups: ['random', 'random-no-sinks'], draws: 600 });
    const holding = (group: string): number => of(many, group).filter(({ neurons }) => neurons.some((neuron) => SINKS.includes(neuron))).length;
    expect(holding('random-no-sinks')).toBe(0);
    // 600 draws of 12 among 288: each holds one of the two with 8.2 %, 49 expected, standard deviation 6.7: five of them
    expect(Math.abs(holding('random') - 49)).toBeLessThan(34);
    const without = armSets(statistics, { ...options, exclude: SINKS });
    expect(without.flatMap(({ neurons }) => neurons).filter((neuron) => SINKS.includes(neuron))).toEqual([]);
    expect(of(sets, 'largest')[0]?.neurons).toEqual(expect.arrayContaining(SINKS));
  });

  test('matched draws are alike in RMS, spread draws in standard deviation', () => {
    const ratio = (group: string, sizes: ArrayLike<number>): number =>
      Math.max(...of(sets, group).map(({ neurons }) => Math.exp(Math.abs(neurons.reduce((sum, neuron) => sum + Math.log(sizes[neuron] as number), 0) - top.reduce((sum, neuron) => sum + Math.log(sizes[neuron] as number), 0)) / 12)));
    expect(ratio('matched', statistics.rms as Float64Array)).toBeLessThan(1.25);
    expect(ratio('spread', statistics.std as Float64Array)).toBeLessThan(1.25);
    expect(ratio('random', statistics.rms as Float64Array)).toBeGreaterThan(1.25);
    of(sets, 'matched').forEach(({ match }) => expect(match).toMatchObject({ shared: 0 }));
  });

  test('neurons given by hand are the target, in any order', () => {
    const list = [40, 3, 17];
    const given = armSets({ ...statistics, scores: undefined }, { ...options, groups: ['list', 'random', 'matched', 'largest'], target: list });
    expect(of(given, 'list')).toEqual([{ role: 'set', group: 'list', draw: 0, neurons: [3, 17, 40] }]);
    expect(given.every(({ neurons }) => neurons.length === 3)).toBe(true);
    expect(given.filter(({ role }) => role === 'control').flatMap(({ neurons }) => neurons).filter((neuron) => list.includes(neuron))).toEqual([]);
  });
});

describe('when neurons run out', () => {
  const flat = new Float64Array(10).fill(1);
  const small: ArmStatistics = { width: 10, scores: flat.with(4, 2).with(5, 1.5), rms: flat, std: flat };

  test('fewer draws than asked for, all different', () => {
    const sets = armSets(small, { groups: ['random', 'matched'], target: 1, draws: 19, seed: 1 });
    for (const group of ['random', 'matched']) {
      expect(of(sets, group).map(({ neurons }) => neurons[0]).sort()).toEqual([0, 1, 2, 3, 5, 6, 7, 8, 9]);
    }
  });

  test('a wider caliper only when the narrow one gives too few, and after its draws', () => {
    const rms = Float64Array.of(1, 1.1, 1.2, 1.4, 1.4, 1.9, 1.95, 30, 40, 50);
    const sets = (draws: number): number[] => armSets({ width: 10, rms }, { groups: ['matched'], target: [0], draws, seed: 3 }).map(({ neurons }) => neurons[0] as number);
    expect(sets(2).sort()).toEqual([1, 2]);
    expect(sets(6).slice(0, 2).sort()).toEqual([1, 2]);
    expect(sets(6).slice(2, 4).sort()).toEqual([3, 4]);
    expect(sets(99).slice(4).sort()).toEqual([5, 6]); // 30 is not alike by any measure
    expect(sets(99).slice(0, 2)).toEqual(sets(2));
    expect(armSets({ width: 10, rms }, { groups: ['matched'], target: [9], draws: 5, seed: 3 }).map(({ neurons, match }) => [neurons, match?.worstRatio])).toEqual([
      [[8], expect.closeTo(1.25, 12)],
      [[7], expect.closeTo(5 / 3, 12)],
    ]);
    expect(armSets({ width: 10, rms: rms.with(9, 500) }, { groups: ['matched'], target: [9], draws: 5, seed: 3 }).map(({ neurons }) => neurons)).toEqual([[8]]);
  });

  test('a draw is never the target itself, not even when all others are needed', () => {
    const all = armSets(small, { groups: ['top', 'random', 'matched'], target: 10, draws: 3, seed: 1 });
    expect(all.map(({ group }) => group)).toEqual(['top']);
    const most = armSets(small, { groups: ['top', 'matched', 'random'], target: 7, draws: 4, seed: 1 });
    const top = String(of(most, 'top')[0]?.neurons);
    expect(most.filter(({ role }) => role === 'control').map(({ neurons }) => String(neurons))).not.toContain(top);
    expect(of(most, 'matched').map(({ match }) => match?.shared)).toContain(4);
  });

  test('what is missing is named', () => {
    expect(() => armSets({ width: 10 }, { ...options, groups: ['top'], target: 2 })).toThrow('scores: expected values of every neuron');
    expect(() => armSets({ width: 10 }, { ...options, groups: ['matched'], target: [1] })).toThrow('rms: expected');
    expect(() => armSets(small, { ...options, groups: ['wanda'], target: 2 })).toThrow('wanda: expected');
    expect(() => armSets(small, { ...options, groups: ['top'], target: 11 })).toThrow('count: expected an integer from 1 to 10');
  });
});

describe('overlap of draws', () => {
  test('mean over pairs of the share in common', () => {
    expect(meanOverlap([[1, 2], [2, 3], [4, 5]])).toBeCloseTo(0.5 / 3, 12);
    expect(meanOverlap([[1, 2], [1, 2]])).toBe(1);
    expect(meanOverlap([[1], [2], [3]])).toBe(0);
    expect(meanOverlap([[1]])).toBeNaN();
    expect(meanOverlap([])).toBeNaN();
  });
});

describe('arms', () => {
  const facts = { role: 'set', group: 'top', draw: 0, site: 'residPost', layer: 3, share: 0.02, kind: 'zero', positions: 'all', neurons: [1, 3] } as const;

  test('names tell sets, draws, layers, kinds and positions apart', () => {
    expect(BASE_ARM).toMatchObject({ name: 'base', role: 'base', interventions: [] });
    expect(makeArm(facts).name).toBe('top-2%-L3-zero-all');
    expect(makeArm({ ...facts, role: 'control', group: 'matched', draw: 0, share: 1 / 192, positions: 'prompt' }).name).toBe('matched#0-0.521%-L3-zero-prompt');
    expect(SCORED_GROUPS.map((group) => makeArm({ ...facts, group, layer: 0 }).name)).toContain('next-token-2%-L0-zero-all');
  });

  test('what each kind writes', () => {
    const target = { site: 'residPost', layers: [3], neurons: [1, 3], positions: 'all' };
    expect(makeArm(facts).interventions).toEqual([{ kind: 'zero', ...target }]);
    expect(makeArm({ ...facts, kind: 'mean' }, { means: Float32Array.of(5, 6, 7, 8) }).interventions).toEqual([{ kind: 'mean', ...target, means: Float32Array.of(6, 8) }]);
    const rows = { data: Float32Array.of(0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23), width: 4, seed: 9 };
    expect(makeArm({ ...facts, kind: 'resample' }, { rows }).interventions).toEqual([{ kind: 'resample', ...target, rows: { data: Float32Array.of(1, 3, 11, 13, 21, 23), width: 2 }, seed: 9 }]);
    expect(() => makeArm({ ...facts, kind: 'mean' })).toThrow("mean ablation needs the layer's means");
    expect(() => makeArm({ ...facts, kind: 'resample' })).toThrow("needs the layer's states");
  });
});
