/** `rewardlens patch` in a child process: killed, interrupted, gone on with; its files and its words. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SMALL, buildIfStale, bundledModel, run, start } from '../helpers/rollout-program.js';

let directory: string;
let pairs: string;

beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-patch-'));
  pairs = join(directory, 'pairs.jsonl');
  const pair = (id: number, clean: string, corrupted: string, answer: string, wrong: string): string =>
    JSON.stringify({ id, clean: `${clean}-28+54=?\n`, corrupted: `${corrupted}-28+54=?\n`, answer, wrong });
  writeFileSync(pairs, [pair(0, '65', '83', '3', '5'), pair(1, '91', '42', '6', '1'), pair(2, '77', '50', '4', '2'), '{"id": 3}', pair(4, '88', '39', '6', '1')].join('\n'));
}, 120_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const args = (output: string, ...more: string[]): string[] => ['patch', ...SMALL, '-m', bundledModel, '--pairs', pairs, '-o', join(directory, output), ...more];
const FULL = ['--skip-bad', '--modes', 'denoising,noising', '--site', 'residPost,attnOut,mlpOut', '-np', '4'];

interface Summary {
  path: string;
  pairs: number;
  skipped: { line: number }[];
  findings: string[];
  strongest: { map: string; cells: { layer: number; column: string }[] }[];
  sweep: { made: number; found: number; copied: number; run: Record<string, number> };
}
const summaryOf = (stdout: string): Summary => JSON.parse(stdout.trim()) as Summary;
const records = (path: string): number => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0);

/** Starts the work and sends `signal` once the ledger has `count` records. */
async function stop(signal: NodeJS.Signals, count: number, ledger: string): Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }> {
  const { child, outcome } = start(args('out', ...FULL));
  while (child.exitCode === null && records(ledger) < count) {
    await sleep(5);
  }
  child.kill(signal);
  return outcome;
}

test('a killed and then interrupted run loses nothing that is in its ledger, and ends like one in a single piece', async () => {
  const ledger = join(directory, 'out', 'patch-ledger.jsonl');
  expect(await stop('SIGKILL', 100, ledger)).toMatchObject({ signal: 'SIGKILL' });
  const killed = records(ledger);
  expect(await stop('SIGINT', killed + 100, ledger)).toMatchObject({ code: 130, stderr: expect.stringContaining('stopping') });
  const interrupted = records(ledger);
  expect(interrupted).toBeGreaterThanOrEqual(killed + 100);

  const rest = await run(args('out', ...FULL, '--json'));
  expect(rest).toMatchObject({ code: 0 });
  const summary = summaryOf(rest.stdout);
  expect(summary).toMatchObject({ pairs: 4, skipped: [{ line: 4 }] });
  expect(summary.sweep.found).toBe(interrupted - 4); // four records are of the unedited runs
  expect(summary.strongest).toHaveLength(6);

  const whole = await run(args('whole', ...FULL, '--json'));
  const all = summaryOf(whole.stdout);
  expect(all.sweep).toMatchObject({ found: 0, made: summary.sweep.made + summary.sweep.found });
  expect(all.findings).toEqual(summary.findings);
  const result = (name: string): unknown => (JSON.parse(readFileSync(join(directory, name, 'patch.json'), 'utf8')) as { maps: unknown }).maps;
  expect(result('out')).toEqual(result('whole'));
  expect(existsSync(join(directory, 'whole', 'patch.parquet'))).toBe(true);
  expect(readFileSync(join(directory, 'whole', 'report.html'), 'utf8')).toContain('Activation patching');
}, 120_000);

test('bad lines are an error; one pair on the command line says that it has no interval', async () => {
  const bad = await run(args('bad'));
  expect(bad).toMatchObject({ code: 1, stderr: expect.stringContaining('line 4: clean: expected a text, got nothing') });
  const one = await run(['patch', ...SMALL, '-m', bundledModel, '--clean', '65-28=?\\n', '--corrupted', '83-28=?\\n', '--answer', '37', '--wrong', '5', '--positions', '0,-1', '-o', join(directory, 'one')]);
  expect(one).toMatchObject({ code: 0, stderr: expect.stringContaining('answer "37" is 2 tokens, |3|7|; the first one counts') });
  expect(one.stdout).toContain('One pair only: no interval and no test.');
}, 60_000);
