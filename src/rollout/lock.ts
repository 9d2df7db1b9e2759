/** One writer per folder: a lock file that names its process, and is taken over when that process is gone. */
import { randomUUID } from 'node:crypto';
import { link, open, readFile, rename, rm, stat } from 'node:fs/promises';
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

/** A lock file as it was met: content and time of the last write. Undefined when there is none. */
export async function readLock(path: string): Promise<{ text: string; written: bigint } | undefined> {
  try {
    const { mtimeNs } = await stat(path, { bigint: true });
    return { text: await readFile(path, 'utf8'), written: mtimeNs };
  } catch {
    return undefined;
  }
}

/**
 * Removes the stale lock that was `seen`. Another process may have done so and made its own since: the file is first moved
 * aside, where nobody else can touch it, and put back if it is not the one that was seen. False then.
 */
export async function takeOver(path: string, seen: Awaited<ReturnType<typeof readLock>>): Promise<boolean> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return true; // removed meanwhile: whoever makes it first has it
    }
    throw new RewardLensError('IO', `cannot remove '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
  }
  const moved = await readLock(aside);
  const same = moved !== undefined && moved.text === seen?.text && moved.written === seen.written;
  if (!same) {
    // Unlike a rename, a link never replaces the lock of a third; some file systems have none.
    await link(aside, path).catch((error: unknown) => ((error as NodeJS.ErrnoException).code === 'EEXIST' ? undefined : rename(aside, path)));
  }
  await rm(aside, { force: true });
  return same;
}

function ownerOf(text: string | undefined): Owner | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Owner);
  } catch {
    return undefined;
  }
}

/** As {@link lockFolder}, given back when it is disposed of. */
export async function holdFolder(directory: string): Promise<AsyncDisposable> {
  const unlock = await lockFolder(directory);
  return { [Symbol.asyncDispose]: unlock };
}

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
    const seen = await readLock(path);
    const owner = ownerOf(seen?.text);
    if (owner === undefined && attempt < 2) {
      await setTimeout(100); // it may have been made this moment, its content not yet written
      continue;
    }
    if (held.has(path) || attempt > 4 || (owner !== undefined && isAlive(owner))) {
      throw new RewardLensError('BUSY', `'${directory}' is being written by process ${owner?.pid ?? '?'} on ${owner?.host ?? '?'}; if that is not so, remove '${path}'`, {
        details: { directory, ...owner },
      });
    }
    await takeOver(path, seen); // where another was quicker, the next attempt meets its lock
  }
}
