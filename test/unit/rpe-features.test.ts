// References: NumPy and SciPy (tools/rpe/make_fixtures.py).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { eventAverage } from '../../src/rpe/events.js';
import type { Zscore } from '../../src/rpe/features.js';
import { poolSteps, statesOfStep, zscored } from '../../src/rpe/features.js';
import { contrast, surpriseGroups } from '../../src/rpe/surprise.js';
import { TraceAgreement } from '../../src/study/interplayTraces.js';
import { mulberry32 } from '../../src/util/random.js';

const fixture = <T>(name: string): T => JSON.parse(readFileSync(`test/fixtures/rpe/${name}.json`, 'utf8')) as T;
const flat = (rows: readonly (readonly number[])[]): Float32Array => Float32Array.from(rows.flat());
function expectClose(actual: ArrayLike<number>, wanted: ArrayLike<number>, digits: number): void {
  expect(actual.length).toBe(wanted.length);
  Array.from(wanted).forEach((value, i) => expect(actual[i]).toBeCloseTo(value, digits));
}

describe('features of a step', () => {
  const reference = fixture<{ rows: number[][]; steps: [number, number][]; running: number[][]; response: number[][]; pooled: Record<Zscore, number[][]> }>('features');
  const rows = flat(reference.rows);
  const steps = reference.steps.map(([begin, end]) => ({ begin, end }));

  test.each(['running', 'response', 'none'] as const)('%s z-scores and their means are those of NumPy', (mode) => {
    const scores = zscored(rows, 5, mode);
    expectClose(scores, flat(mode === 'none' ? reference.rows : reference[mode]), 3);
    expectClose(poolSteps(scores, 5, steps), flat(reference.pooled[mode]), 3);
  });

  test('running z-scores do not look ahead, those of the whole response do', () => {
    const changed = rows.slice();
    changed.fill(50, 8 * 5);
    expect(zscored(changed, 5, 'running').subarray(0, 40)).toEqual(zscored(rows, 5, 'running').subarray(0, 40));
    expect(zscored(changed, 5, 'response').subarray(0, 40)).not.toEqual(zscored(rows, 5, 'response').subarray(0, 40));
    // nor do features of the steps that were over by then
    const of = (all: Float32Array): Float32Array => poolSteps(zscored(all, 5, 'running'), 5, [{ begin: 0, end: 4 }, { begin: 4, end: 7 }]);
    expect(of(changed)).toEqual(of(rows));
  });

  test('scale and offset of a column do not matter', () => {
    const moved = rows.map((value, i) => (i % 5 === 1 ? 1000 * value - 3 : value));
    expectClose(zscored(moved, 5, 'running'), zscored(rows, 5, 'running'), 2);
  });

  test('the states of a step are those that have read its tokens', () => {
    expect(statesOfStep({ begin: 0, end: 4 }, 10)).toEqual({ first: 1, last: 4 });
    expect(statesOfStep({ begin: 4, end: 10 }, 10)).toEqual({ first: 5, last: 9 });
    expect(statesOfStep({ begin: 9, end: 10 }, 10)).toEqual({ first: 9, last: 9 });
    expect(statesOfStep({ begin: 0, end: 1 }, 1)).toEqual({ first: 0, last: 0 });
  });
});

describe('surprise', () => {
  test('groups by the outer thirds of V(s_0)', () => {
    const values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
    const rewards = [1, 0, 1, 0, 1, 0, 1, 0, 1, 0];
    const groups = surpriseGroups(values, rewards);
    expect(groups).toMatchObject({ positive: [0, 2], expectedFailure: [1, 3], negative: [7, 9], expectedSuccess: [6, 8] });
    expect(surpriseGroups([0.5, 0.5, 0.5], [0, 1, 1])).toMatchObject({ positive: [], negative: [], expectedSuccess: [], expectedFailure: [] });
    expect(surpriseGroups([], []).positive).toEqual([]);
  });

  test('differences and p-values of the maximum are those of SciPy', () => {
    const { rows, a, b, difference, p } = fixture<{ rows: number[][]; a: number[]; b: number[]; difference: number[]; p: number[] }>('contrast');
    const found = contrast(flat(rows), 4, { a, b, clusters: rows.map((_, i) => String(i)) }, { permutations: 4000, seed: 1 });
    expectClose(found?.difference ?? [], difference, 4);
    // all 1716 permutations there, 4000 draws here: a standard error of at most 0.008
    p.forEach((wanted, c) => expect(Math.abs((found?.p[c] as number) - wanted)).toBeLessThan(0.035));
    expect(found?.units).toEqual([6, 7]);
  });

  test('trajectories of one problem are one unit, and too few units give nothing', () => {
    const rows = Float32Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
    const clusters = ['p', 'p', 'q', 'r', 's', 's', 't', 'u'];
    const found = contrast(rows, 1, { a: [0, 1, 2, 3], b: [4, 5, 6, 7], clusters }, { permutations: 50, seed: 1 });
    expect(found?.units).toEqual([3, 3]);
    expect(contrast(rows, 1, { a: [0, 1], b: [4, 5, 6, 7], clusters }, { permutations: 50, seed: 1 })).toBeNull();
  });

  test('noise: the smallest of 40 p-values is below 0.05 in about one data set in twenty', () => {
    const random = mulberry32(3);
    let below = 0;
    for (let round = 0; round < 60; round++) {
      const rows = Float32Array.from({ length: 20 * 40 }, () => random() - 0.5);
      const found = contrast(rows, 40, { a: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], b: [10, 11, 12, 13, 14, 15, 16, 17, 18, 19], clusters: Array.from({ length: 20 }, (_, i) => String(i)) }, { permutations: 99, seed: round });
      below += Math.min(...(found?.p ?? [])) < 0.05 ? 1 : 0;
    }
    // 3 expected, standard deviation 1.7: four of them; without the maximum it would be 52
    expect(below).toBeLessThan(10);
  });
});

