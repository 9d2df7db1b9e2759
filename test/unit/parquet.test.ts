// Read back with hyparquet; pandas reads the same files (pyarrow).
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { parquetMetadata, parquetReadObjects } from 'hyparquet';
import type { LedgerRecord } from '../../src/ablate/sweep.js';
import { BASE_ARM } from '../../src/ablate/arms.js';
import { columnsOf, writeParquet } from '../../src/export/parquet.js';
import { compareArms } from '../../src/study/ablationCompare.js';
import { ARMS_TABLE, OUTCOMES_TABLE, writeTables } from '../../src/study/ablationTables.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-parquet-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function read(name: string): Promise<{ file: ArrayBuffer; rows: Record<string, unknown>[] }> {
  const bytes = await readFile(join(directory, name));
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  return { file, rows: await parquetReadObjects({ file }) };
}

describe('tables', () => {
  test('come back as they were: types, nulls, empty columns, any text', async () => {
    const rows = [
      { s: 'a', d: 0.1, i: -3, b: true },
      { s: null, d: null, i: null, b: null },
      { s: 'ünï\n"😀', d: Number.MAX_SAFE_INTEGER, i: 2 ** 31 - 1, b: false },
    ];
    const columns = columnsOf(rows, [
      ['s', 'STRING', ({ s }) => s],
      ['d', 'DOUBLE', ({ d }) => d],
      ['i', 'INT32', ({ i }) => i],
      ['b', 'BOOLEAN', ({ b }) => b],
      ['none', 'STRING', () => null],
    ]);
    await writeParquet(join(directory, 'x.parquet'), columns, { made: 'here' });
    const { file, rows: back } = await read('x.parquet');
    expect(back).toEqual(rows.map((row) => ({ ...row, none: null })));
    expect(parquetMetadata(file).key_value_metadata).toContainEqual({ key: 'made', value: 'here' });
    expect(await readdir(directory)).toEqual(['x.parquet']);
    await writeParquet(join(directory, 'x.parquet'), columnsOf([], [['s', 'STRING', () => null]]));
    expect((await read('x.parquet')).rows).toEqual([]);
  });

  test('a folder that is not there is an error with the path', async () => {
    await expect(writeParquet(join(directory, 'no', 'x.parquet'), [])).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('x.parquet') });
  });

  test('of a sweep: one row per outcome beside the base, one per arm', async () => {
    const record = (arm: string, item: string, reward: number | null): LedgerRecord => ({
      key: `${arm}/${item}`, arm, item, verdict: reward === null ? 'unknown' : reward === 1 ? 'correct' : 'wrong', reward, extracted: null, text: `${arm} on ${item}`, tokens: 3, finishReason: 'eog', edited: 2 ** 40, expected: 2 ** 40,
    });
    const top = { ...BASE_ARM, name: 'top', role: 'set', group: 'top', layer: 1, share: 0.02, neurons: [4, 9] } as const;
    const draw = { ...top, name: 'matched#0', role: 'control', group: 'matched' } as const;
    const arms = [BASE_ARM, top, draw];
    const records = [
      { arm: 'base', records: [record('base', 'a', 1), record('base', 'b', 1)] },
      { arm: 'top', records: [record('top', 'b', null), record('top', 'a', 0)] },
      { arm: 'matched#0', records: [record('matched#0', 'a', 1)] },
    ];
    const result = { name: 'm.gguf', manifest: {}, ...compareArms(arms.map((arm, i) => ({ arm, outcomes: records[i]?.records ?? [] })), { items: 2 }), neutral: null, sweep: { made: 5, found: 0, seconds: 1 } };
    await writeTables(directory, [{ result, records }]);
    const outcomes = (await read(OUTCOMES_TABLE)).rows;
    expect(outcomes.map(({ model, arm, item, reward, base_reward: base }) => [model, arm, item, reward, base])).toEqual([
      ['m.gguf', 'base', 'a', 1, 1],
      ['m.gguf', 'base', 'b', 1, 1],
      ['m.gguf', 'top', 'b', null, 1],
      ['m.gguf', 'top', 'a', 0, 1],
      ['m.gguf', 'matched#0', 'a', 1, 1],
    ]);
    expect(outcomes[2]).toMatchObject({ role: 'set', verdict: 'unknown', layer: 1, share: 0.02, edited: 2 ** 40, text: 'top on b', base_verdict: 'correct' });
    const table = (await read(ARMS_TABLE)).rows;
    expect(table).toHaveLength(3);
    expect(table[0]).toMatchObject({ arm: 'base', accuracy: 1, p: null, control: null });
    expect(table[1]).toMatchObject({ arm: 'top', accuracy: 0, change: -1, only_base: 2, neurons: 2, neuron_ids: '[4,9]', p: 0.5, p_holm: 0.5, unparsable: 1, control: 'matched', control_draws: 1, rank_p: 0.5 });
  });
});
