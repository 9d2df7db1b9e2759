/** Folders for results, where they can be made and where they cannot. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeFolder } from '../../src/util/makeFolder.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-folder-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('makeFolder', () => {
  test('makes what is missing, also side by side, and leaves what is there', async () => {
    const deep = join(directory, 'a/b/c');
    await Promise.all([makeFolder(deep), makeFolder(deep), makeFolder(join(directory, 'a/b/d'))]);
    await makeFolder(deep);
    expect([existsSync(deep), existsSync(join(directory, 'a/b/d'))]).toEqual([true, true]);
  });

  test('a file in the way, and a file system that takes no folders, are errors and no endless loop', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'below'), '/proc/rewardlens/results']) {
      await expect(makeFolder(path)).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining(`cannot create '${path}'`) });
    }
  });
});
