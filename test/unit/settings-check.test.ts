/** Settings of programs: what cannot be is refused by name, before any file is looked at. */
import { expect, test } from '@jest/globals';
import { DOPAMINE_DEFAULTS, SEARCH_DEFAULTS, TRANSFER_DEFAULTS, VALUES_DEFAULTS, prepareValues, runConfidence, runDopamine, runSearch, runTransfer, runValues } from '../../src/index.js';

const WORK = { threads: 1 };
const MODEL = { model: 'none.gguf', load: {}, session: {} };
const values = async (change: object): Promise<unknown> => runValues(undefined as never, { directory: 'nowhere', inputs: undefined as never, trajectories: [] }, { ...VALUES_DEFAULTS, ...change }, WORK);
const dopamine = async (change: object): Promise<unknown> => runDopamine('nowhere', { ...DOPAMINE_DEFAULTS, ...change }, WORK);
const search = async (change: object): Promise<unknown> => runSearch('nowhere', { ...SEARCH_DEFAULTS, ...change }, MODEL, WORK);
const confidence = async (change: object): Promise<unknown> => runConfidence('nowhere', { neurons: [], method: 'l1-zscore', layer: undefined, samples: 0, question: undefined, ...change }, MODEL, WORK);

test.each([
  ['counts.min: expected an integer of at least 1, got 0', async () => values({ counts: { min: 0, max: 2, width: 1 } })],
  ['counts.max: expected at least counts.min, got 2', async () => values({ counts: { min: 4, max: 2, width: 1 } })],
  ['budget: expected an integer of at least 1, got 0', async () => values({ budget: 0 })],
  ['gamma: expected a number in 0..1, got NaN', async () => values({ gamma: NaN })],
  ['limit: expected an integer of at least 1, got -1', async () => prepareValues(undefined as never, 'nowhere', { ...VALUES_DEFAULTS, limit: -1 })],
  ['zscore: expected one of running, response, none, got "causal"', async () => dopamine({ zscore: 'causal' })],
  ['threshold: expected a number in 0..1, got 2', async () => dopamine({ threshold: 2 })],
  ['hidden: expected an integer of at least 1, got 0', async () => dopamine({ hidden: 0 })],
  ['guides.0: expected one of dopamine, value, logprob, random, got "luck"', async () => search({ guides: ['luck'] })],
  ['beam: expected an integer of at least 1, got 0', async () => search({ beam: 0 })],
  ['seeds: expected an integer of at least 1, got 0', async () => search({ seeds: 0 })],
  ['samples: expected an integer of at least 0, got -1', async () => confidence({ samples: -1 })],
  ['neurons.1: expected an integer of at least 1, got 0', async () => confidence({ neurons: [4, 0] })],
  ['shares.0: expected a number in 0..1, got 2', async () => runTransfer(['a', 'b'], { ...TRANSFER_DEFAULTS, shares: [2] }, WORK)],
])('%s', async (message, run) => {
  await expect(run()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message });
});

test('what may be goes as far as the folder', async () => {
  await expect(dopamine({})).rejects.not.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(search({})).rejects.toMatchObject({ code: 'IO' });
  await expect(confidence({})).rejects.toMatchObject({ code: 'IO' });
});
