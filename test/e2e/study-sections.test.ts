/** Sections of a study that are switched on by name, in child processes: made once, made again when what they come from changes, left out with a reason. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { parseStudy } from '../../src/report/parse.js';
import type { Study } from '../../src/report/schema.js';
import type { Sections } from '../../src/report/sectionsSchema.js';
import { NO_SECTIONS, SECTIONS } from '../../src/report/sectionsSchema.js';
import { SMALL, buildIfStale, bundledModel, chainedSums, run } from '../helpers/rollout-program.js';

const NAME = 'chained-sums-train';
let directory: string;
let folder: string;
beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-sections-'));
  folder = join(directory, 'study');
}, 180_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const LITTLE = ['--values-trajectories', '60', '--values-continuations', '2', '--confidence-samples', '1', '--interplay-draws', '2', '--search-problems', '3'];
const STUDY = (...more: string[]): string[] => [
  'study', ...SMALL, '-m', bundledModel, '--dataset', chainedSums, '--limit', '120', '-n', '64', '--hidden', '16', '--epochs', '3', '--lr', '1e-3', '--targets', 'mc', '--draws', '3', '--no-ablate', '-o', folder, ...LITTLE, ...more,
];
async function succeeds(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(args);
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}
const readStudy = (): Study => parseStudy(JSON.parse(readFileSync(join(folder, 'study.json'), 'utf8')), 'study.json');
const sections = (): Sections => (readStudy().datasets[0] as Study['datasets'][number]).sections;
const made = (): string[] => readStudy().durations.filter(({ reused }) => !reused).map(({ stage }) => stage);
const inFolder = (file: string): unknown => JSON.parse(readFileSync(join(folder, NAME, file), 'utf8'));
const page = (): string => readFileSync(join(folder, 'report.html'), 'utf8');

test('all sections: blocks of study.json as their commands wrote them, in the report and in the terminal', async () => {
  const output = await succeeds(STUDY('--sections', 'all', '--steps', 'tokens:6'));
  const own = sections();
  expect(made()).toEqual(['self-test', 'rollout', 'probe', 'rank', ...SECTIONS]); // and no transfer: there is one data set
  for (const name of ['values', 'dopamine', 'confidence', 'search'] as const) {
    expect(own[name]).toEqual(inFolder(`${name}.json`));
    expect(page()).toContain(`<section id="d0-${name}">`);
  }
  expect(own.interplay === null).toBe(own.dopamine?.bestLayer === 0); // there is nothing below layer 0
  expect(own.values?.settings).toMatchObject({ steps: 'tokens:6', limit: 60, counts: { min: 2, max: 2 } });
  expect(own.notes.values).toEqual(['Of 120 trajectories the steps of the first 60 were valued, by 2 continuations each.']);
  expect(own.values?.trajectoriesSha256).toBe(own.search?.trajectoriesSha256);
  expect(own.search?.methods.map(({ name }) => name)).toContain('guided by dopamine');
  expect(output).toMatch(/ {2}dopamine: layer \d/);
}, 120_000);

test('again: nothing is made, all numbers are the same', async () => {
  const before = readStudy();
  await succeeds(STUDY('--sections', 'all', '--steps', 'tokens:6'));
  expect(made()).toEqual([]);
  expect(readStudy().datasets).toEqual(before.datasets);
  expect(readStudy().findings).toEqual(before.findings);
}, 60_000);

test('a damaged result is made again, continuations of the journal are not', async () => {
  writeFileSync(join(folder, NAME, 'values.json'), '{}');
  await succeeds(STUDY('--sections', 'values', '--steps', 'tokens:6'));
  expect(made()).toEqual(['values']);
  expect(sections().values?.counts.continuations).toMatchObject({ made: 0, found: expect.any(Number) });
  expect(sections()).toMatchObject({ dopamine: null, confidence: null }); // not asked for, though they are in the folder
}, 60_000);

test('what the data do not allow is left out with its reason, and so is what is made from it', async () => {
  const output = await succeeds(STUDY('--sections', 'interplay,search', '--steps', 'sentence', '--values-trajectories', '3'));
  const own = sections();
  expect(own).toMatchObject({ dopamine: null, interplay: null, search: null, confidence: null });
  expect(own.values?.counts.trajectories).toBe(3);
  expect(own.notes).toMatchObject({
    dopamine: [expect.stringMatching(/^It could not be made: .*steps with \|δ\| above it/)],
    interplay: ['It is made from dopamine, which could not be made.'],
    search: [expect.stringMatching(/^It could not be made: .*expected line, blank-line or tokens:N/)],
  });
  expect(output).toContain('left out: dopamine, interplay, search');
  expect(page()).toContain('Dopamine: left out');
  await succeeds(STUDY('--sections', 'interplay,search', '--steps', 'sentence', '--values-trajectories', '3'));
  expect(made()).toEqual([]); // it is known
}, 60_000);

test('several data sets are compared with each other, once', async () => {
  const args = [...STUDY('--sections', 'transfer'), '--dataset', chainedSums.replace('chained-sums', 'multiple-choice')].map((word) => (word === folder ? join(directory, 'two') : word));
  const two = (): Study => parseStudy(JSON.parse(readFileSync(join(directory, 'two', 'study.json'), 'utf8')), 'study.json');
  const output = await succeeds(args);
  expect(two().transfer?.folders.map(({ name }) => name)).toEqual([NAME, 'multiple-choice-train']);
  expect(two().transfer?.auc).toHaveLength(4);
  expect(two().findings[1]?.text).toMatch(/^Transfer between 2 folders: /);
  expect(output).toContain('Transfer between 2 folders');
  expect(readFileSync(join(directory, 'two', 'report.html'), 'utf8')).toContain('<section id="transfer">');
  await succeeds(args);
  expect(two().durations.filter(({ reused }) => !reused)).toEqual([]);
}, 60_000);

test('without --sections there are none; `rewardlens report` shows all that the folder holds', async () => {
  await succeeds(STUDY());
  expect(sections()).toEqual(NO_SECTIONS);
  expect(page()).not.toContain('id="d0-values"');
  expect(await run(STUDY('--sections', 'values', '--sections-datasets', 'other'))).toMatchObject({ code: 1, stderr: expect.stringContaining(`--sections-datasets: expected some of ${NAME}, got "other"`) });
  expect(await run(STUDY('--sections', 'transfer'))).toMatchObject({ code: 2, stderr: expect.stringContaining('--sections: transfer compares data sets') });
  expect(sections()).toEqual(NO_SECTIONS);
  await succeeds(['report', folder, '-t', '1']);
  expect(sections().confidence).toEqual(inFolder('confidence.json'));
  expect(sections().values).toEqual(inFolder('values.json'));
}, 60_000);
