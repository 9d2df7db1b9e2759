/** Whole studies in child processes: the demo as it is written, resumption, stages by hand, a store of another program. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { bestLayer, isOutside } from '../../src/report/facts.js';
import { escapeHtml } from '../../src/report/html.js';
import { parseStudy } from '../../src/report/parse.js';
import type { DatasetResult, Study } from '../../src/report/schema.js';
import { SECTIONS } from '../../src/report/sectionsSchema.js';
import { mulberry32 } from '../../src/util/random.js';
import { SMALL, buildIfStale, bundledModel, chainedSums, root, rolloutArgs, run, start } from '../helpers/rollout-program.js';

let directory: string;
beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-study-'));
}, 180_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const readStudy = (folder: string): Study => parseStudy(JSON.parse(readFileSync(join(folder, 'study.json'), 'utf8')), 'study.json');
const named = (study: Study, name: string): DatasetResult => study.datasets.find((dataset) => dataset.name.startsWith(name)) as DatasetResult;
/** "stage dataset" of what a run made itself. */
const madeBy = (study: Study): string[] => study.durations.filter(({ reused }) => !reused).map(({ stage, dataset }) => (dataset === null ? stage : `${stage} ${dataset}`));
/** Trajectories by problem, without where their rows lie in the store (the rows' own checksum stays). */
const recordsWithoutPlaces = (folder: string): object[] =>
  readFileSync(join(folder, 'trajectories.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .sort()
    .map((line) => ({ ...(JSON.parse(line) as object), rows: [], crc32: '' }));
const lines = (path: string): Record<string, unknown>[] => readFileSync(path, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
async function succeeds(args: readonly string[], timeout = 100_000): Promise<string> {
  const { code, stdout, stderr } = await run(args, { timeout });
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

/** A page that fetches nothing: no address in anything that loads. */
function expectSelfContained(folder: string): void {
  const html = readFileSync(join(folder, 'report.html'), 'utf8');
  expect(html.length).toBeGreaterThan(10_000);
  expect(html).not.toMatch(/<(script|img|iframe|link|source)[^>]+(src|href)\s*=/i);
  expect(html).not.toMatch(/url\(\s*['"]?(?!#|data:)/i);
  expect(html).not.toMatch(/@import|fetch\(|XMLHttpRequest/);
}

describe('the demo', () => {
  const script = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { demo: string } }).scripts.demo;
  const words = script.split(' ');
  let folder: string;
  let args: string[];
  let study: Study;
  let output: string;

  beforeAll(async () => {
    expect(words.slice(0, 3)).toEqual(['node', 'bin/rewardlens.js', 'study']);
    folder = join(directory, 'demo');
    args = words.slice(2).map((word, i) => (words[i + 1] === '-o' ? folder : word)); // as written but for its folder
    expect(args).toContain(folder);
    output = await succeeds(args, 580_000);
    study = readStudy(folder);
  }, 600_000);

  test('passes its self-test and names every data set in its findings', () => {
    expect(study.selfTest.checks.filter(({ passed }) => !passed)).toEqual([]);
    expect(study.selfTest.passed).toBe(true);
    expect(study.datasets).toHaveLength(words.filter((word) => word === '--dataset').length);
    for (const { name } of study.datasets) {
      expect(study.findings.filter(({ dataset }) => dataset === name).length).toBeGreaterThan(1);
      expect(output).toContain(name);
    }
    expect(output).toContain(join(folder, 'report.html'));
  });

  test('predicts success half-way through feedback-search better than chance and than every outside baseline', () => {
    const dataset = named(study, 'feedback-search');
    const { middle } = bestLayer(dataset).auc;
    expect(middle.low).toBeGreaterThan(0.5);
    const outside = dataset.baselines.filter((baseline) => isOutside(dataset, baseline));
    expect(outside.length).toBeGreaterThanOrEqual(3);
    for (const { name, auc } of outside) {
      expect({ name, better: (middle.value ?? 0) > (auc.middle.value ?? 0) }).toEqual({ name, better: true });
    }
  });

  test('shuffled rewards give chance on every data set', () => {
    for (const dataset of study.datasets) {
      const shuffled = bestLayer(dataset).variants['shuffled rewards']?.middle;
      const { value, low, high } = shuffled as NonNullable<typeof shuffled>;
      const covered = (low as number) <= 0.5 && (high as number) >= 0.5;
      expect({ name: dataset.name, value, chance: covered || Math.abs((value as number) - 0.5) < 0.1 }).toMatchObject({ chance: true });
    }
  });

  test('the numbers fit together', () => {
    for (const dataset of study.datasets) {
      const { rollout, split, layers } = dataset;
      expect(rollout.correct + rollout.wrong + rollout.unknown).toBe(rollout.trajectories);
      expect(rollout.trajectories).toBe(rollout.problems * rollout.samplesPerProblem);
      expect(split.train + split.validation + split.test).toBe(rollout.correct + rollout.wrong);
      const best = layers.reduce((top, layer, i) => ((layer.validationAuc.middle ?? -1) > (layers[top]?.validationAuc.middle ?? -1) ? i : top), 0);
      expect(dataset.bestLayer).toBe(best);
      expect(dataset.ranking.layer).toBe(layers[best]?.layer);
      expect(bestLayer(dataset).auc.middle.n).toBe(split.test);
      for (const example of dataset.examples) {
        expect(new Set([example.tokens.length, example.values.length, example.tdErrors.length, example.logProbabilities.length]).size).toBe(1);
        expect(example.values.every((value) => value >= 0 && value <= 1)).toBe(true);
      }
    }
  });

  test('takes value neurons of one data set away, on problems that no probe saw, and says why not of the others', () => {
    const dataset = named(study, 'feedback-search');
    const { items, models } = dataset.ablation as NonNullable<DatasetResult['ablation']>;
    const [model] = models as [(typeof models)[number]];
    expect(model.arms.length).toBeGreaterThanOrEqual(60);
    expect(items).toBeGreaterThanOrEqual(100);
    expect(items).toBeLessThanOrEqual(dataset.split.testProblems);
    [model.base, ...model.arms].forEach(({ name, items: own, edits, status }) => expect({ name, own, status, hooks: edits.edited === edits.expected && (edits.edited > 0) === (name !== 'base') }).toEqual({ name, own: items, status: 'complete', hooks: true }));
    expect(model.verdicts.length).toBeGreaterThan(0);
    expect(readFileSync(join(folder, 'report.html'), 'utf8')).toContain(escapeHtml(model.verdicts[0]?.text ?? '?'));
    for (const other of study.datasets.filter((one) => one !== dataset)) {
      expect(other).toMatchObject({ ablation: null, ablationNotes: [expect.stringMatching(/--ablate-datasets/)] });
    }
  });

  test('has every section, small, for one data set, and compares all data sets', () => {
    const { sections } = named(study, 'feedback-search');
    const { values, dopamine, interplay, confidence, search, notes } = sections;
    expect(values?.tdErrors.telescopeGap).toBeLessThan(1e-12);
    expect(values?.tokens.shared).toBeGreaterThan(values?.tokens.computed as number);
    expect(dopamine?.selfTest.passed).toBe(true);
    expect(dopamine?.layers.every(({ scores }) => scores.some(({ name }) => name === 'shuffled errors'))).toBe(true);
    expect(interplay === null).toBe(dopamine?.bestLayer === 0); // there is nothing below layer 0
    expect(confidence?.scores.length).toBeGreaterThan(5);
    expect(search?.methods.map(({ name }) => name)).toEqual(expect.arrayContaining(['guided by dopamine', 'guided by value', 'guided by random']));
    expect(notes.values).toEqual([expect.stringMatching(/^Of \d+ trajectories the steps of the first 100 were valued/)]);
    expect(study.transfer?.folders.map(({ dataset }) => dataset)).toEqual(study.datasets.map(({ name }) => name));
    expect(study.transfer?.auc).toHaveLength(study.datasets.length ** 2);
    const page = readFileSync(join(folder, 'report.html'), 'utf8');
    for (const name of SECTIONS) {
      expect(page).toContain(`-${name}"`);
    }
  });

  test('leaves a report that fetches nothing', () => expectSelfContained(folder));

  test('runs again in seconds, with equal numbers', async () => {
    const begun = performance.now();
    await succeeds(args);
    expect((performance.now() - begun) / 1000).toBeLessThan(15);
    const again = readStudy(folder);
    expect(madeBy(again)).toEqual([]);
    expect(again.datasets).toEqual(study.datasets);
    expect(again.findings).toEqual(study.findings);
  });
});

const SMALL_PROBE = ['--hidden', '16', '--epochs', '3', '--lr', '1e-3', '--targets', 'mc'];
const SMALL_RANK = ['--draws', '3'];
/** Five sets beside the base on ten problems. */
const SMALL_SWEEP = ['--ablate-layers', 'best', '--ablate-draws', '2', '--ablate-items', '10'];
const DATA = { '--limit': '200', '-n': '64' };
const STUDY = (folder: string, ...more: string[]): string[] => [
  'study', ...SMALL, '-m', bundledModel, '--dataset', chainedSums, ...Object.entries(DATA).flat(), ...SMALL_PROBE, ...(more.includes('--draws') ? [] : SMALL_RANK),
  ...(more.includes('--ablate-items') || more.includes('--no-ablate') ? [] : SMALL_SWEEP), '-o', folder, ...more,
];
/** Numbers of a study, without what says when and in how many parts they were made. */
const numbers = ({ datasets }: Study): object[] =>
  datasets.map(({ ablation, ...one }) => ({
    ...one,
    probe: { ...one.probe, trajectoriesSha256: '' },
    ablation: ablation === null ? null : { ...ablation, models: ablation.models.map((model) => ({ ...model, manifest: {}, sweep: {} })) },
  }));

describe('a small study', () => {
  const NAME = 'chained-sums-train';
  let folder: string;
  let study: Study;
  beforeAll(async () => {
    folder = join(directory, 'small');
    await succeeds(STUDY(folder));
    study = readStudy(folder);
  }, 120_000);

  test('stages by hand give the numbers of the study', async () => {
    const byHand = join(directory, 'by-hand');
    await succeeds(rolloutArgs(byHand, DATA));
    await succeeds(['probe', byHand, '-t', '1', ...SMALL_PROBE]);
    await succeeds(['rank', byHand, '-t', '1', ...SMALL_RANK]);
    expect(await succeeds(['report', byHand, '-t', '1'])).toContain(join(byHand, 'report.html'));
    const [own] = numbers(study);
    expect(numbers(readStudy(byHand))).toEqual([{ ...own, ablation: null, ablationNotes: [expect.stringMatching(/rewardlens ablate/)] }]);
    expectSelfContained(byHand);
  });

  test('takes the best-ranked neurons away on held-out problems, from the base of the rollout', async () => {
    const { ablation, ablationNotes, ranking, layers, bestLayer: best, split } = study.datasets[0] as DatasetResult;
    const [{ base, arms }] = ablation?.models as [NonNullable<DatasetResult['ablation']>['models'][number]];
    expect(ablationNotes[0]).toBe(`Items: the first 10 of ${split.testProblems} held-out problems. Few: only large changes can be seen.`);
    expect(arms.map(({ group, layer }) => [group, layer])).toEqual(['top', 'random', 'random', 'matched', 'matched'].map((group) => [group, layers[best]?.layer]));
    const first = ranking.neurons.slice(0, arms[0]?.neurons.length).map(({ neuron }) => neuron);
    expect(arms[0]?.neurons).toEqual(first.sort((a, b) => a - b));
    // Same problems, prompts, sampling and seeds: with nothing edited the model answers as it did in the rollout.
    const rollout = new Map(lines(join(folder, NAME, 'trajectories.jsonl')).map((line) => [line.problem, line]));
    const records = lines(join(folder, NAME, 'ablation', 'ledger.jsonl')).filter(({ arm }) => arm === 'base');
    expect(records).toHaveLength(10);
    records.forEach(({ item, reward }) => expect({ item, reward }).toEqual({ item, reward: rollout.get(item)?.reward }));
    expect(base.items).toBe(10);
  });

  test('`rewardlens ablate --held-out` is the same sweep: pairs of arm and item with the same keys, and a report of its own', async () => {
    const out = join(directory, 'own-sweep');
    const best = String(study.datasets[0]?.layers[study.datasets[0].bestLayer]?.layer);
    const args = ['ablate', join(folder, NAME), ...SMALL, '-m', bundledModel, '--dataset', chainedSums, '-n', '64', '--layers', best, '--shares', '0.01', '--draws', '2', '-o', out];
    await succeeds([...args, '--held-out', '--limit', '10']); // of the problems that are held out
    const keys = (path: string): unknown[] => lines(join(path, 'ledger.jsonl')).map(({ key }) => key).sort();
    expect(keys(out)).toHaveLength(60);
    expect(keys(out)).toEqual(keys(join(folder, NAME, 'ablation')));
    expectSelfContained(out);
    const others = args.map((word) => (word === chainedSums ? join(root, 'data/multiple-choice/train.jsonl') : word));
    expect(await run([...others, '--held-out', '--limit', '1'])).toMatchObject({ code: 1, stderr: expect.stringMatching(/none of the \d+ problems of 'multiple-choice-train' is held out/) });
  });

  test('other control draws: only the ranking is made again, and only controls change', async () => {
    await succeeds(STUDY(folder, '--draws', '5'));
    const again = readStudy(folder);
    expect(madeBy(again)).toEqual([`rank ${NAME}`]);
    expect(again.datasets[0]?.layers).toEqual(study.datasets[0]?.layers);
    expect(again.datasets[0]?.pruning[0]?.points[2]?.random.middle.draws).toBe(5);
    await succeeds(STUDY(folder));
  });

  test('other probes: probes and ranking are made again', async () => {
    await succeeds(STUDY(folder, '--probe-seed', '2'));
    expect(madeBy(readStudy(folder))).toEqual([`probe ${NAME}`, `rank ${NAME}`, `ablate ${NAME}`]);
    await succeeds(STUDY(folder));
  });

  test('--no-ablate: no sweep is run or shown, and the report says so', async () => {
    const output = await succeeds(STUDY(folder, '--no-ablate'));
    expect(madeBy(readStudy(folder))).toEqual([]);
    const [own] = numbers(study);
    expect(numbers(readStudy(folder))).toEqual([{ ...own, ablation: null, ablationNotes: ['The sweep was switched off (--no-ablate).'] }]);
    expect(output).toContain('taken away: nothing');
    expect(await run(STUDY(folder, '--ablate-items', '0'))).toMatchObject({ code: 2, stderr: expect.stringMatching(/--ablate-items: expected an integer ≥ 1/) });
    await succeeds(STUDY(folder));
    expect(numbers(readStudy(folder))).toEqual(numbers(study));
  });

  test('rewards judged anew by a module: probes and ranking are made again, trajectories are not', async () => {
    const check = join(directory, 'even.mjs');
    writeFileSync(check, "export default ({ text }) => (/[02468]\\s*$/.test(text) ? { verdict: 'correct' } : { verdict: 'wrong' });\n");
    const output = await succeeds(['rescore', join(folder, NAME), '--check', check]);
    const [, correct] = /(\d+) correct/.exec(output) ?? [];
    // By hand, old probes are not judged by new rewards.
    expect(await run(['rank', join(folder, NAME), ...SMALL_RANK])).toMatchObject({ code: 1, stderr: expect.stringMatching(/trained on.* run `rewardlens probe/) });
    expect(await run(['report', join(folder, NAME)])).toMatchObject({ code: 1, stderr: expect.stringMatching(/the ranking in .* is of other trajectories/) });
    // A study that would judge otherwise does not mix: it asks for the same check.
    expect(await run(STUDY(folder))).toMatchObject({ code: 1, stderr: expect.stringMatching(/judged by .*even\.mjs.*rewardlens rescore/) });
    await succeeds(STUDY(folder, '--check', check));
    const again = readStudy(folder);
    expect(madeBy(again)).toEqual([`probe ${NAME}`, `rank ${NAME}`, `ablate ${NAME}`]);
    expect(again.datasets[0]?.rollout.correct).toBe(Number(correct));
    expect(again.datasets[0]?.rollout.correct).not.toBe(study.datasets[0]?.rollout.correct);
    // And back.
    await succeeds(['rescore', join(folder, NAME), '--check', 'gsm8k']);
    await succeeds(STUDY(folder));
    expect(numbers(readStudy(folder))).toEqual(numbers(study));
  });

  test('damaged results of stages are made again', async () => {
    writeFileSync(join(folder, 'self-test.json'), 'x');
    writeFileSync(join(folder, NAME, 'rank.json'), '{"inputs":');
    writeFileSync(join(folder, NAME, 'probes.safetensors'), 'x');
    writeFileSync(join(folder, NAME, 'ablation', 'ablate.json'), 'x');
    await succeeds(STUDY(folder));
    const again = readStudy(folder);
    expect(madeBy(again)).toEqual(['self-test', `probe ${NAME}`, `rank ${NAME}`, `ablate ${NAME}`]);
    expect(numbers(again)).toEqual(numbers(study));
    expect(again.datasets[0]?.ablation?.models[0]?.sweep).toMatchObject({ made: 0, found: 60 }); // the ledger had them all
  });

  const LONG_TRAINING = ['--epochs', '400', '--patience', '400', '--hidden', '256'];
  const LONG_SWEEP = ['--ablate-layers', 'best', '--ablate-draws', '39', '--ablate-items', '40'];
  test.each([
    // Long enough to be hit.
    ['while sampling', 'trajectories.jsonl', 20_000, [], []],
    ['while training', 'stream.safetensors', 1, LONG_TRAINING, [`rollout ${NAME}`]],
    ['while ablating', 'ablation/ledger.jsonl', 10_000, LONG_SWEEP, [`rollout ${NAME}`, `probe ${NAME}`, `rank ${NAME}`]],
  ] as const)('interrupted %s, it goes on', async (when, file, size, long, kept) => {
    const out = mkdtempSync(join(directory, 'interrupted-'));
    const path = join(out, NAME, file);
    const { child, outcome } = start(STUDY(out, ...long));
    while (child.exitCode === null && !(existsSync(path) && statSync(path).size >= size)) {
      await sleep(10);
    }
    await sleep(when === 'while training' ? 300 : 0);
    child.kill('SIGINT');
    const ended = await outcome;
    expect(ended).toMatchObject({ code: 130, stderr: expect.stringMatching(/stopping/) });
    expect(existsSync(join(out, NAME, 'sweep.json'))).toBe(false);
    await succeeds(STUDY(out));
    const again = readStudy(out);
    expect(madeBy(again)).not.toContain('self-test');
    kept.forEach((stage) => expect(madeBy(again)).not.toContain(stage));
    if (when === 'while ablating') {
      expect(again.datasets[0]?.ablation?.models[0]?.sweep.found).toBeGreaterThan(0);
    }
    // Records and their rows come in the order trajectories finished, which an interruption changes; all else is the same.
    expect(recordsWithoutPlaces(join(out, NAME))).toEqual(recordsWithoutPlaces(join(folder, NAME)));
    expect(numbers(again)).toEqual(numbers(study));
  });

  test('stages out of order say what comes first', async () => {
    const out = mkdtempSync(join(directory, 'order-'));
    expect(await run(['probe', out])).toMatchObject({ code: 1, stderr: expect.stringMatching(/store\.json/) });
    expect(await run(['rank', out])).toMatchObject({ code: 1, stderr: expect.stringMatching(/has no probes yet; run `rewardlens probe/) });
    expect(await run(['report', out])).toMatchObject({ code: 1, stderr: expect.stringMatching(/has not been ranked/) });
    expect(await run(['rescore', out])).toMatchObject({ code: 1, stderr: expect.stringMatching(/holds no rollout/) });
    expect(await run(['probe', folder])).toMatchObject({ code: 1, stderr: expect.stringMatching(/store\.json/) });
  });
});

test('a store of another program goes through probe, rank and report', async () => {
  const folder = join(directory, 'foreign');
  mkdirSync(join(folder, 'activations'), { recursive: true });
  const [layers, width, problems, promptLength] = [2, 12, 120, 3];
  writeFileSync(join(folder, 'store.json'), JSON.stringify({ format: 'rewardlens.store', version: 1, dtype: 'f32', sites: [{ site: 'residPost', layers: [4, 9], width }], positions: 'all' }));
  const random = mulberry32(5);
  const values: number[] = [];
  let begin = 0;
  // Coordinate 7 of layer 9 tells from s_0 on whether the answer will be right; in the prompt it tells the opposite, ten times as loud.
  const lines = Array.from({ length: problems }, (_, i) => {
    const reward = random() < 0.5 ? 1 : 0;
    const length = promptLength + 3 + Math.floor(random() * 4);
    for (let row = 0; row < length; row++) {
      for (let layer = 0; layer < layers; layer++) {
        for (let j = 0; j < width; j++) {
          const signal = layer === 1 && j === 7 ? (row < promptLength - 1 ? 10 * (1 - 2 * reward) : 2 * reward - 1) : 0;
          values.push(signal + random() - 0.5);
        }
      }
    }
    const line = { problem: `p${i}`, reward: i === 3 ? null : reward, promptLength, rows: [[0, begin, begin + 2], [0, begin + 2, begin + length]], mine: 'kept' };
    begin += length;
    return JSON.stringify(line);
  });
  writeFileSync(join(folder, 'trajectories.jsonl'), `${lines.join('\n')}\n`);
  const data = Buffer.from(Float32Array.from(values).buffer);
  const header = Buffer.from(JSON.stringify({ residPost: { dtype: 'F32', shape: [begin, layers, width], data_offsets: [0, data.length] } }));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(join(folder, 'activations/residPost-00000.safetensors'), Buffer.concat([size, header, data]));

  await succeeds(['probe', folder, '-t', '1', '--hidden', '16', '--lr', '1e-2', '--epochs', '30', '--targets', 'mc']);
  await succeeds(['rank', folder, '-t', '1', '--draws', '3']);
  await succeeds(['report', folder, '-t', '1']);
  const [dataset] = readStudy(folder).datasets as [DatasetResult];
  expect(dataset.rollout).toMatchObject({ trajectories: problems, unknown: 1, problems });
  expect(bestLayer(dataset).layer).toBe(9);
  expect(bestLayer(dataset).auc.middle.value).toBeGreaterThan(0.95);
  expect(bestLayer(dataset).auc.middle.low).toBeGreaterThan(0.6);
  expect(dataset.ranking.neurons[0]?.neuron).toBe(7);
  expectSelfContained(folder);
  // Nothing of it was changed.
  expect(readFileSync(join(folder, 'trajectories.jsonl'), 'utf8')).toBe(`${lines.join('\n')}\n`);
});
