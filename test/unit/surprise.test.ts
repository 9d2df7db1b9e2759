/** Surprise groups on made-up trajectories: what differs by first value, what by outcome, and what by both as surprise does. */
import { expect, test } from '@jest/globals';
import type { DopamineData } from '../../src/study/dopamineData.js';
import { dopamineSurprise } from '../../src/study/dopamineRank.js';
import { mulberry32 } from '../../src/util/random.js';

const WIDTH = 8;
/** What each coordinate shows, beside noise; the others nothing. */
const SHOWN: readonly ((value: number, reward: number) => number)[] = [(v, r) => r - v, (v) => v, (_, r) => r, (v, r) => v - r, (v, r) => v + r, (v) => -v];

/** Two states a trajectory; the outcome follows the first value. */
function made(count: number, seed: number): DopamineData {
  const random = mulberry32(seed);
  const rows: Float32Array[] = [];
  const trajectories = Array.from({ length: count }, (_, i) => {
    const value = random();
    const reward = random() < 0.25 + 0.5 * value ? 1 : 0;
    rows.push(Float32Array.from({ length: 2 * WIDTH }, (__, at) => 2 * (SHOWN[at % WIDTH]?.(value, reward) ?? 0) + random() - 0.5));
    return { problem: `p${i}`, sample: 0, pieces: [], group: `p${i}`, part: 'train' as const, reward, value, steps: [] };
  });
  return { site: 'residPost', layers: [0], width: WIDTH, trajectories, read: async (i) => rows[i] as Float32Array };
}

test('a neuron of V(s_0) alone differs between surprise groups, but only surprise differs by value and by outcome', async () => {
  const { surprise } = await dopamineSurprise(made(300, 1), 0, { source: 'mc', permutations: 199, seed: 1 });
  const significant = (contrast: string): number[] => (surprise.cells.find((cell) => cell.position === 'mean' && cell.contrast === contrast)?.top ?? []).filter(({ p }) => p < 0.05).map(({ neuron }) => neuron).sort((a, b) => a - b);
  expect(significant('surprise')).toEqual(expect.arrayContaining([0, 1, 2, 3, 5]));
  expect(significant('positive')).toEqual([0, 1, 3, 4, 5]);
  for (const contrast of ['low', 'high']) {
    expect(significant(contrast)).toEqual(expect.arrayContaining([0, 2, 3, 4])); // within a third of the values V still differs a little
  }
  expect(surprise.both).toEqual([0, 3]); // up and down with surprise; not V, not the outcome, not both added
});
