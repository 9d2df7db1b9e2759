/** `rewardlens values` and `dopamine` as a person runs them: killed, gone on with, refused. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SMALL, buildIfStale, bundledModel, rolloutArgs, run, start, summaryOf } from '../helpers/rollout-program.js';

let directory: string;
let folder: string;
const args = (...more: string[]): string[] => ['values', folder, '-m', bundledModel, ...SMALL, '--steps', 'line', '-k', '3', '--max-continuations', '3', ...more];
const lines = (name: string): string[] => readFileSync(join(folder, name), 'utf8').trimEnd().split('\n');
beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-values-'));
  folder = join(directory, 'rollout');
  expect(await run(rolloutArgs(folder, { '--limit': '10' }))).toMatchObject({ code: 0 });
}, 180_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('killed in the middle and gone on with: nothing is sampled twice, and the values are those of an undisturbed run', async () => {
  const killed = start(args());
  while (killed.child.exitCode === null && !(await hasContinuations())) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  killed.child.kill('SIGKILL');
  await killed.outcome;
  const resumed = await run(args('--json'));
  expect(resumed).toMatchObject({ code: 0 });
  const { counts, settings, path } = summaryOf(resumed.stdout) as { counts: { continuations: { made: number; found: number }; distinctStates: number }; settings: object; path: string };
  expect(path).toBe(join(folder, 'values.json'));
  expect(settings).toMatchObject({ steps: 'line', counts: { min: 3, max: 3 } });
  expect(counts.continuations.found).toBeGreaterThan(0);
  expect(counts.continuations.made + counts.continuations.found).toBe(3 * counts.distinctStates);
  const keys = lines('continuations.jsonl').map((line) => JSON.parse(line) as { key: string; k: number }).map(({ key, k }) => `${key}/${k}`);
  expect(new Set(keys).size).toBe(keys.length);
  const values = lines('values.jsonl');
  // What counts is what was asked for, however much the journal has.
  const fewer = summaryOf((await run(args('-k', '1', '--max-continuations', '1', '--json'))).stdout) as { counts: { continuations: object; distinctStates: number } };
  expect(fewer.counts.continuations).toMatchObject({ made: 0, found: fewer.counts.distinctStates });
  rmSync(join(folder, 'continuations.jsonl'));
  expect(await run(args())).toMatchObject({ code: 0, stdout: expect.stringContaining('from a cache') });
  expect(lines('values.jsonl')).toEqual(values);
});

async function hasContinuations(): Promise<boolean> {
  try {
    return lines('continuations.jsonl').length > 5;
  } catch {
    return false;
  }
}

test('what is wrong is named: flags, another model, too few steps to learn from; a layer without probe before anything is sampled', async () => {
  const made = lines('continuations.jsonl').length;
  expect(await run(args('--seed', '2', '--probe-layer', '2'))).toMatchObject({ code: 1, stderr: expect.stringContaining("layer 2: '") });
  expect(lines('continuations.jsonl')).toHaveLength(made);
  const [flag, model, few] = await Promise.all([
    run(args('--steps', 'paragraph')),
    run(['values', folder, '-m', join(bundledModel, '../planted.gguf'), ...SMALL]),
    run(['dopamine', folder, '-t', '1']),
  ]);
  expect(flag).toMatchObject({ code: 2, stderr: expect.stringContaining('blank-line') });
  expect(model).toMatchObject({ code: 1, stderr: expect.stringContaining('another model') });
  expect(few).toMatchObject({ code: 1, stderr: expect.stringContaining('|δ|') });
  const path = join(folder, 'values.jsonl');
  writeFileSync(path, `${lines('values.jsonl').slice(0, -1).join('\n')}\n`);
  expect(await run(['dopamine', folder, '-t', '1'])).toMatchObject({ code: 1, stderr: expect.stringContaining('expected its 10 trajectories, got 9; run `rewardlens values') });
});
