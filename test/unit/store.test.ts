/** Rollout folders: journal lines, shards, reading them back, and what survives damage. */
import { appendFile, mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { StoreInfo } from '../../src/store/format.js';
import { shardPath } from '../../src/store/format.js';
import { Journal, openLine, readLines, rewriteLines, sealLine } from '../../src/store/journal.js';
import { ActivationStore, rowsChecksum } from '../../src/store/reader.js';
import { SHARD_HEADER_BYTES, ShardWriter } from '../../src/store/shards.js';
import { SafetensorsReader } from '../../src/util/safetensors.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-store-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const INFO: StoreInfo = {
  format: 'rewardlens.store',
  version: 1,
  dtype: 'f32',
  sites: [
    { site: 'residPost', layers: [0, 2], width: 3 },
    { site: 'mlpPost', layers: [1], width: 2 },
  ],
  positions: 'response',
};

/** Rows whose every value says where it stands. */
function rows(site: number, first: number, count: number): Float32Array {
  const width = site === 0 ? 6 : 2;
  return Float32Array.from({ length: count * width }, (_, i) => (first + Math.floor(i / width)) * 100 + site * 10 + (i % width));
}
const bytes = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer);
const both = (first: number, count: number): Uint8Array[] => [bytes(rows(0, first, count)), bytes(rows(1, first, count))];

async function collect(path: string): Promise<string[]> {
  const out: string[] = [];
  for await (const line of readLines(path)) {
    out.push(line.text);
  }
  return out;
}

describe('journal', () => {
  test('a sealed line opens to the same object, and any flipped byte is seen', () => {
    const value = { problem: 'p "1"\n', reward: 1, text: 'ünï,"crc32":"x"', list: [1, 2.5, null] };
    const line = sealLine(value);
    const opened = openLine(line);
    expect(opened).toEqual({ value: { ...value, crc32: expect.stringMatching(/^[0-9a-f]{8}$/) } });
    for (let i = 0; i < line.lastIndexOf(',"crc32"'); i++) {
      const broken = line.slice(0, i) + (line[i] === '7' ? '8' : '7') + line.slice(i + 1);
      expect({ i, opened: 'fault' in openLine(broken) }).toEqual({ i, opened: true });
    }
  });

  test('lines without a checksum are taken when they are objects', () => {
    expect(openLine('{"problem":"a"}')).toEqual({ value: { problem: 'a' } });
    expect(openLine('[1]')).toEqual({ fault: 'not a JSON object' });
    expect(openLine('{"problem":')).toEqual({ fault: 'not valid JSON' });
  });

  test('lines come with their byte offsets, across read blocks and in any encoding length', async () => {
    const path = join(directory, 'lines');
    const lines = ['äöü', 'x'.repeat(3 << 20), '', 'last'];
    await writeFile(path, lines.join('\n'));
    const whole = await readFile(path);
    const seen: string[] = [];
    for await (const { offset, bytes: length, text, complete } of readLines(path)) {
      expect(whole.subarray(offset, offset + length).toString('utf8')).toBe(text);
      seen.push(text);
      expect(complete).toBe(text !== 'last');
    }
    expect(seen).toEqual(['äöü', 'x'.repeat(3 << 20), 'last']);
  });

  test('recovery cuts a torn line at every byte, and appending goes on', async () => {
    const path = join(directory, 'journal');
    const lines = [sealLine({ n: 1 }), sealLine({ n: 2, text: 'zwölf' })];
    const all = Buffer.from(lines.map((line) => `${line}\n`).join(''));
    const first = Buffer.byteLength(lines[0] as string) + 1;
    for (let cut = first; cut <= all.length; cut++) {
      await writeFile(path, all.subarray(0, cut));
      const seen: unknown[] = [];
      const recovery = await Journal.recover(path, (record) => {
        seen.push(record.n);
        return true;
      });
      expect({ cut, seen, recovery }).toEqual({ cut, seen: cut === all.length ? [1, 2] : [1], recovery: { damaged: [], torn: cut > first && cut < all.length } });
      const journal = await Journal.open(path);
      await journal.append({ n: 3 });
      await journal.close();
      expect((await collect(path)).at(-1)).toBe(sealLine({ n: 3 }));
      expect(await collect(path)).toHaveLength(seen.length + 1);
    }
  });

  test('recovery takes out a damaged line in the middle and keeps its neighbours', async () => {
    const path = join(directory, 'journal');
    const lines = [1, 2, 3].map((n) => sealLine({ n }));
    await writeFile(path, `${lines[0]}\n${lines[1]?.replace('2', '5')}\n${lines[2]}\n`);
    expect(await Journal.recover(path, () => true)).toEqual({ damaged: [2], torn: false });
    expect(await collect(path)).toEqual([lines[0], lines[2]]);
  });

  test('rewriting replaces the file at once; an error leaves the old one', async () => {
    const path = join(directory, 'journal');
    await writeFile(path, 'a\nb\n');
    await expect(rewriteLines(path, ({ text }) => (text === 'b' ? Promise.reject(new Error('no')) : 'c'))).rejects.toThrow('no');
    expect(await collect(path)).toEqual(['a', 'b']);
    await rewriteLines(path, ({ text }) => (text === 'a' ? undefined : `${text}!`));
    expect(await collect(path)).toEqual(['b!']);
  });
});

