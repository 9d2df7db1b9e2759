/** Garbage collection, worker threads and the end of the process: no crash, no hang, no leak. */
import { describe, expect, test } from '@jest/globals';
import { runChild } from '../helpers/native.js';

/** Runs a case and checks how its process ended; what it printed, as data. */
function outcome(name: string, expected: { status: number; stderr?: RegExp }, nodeFlags: string[] = []): Record<string, unknown> {
  const { status, signal, stdout, stderr } = runChild('process-child.ts', name, { nodeFlags });
  expect({ status, signal, ...(status === expected.status ? {} : { stderr }) }).toEqual({ status: expected.status, signal: null });
  if (expected.stderr !== undefined) {
    expect(stderr).toMatch(expected.stderr);
  } else {
    expect(stderr).toBe('');
  }
  return stdout === '' ? {} : (JSON.parse(stdout.trim()) as Record<string, unknown>);
}



describe('30 rounds of model, session and runs with capture', () => {
  /** Two rounds hold about this much; thirty would hold 15 times as much. */
  const BOUND_MIB = 24;

  test.each(['collected without dispose', 'collected after dispose'])('%s do not pile up', (name) => {
    const { grownMiB, uncollected } = outcome(name, { status: 0 }, ['--expose-gc']);
    expect(uncollected).toBeLessThanOrEqual(2);
    expect(grownMiB).toBeLessThan(BOUND_MIB);
  });
});

describe('worker threads', () => {
  test('a run in a worker gives what one in the main thread gives', () => {
    const { worker, main } = outcome('a run in a worker', { status: 0 });
    expect(worker).toHaveLength(8);
    expect(main).toEqual(worker);
  });

  test('two at once on the same file', () => {
    const [first, second] = outcome('two workers on one file', { status: 0 }).workers as unknown[];
    expect(first).toHaveLength(8);
    expect(second).toEqual(first);
  });

  test.each(['a worker terminated in mid-decode', 'a worker that exits in mid-decode'])('%s leaves the process able to run', (name) => {
    expect(outcome(name, { status: 0 }).main).toHaveLength(8);
  });
});

describe('the end of the process', () => {
  test.each(['exit in mid-decode', 'exit while a worker decodes', 'exit while a model loads'])('%s', (name) => {
    outcome(name, { status: 0 });
  });

  test('the end with finished runs and no dispose', () => {
    expect(outcome('the end with finished runs and no dispose', { status: 0 }).main).toHaveLength(8);
  });

  test.each(['an uncaught exception in mid-decode', 'an unhandled rejection in mid-decode'])('%s ends the process with its message', (name) => {
    outcome(name, { status: 1, stderr: /RangeError: nobody catches this/ });
  });
});
