import { describe, expect, test } from '@jest/globals';
import { keptCounts, pruningCurve, pruningSets } from '../../src/rank/pruning.js';
import { bottomNeurons, matchedNeurons, randomNeurons, topNeurons } from '../../src/rank/sets.js';
import { byPlace, type Place } from '../../src/probe/places.js';
import { studySchema } from '../../src/report/schema.js';
import { mulberry32 } from '../../src/util/random.js';

const scores = [0.3, 0.9, 0.1, 0.5, 0.7];

describe('sets', () => {
  test('top and bottom, best and lowest first, without the excluded', () => {
    expect(topNeurons(scores, 3)).toEqual([1, 4, 3]);
    expect(topNeurons(scores, 2, [1])).toEqual([4, 3]);
    expect(bottomNeurons(scores, 2)).toEqual([2, 0]);
    expect(() => topNeurons(scores, 5, [1])).toThrow('count: expected an integer from 1 to 4');
    expect(() => bottomNeurons(scores, 0)).toThrow('count');
  });

  test('random: seeded, different neurons, every allowed one about equally often', () => {
    const counts = new Array<number>(20).fill(0);
    for (let seed = 0; seed < 2000; seed++) {
      const drawn = randomNeurons(20, 5, seed, [3, 4]);
      expect(new Set(drawn).size).toBe(5);
      drawn.forEach((neuron) => (counts[neuron] = (counts[neuron] as number) + 1));
    }
    expect(counts[3]).toBe(0);
    // 10000 / 18 expected, standard deviation 20: five of them
    counts.filter((_, i) => i !== 3 && i !== 4).forEach((count) => expect(Math.abs(count - 556)).toBeLessThan(100));
    expect(randomNeurons(20, 5, 1)).toEqual(randomNeurons(20, 5, 1));
    expect(() => randomNeurons(4, 4, 0, [1])).toThrow('count');
  });
});

describe('matched sets', () => {
  const random = mulberry32(5);
  const rms = Array.from({ length: 400 }, () => Math.exp(2 * random()));
  const kept = topNeurons(rms.map((_, i) => Math.sin(i)), 20);

  test('other neurons, each once, of nearly the same RMS, partner by partner', () => {
    const { neurons, shared, meanRatio, worstRatio } = matchedNeurons(kept, rms, { seed: 1, exclude: [0, 1, 2, 3] });
    expect(new Set(neurons).size).toBe(20);
    expect(neurons.filter((neuron) => kept.includes(neuron) || neuron < 4)).toEqual([]);
    const ratios = neurons.map((neuron, i) => Math.exp(Math.abs(Math.log((rms[neuron] as number) / (rms[kept[i] as number] as number)))));
    expect(Math.max(...ratios)).toBeCloseTo(worstRatio, 12);
    expect(ratios.reduce((a, b) => a + b) / 20).toBeCloseTo(meanRatio, 12);
    expect(worstRatio).toBeLessThan(1.25);
    expect(shared).toBe(0);
  });

  test('far nearer than random sets, and different for every seed', () => {
    const draws = Array.from({ length: 20 }, (_, seed) => matchedNeurons(kept, rms, { seed }));
    expect(new Set(draws.map(({ neurons }) => String(neurons))).size).toBe(20);
    expect(matchedNeurons(kept, rms, { seed: 3 })).toEqual(draws[3]);
    expect(new Set(draws.map(({ neurons }) => neurons[0])).size).toBeGreaterThan(5);
  });

  test('with one candidate to choose from: the nearest', () => {
    expect(matchedNeurons([2], [1, 2, 3, 3.5, 9], { seed: 0, nearest: 1 }).neurons).toEqual([3]);
    expect(matchedNeurons([2], [1, 2.8, 3, 3.5, 9], { seed: 0, nearest: 1 }).neurons).toEqual([1]);
    // beyond the caliper only the nearest, whatever the seed
    for (let seed = 0; seed < 10; seed++) {
      expect(matchedNeurons([4], [1, 2, 3, 3.5, 9], { seed }).neurons).toEqual([3]);
    }
  });

  test('the largest choose first', () => {
    const { neurons, worstRatio } = matchedNeurons([0, 1], [1, 10, 10.5, 1.05], { seed: 0, nearest: 1 });
    expect(neurons).toEqual([3, 2]);
    expect(worstRatio).toBeCloseTo(1.05, 12);
  });

  test('impossible matches: what is left, and how far off it is', () => {
    expect(matchedNeurons([0, 1, 2], [1, 2, 100], { seed: 0 })).toEqual({ neurons: [0, 1, 2], shared: 3, meanRatio: 1, worstRatio: 1 });
    const half = matchedNeurons([2, 3], [1, 1, 2, 4], { seed: 0 });
    expect([...half.neurons].sort()).toEqual([0, 1]);
    expect(half).toMatchObject({ shared: 0, meanRatio: 3, worstRatio: 4 });
    const more = matchedNeurons([0, 2, 3], [1, 1, 2, 4], { seed: 0 });
    expect(more).toMatchObject({ neurons: [0, 2, 1], shared: 2, worstRatio: 4 });
  });
});