describe('shards', () => {
  async function writeStore(info: StoreInfo, shardBytes: number): Promise<{ segments: (readonly [number, number, number])[] }> {
    const writer = await ShardWriter.open(directory, info, undefined, shardBytes);
    const segments = [];
    for (const [first, count] of [[0, 2], [2, 3], [5, 1]] as const) {
      segments.push(await writer.append(both(first, count), count));
    }
    await writer.close();
    await writeFile(join(directory, 'store.json'), JSON.stringify(info));
    return { segments };
  }

  test('rows come back as written, over shard borders', async () => {
    const { segments } = await writeStore(INFO, 3 * 32);
    expect(segments).toEqual([[0, 0, 2], [1, 0, 3], [2, 0, 1]]);
    await using store = await ActivationStore.open(directory);
    expect([...(await store.readRows([[1, 1, 3], [0, 0, 1]], 'residPost'))]).toEqual([...rows(0, 3, 2), ...rows(0, 0, 1)]);
    expect([...(await store.readRows(segments, 'mlpPost'))]).toEqual([...rows(1, 0, 6)]);
  });

  test('every shard is a safetensors file of its own', async () => {
    await writeStore(INFO, 3 * 32);
    await using reader = await SafetensorsReader.open(shardPath(directory, 'residPost', 1));
    const { shape, data } = await reader.read('residPost');
    expect(shape).toEqual([3, 2, 3]);
    expect([...data]).toEqual([...rows(0, 2, 3)]);
  });

  test('opening again cuts rows that nobody owns, empties later shards, and goes on', async () => {
    await writeStore(INFO, 3 * 32);
    const writer = await ShardWriter.open(directory, INFO, { shard: 1, row: 2 }, 100 * 32);
    expect((await stat(shardPath(directory, 'residPost', 2))).size).toBe(SHARD_HEADER_BYTES);
    expect(await writer.append(both(40, 1), 1)).toEqual([1, 2, 3]);
    await writer.close();
    await using store = await ActivationStore.open(directory);
    expect([...(await store.readRows([[1, 0, 3]], 'residPost'))]).toEqual([...rows(0, 2, 2), ...rows(0, 40, 1)]);
    await truncate(shardPath(directory, 'mlpPost', 1), SHARD_HEADER_BYTES + 5);
    await expect(ShardWriter.open(directory, INFO, { shard: 1, row: 3 })).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  test('the checksum covers every byte of every site', async () => {
    const { segments } = await writeStore(INFO, 3 * 32);
    await using store = await ActivationStore.open(directory);
    const before = await rowsChecksum(store, segments);
    const path = shardPath(directory, 'mlpPost', 2);
    const file = await readFile(path);
    file[file.length - 1] = (file.at(-1) as number) ^ 1;
    await writeFile(path, file);
    await using changed = await ActivationStore.open(directory);
    expect(await rowsChecksum(changed, segments)).not.toBe(before);
    expect(await rowsChecksum(changed, segments.slice(0, 2))).toBe(await rowsChecksum(store, segments.slice(0, 2)));
  });
});

describe('a store of another program', () => {
  async function foreign(lines: object[], info: object = { ...INFO, sites: [INFO.sites[0]], positions: 'all' }): Promise<void> {
    await mkdir(join(directory, 'activations'), { recursive: true });
    await writeFile(join(directory, 'store.json'), JSON.stringify(info));
    await writeFile(join(directory, 'trajectories.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const header = Buffer.from(JSON.stringify({ residPost: { dtype: 'F32', shape: [4, 2, 3], data_offsets: [0, 96] } }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    await writeFile(shardPath(directory, 'residPost', 0), Buffer.concat([length, header, bytes(rows(0, 0, 4))]));
  }

  test('needs problem, reward and rows only; states begin at s_0', async () => {
    await foreign([{ problem: 'a', reward: 0.5, rows: [[0, 0, 1], [0, 2, 4]], promptLength: 2 }]);
    await using store = await ActivationStore.open(directory);
    expect(store.trajectories[0]).toMatchObject({ problem: 'a', sample: 0, reward: 0.5, rows: [[0, 2, 4]], stateCount: 2 });
    expect([...(await store.readRows([[0, 2, 4]], 'residPost'))]).toEqual([...rows(0, 2, 2)]);
  });

  test.each([
    [{ problem: 'a', rows: [] }, /trajectories\.jsonl:2: reward: expected a number in 0\.\.1 or null, got undefined/],
    [{ problem: 'a', reward: 2, rows: [] }, /reward: expected a number in 0\.\.1 or null, got 2/],
    [{ problem: 'a', reward: 1, rows: [[0, 1]] }, /rows\.0: expected a triple/],
    [{ problem: 'a', reward: 1, rows: [[0, 0, 1]] }, /promptLength: expected the number of prompt tokens/],
  ])('a bad line is named: %j', async (line, message) => {
    await foreign([{ problem: 'a', reward: 1, rows: [], promptLength: 1 }, line]);
    await expect(ActivationStore.open(directory)).rejects.toThrow(message);
  });

  test('a wrong description, a wrong shard, a damaged line, no store at all', async () => {
    await foreign([], { ...INFO, dtype: 'f64' });
    await expect(ActivationStore.open(directory)).rejects.toThrow(/store\.json: dtype: expected f16 or f32, got "f64"/);
    await foreign([{ problem: 'a', reward: 1, rows: [[0, 0, 1]] }], { ...INFO, sites: [{ site: 'residPost', layers: [0], width: 3 }] });
    await using store = await ActivationStore.open(directory);
    await expect(store.readRows([[0, 0, 1]], 'residPost')).rejects.toThrow(/expected a tensor 'residPost' of F32 \[rows, 1, 3\], got F32 \[4, 2, 3\]/);
    await appendFile(join(directory, 'trajectories.jsonl'), `${sealLine({ problem: 'b', reward: 1 }).replace('b', 'c')}\n`);
    await expect(ActivationStore.open(directory)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    await expect(ActivationStore.open(join(directory, 'nowhere'))).rejects.toMatchObject({ code: 'IO' });
  });
});
