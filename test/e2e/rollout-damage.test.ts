/** Rollout folders that were damaged, filled up, interrupted, or are used with other settings. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, closeSync, cpSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Line, Outcome } from '../helpers/rollout-program.js';
import { buildIfStale, bundledModel, contents, damagedRows, lineCount, readFolder, rolloutArgs, root, run, start, wholeLines } from '../helpers/rollout-program.js';

let directory: string;
let good: string;
let expected: Omit<Line, 'rows' | 'crc32'>[];
let made = 0;

beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-damage-'));
  good = join(directory, 'good');
  expect(await run(rolloutArgs(good))).toMatchObject({ code: 0 });
  expected = contents(readFolder(good));
  expect(expected).toHaveLength(40);
}, 180_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A copy of the finished folder. */
function copy(): string {
  const folder = join(directory, `copy-${made++}`);
  cpSync(good, folder, { recursive: true });
  return folder;
}
const journal = (folder: string): string => join(folder, 'trajectories.jsonl');
const shard = (folder: string): string => join(folder, 'activations/residPost-00000.safetensors');

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
}

async function resume(folder: string, options: Record<string, string> = {}): Promise<{ made: number; found: number; text: string }> {
  const { code, stdout, stderr } = await run(rolloutArgs(folder, options));
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const [, wasMade, found] = /: (\d+) trajectories made, (\d+) found finished/.exec(stdout) ?? [];
  return { made: Number(wasMade), found: Number(found), text: stderr };
}

function expectWhole(folder: string): void {
  const lines = readFolder(folder);
  expect(contents(lines)).toEqual(expected);
  expect(damagedRows(folder, lines)).toEqual([]);
}

describe('damage', () => {
  test.each<[string, (folder: string) => void, number, RegExp]>([
    ['a torn last line', (folder) => truncateSync(journal(folder), statSync(journal(folder)).size - 100), 1, /39 of 40 .*cut off/],
    ['a last line without line break', (folder) => truncateSync(journal(folder), statSync(journal(folder)).size - 1), 1, /39 of 40 .*cut off/],
    ['half a line appended', (folder) => appendFileSync(journal(folder), '{"problem":"x","samp'), 0, /40 of 40 .*cut off/],
    ['a flipped bit in a line in the middle', (folder) => flip(journal(folder), Math.floor(statSync(journal(folder)).size / 2)), 1, /39 of 40 .*1 damaged/],
    ['a flipped bit in a row', (folder) => flip(shard(folder), 4096 + 2304 * (readFolder(folder)[7]?.rows[0]?.[1] ?? 0) + 5), 1, /39 of 40 .*1 damaged/],
    ['a line twice', (folder) => appendFileSync(journal(folder), wholeLines(folder).subarray(0, wholeLines(folder).indexOf(10) + 1)), 0, /1 damaged/],
    ['an empty object, a number and text as lines', (folder) => appendFileSync(journal(folder), '{}\n7\nhello\n'), 0, /3 damaged/],
    ['a deleted store.json', (folder) => rmSync(join(folder, 'store.json')), 0, /40 of 40/],
    ['garbage in store.json', (folder) => writeFileSync(join(folder, 'store.json'), 'x'), 0, /40 of 40/],
    ['a deleted stream.safetensors', (folder) => rmSync(join(folder, 'stream.safetensors')), 0, /40 of 40/],
    ['left-over temporary files', (folder) => ['rollout.json.tmp', 'store.json.tmp', 'trajectories.jsonl.tmp'].forEach((name) => writeFileSync(join(folder, name), 'x')), 0, /40 of 40/],
  ])('%s', async (_, damage, again, message) => {
    const folder = copy();
    damage(folder);
    const resumed = await resume(folder);
    expect({ made: resumed.made, found: resumed.found }).toEqual({ made: again, found: 40 - again });
    expect(resumed.text).toMatch(message);
    expectWhole(folder);
    expect(existsSync(join(folder, 'stream.safetensors'))).toBe(true);
  });

  test.each<[string, (folder: string) => void]>([
    ['a shard cut in the middle', (folder) => truncateSync(shard(folder), Math.floor(statSync(shard(folder)).size / 2))],
    ['an empty shard', (folder) => truncateSync(shard(folder), 0)],
    ['a deleted shard', (folder) => rmSync(shard(folder))],
    [
      'garbage in the header of a shard',
      (folder) => {
        const file = openSync(shard(folder), 'r+');
        writeSync(file, Buffer.alloc(200, 0xff), 0, 200, 0);
        closeSync(file);
      },
    ],
  ])('%s: what is lost is made again', async (_, damage) => {
    const folder = copy();
    damage(folder);
    const { made: again, found } = await resume(folder);
    expect(again).toBeGreaterThan(0);
    expect(again + found).toBe(40);
    expectWhole(folder);
  });

  test('commands that read the folder name the damaged line and how to mend it', async () => {
    const folder = copy();
    flip(journal(folder), Math.floor(statSync(journal(folder)).size / 2));
    const { code, stderr } = await run(['probe', folder, '--hidden', '4', '--epochs', '1', '-t', '1']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/trajectories\.jsonl:\d+: (the checksum differs|not valid JSON); `rewardlens rollout`/) });
  });
});

