/** `rewardlens ablate` and `merge` as a person uses them, on the planted model. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { buildIfStale, root, run, summaryOf } from '../helpers/rollout-program.js';
import { ablateArgs, ledgerLines, plantedModel, writeItems } from '../helpers/sweep-program.js';

let directory: string;
let data: string;
beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-sweep-cli-'));
  data = join(directory, 'items.jsonl');
  writeItems(data, 60);
}, 180_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Result {
  models: { name: string; early: { looks: number[] } | null; sweep: { made: number; found: number }; arms: { name: string; status: string; items: number; p: number }[] }[];
}

const resultIn = (output: string): Result => JSON.parse(readFileSync(join(output, 'ablate.json'), 'utf8')) as Result;

test('several models run in one folder; each finds its own pairs again', async () => {
  const output = join(directory, 'models');
  expect(await run(ablateArgs(data, output, 3, '-m', join(root, 'models/planted-null.gguf')))).toMatchObject({ code: 0 });
  const { models } = resultIn(output);
  expect(models.map(({ name }) => name)).toEqual(['planted.gguf', 'planted-null.gguf']);
  expect(models.map(({ sweep }) => sweep.made)).toEqual([300, 300]);
  const [planted, twin] = models.map(({ arms }) => arms[0]?.p ?? NaN) as [number, number];
  expect(planted).toBeLessThan(0.001);
  expect(twin).toBeGreaterThan(0.05);
  const { stdout } = await run(ablateArgs(data, output, 3, '--json'));
  expect((summaryOf(stdout) as unknown as Result).models[0]?.sweep).toMatchObject({ made: 0, found: 300 });
  expect(ledgerLines(output)).toBe(600);
}, 60_000);

test('--plan prints arms, tokens and a measured time, and keeps nothing', async () => {
  const output = join(directory, 'plan');
  const { code, stdout } = await run(ablateArgs(data, output, 3, '--plan'));
  expect(code).toBe(0);
  expect(stdout).toMatch(/^base +nothing is edited\nlist-1\.56%-L1-zero-all +1 neuron: 37\n/);
  expect(stdout).toMatch(/5 arms × 60 items: 300 sequences\n/);
  expect(stdout).toMatch(/completions: at most 300 tokens, about 300 tokens expected\n/);
  expect(stdout).toMatch(/time: about .* \(measured on 256 pairs\)\n/);
  expect(existsSync(output)).toBe(false);
}, 60_000);

test('--early says what was decided, and when', async () => {
  const output = join(directory, 'early');
  const { code, stdout } = await run(ablateArgs(data, output, 3, '--early'));
  expect(code).toBe(0);
  const [model] = resultIn(output).models;
  expect(model?.early?.looks).toEqual([12, 24, 36, 48, 60]);
  const [list, ...draws] = model?.arms ?? [];
  expect(list).toMatchObject({ status: 'decided' });
  expect(list?.items).toBeLessThan(60);
  expect(draws.map(({ status, items }) => ({ status, items }))).toEqual(draws.map(() => ({ status: 'decided', items: list?.items })));
  expect(stdout).toContain(`decided early after ${list?.items} items`);
}, 60_000);

test('a model that is not there is an error before the first one is run', async () => {
  const output = join(directory, 'missing');
  const { code, stderr } = await run(ablateArgs(data, output, 3, '-m', join(directory, 'none.gguf')));
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("none.gguf'") });
  expect(existsSync(output)).toBe(false);
}, 60_000);

test('wrong command lines are usage errors that name the flag', async () => {
  const base = ablateArgs(data, join(directory, 'none'), 3);
  for (const [more, message] of [
    [['--shard', '3/2'], '--shard: expected i/n with 1 ≤ i ≤ n, such as 3/8, got "3/2"'],
    [['--shard', '1/2', '--early'], '--early: expected no --shard beside it'],
    [['--tries', '2'], '--tries: expected --queue beside it'],
    [['-m', plantedModel], '--model: expected different files'],
  ] as const) {
    expect(await run([...base, ...more])).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
  }
  expect(await run(['merge', '-o', directory])).toMatchObject({ code: 2, stderr: expect.stringContaining('DIRS: expected the folders of the parts') });
}, 60_000);
