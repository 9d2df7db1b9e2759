/** The worker thread of a scorer: does what may hang, throw or eat memory. One job at a time; see jobs.ts. */
import { writeFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type * as identity from './identity.js';
import { loadUserFunction } from './module.js';
import type { Job, Reply, Setup } from './jobs.js';
import type { ScoreItem } from './types.js';

type Maths = typeof identity;

const setup = workerData as Setup;
// stdout is kept for results: what a user's module prints goes to stderr. (The option `stdout` of Worker would keep the process alive.)
// A worker's own streams pass through the main thread, which may end the process before it looks at them.
const later = process.stderr.write.bind(process.stderr) as (chunk: string | Uint8Array, ...rest: unknown[]) => boolean;
const print = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
  try {
    writeFileSync(2, chunk);
  } catch {
    return later(chunk, ...rest); // a full pipe that does not block
  }
  return later('', ...rest); // for the callback
};
process.stdout.write = print;
process.stderr.write = print;

/** Loaded only by those who need it: it takes a tenth of a second. */
const maths = async (): Promise<Maths> => import('./identity.js');

function runRegex(job: Extract<Job, { kind: 'regex' }>): unknown {
  const matches = [...job.text.matchAll(new RegExp(job.pattern, job.flags))];
  const last = matches.at(-1);
  return last === undefined ? null : { text: last[1] ?? last[0] };
}

function runner(userFunction: ((item: ScoreItem) => unknown) | undefined): (job: Job) => unknown {
  return async (job) => {
    switch (job.kind) {
      case 'identical':
        return (await maths()).identical(job.gold, job.answer, job.mode);
      case 'regex':
        return runRegex(job);
      case 'user':
        return userFunction?.(job.item);
    }
  };
}

const send = (reply: Reply): void => parentPort?.postMessage(reply);
const failure = (error: unknown): Reply => ({ ok: false, message: error instanceof Error ? error.message : String(error) });

try {
  const run = runner(setup.module === undefined ? undefined : await loadUserFunction(setup.module));
  if (setup.warm) {
    (await maths()).identical('x', 'y', 'expression');
  }
  parentPort?.on('message', (job: Job) => {
    void (async () => run(job))().then(
      (value) => {
        try {
          send({ ok: true, value });
        } catch (error) {
          send(failure(error)); // what cannot be cloned
        }
      },
      (error: unknown) => send(failure(error)),
    );
  });
  send({ ok: true, value: 'ready' });
} catch (error) {
  send(failure(error));
}
