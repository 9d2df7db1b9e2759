/** Rollouts killed at random moments, as by the kernel, and gone on with: nothing is lost, repeated or changed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mulberry32 } from '../../src/util/random.js';
import { buildIfStale, contents, damagedRows, lineCount, readFolder, rolloutArgs, run, start, wholeLines } from '../helpers/rollout-program.js';

const KILLS = 50;
const PROBLEMS = 40;
const SAMPLES = 2;
const args = (directory: string): string[] => rolloutArgs(directory, { '--limit': String(PROBLEMS), '--samples': String(SAMPLES) });

let directory: string;
beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-kill-'));
}, 180_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs until the end or until it is killed after `delay` ms; true when the kill hit it. */
async function killedAfter(folder: string, delay: number): Promise<boolean> {
  const { child, outcome } = start(args(folder));
  const timer = setTimeout(() => child.kill('SIGKILL'), delay);
  const { code, signal, stderr } = await outcome;
  clearTimeout(timer);
  if (signal === 'SIGKILL') {
    return true;
  }
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return false;
}

test(`${KILLS} times SIGKILL: every trajectory once, none made again, all as in an undisturbed run`, async () => {
  const undisturbed = join(directory, 'undisturbed');
  const begun = performance.now();
  expect(await run(args(undisturbed))).toMatchObject({ code: 0 });
  const whole = performance.now() - begun;
  const expected = contents(readFolder(undisturbed));
  expect(expected).toHaveLength(PROBLEMS * SAMPLES);
  expect(new Set(expected.map(({ seed }) => seed)).size).toBe(PROBLEMS * SAMPLES);

  const random = mulberry32(20);
  const during = { start: 0, sampling: 0 };
  let folders = 0;
  for (let kills = 0; kills < KILLS; folders++) {
    const folder = join(directory, `killed-${folders}`);
    for (let running = true; running; ) {
      const before = wholeLines(folder);
      // One in five during start-up; the end is hit when little is left to do.
      const share = kills % 5 === 0 ? 0.4 * random() : 0.4 + 0.55 * random();
      running = await killedAfter(folder, kills < KILLS ? whole * share : 60_000);
      const after = wholeLines(folder);
      expect(after.subarray(0, before.length).equals(before)).toBe(true); // what is recorded stays, byte for byte
      if (running) {
        kills++;
        during[lineCount(folder) > 0 && after.length > before.length ? 'sampling' : 'start']++;
      }
    }
    const lines = readFolder(folder);
    expect(contents(lines)).toEqual(expected);
    expect(damagedRows(folder, lines)).toEqual([]);
  }
  // Kills have to fall both where nothing had been recorded yet and between records.
  expect(during.start).toBeGreaterThan(5);
  expect(during.sampling).toBeGreaterThan(10);
}, 300_000);