describe('pruning curve', () => {
  test('numbers kept: the nearest, at least one, none twice', () => {
    expect(keptCounts(3584).map(({ kept }) => kept)).toEqual([3584, 1792, 717, 358, 179, 72, 36, 18, 7, 1]);
    expect(keptCounts(192)).toEqual([
      { share: 1, kept: 192 },
      { share: 0.5, kept: 96 },
      { share: 0.2, kept: 38 },
      { share: 0.1, kept: 19 },
      { share: 0.05, kept: 10 },
      { share: 0.02, kept: 4 },
      { share: 0.01, kept: 2 },
      { share: 0.005, kept: 1 },
    ]);
    expect(keptCounts(1)).toEqual([{ share: 1, kept: 1 }]);
  });

  const inputs = 50;
  const planted = Array.from({ length: inputs }, (_, i) => (i === 17 || i === 30 ? 5 : i / 100));
  const rms = new Array<number>(inputs).fill(1).with(40, 500);
  const options = { scores: planted, rms, seed: 11, draws: 8, shares: [1, 0.1] };

  test('sets: nested top sets, controls of the same size, nothing excluded in any', () => {
    const points = pruningSets({ ...options, exclude: [40] });
    expect(points.map(({ share, kept }) => [share, kept])).toEqual([[1, 49], [0.1, 5], [1 / 49, 1]]);
    points.forEach(({ kept, top, random, matched }) => {
      expect(random.length).toBe(kept === 49 ? 1 : 8);
      const sets = [top, ...random, ...matched.map(({ neurons }) => neurons)];
      sets.forEach((set) => expect([new Set(set).size, set.includes(40)]).toEqual([kept, false]));
    });
    expect(pruningSets({ ...options, shares: [0.5] })[0]?.matched.length).toBe(1);
    expect(points[1]?.matched.length).toBe(8);
    expect(points[1]?.top.slice(0, 2)).toEqual([17, 30]);
    expect(new Set(points[1]?.random.map(String)).size).toBe(8);
    expect(pruningSets(options)).toEqual(pruningSets(options));
    expect(pruningSets({ ...options, seed: 12 })).not.toEqual(pruningSets(options));
  });

  // a probe whose prediction is the sum of the kept inputs; inputs 17 and 30 carry the reward, the rest is noise
  const n = 80;
  const random = mulberry32(2);
  const rewards = Array.from({ length: n }, (_, i) => i % 2);
  const x = Array.from({ length: n }, (_, i) =>
    Array.from({ length: inputs }, (_, c) => random() + (c === 17 || c === 30 ? (rewards[i] as number) : 0)),
  );
  const predictions = (place: Place, set: readonly number[]): number[] =>
    x.map((row) => (place === 's0' ? 0 : set.reduce((sum, c) => sum + (row[c] as number), 0)));
  const predict = (place: Place, sets: readonly (readonly number[])[]): Promise<Float32Array> =>
    Promise.resolve(Float32Array.from(sets.flatMap((set) => predictions(place, set))));

  test('the planted inputs keep the AUC, the controls lose it, where nothing is known it is 0.5', async () => {
    const points = pruningSets(options);
    const steps: number[] = [];
    const curve = await pruningCurve(points, {
      predict,
      rewards,
      problems: rewards.map((_, i) => i >> 2),
      refit: (neurons) => Promise.resolve(byPlace((place) => predictions(place, neurons))),
      onProgress: (done) => steps.push(done),
    });
    expect(steps).toEqual([1, 2, 3]);
    const five = curve[1];
    expect(five?.top.last.value).toBeGreaterThan(0.9);
    expect(five?.top.last.n).toBe(n);
    expect(five?.refit).toEqual(five?.top);
    expect(five?.random.last.mean).toBeLessThan(0.75);
    expect(five?.matched.last.mean).toBeLessThan(0.65);
    expect(five?.matched.last.low).toBeLessThan(five?.matched.last.high as number);
    expect(five?.top.s0).toEqual({ value: 0.5, low: 0.5, high: 0.5, n });
    expect(five?.random.s0).toEqual({ mean: 0.5, low: 0.5, high: 0.5, draws: 8 });
    // everything kept: one set, the same as the top one
    expect(curve[0]?.random.last).toMatchObject({ mean: curve[0]?.top.last.value, draws: 1 });
    studySchema.shape.datasets.element.shape.pruning.element.shape.points.parse(curve);
  });

  test('each control is scored on its own predictions', async () => {
    const points = pruningSets({ ...options, draws: 2, shares: [0.1] });
    const seen: string[] = [];
    const [point] = await pruningCurve(points, {
      rewards: [0, 1],
      predict: (_place, sets) => {
        seen.push(sets.map((set) => set.join()).join(';'));
        // top right, random wrong, right; matched wrong, wrong
        const rows = [[0, 1], [1, 0], [0, 1], [1, 0], [1, 0]];
        return Promise.resolve(Float32Array.from(rows.flat()));
      },
    });
    expect(seen[0]).toBe([points[0]?.top, ...(points[0]?.random ?? []), ...(points[0]?.matched ?? []).map((m) => m.neurons)].map(String).join(';'));
    expect(point?.top.middle.value).toBe(1);
    expect(point?.random.middle).toEqual({ mean: 0.5, low: 0.025, high: 0.975, draws: 2 });
    expect(point?.matched.middle).toEqual({ mean: 0, low: 0, high: 0, draws: 2 });
    expect(point).not.toHaveProperty('refit');
  });

  test('one class only, a wrong shape, an abort', async () => {
    const points = pruningSets(options);
    const [first] = await pruningCurve(points, { predict, rewards: new Array<number>(n).fill(1) });
    expect(first?.random.last).toEqual({ mean: null, low: null, high: null, draws: 1 });
    const short = pruningCurve(points, { predict: () => Promise.resolve(new Float32Array(3)), rewards });
    await expect(short).rejects.toThrow('result of predict: expected 240 values');
    const abort = new AbortController();
    const run = pruningCurve(points, { predict, rewards, signal: abort.signal, onProgress: () => abort.abort() });
    await expect(run).rejects.toMatchObject({ code: 'ABORTED' });
  });
});
