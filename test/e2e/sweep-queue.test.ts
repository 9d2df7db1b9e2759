/** Sweeps whose pairs workers run, with a real Redis server: who dies, and when, must not show in the ledger. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import type { Outcome, Started } from '../helpers/rollout-program.js';
import { buildIfStale, root, run, start, summaryOf } from '../helpers/rollout-program.js';
import { RedisServer, freePort } from '../helpers/redis-server.js';
import type { LedgerLine } from '../helpers/sweep-program.js';
import { ENGINE, ablateArgs, ledgerLines, plantedModel, readLedger, writeItems } from '../helpers/sweep-program.js';

const ITEMS = 250;
const DRAWS = 18;
const PAIRS = ITEMS * (DRAWS + 2);

let directory: string;
let data: string;
let expected: LedgerLine[];
let redis: RedisServer;
const running: Started[] = [];

beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-queue-'));
  data = join(directory, 'items.jsonl');
  writeItems(data, ITEMS);
  expect(await run(ablateArgs(data, join(directory, 'alone'), DRAWS))).toMatchObject({ code: 0 });
  expected = readLedger(join(directory, 'alone'));
  expect(expected).toHaveLength(PAIRS);
}, 180_000);
afterEach(async () => {
  running.splice(0).forEach(({ child }) => child.kill('SIGKILL'));
  await redis?.down();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function serve(name: string, options = { persistent: true }): Promise<string> {
  mkdirSync(join(directory, name, 'redis'), { recursive: true });
  redis = await RedisServer.start(join(directory, name, 'redis'), options);
  return join(directory, name, 'sweep');
}

function begin(args: readonly string[]): Started {
  const started = start(args);
  running.push(started);
  return started;
}

const worker = (...more: string[]): Started => begin(['worker', ...ENGINE, '-m', plantedModel, '--queue', redis.url, ...more]);
const coordinator = (output: string, ...more: string[]): Started => begin(ablateArgs(data, output, DRAWS, '--queue', redis.url, '--json', ...more));

async function until(condition: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 60_000; !condition(); await sleep(5)) {
    if (Date.now() > end) {
      throw new Error(`waited for ${what} in vain`);
    }
  }
}

/** Kills and waits, so that the process is gone. */
async function kill({ child, outcome }: Started): Promise<void> {
  child.kill('SIGKILL');
  await outcome;
}

function made({ stdout }: Outcome): number | undefined {
  return (summaryOf(stdout) as { models: { sweep: { made: number } }[] }).models[0]?.sweep.made;
}

describe('faults', () => {
  test('workers and the coordinator are killed: every pair once, nothing stays in Redis', async () => {
    const output = await serve('killed');
    const tries = ['--tries', '20']; // innocent items die with their workers here
    let first = coordinator(output, ...tries);
    let one = worker();
    const two = worker();
    await until(() => ledgerLines(output) > 300, 'the first outcomes');
    await kill(one);
    one = worker();
    await until(() => ledgerLines(output) > 1200, 'more outcomes');
    await kill(first);
    const kept = ledgerLines(output);
    first = coordinator(output, ...tries);
    await until(() => ledgerLines(output) > kept + 500, 'outcomes after the restart');
    await kill(two);
    const outcome = await first.outcome;
    expect(outcome).toMatchObject({ code: 0 });
    expect(readLedger(output)).toEqual(expected);
    expect(made(outcome)).toBeLessThanOrEqual(PAIRS - kept);
    one.child.kill('SIGINT');
    expect((await one.outcome).code).toBe(130);
    expect(redis.cli('keys', '*').split('\n').filter((key) => key !== '' && !key.endsWith(':stalled-check'))).toEqual([]); // that one expires
  }, 120_000);

  test.each([true, false])('Redis is killed and comes back (append-only file: %s)', async (persistent) => {
    const output = await serve(`restart-${persistent}`, { persistent });
    const first = coordinator(output, '--tries', '20');
    worker();
    await until(() => ledgerLines(output) > 500, 'the first outcomes');
    await redis.down();
    await sleep(300);
    await redis.up();
    expect(await first.outcome).toMatchObject({ code: 0 });
    expect(readLedger(output)).toEqual(expected);
  }, 120_000);

  test('Ctrl-C: a worker finishes what it has and leaves with 130, the coordinator too, and both go on', async () => {
    const output = await serve('interrupted');
    const first = coordinator(output);
    const own = worker();
    await until(() => ledgerLines(output) > 300, 'the first outcomes');
    own.child.kill('SIGINT');
    expect((await own.outcome).code).toBe(130);
    first.child.kill('SIGINT');
    expect((await first.outcome).code).toBe(130);
    const again = coordinator(output);
    worker();
    expect(await again.outcome).toMatchObject({ code: 0 });
    expect(readLedger(output)).toEqual(expected);
  }, 120_000);
});

