/** Making folders. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { RewardLensError } from '../native/errors.js';

/**
 * Makes the folder and those above it that are missing; one that is there stays as it is. Errors: IO. Not Node's recursive
 * mkdir, which never ends where a file system answers ENOENT to a new entry (/proc does).
 */
export async function makeFolder(directory: string): Promise<void> {
  try {
    await makeWithParents(resolve(directory));
  } catch (error) {
    throw new RewardLensError('IO', `cannot create '${directory}': ${(error as Error).message}`, { cause: error, details: { directory } });
  }
}

async function makeWithParents(path: string): Promise<void> {
  if (await isFolder(path)) {
    return;
  }
  if (dirname(path) !== path) {
    await makeWithParents(dirname(path));
  }
  try {
    await mkdir(path);
  } catch (error) {
    if (!(await isFolder(path))) {
      throw error; // nobody else has made it in the meantime
    }
  }
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
