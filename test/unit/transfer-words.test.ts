/** What a comparison of folders says in words. */
import { expect, test } from '@jest/globals';
import type { Transfer } from '../../src/report/transferSchema.js';
import { transferFindings } from '../../src/study/transfer.js';

const estimate = (value: number | null, low: number | null, high: number | null): Transfer['auc'][number]['layers'][number]['auc']['s0'] => ({ value, low, high, n: 9 });
const about = (auc: ReturnType<typeof estimate>, difference: ReturnType<typeof estimate>): string => {
  const folder = { directory: '', name: 'a', dataset: '', model: '', modelSha256: '', quantization: '', seed: 1, site: 'residPost', layers: [0], width: 64, trajectories: 50, heldOut: 9, bestLayer: 0, trajectoriesSha256: '' };
  const everywhere = <T>(one: T): Record<'s0' | 'middle' | 'last', T> => ({ s0: one, middle: one, last: one });
  const result: Omit<Transfer, 'findings'> = {
    format: 'rewardlens.transfer', version: 1, rewardlens: '', ranking: 'l1-zscore', excludeSinks: false, place: 's0', folders: [folder, { ...folder, name: 'b' }], overlaps: [], incompatible: [],
    auc: [{ from: 0, to: 1, trajectories: 9, problems: 3, excluded: 0, layers: [{ layer: 0, auc: everywhere(auc), difference: everywhere(difference) }] }],
  };
  return transferFindings(result)[0] ?? '';
};

test('a probe is above chance or not, by its interval; without one nothing is said', () => {
  expect(about(estimate(0.7, 0.6, 0.8), estimate(0.1, 0.05, 0.15))).toBe('The probe of a (layer 0) on b: AUC 0.700 [0.600, 0.800], above chance, worse than its own probe.');
  expect(about(estimate(0.6, 0.4, 0.8), estimate(0, -0.1, 0.1))).toContain('not distinguishable from chance, not distinguishable from its own probe');
  expect(about(estimate(0.714, null, null), estimate(0.1, null, null))).toBe('The probe of a (layer 0) on b: AUC 0.714, on too few problems for an interval (9 trajectories).');
  expect(about(estimate(null, null, null), estimate(null, null, null))).toBe('The probe of a cannot be judged on b (9 trajectories).');
});
