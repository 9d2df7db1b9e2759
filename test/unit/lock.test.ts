/** One writer per folder. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { lockFolder } from '../../src/rollout/lock.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-lock-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const write = (content: string): Promise<void> => writeFile(join(directory, 'rewardlens.lock'), content);

test('a second writer is refused until the first is done', async () => {
  const unlock = await lockFolder(directory);
  await expect(lockFolder(directory)).rejects.toMatchObject({ code: 'BUSY' });
  await unlock();
  await (await lockFolder(directory))();
  expect(await readdir(directory)).toEqual([]);
});

test('the lock of a living process or of another machine holds, that of a dead one does not', async () => {
  await write(JSON.stringify({ pid: process.ppid, host: hostname() }));
  await expect(lockFolder(directory)).rejects.toThrow(new RegExp(`process ${process.ppid} on`));
  await write(JSON.stringify({ pid: 1, host: 'elsewhere' }));
  await expect(lockFolder(directory)).rejects.toMatchObject({ code: 'BUSY' });
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  await write(JSON.stringify({ pid: gone, host: hostname() }));
  await (await lockFolder(directory))();
});

test('a lock whose writer died before it wrote its name is taken over', async () => {
  await write('');
  await (await lockFolder(directory))();
});

test('a folder that cannot be written to is an IO error', async () => {
  await expect(lockFolder(join(directory, 'missing'))).rejects.toMatchObject({ code: 'IO' });
});
