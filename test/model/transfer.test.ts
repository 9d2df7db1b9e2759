/** Transfer between two samplings of the planted model and its null twin. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { runCommandLine } from '../../src/cli/app.js';
import type { Transfer } from '../../src/report/transferSchema.js';
import { transferSchema } from '../../src/report/transferSchema.js';
import { openProbed } from '../../src/study/probedFolder.js';
import { TRANSFER_DEFAULTS, runTransfer } from '../../src/study/transfer.js';
import { shortNames, whyNot } from '../../src/study/transferFolder.js';
import { plantedFolder } from '../helpers/planted.js';

const SHARE = 1 / 64;
let folders: string[];
let result: Transfer;

beforeAll(async () => {
  folders = [
    await plantedFolder('planted', { count: 300 }),
    await plantedFolder('planted', { count: 300, seed: 4, settings: { seed: 2 } }), // another sampling, another split
    await plantedFolder('null', { count: 300 }),
  ];
  result = await runTransfer(folders, { ...TRANSFER_DEFAULTS, shares: [SHARE], place: 's0' }, { threads: 1 });
}, 60_000);
afterAll(async () => {
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));
});

const pair = (a: number, b: number): Transfer['overlaps'][number] => result.overlaps.find((entry) => entry.a === a && entry.b === b) as Transfer['overlaps'][number];
const cross = (from: number, to: number): Transfer['auc'][number] => result.auc.find((entry) => entry.from === from && entry.to === to) as Transfer['auc'][number];

describe('transfer', () => {
  test('two samplings of one model name the same neuron in every layer, its twin no more than chance', () => {
    expect(pair(0, 1).layers.map(({ shared }) => shared)).toEqual([1, 1, 1]);
    expect(pair(0, 1)).toMatchObject({ count: 1, iou: 1 });
    for (const { p, expected } of pair(0, 1).layers) {
      expect(p).toBeCloseTo(1 / 64, 12);
      expect(expected).toBeCloseTo(1 / 64, 12);
    }
    expect(pair(0, 1).p).toBeCloseTo(3 / 64, 12);
    expect(pair(0, 1).pMatched).toBeGreaterThanOrEqual(pair(0, 1).p); // one of 16 alike
    expect(pair(0, 2).pMatched).toBeGreaterThan(0.05);
  });

  test('the probe of one sampling reads the other as its own probe does, and the twin not at all', () => {
    for (const [from, to] of [[0, 1], [1, 0]] as const) {
      for (const { auc, difference } of cross(from, to).layers) {
        expect(auc.s0.low).toBeGreaterThan(0.6);
        expect(difference?.s0.low).toBeLessThan(0.05);
        expect(difference?.s0.high).toBeGreaterThan(-0.05);
      }
    }
    for (const { auc } of cross(0, 2).layers) {
      expect(auc.s0.low).toBeLessThan(0.5);
    }
    expect(cross(0, 0).layers.every(({ difference }) => difference === null)).toBe(true);
  });

  test('no probe is judged on problems it was trained on', async () => {
    await using first = await openProbed(folders[0] ?? '');
    await using second = await openProbed(folders[1] ?? '');
    const seen = new Set([...first.split.train, ...first.split.validation].map((i) => first.data.problems[i]));
    const fresh = second.split.test.filter((i) => !seen.has(second.data.problems[i]));
    expect(cross(0, 1)).toMatchObject({ trajectories: fresh.length, excluded: second.split.test.length - fresh.length });
    expect(fresh.length).toBeLessThan(second.split.test.length); // other splits: there is something to leave out
    expect(fresh.length).toBeGreaterThan(0);
    expect(cross(0, 2).excluded).toBe(0); // the same split
  });

  test('names are what tells folders apart', () => {
    expect(new Set(result.folders.map(({ name }) => name)).size).toBe(3);
    const facts = result.folders.map(({ name: _name, ...rest }) => ({ ...rest, dataset: 'd', model: 'm', quantization: 'F32', seed: 1 }));
    expect(shortNames(facts)).toEqual(folders); // nothing tells them apart but where they are
    expect(shortNames(facts.map((entry, i) => ({ ...entry, quantization: ['F32', 'Q8_0', 'Q4_K'][i] ?? '' })))).toEqual(['F32', 'Q8_0', 'Q4_K']);
  });

  test('folders of other widths, sites or layers are not compared', () => {
    const { name: _name, ...facts } = result.folders[0] as Transfer['folders'][number];
    expect(whyNot(facts, facts)).toBeUndefined();
    expect(whyNot(facts, { ...facts, width: 128 })).toBe('widths differ: 64 and 128');
    expect(whyNot(facts, { ...facts, site: 'mlpOut' })).toBe('sites differ: residPost and mlpOut');
    expect(whyNot(facts, { ...facts, layers: [7] })).toBe('no layer in common');
  });

  test('the command writes the file that its schema describes', async () => {
    const path = join(folders[0] ?? '', 'transfer.json');
    const silent = process.stdout.write.bind(process.stdout);
    process.stdout.write = () => true;
    try {
      expect(await runCommandLine(['transfer', ...folders.slice(0, 2), '--shares', String(SHARE), '--place', 's0', '-o', path, '-t', '1', '--json'])).toBe(0);
    } finally {
      process.stdout.write = silent;
    }
    const read = transferSchema.parse(JSON.parse(await readFile(path, 'utf8')));
    expect(read.overlaps).toEqual([pair(0, 1)]);
    expect(read.auc.find(({ from, to }) => from === 1 && to === 0)).toEqual(cross(1, 0));
  });

  test('one folder, or one twice, is refused', async () => {
    const once = folders[0] ?? '';
    await expect(runTransfer([once], TRANSFER_DEFAULTS, { threads: 1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(runTransfer([once, `${once}/.`], TRANSFER_DEFAULTS, { threads: 1 })).rejects.toThrow('was given twice');
  });
});