describe('a folder of another kind is refused, and stays as it is', () => {
  const refused = async (folder: string, options: Record<string, string>, message: RegExp): Promise<void> => {
    const before = readFileSync(journal(folder));
    const { code, stderr } = await run(rolloutArgs(folder, options));
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(message) });
    expect(readFileSync(journal(folder)).equals(before)).toBe(true);
  };

  test.each<[Record<string, string>, RegExp]>([
    [{ '-m': join(root, 'models/reasoner-rl.gguf') }, /another model/],
    [{ '--seed': '2' }, /another seed \(1; now 2\)/],
    [{ '--temp': '0.5' }, /another sampling .*"temperature":1.*"temperature":0\.5/],
    [{ '-n': '32' }, /another maxTokens \(96; now 32\)/],
    [{ '--stop': '####' }, /another stop/],
    [{ '--layers': '0-2' }, /another store/],
    [{ '--dtype': 'f32' }, /another store/],
    [{ '--positions': 'all' }, /another store/],
    [{ '--few-shot': '1' }, /another (template|prompt)/],
  ])('%j', async (options, message) => refused(copy(), options, message));

  test('an unreadable rollout.json is named', async () => {
    const folder = copy();
    truncateSync(join(folder, 'rollout.json'), 100);
    await refused(folder, {}, /rollout\.json/);
    writeFileSync(join(folder, 'rollout.json'), '{"format":"something"}');
    await refused(folder, {}, /rollout\.json.*expected "format": "rewardlens\.rollout"/);
  });

  test('trajectories without rollout.json, such as those of another program, are not touched', async () => {
    const folder = copy();
    rmSync(join(folder, 'rollout.json'));
    const store = readFileSync(join(folder, 'store.json'));
    await refused(folder, {}, /trajectories\.jsonl.*rollout\.json/);
    writeFileSync(journal(folder), '{"problem":"mine","reward":1,"rows":[[0,0,3]]}\n');
    await refused(folder, {}, /trajectories\.jsonl.*rollout\.json/);
    expect(readFileSync(join(folder, 'store.json')).equals(store)).toBe(true);
  });

  test('a changed problem of the same id', async () => {
    const data = join(directory, 'changed.jsonl');
    writeFileSync(data, readFileSync(join(root, 'data/chained-sums/train.jsonl'), 'utf8').replace('86+64', '86+65'));
    await refused(copy(), { '--dataset': data }, /chained-sums-train-0000' with another prompt/);
  });
});

test('more problems and more samples later: what was there stays', async () => {
  const folder = copy();
  const before = wholeLines(folder);
  expect(await resume(folder, { '--limit': '60' })).toMatchObject({ made: 20, found: 40 });
  expect(await resume(folder, { '--limit': '60', '--samples': '2' })).toMatchObject({ made: 60, found: 60 });
  expect(await resume(folder, { '--limit': '40' })).toMatchObject({ made: 0, found: 40 });
  expect(wholeLines(folder).subarray(0, before.length).equals(before)).toBe(true);
  const lines = readFolder(folder);
  expect(lines).toHaveLength(120);
  expect(damagedRows(folder, lines)).toEqual([]);
  // A run that asks for all of it at once gives the same.
  const once = join(directory, 'once');
  await resume(once, { '--limit': '60', '--samples': '2' });
  expect(contents(readFolder(once))).toEqual(contents(lines));
});

