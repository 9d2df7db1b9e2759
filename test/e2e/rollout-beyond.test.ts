/** What `rollout` says of a folder that holds more than is asked for, or was judged in another way. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { buildIfStale, rolloutArgs, run, summaryOf } from '../helpers/rollout-program.js';

let directory: string;
let folder: string;
const few = (limit: number, ...more: readonly string[]): string[] => rolloutArgs(folder, { '--limit': String(limit), '-n': '8', '--template': 'raw' }, ...more);
beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-beyond-'));
  folder = join(directory, 'out');
  const { code, stderr } = await run(few(4));
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('than this command asks for') });
}, 180_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('a smaller --limit is told what the folder holds beyond it', async () => {
  expect(await run(few(3))).toMatchObject({ code: 0, stderr: expect.stringMatching(/other problems or samples than this command asks for: 1;/) });
  expect(summaryOf((await run(few(3, '--json'))).stdout)).toMatchObject({ found: 3, made: 0, beyond: 1, total: 3 });
});

test('an edited reward module is noticed, and the command that the message names mends it', async () => {
  const check = join(directory, 'check.mjs');
  writeFileSync(check, 'export default () => true;\n');
  expect(await run(['rescore', folder, '--check', check])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^4 correct/) });
  expect(await run(few(4, '--check', check))).toMatchObject({ code: 0, stdout: expect.stringContaining('4 found') });
  writeFileSync(check, 'export default () => false;\n');
  expect(await run(few(4, '--check', check))).toMatchObject({ code: 1, stderr: expect.stringContaining(`judge again with \`rewardlens rescore ${folder}\``) });
  expect(await run(['rescore', folder])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0 correct, 4 wrong/) });
  expect(await run(few(4, '--check', check))).toMatchObject({ code: 0, stdout: expect.stringContaining('4 found') });
});
