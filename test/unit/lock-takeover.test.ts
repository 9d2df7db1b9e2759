/** Two processes that both see the same stale lock: only one of them gets the folder. */
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { readLock, takeOver } from '../../src/rollout/lock.js';

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-lock-'));
  path = join(directory, 'rewardlens.lock');
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const STALE = JSON.stringify({ pid: 99_999_999, host: hostname() });
const OTHER = JSON.stringify({ pid: process.ppid, host: hostname() });

test('the stale lock that was seen is removed', async () => {
  await writeFile(path, STALE);
  expect(await takeOver(path, await readLock(path))).toBe(true);
  expect(await readdir(directory)).toEqual([]);
});

test.each([
  ['with its name', STALE, OTHER],
  ['whose name is not yet written', '', ''],
])('the lock of another process that was quicker, %s, is put back', async (_, stale, other) => {
  await writeFile(path, stale);
  const seen = await readLock(path);
  await rm(path);
  await new Promise((done) => setTimeout(done, 5));
  await writeFile(path, other);
  expect(await takeOver(path, seen)).toBe(false);
  expect(await readFile(path, 'utf8')).toBe(other);
  expect(await readdir(directory)).toEqual(['rewardlens.lock']);
});

test('a lock that is gone meanwhile is no obstacle', async () => {
  await writeFile(path, STALE);
  const seen = await readLock(path);
  await rm(path);
  expect(await takeOver(path, seen)).toBe(true);
});