describe('averages around events', () => {
  test('means by hand; offsets outside a trace have fewer events', () => {
    const { mean, n, low, high } = eventAverage([{ trace: Float32Array.from([0, 1, 2, 3]), at: 1, cluster: 'a' }, { trace: Float32Array.from([4, 5, 6]), at: 0, cluster: 'b' }], 1);
    expect(mean).toEqual([0, 2.5, 3.5]);
    expect(n).toEqual([1, 2, 2]);
    expect(low[1]).toBe(1);
    expect(high[1]).toBe(4);
  });

  test('means are those of NumPy, bands those of SciPy\'s bootstrap over clusters, up to the noise of the draws', () => {
    const { events: { traces, at, clusters, radius, ...wanted } } = fixture<{ events: { traces: number[][]; at: number[]; clusters: number[]; radius: number; mean: number[]; n: number[]; low: number[]; high: number[] } }>('traces');
    const found = eventAverage(traces.map((trace, i) => ({ trace: Float32Array.from(trace), at: at[i] as number, cluster: String(clusters[i]) })), radius, { resamples: 4000 });
    expectClose(found.mean as number[], wanted.mean, 5);
    expect(found.n).toEqual(wanted.n);
    for (const [o, low] of wanted.low.entries()) {
      // percentiles of 4000 draws move by about 1 % of the band's width; as many events as offsets are few, so a band is a little rough
      const tolerance = 0.06 * ((wanted.high[o] as number) - low);
      expect(Math.abs((found.low[o] as number) - low)).toBeLessThan(tolerance);
      expect(Math.abs((found.high[o] as number) - (wanted.high[o] as number))).toBeLessThan(tolerance);
    }
  });

  test('a bump at the event leaves the band of its surroundings; events of one problem do not make it narrower', () => {
    const random = mulberry32(5);
    const trace = (): Float32Array => Float32Array.from({ length: 30 }, (_, i) => (i === 15 ? 1 : 0) + random() - 0.5);
    const events = Array.from({ length: 40 }, (_, i) => ({ trace: trace(), at: 15, cluster: String(i) }));
    const found = eventAverage(events, 10);
    expect(found.low[10]).toBeGreaterThan(Math.max(...found.high.map((value, o) => (o === 10 ? -1 : (value as number)))));
    const width = ({ low, high }: typeof found): number => (high[10] as number) - (low[10] as number);
    const repeated = eventAverage(events.flatMap((event) => [event, event, event, event]), 10);
    expect(width(repeated)).toBeCloseTo(width(found), 6);
  });

  test('no events, one problem, no room', () => {
    expect(eventAverage([], 2)).toMatchObject({ events: 0, mean: [null, null, null, null, null], low: [null, null, null, null, null] });
    expect(eventAverage([{ trace: new Float32Array(1), at: 0, cluster: 'a' }], 1)).toMatchObject({ mean: [null, 0, null], low: [null, null, null] });
    expect(() => eventAverage([], -1)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});

describe('traces under an arm', () => {
  const { agreement: { base, arm, correlation } } = fixture<{ agreement: { base: number[][][]; arm: number[][][]; correlation: number } }>('traces');
  const floats = (traces: readonly (readonly number[])[]): Float32Array[] => traces.map((trace) => Float32Array.from(trace));

  test('agree with those of the base arm as SciPy says, in whatever order they come', () => {
    const found = new TraceAgreement(['base', 'arm', 'silent'], 2);
    base.forEach((traces, i) => {
      const silent = traces.map((trace) => new Float32Array(trace.length));
      const calls = [['base', floats(traces)], ['arm', floats(arm[i] as number[][])], ['silent', silent]] as const;
      for (const c of [0, 1, 2]) {
        const [name, own] = calls[(c + i) % 3] as (typeof calls)[number];
        found.take(i, name, own);
      }
    });
    expect(found.correlation('arm')).toBeCloseTo(correlation, 5);
    expect(found.correlation('base')).toBeCloseTo(1, 12);
    expect(found.correlation('silent')).toBe(0); // no spread is left to agree
    expect(new TraceAgreement(['base'], 2).correlation('base')).toBeNull();
  });
});
