/** One writer per folder: a lock file that names its process, and is taken over when that process is gone. */
import { open, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { RewardLensError } from '../native/errors.js';

const LOCK = 'rewardlens.lock';

interface Owner {
  pid: number;
  host: string;
}

function isAlive({ pid, host }: Owner): boolean {
  if (host !== hostname()) {
    return true; // a shared folder: nobody here can tell
  }
  try {
    process.kill(pid, 0);
    return pid !== process.pid; // our own number in a file we did not write: a process before us had it
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const held = new Set<string>();

/**
 * Takes the folder for this process and returns what gives it back. Errors: BUSY when another process, or another run of
 * this one, has it; IO.
 */
export async function lockFolder(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, LOCK);
  for (let attempt = 0; ; attempt++) {
    try {
      const file = await open(path, 'wx');
      await file.writeFile(JSON.stringify({ pid: process.pid, host: hostname() } satisfies Owner));
      await file.close();
      held.add(path);
      return async () => {
        held.delete(path);
        await rm(path, { force: true });
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new RewardLensError('IO', `cannot write '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
      }
    }
    const owner = await readFile(path, 'utf8').then((text) => JSON.parse(text) as Owner).catch(() => undefined);
    if (owner === undefined && attempt < 2) {
      await setTimeout(100); // it may have been made this moment, its content not yet written
      continue;
    }
    if (held.has(path) || attempt > 4 || (owner !== undefined && isAlive(owner))) {
      throw new RewardLensError('BUSY', `'${directory}' is being written by process ${owner?.pid ?? '?'} on ${owner?.host ?? '?'}; if that is not so, remove '${path}'`, {
        details: { directory, ...owner },
      });
    }
    await rm(path, { force: true });
  }
}
