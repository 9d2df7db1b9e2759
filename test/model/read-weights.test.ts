/** Weights read from model files against the Python package gguf (tools/oracle/weight_norms.py). */
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { readStrength } from '../../src/model/readWeights.js';
import { native } from '../../src/native/addon.js';
import { guardAsync } from '../../src/native/errors.js';

interface Entry {
  types: string[];
  columns: Record<string, number[]>;
  strength: number[][];
}
const oracle = JSON.parse(await readFile('test/fixtures/oracle/weight-norms.json', 'utf8')) as Record<string, Entry>;

function worst(actual: Float64Array, expected: readonly number[]): number {
  expect(actual.length).toBe(expected.length);
  return Math.max(...expected.map((value, j) => Math.abs((actual[j] as number) - value) / Math.max(1e-12, value)));
}

describe('sums over the columns of a matrix', () => {
  test('every type that the fixtures have: floats, 8 and 4 bits', () => {
    expect([...new Set(Object.values(oracle).flatMap(({ types }) => types))]).toEqual(expect.arrayContaining(['F32', 'Q8_0', 'Q4_0']));
  });

  test.each(Object.entries(oracle))('%s', async (path, { columns, strength }) => {
    for (const [tensor, expected] of Object.entries(columns)) {
      expect(worst(await native().columnNorms([path], tensor), expected)).toBeLessThan(1e-6);
    }
    for (const [layer, expected] of strength.entries()) {
      expect(worst(await readStrength([path], layer, strength.length), expected)).toBeLessThan(1e-6);
    }
  });

  test('a tensor that is not there is empty, of several files the one that has it counts', async () => {
    const [one, other] = ['test/fixtures/oracle/llama.gguf', 'test/fixtures/oracle/gpt2.gguf'];
    expect((await native().columnNorms([one], 'blk.0.attn_qkv.weight')).length).toBe(0);
    expect(await native().columnNorms([one, other], 'blk.0.attn_qkv.weight')).toEqual(await native().columnNorms([other], 'blk.0.attn_qkv.weight'));
  });

  test('a file that is no model or not whole, a block without known matrices', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'rewardlens-weights-'));
    try {
      const path = join(directory, 'cut.gguf');
      const bytes = await readFile('test/fixtures/oracle/llama.gguf');
      await writeFile(path, bytes);
      await truncate(path, bytes.length - 64);
      const read = async (file: string): Promise<Float64Array> => guardAsync(native().columnNorms([file], 'output.weight'));
      await expect(read(path)).rejects.toMatchObject({ code: 'MODEL_LOAD' });
      await expect(read(join(directory, 'none.gguf'))).rejects.toMatchObject({ code: 'MODEL_LOAD' });
      await expect(readStrength(['test/fixtures/oracle/llama.gguf'], 5, 9)).rejects.toMatchObject({ code: 'UNSUPPORTED_ARCH' });
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
