/** Stages that are made once, the choice of a layer, and the sentences that head a report. */
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { parseStudy } from '../../src/report/parse.js';
import type { DatasetResult, Estimate, LayerResult, Study } from '../../src/report/schema.js';
import { chooseLayer } from '../../src/study/evaluate.js';
import { studyFindings } from '../../src/study/findings.js';
import { fileHash, hashOf, readStageResult, runStage } from '../../src/study/stage.js';

describe('runStage', () => {
  let directory: string;
  let path: string;
  let made: number;
  const make = async (): Promise<{ n: number }> => ({ n: ++made });
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rewardlens-stage-'));
    path = join(directory, 'stage.json');
    made = 0;
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  test('makes once for equal inputs, whatever the order of their keys', async () => {
    expect(await runStage(path, { a: 1, b: { c: [1, 2], d: undefined } }, make)).toMatchObject({ result: { n: 1 }, reused: false });
    expect(await runStage(path, { b: { c: [1, 2] }, a: 1 }, make)).toMatchObject({ result: { n: 1 }, reused: true });
    expect(await readStageResult(path)).toEqual({ n: 1 });
  });

  test.each([{ a: 2 }, { a: '1' }, { a: 1, b: 0 }, { a: [1] }, { a: null }, {}, [], null])('makes again for other inputs: %j', async (other) => {
    await runStage(path, { a: 1 }, make);
    expect(await runStage(path, other, make)).toMatchObject({ result: { n: 2 }, reused: false });
    expect(await runStage(path, { a: 1 }, make)).toMatchObject({ result: { n: 3 }, reused: false });
  });

  test.each(['', 'x', '{"inputs":', 'null', '7', '[]', '{}', '\u0000'])('a damaged file is made again: %j', async (text) => {
    await runStage(path, 1, make);
    await writeFile(path, text);
    expect(await runStage(path, 1, make)).toMatchObject({ result: { n: 2 }, reused: false });
    expect(await runStage(path, 1, make)).toMatchObject({ result: { n: 2 }, reused: true });
  });

  test('a file cut at any byte is made again or is whole', async () => {
    await runStage(path, 1, make);
    const whole = await readFile(path);
    for (let length = 0; length < whole.length - 2; length++) {
      await writeFile(path, whole.subarray(0, length));
      expect((await runStage(path, 1, make)).reused).toBe(false);
    }
  });

  test('one that fails leaves the result of before, and no other file', async () => {
    await runStage(path, 1, make);
    await expect(runStage(path, 2, async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await runStage(path, 1, make)).toMatchObject({ reused: true });
    expect(await readdir(directory)).toEqual(['stage.json']);
  });

  test('hashes tell apart what differs, and files by their bytes', async () => {
    const values = [0, '0', null, [], {}, [0], { 0: 0 }, [[0], 1], [[0, 1]], { a: 'b,c:d' }, { a: 'b', c: 'd' }, true, 'true', '', [''], [null]];
    expect(new Set(values.map(hashOf)).size).toBe(values.length);
    await writeFile(path, 'abc');
    expect(await fileHash(path)).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'); // FIPS 180-2's example
    expect(await fileHash(join(directory, 'none'))).toBe('');
  });
});

const fixture = (): Study => parseStudy(JSON.parse(readFileSync(new URL('../fixtures/report/study.json', import.meta.url), 'utf8')), 'study.json');
const estimate = (value: number | null, low = value === null ? null : value - 0.05, high = value === null ? null : value + 0.05): Estimate => ({ value, low, high, n: 120 });

describe('chooseLayer', () => {
  const layer = (validation: number | null, held: number): LayerResult => {
    const one = fixture().datasets[0]?.layers[0] as LayerResult;
    return { ...one, validationAuc: { s0: 1 - (validation ?? 0), middle: validation, last: 1 - (validation ?? 0) }, auc: { s0: estimate(held), middle: estimate(held), last: estimate(held) } };
  };
  test('by validation at the middle alone; held-out numbers, however good, have no say', () => {
    expect(chooseLayer([layer(0.6, 0.99), layer(0.8, 0.5), layer(0.7, 1)])).toBe(1);
    expect(chooseLayer([layer(0.8, 0.1), layer(0.8, 1)])).toBe(0); // a draw: the first
    expect(chooseLayer([layer(null, 1), layer(0.3, 0.1)])).toBe(1);
    expect(chooseLayer([layer(null, 0.9), layer(null, 1)])).toBe(0);
  });
});

describe('findings', () => {
  const passed: Study['selfTest'] = { passed: true, seconds: 1, checks: [{ name: 'one', passed: true, expected: '', observed: '' }] };

  /** The first data set of the fixture with other numbers at its best layer. */
  function dataset(middle: Estimate, shuffled = estimate(0.5), difference = estimate(0.1)): DatasetResult {
    const [base] = fixture().datasets as [DatasetResult];
    const places = (one: Estimate): LayerResult['auc'] => ({ s0: one, middle: one, last: one });
    return {
      ...base,
      layers: base.layers.map((layer, i) => (i === base.bestLayer ? { ...layer, auc: places(middle), variants: { ...layer.variants, 'shuffled rewards': places(shuffled) } } : layer)),
      baselines: base.baselines.map((baseline) => ({ ...baseline, difference: { s0: difference, middle: difference, last: difference } })),
    };
  }
  const textOf = (one: DatasetResult, selfTest = passed): string => studyFindings(selfTest, [one]).map(({ text }) => text).join('\n');

  test('an effect: above chance, with its interval', () => {
    const text = textOf(dataset(estimate(0.8)));
    expect(text).toMatch(/AUC 0\.80 \[0\.75, 0\.85\] on held-out problems, which is above chance/);
    expect(text).toMatch(/the value probe is better \(difference \+?0\.10 \[/);
  });

  test('no effect: said to be none, though the number is above 0.5', () => {
    const text = textOf(dataset(estimate(0.53), estimate(0.5), estimate(0.01)));
    expect(text).toMatch(/0\.53 \[0\.48, 0\.58\].* is not distinguishable from chance/);
    expect(text).toMatch(/the value probe is not distinguishably better/);
    expect(text).not.toMatch(/above chance/);
  });

  test('worse than a baseline', () => {
    expect(textOf(dataset(estimate(0.7), estimate(0.5), estimate(-0.2)))).toMatch(/the value probe is worse/);
  });

  test('one class only: no number, and no claim', () => {
    const text = textOf(dataset(estimate(null), estimate(null), estimate(null)));
    expect(text).toMatch(/No AUC can be given/);
    expect(text).not.toMatch(/NaN|undefined|null|above chance|better/);
  });

  test('shuffled rewards outside chance are not called chance', () => {
    expect(textOf(dataset(estimate(0.8), estimate(0.5)))).toMatch(/shuffled rewards .*chance, as it must be/);
    expect(textOf(dataset(estimate(0.8), estimate(0.7)))).toMatch(/shuffled rewards .*outside chance/);
  });

  test('a failed self-test comes first and says not to trust the rest', () => {
    const failed: Study['selfTest'] = { passed: false, seconds: 1, checks: [{ name: 'planted', passed: false, expected: '9', observed: '7' }, { name: 'fine', passed: true, expected: '', observed: '' }] };
    const [first] = studyFindings(failed, [dataset(estimate(0.8))]) as [Study['findings'][number]];
    expect(first.dataset).toBeNull();
    expect(first.text).toMatch(/FAILED \(planted\): do not trust/);
    expect(studyFindings(passed, [])[0]?.text).toMatch(/self-test passed/);
  });

  test('every data set has findings under its own name', () => {
    const { datasets } = fixture();
    const findings = studyFindings(passed, datasets);
    datasets.forEach(({ name }) => expect(findings.some((finding) => finding.dataset === name)).toBe(true));
  });
});
