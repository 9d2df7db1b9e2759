/** The interventions file: what it accepts, and that every refusal names the file and the path inside it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseInterventions, readInterventions } from '../../src/intervene/file.js';
import { SafetensorsWriter } from '../../src/util/safetensors.js';

let directory: string;
const where = (): { name: string; directory: string } => ({ name: 'edits.json', directory });
const message = async (value: unknown): Promise<string> => {
  try {
    await parseInterventions(value, where());
    return 'accepted';
  } catch (error) {
    return (error as Error).message;
  }
};

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-edits-'));
  const writer = await SafetensorsWriter.create(
    join(directory, 'rows.safetensors'),
    [
      { name: 'residPost.0', dtype: 'F32', shape: [3, 2] },
      { name: 'residPost.2', dtype: 'F32', shape: [3, 2] },
      { name: 'sequence', dtype: 'I32', shape: [3] },
      { name: 'position', dtype: 'I32', shape: [3] },
    ],
    100,
  );
  await writer.writeRows('residPost.0', 0, Float32Array.of(1, 2, 3, 4, 5, 6));
  await writer.writeRows('residPost.2', 0, Float32Array.of(10, 20, 30, 40, 50, 60));
  await writer.writeRows('sequence', 0, Int32Array.of(0, 1, 1));
  await writer.writeRows('position', 0, Int32Array.of(4, 0, 7));
  await writer.finish([{ begin: 0, end: 3 }], {});
});
afterAll(() => rmSync(directory, { recursive: true }));

describe('accepted', () => {
  test('a bare list and the versioned form mean the same', async () => {
    const list = [{ kind: 'zero', layers: 'all', neurons: [1, 2] }];
    const expected = [{ kind: 'zero', layers: 'all', neurons: [1, 2] }];
    expect(await parseInterventions(list, where())).toEqual(expected);
    expect(await parseInterventions({ version: 1, interventions: list }, where())).toEqual(expected);
  });

  test('layers as text, inline vectors and vectors per layer', async () => {
    const [zero, add, set] = await parseInterventions(
      [
        { kind: 'zero', layers: '0,3-5', site: 'mlpPost', positions: [-1, 3], fromToken: 2 },
        { kind: 'add', layers: [0, -1], direction: { 0: [1, 2], 5: [3, 4] }, coefficient: -2 },
        { kind: 'set', layers: [1], value: 0.5, positions: 's0' },
      ],
      where(),
    );
    expect(zero).toEqual({ kind: 'zero', layers: [0, 3, 4, 5], site: 'mlpPost', positions: [-1, 3], fromToken: 2 });
    expect(add).toMatchObject({ direction: { 0: [1, 2], 5: [3, 4] }, coefficient: -2 });
    expect(set).toMatchObject({ value: 0.5, positions: 's0' });
  });

  test('tensors: one row, the mean, one sequence, all layers of the file', async () => {
    const file = 'rows.safetensors';
    const [row, mean, picked, perLayer, patch] = await parseInterventions(
      [
        { kind: 'add', layers: [0], direction: { file, tensor: 'residPost.0', row: 1 } },
        { kind: 'mean', layers: [2], means: { file, tensor: 'residPost.{layer}', reduce: 'mean' } },
        { kind: 'set', layers: [0], value: { file, tensor: 'residPost.0', sequence: 0 } },
        { kind: 'resample', layers: 'all', rows: { file, tensor: 'residPost.{layer}' } },
        { kind: 'patch', layers: [2], rows: { file, tensor: 'residPost.2', sequence: 1 }, rowPositions: { file, tensor: 'position', sequence: 1 } },
      ],
      where(),
    );
    expect(row).toMatchObject({ direction: Float32Array.of(3, 4) });
    expect(mean).toMatchObject({ means: { 2: Float32Array.of(30, 40) } });
    expect(picked).toMatchObject({ value: Float32Array.of(1, 2) });
    expect(perLayer).toMatchObject({ rows: { 0: { width: 2, data: Float32Array.of(1, 2, 3, 4, 5, 6) }, 2: { width: 2 } } });
    expect(patch).toMatchObject({ rows: { width: 2, data: Float32Array.of(30, 40, 50, 60) }, rowPositions: Int32Array.of(0, 7) });
  });

  test('every example of the documentation', async () => {
    const text = readFileSync(fileURLToPath(new URL('../../docs/interventions.md', import.meta.url)), 'utf8');
    const examples = [...text.matchAll(/```json\n([\s\S]*?)```/g)].map((match) => JSON.parse(match[1] ?? '') as unknown);
    const kinds = new Set<string>();
    for (const example of examples) {
      const list = Array.isArray(example) ? (example as unknown[]) : (example as { interventions: unknown[] }).interventions;
      list.forEach((item) => kinds.add((item as { kind: string }).kind));
      // Examples may name files that only a reader has; their shape is checked before files are read.
      const outcome = await message(example);
      expect(outcome === 'accepted' || outcome.includes('.file: cannot read') ? 'fine' : outcome).toBe('fine');
    }
    expect([...kinds].sort()).toEqual(['add', 'clamp', 'mean', 'patch', 'projectOut', 'resample', 'scale', 'set', 'zero']);
  });
});

describe('refused, with the path', () => {
  const zero = { kind: 'zero', layers: 'all' };
  test.each<[string, unknown]>([
    ['edits.json: expected a list of interventions, or {"version": 1, "interventions": […]}, got 5', 5],
    ['edits.json: version: expected 1, the only version of this format, got 2', { version: 2, interventions: [] }],
    ['edits.json: interventions: expected a list of interventions, but it is missing', { version: 1 }],
    ['edits.json: unknown key "x"', { version: 1, interventions: [], x: 1 }],
    ['edits.json: interventions[1]: expected an object with "kind", got 5', [zero, 5]],
    ['edits.json: interventions[0].kind: expected one of zero, set, scale, add, clamp, mean, resample, patch, projectOut, got "x"', [{ kind: 'x' }]],
    ['edits.json: interventions[2].neurons[0]: expected an integer ≥ 0, got "a"', [zero, zero, { ...zero, neurons: ['a'] }]],
    ['edits.json: interventions[0].neurons[1]: expected an integer ≥ 0, got -1', [{ ...zero, neurons: [1, -1] }]],
    ['edits.json: interventions[0]: unknown key "foo"', [{ ...zero, foo: 1 }]],
    ['edits.json: interventions[0]: unknown key "neurons"', [{ kind: 'projectOut', layers: [0], neurons: [1], direction: [1] }]],
    ['edits.json: interventions[0].layers: expected ranges that go upwards, got "3-1"', [{ kind: 'zero', layers: '3-1' }]],
    ['edits.json: interventions[0].positions: expected all, prompt, completion, response, s0 or a list of positions, got "last"', [{ ...zero, positions: 'last' }]],
    ['edits.json: interventions[0].direction.3[1]: expected a finite number, got "b"', [{ kind: 'add', layers: [3], direction: { 3: [1, 'b'] } }]],
    ['edits.json: interventions[0].rows[1][0]: expected a finite number, got null', [{ kind: 'resample', layers: [0], rows: [[1], [null]] }]],
    ['edits.json: interventions[0].max: expected a finite number, but it is missing', [{ kind: 'clamp', layers: [0], min: 1 }]],
  ])('%s', async (expected, value) => {
    expect(await message(value)).toBe(expected);
  });

  test.each<[string, RegExp, Record<string, unknown>]>([
    ['a file that is not there', /^edits\.json: interventions\[0\]\.direction\.file: cannot read/, { file: 'no.safetensors', tensor: 'x' }],
    ['a tensor that is not there', /^edits\.json: interventions\[0\]\.direction\.tensor: .*has no tensor 'x'/, { file: 'rows.safetensors', tensor: 'x' }],
    ['a matrix for a vector', /direction\.tensor: expected a vector/, { file: 'rows.safetensors', tensor: 'residPost.0' }],
    ['a row too far', /direction\.row: expected an integer in 0\.\.2/, { file: 'rows.safetensors', tensor: 'residPost.0', row: 3 }],
    ['a sequence that is not there', /direction\.sequence: expected a sequence with rows/, { file: 'rows.safetensors', tensor: 'residPost.0', sequence: 9 }],
    ['a layer that the file lacks', /direction\.tensor: .*no tensor 'residPost\.1'/, { file: 'rows.safetensors', tensor: 'residPost.{layer}' }],
  ])('%s', async (_, pattern, direction) => {
    expect(await message([{ kind: 'add', layers: [1], direction }])).toMatch(pattern);
  });

  test.each([
    ['[{"kind":"zero",}]', 'line 1, column 17'],
    ['[\n  {"kind" "zero"}\n]', 'line 2, column 11'],
    ['[1, 2', 'line 1, column 6'],
    ['["a\nb"]', 'line 1, column 4'],
    ['[01]', 'line 1, column 3'],
    ['', 'line 1, column 1'],
    ['[] x', 'line 1, column 4'],
    ['{"a": nul}', 'line 1, column 7'],
  ])('JSON that is broken: %j', async (text, place) => {
    const path = join(directory, 'broken.json');
    writeFileSync(path, text);
    await expect(readInterventions(path)).rejects.toThrow(`at ${place}`);
    await expect(readInterventions(path)).rejects.toThrow('broken.json: not valid JSON');
  });
});
