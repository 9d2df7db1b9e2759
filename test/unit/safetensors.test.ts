/** Safetensors: what is written can be read, gaps are closed, nothing half-written stays, corrupt files are refused. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { SafetensorsReader, SafetensorsWriter, halfToFloat } from '../../src/util/safetensors.js';
import { floatToHalf } from '../helpers/tiny-gguf.mjs';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-safetensors-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

const SPECS = [
  { name: 'a', dtype: 'F32' as const, shape: [6, 2] },
  { name: 'b', dtype: 'I32' as const, shape: [6] },
];

async function write(path: string, ranges: { begin: number; end: number }[]): Promise<void> {
  const writer = await SafetensorsWriter.create(path, SPECS, 64);
  for (const row of [4, 0, 5, 2, 1, 3]) {
    await writer.writeRows('a', row, Float32Array.of(row, row + 0.5));
    await writer.writeRows('b', row, Int32Array.of(0 - row));
  }
  await writer.finish(ranges, { note: 'grüße' });
}

async function read(path: string): Promise<Record<string, { shape: number[]; data: number[] }>> {
  await using reader = await SafetensorsReader.open(path);
  const out: Record<string, { shape: number[]; data: number[] }> = {};
  for (const name of reader.header.tensors.keys()) {
    const { shape, data } = await reader.read(name);
    out[name] = { shape, data: [...data] };
  }
  return out;
}

describe('writing', () => {
  test('rows in any order', async () => {
    const path = join(directory, 'whole.safetensors');
    await write(path, [{ begin: 0, end: 6 }]);
    const { a, b } = await read(path);
    expect(a).toEqual({ shape: [6, 2], data: [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5] });
    expect(b).toEqual({ shape: [6], data: [0, -1, -2, -3, -4, -5] });
    expect(readdirSync(directory)).not.toContain('whole.safetensors.partial');
  });

  test('finish closes gaps and cuts the file', async () => {
    const path = join(directory, 'gaps.safetensors');
    await write(path, [
      { begin: 1, end: 2 },
      { begin: 4, end: 6 },
    ]);
    const { a, b } = await read(path);
    expect(a).toEqual({ shape: [3, 2], data: [1, 1.5, 4, 4.5, 5, 5.5] });
    expect(b).toEqual({ shape: [3], data: [-1, -4, -5] });
    const bytes = readFileSync(path);
    expect(bytes.length).toBe(8 + Number(bytes.readBigUInt64LE(0)) + 3 * 12);
  });

  test('the header is what the format asks for', async () => {
    const path = join(directory, 'header.safetensors');
    await write(path, [{ begin: 0, end: 2 }]);
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE(0));
    expect((8 + length) % 8).toBe(0);
    expect(JSON.parse(bytes.subarray(8, 8 + length).toString('utf8'))).toEqual({
      __metadata__: { note: 'grüße' },
      a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
      b: { dtype: 'I32', shape: [2], data_offsets: [16, 24] },
    });
  });

  test('discard leaves nothing', async () => {
    const path = join(directory, 'discarded.safetensors');
    const writer = await SafetensorsWriter.create(path, SPECS, 64);
    await writer.writeRows('a', 0, Float32Array.of(1, 2));
    expect(existsSync(`${path}.partial`)).toBe(true);
    await writer.discard();
    expect(readdirSync(directory).filter((name) => name.startsWith('discarded'))).toEqual([]);
  });

  test('errors: no directory, no such tensor, metadata larger than reserved', async () => {
    await expect(SafetensorsWriter.create(join(directory, 'no/such/file'), SPECS, 64)).rejects.toMatchObject({ code: 'IO' });
    const writer = await SafetensorsWriter.create(join(directory, 'errors.safetensors'), SPECS, 64);
    await expect(writer.writeRows('c', 0, new Int32Array(1))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(writer.finish([{ begin: 0, end: 6 }], { note: 'x'.repeat(4096) })).rejects.toThrow('were reserved');
    await writer.discard();
  });
});

test('rows that were never written cannot be kept', async () => {
  const writer = await SafetensorsWriter.create(join(directory, 'unwritten.safetensors'), SPECS, 64);
  await writer.writeRows('a', 0, Float32Array.of(1, 2));
  await expect(writer.finish([{ begin: 0, end: 1 }], {})).rejects.toThrow('never written');
  await writer.discard();
});

describe('reading', () => {
  const file = (header: unknown, dataBytes = 8): string => {
    const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
    const bytes = Buffer.alloc(8 + json.length + dataBytes);
    bytes.writeBigUInt64LE(BigInt(json.length));
    json.copy(bytes, 8);
    const path = join(directory, 'input.safetensors');
    writeFileSync(path, bytes);
    return path;
  };

  test('a file without metadata, F16 widened', async () => {
    const path = file({ h: { dtype: 'F16', shape: [2, 2], data_offsets: [0, 8] } });
    const bytes = readFileSync(path);
    [1, -2.5, 65504, 2 ** -24].forEach((value, i) => bytes.writeUInt16LE(floatToHalf(value), bytes.length - 8 + 2 * i));
    writeFileSync(path, bytes);
    expect(await read(path)).toEqual({ h: { shape: [2, 2], data: [1, -2.5, 65504, 2 ** -24] } });
  });

  test.each<[string, unknown]>([
    ['not JSON', '{"a": '],
    ['null', 'null'],
    ['a list', '[1]'],
    ['an entry that is null', { a: null }],
    ['no offsets', { a: { dtype: 'F32', shape: [2] } }],
    ['one offset', { a: { dtype: 'F32', shape: [2], data_offsets: [0] } }],
    ['offsets that are text', { a: { dtype: 'F32', shape: [2], data_offsets: ['0', '8'] } }],
    ['a negative offset', { a: { dtype: 'F32', shape: [2], data_offsets: [-8, 0] } }],
    ['an unknown type', { a: { dtype: 'Q9', shape: [2], data_offsets: [0, 8] } }],
    ['a type of the prototype', { a: { dtype: 'toString', shape: [2], data_offsets: [0, 8] } }],
    ['a shape that does not fit', { a: { dtype: 'F32', shape: [3], data_offsets: [0, 8] } }],
    ['a negative shape', { a: { dtype: 'F32', shape: [-1, -2], data_offsets: [0, 8] } }],
    ['data beyond the file', { a: { dtype: 'F32', shape: [3], data_offsets: [0, 12] } }],
  ])('refuses a header with %s', async (_, header) => {
    await expect(SafetensorsReader.open(file(header))).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  test('refuses files that are too short, a header longer than the file, files that are not there', async () => {
    const path = join(directory, 'short.safetensors');
    writeFileSync(path, Buffer.alloc(5));
    await expect(SafetensorsReader.open(path)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    writeFileSync(path, Buffer.alloc(20, 0xff));
    await expect(SafetensorsReader.open(path)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    await expect(SafetensorsReader.open(join(directory, 'none'))).rejects.toMatchObject({ code: 'IO' });
  });

  test('a tensor that is not there is named together with those that are', async () => {
    await using reader = await SafetensorsReader.open(file({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] } }));
    await expect(reader.read('b')).rejects.toThrow("has no tensor 'b'; it has a");
  });
});

test('halfToFloat: every half of an independent encoder comes back', () => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const value = halfToFloat(bits);
    if (Number.isNaN(value)) {
      expect((bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0).toBe(true);
    } else if (floatToHalf(value) !== bits) {
      throw new Error(`half ${bits} became ${value}, which encodes as ${floatToHalf(value)}`);
    }
  }
  expect(halfToFloat(0x3c00)).toBe(1);
  expect(halfToFloat(0x7c00)).toBe(Infinity);
  expect(Object.is(halfToFloat(0x8000), -0)).toBe(true);
});