test('an item that always fails is parked after its tries and named; the rest is finished', async () => {
  const output = await serve('poison');
  const poison = 'item-7';
  const client = new Redis(redis.url, { maxRetriesPerRequest: null });
  const first = coordinator(output, '--tries', '2', '--limit', '20');
  let tries = 0;
  let fake: Worker | undefined;
  try {
    let notices: string[] = [];
    await until(() => (notices = redis.cli('hkeys', 'rewardlens:sweeps').split('\n').filter((id) => id !== '')).length > 0, 'the announcement');
    fake = new Worker<{ item: string; pairs: [number, string][] }>(
      notices[0] as string,
      async ({ data: { item, pairs } }) => {
        if (item === poison) {
          tries++;
          throw new Error('this one never works');
        }
        return pairs.map(() => ({ text: 'y', tokens: 1, finishReason: 'length', edited: 0, expected: 0 }));
      },
      { connection: client, prefix: 'rewardlens' },
    );
    const { code, stderr } = await first.outcome;
    expect({ code, tries }).toEqual({ code: 1, tries: 2 });
    expect(stderr).toContain(`20 pairs of 1 item failed 2 times and were left out: '${poison}' (this one never works)`);
  } finally {
    await fake?.close(true);
    client.disconnect();
  }
  expect(ledgerLines(output)).toBe(19 * (DRAWS + 2));
  const again = coordinator(output, '--limit', '20');
  worker();
  const outcome = await again.outcome;
  expect({ code: outcome.code, made: made(outcome) }).toEqual({ code: 0, made: DRAWS + 2 });
}, 60_000);

test('a worker with another model says so and takes nothing', async () => {
  const output = await serve('other');
  const first = coordinator(output, '--limit', '5');
  const other = begin(['worker', ...ENGINE, '-m', join(root, 'models/planted-null.gguf'), '--queue', redis.url, '--idle-exit', '30']);
  let seen = '';
  other.child.stderr?.on('data', (text: string) => (seen += text));
  await until(() => seen.includes('cannot serve'), 'the refusal');
  expect(seen).toMatch(/cannot serve sweep \w+ of planted.gguf: model \w+, here \w+/);
  expect(ledgerLines(output)).toBe(0);
  const right = worker('--idle-exit', '1');
  expect(await first.outcome).toMatchObject({ code: 0 });
  expect(await right.outcome).toMatchObject({ code: 0, stdout: `${5 * (DRAWS + 2)} pairs of 1 sweep done\n` }); // none twice
  expect(readLedger(output)).toEqual(expected.filter(({ item }) => Number(item.slice(5)) < 5));
}, 60_000);

describe('without a usable server', () => {
  /** Something on a port that answers like a Redis of this release. */
  async function pretend(release: string): Promise<Server> {
    const server = createServer((socket) => {
      socket.on('data', (bytes) => {
        const commands = bytes.toString().match(/\*\d+\r\n/g)?.length ?? 0;
        const info = `redis_version:${release}\r\nloading:0\r\n`;
        socket.write(Array.from({ length: commands }, () => `$${info.length}\r\n${info}\r\n`).join(''));
      });
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  test('nobody there, too old, no URL: one clear line each', async () => {
    const output = join(directory, 'none');
    const port = await freePort();
    const gone = await run(ablateArgs(data, output, 2, '--queue', `redis://user:secret@127.0.0.1:${port}`));
    expect(gone).toMatchObject({ code: 1, stderr: expect.stringContaining(`cannot use Redis at redis://127.0.0.1:${port}: connect ECONNREFUSED`) });
    expect(gone.stderr).not.toContain('secret');
    const old = await pretend('5.0.14');
    const { port: oldPort } = old.address() as AddressInfo;
    const refused = await run(['worker', ...ENGINE, '-m', plantedModel, '--queue', `redis://127.0.0.1:${oldPort}`]);
    old.close();
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining(`Redis at redis://127.0.0.1:${oldPort} is release 5.0.14, at least 6.2 is needed`) });
    expect(await run(['worker', ...ENGINE, '-m', plantedModel, '--queue', 'localhost:6379'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--queue: expected redis://host:port or rediss://host:port, got "localhost:6379"') });
    expect(await run(ablateArgs(data, output, 2, '--queue', redis.url, '--shard', '1/2'))).toMatchObject({ code: 2, stderr: expect.stringContaining('--shard: expected no --queue beside it') });
  }, 60_000);

  test('no queue, no Redis client is loaded', async () => {
    const script = "import Module from 'node:module'; process.on('exit', () => process.stderr.write(' files: ' + Object.keys(Module._cache).filter((path) => /node_modules.(bullmq|ioredis)./.test(path)).length + ' '));";
    const nodeFlags = ['--import', `data:text/javascript,${encodeURIComponent(script)}`];
    const args = ablateArgs(data, join(directory, 'plain'), 2, '--limit', '2');
    expect((await run(args, { nodeFlags })).stderr).toContain(' files: 0 ');
    const port = await freePort();
    expect((await run([...args, '--seed', '9', '--queue', `redis://127.0.0.1:${port}`], { nodeFlags })).stderr).toMatch(/ files: [1-9]/);
  }, 60_000);
});