describe('interrupts and limits', () => {
  test.each<[NodeJS.Signals, number]>([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])('%s ends with %i and can be gone on with', async (signal, code) => {
    const folder = join(directory, signal);
    const many = { '--limit': '300' };
    const { child, outcome } = start(rolloutArgs(folder, many));
    while (child.exitCode === null && lineCount(folder) < 10) {
      await sleep(20);
    }
    child.kill(signal);
    expect(await outcome).toMatchObject({ code, signal: null, stderr: expect.stringMatching(/stopping; Ctrl-C again/) });
    const before = wholeLines(folder);
    const { found, made: again } = await resume(folder, many);
    expect(found).toBeGreaterThanOrEqual(10);
    expect(again + found).toBe(300);
    expect(wholeLines(folder).subarray(0, before.length).equals(before)).toBe(true);
    expect(damagedRows(folder, readFolder(folder))).toEqual([]);
  });

  /** After a failure for want of space: finished trajectories are whole, and with more space the rest is made. */
  async function failsAndGoesOn(folder: string, failed: Outcome, message: RegExp, moreSpace: () => void): Promise<void> {
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringMatching(message) });
    expect(failed.stderr).not.toMatch(/bug in rewardlens/);
    const before = wholeLines(folder);
    const count = lineCount(folder);
    expect(count).toBeLessThan(40);
    moreSpace();
    expect(await resume(folder)).toMatchObject({ made: 40 - count, found: count });
    expect(wholeLines(folder).subarray(0, before.length).equals(before)).toBe(true);
    expectWhole(folder);
  }

  test('--max-disk stops before more is written, and a higher one goes on', async () => {
    const folder = join(directory, 'max-disk');
    const failed = await run(rolloutArgs(folder, { '--max-disk': '1M' }));
    expect(statSync(shard(folder)).size).toBeLessThanOrEqual(1 << 20);
    await failsAndGoesOn(folder, failed, /activations would take more than .* allowed; what is finished is kept/, () => undefined);
  });

  test('--max-disk counts what earlier runs wrote', async () => {
    const folder = copy();
    const { code, stderr } = await run(rolloutArgs(folder, { '--limit': '60', '--max-disk': '3M' }));
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/activations would take more/) });
    expect(statSync(shard(folder)).size).toBeLessThanOrEqual(3 << 20);
  });

  test('a limit on the size of files', async () => {
    const folder = join(directory, 'file-size');
    // 512-byte blocks; the signal that the kernel sends is ignored, so that the write fails instead.
    const failed = await run(rolloutArgs(folder), { shell: 'trap "" XFSZ; ulimit -f 2000' });
    await failsAndGoesOn(folder, failed, /writing activations in .* failed: EFBIG/, () => undefined);
  });

  const small = mkdtempSync(join(tmpdir(), 'rewardlens-full-'));
  const mount = (options: string): boolean => {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', small], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  };
  const mounted = process.platform === 'linux' && process.getuid?.() === 0 && mount('size=1m');
  afterAll(() => {
    if (mounted) {
      execFileSync('umount', [small]);
    }
    rmSync(small, { recursive: true, force: true });
  });

  // Skipped where no small file system can be mounted (no root, or not Linux).
  (mounted ? test : test.skip)('a full disk (a small tmpfs; skipped where none can be mounted)', async () => {
    const folder = join(small, 'out');
    const failed = await run(rolloutArgs(folder));
    await failsAndGoesOn(folder, failed, /failed: ENOSPC/, () => expect(mount('remount,size=16m')).toBe(true));
  });

  test('a folder that cannot be made, and a file in its place', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    for (const output of [file, join(file, 'sub')]) {
      const { code, stderr } = await run(rolloutArgs(output));
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/rewardlens rollout: cannot create/) });
    }
    expect(await run(rolloutArgs(join(directory, 'none'), { '-m': `${bundledModel}x` }))).toMatchObject({ code: 1, stderr: expect.stringMatching(/does not exist/) });
  });
});

test('memory does not grow with the number of problems', async () => {
  const data = join(directory, 'many.jsonl');
  const letters = 'etaoinshrdlcumwfgypbvkxqjz';
  const lines = Array.from({ length: 4000 }, (_, i) => JSON.stringify({ id: `p${i}`, prompt: [i, i / 26, i / 676].map((k) => letters[Math.floor(k) % 26]).join(''), answer: 'y', check: 'exact' }));
  writeFileSync(data, `${lines.join('\n')}\n`);
  const report = 'data:text/javascript,process.on("exit",()=>console.error("maxRSS",process.resourceUsage().maxRSS))';
  const peak = async (problems: number): Promise<number> => {
    const args = rolloutArgs(join(directory, `many-${problems}`), { '-m': join(root, 'models/planted.gguf'), '--dataset': data, '--limit': String(problems), '-n': '8', '--dtype': 'f32', '--site': 'residPost', '--positions': 'all' });
    const { code, stderr } = await run(args, { nodeFlags: ['--import', report] });
    expect({ code, stderr }).toMatchObject({ code: 0 });
    return Number(/maxRSS (\d+)/.exec(stderr)?.[1]) / 1024;
  };
  const few = await peak(400);
  const many = await peak(4000);
  // MiB for ten times the problems: their texts and ids, and the heap's own slack; the rows alone take more than twice that.
  expect(statSync(shard(join(directory, 'many-4000'))).size / 2 ** 20).toBeGreaterThan(30);
  expect(many - few).toBeLessThan(20);
});
