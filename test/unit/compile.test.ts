/** Compiling interventions: payloads, what is refused and with which path, and the counts expected of the engine. */
import { describe, expect, test } from '@jest/globals';
import { compileInterventions, expectedChanges, siteTable } from '../../src/intervene/compile.js';
import type { Intervention, SiteInfo } from '../../src/index.js';

const LAYERS = 4;
const WIDTH = 3;
const found = (site: SiteInfo['site'], layer: number, width: number): SiteInfo => ({ site, layer, width, found: true, outputRows: false, node: 'n', rule: 'named', reason: '' });
const table = siteTable(
  [
    ...Array.from({ length: LAYERS }, (_, layer) => found('residPost', layer, WIDTH)),
    ...Array.from({ length: LAYERS }, (_, layer) => ({ ...found('mlpPost', layer, 8), outputRows: layer === LAYERS - 1 })),
    { ...found('mlpOut', 0, 0), found: false, reason: 'the block has no such node' },
  ],
  LAYERS,
);
const compile = (...list: unknown[]): ReturnType<typeof compileInterventions> => compileInterventions(list as Intervention[], table);

describe('payloads', () => {
  test('one edit per layer, in list order, negative layers from the end', () => {
    const { sourceCount, edits } = compile({ kind: 'zero', layers: [-1, 0, 0] }, { kind: 'zero', layers: 'all', site: 'mlpPost', neurons: [7] });
    expect(sourceCount).toBe(2);
    expect(edits.map(({ source, site, layer }) => [source, site, layer])).toEqual([
      [0, 'residPost', 0],
      [0, 'residPost', 3],
      ...[0, 1, 2, 3].map((layer) => [1, 'mlpPost', layer]),
    ]);
    expect(edits[2]).toMatchObject({ op: 'set', values: Float32Array.of(0), neurons: Int32Array.of(7), positions: { kind: 'all', from: 0 } });
  });

  test.each<[unknown, Record<string, unknown>]>([
    [{ kind: 'set', value: 2 }, { op: 'set', values: Float32Array.of(2) }],
    [{ kind: 'set', value: [1, 2, 3] }, { op: 'set', values: Float32Array.of(1, 2, 3) }],
    [{ kind: 'scale', factor: 0.5 }, { op: 'scale', values: Float32Array.of(0.5) }],
    [{ kind: 'add', direction: [1, 2, 3], coefficient: -2 }, { op: 'add', values: Float32Array.of(-2, -4, -6) }],
    [{ kind: 'add', direction: { 1: [1, 0, 0] } }, { op: 'add', values: Float32Array.of(1, 0, 0) }],
    [{ kind: 'clamp', min: -1, max: 2 }, { op: 'clamp', values: Float32Array.of(-1, 2) }],
    [{ kind: 'mean', means: [4, 5], neurons: [2, 0] }, { op: 'set', values: Float32Array.of(4, 5), neurons: Int32Array.of(2, 0) }],
    [{ kind: 'resample', rows: [[1, 2, 3], [4, 5, 6]], seed: 9 }, { op: 'rows', choice: 'seeded', seed: 9, values: Float32Array.of(1, 2, 3, 4, 5, 6) }],
    [
      { kind: 'patch', rows: { width: 3, data: Float32Array.of(1, 1, 1, 2, 2, 2) }, rowPositions: [10, 9] },
      { op: 'rows', choice: 'position', rowPositions: Int32Array.of(9, 10), values: Float32Array.of(2, 2, 2, 1, 1, 1) },
    ],
    [{ kind: 'projectOut', direction: [3, 0, 4] }, { op: 'project', values: Float32Array.of(0.6, 0, 0.8) }],
  ])('%j', (intervention, expected) => {
    expect(compile({ layers: [1], ...(intervention as object) }).edits[0]).toMatchObject(expected);
  });
});

describe('refused, with the path', () => {
  test.each<[string, string, unknown]>([
    ['INVALID_ARGUMENT', 'interventions[0].layers: expected integers in -4..3, got 4', { kind: 'zero', layers: [4] }],
    ['INVALID_ARGUMENT', "interventions[0].layers: expected 'all' or a list of at least one layer", { kind: 'zero', layers: [] }],
    ['INVALID_ARGUMENT', 'interventions[0].neurons[1]: expected an integer in 0..2, got 3', { kind: 'zero', layers: [0], neurons: [0, 3] }],
    ['INVALID_ARGUMENT', 'interventions[0].neurons: expected each neuron once', { kind: 'zero', layers: [0], neurons: [1, 1] }],
    ['INVALID_ARGUMENT', 'interventions[0].fromToken: expected an integer ≥ 0, got -1', { kind: 'zero', layers: [0], fromToken: -1 }],
    ['INVALID_ARGUMENT', 'interventions[0].value[1]: expected a finite number, got NaN', { kind: 'set', layers: [0], value: [0, NaN, 0] }],
    ['INVALID_ARGUMENT', 'interventions[0].max: expected at least min (2), got 1', { kind: 'clamp', layers: [0], min: 2, max: 1 }],
    ['INVALID_ARGUMENT', 'interventions[0].direction: expected an entry for layer 1, got "layers 0"', { kind: 'add', layers: [0, 1], direction: { 0: [1, 2, 3] } }],
    ['INVALID_ARGUMENT', 'interventions[0].direction: expected a direction that is not zero', { kind: 'projectOut', layers: [0], direction: [0, 0, 0] }],
    ['INVALID_ARGUMENT', 'interventions[0].rowPositions: expected absolute positions, each once', { kind: 'patch', layers: [0], rows: [[1, 2, 3]], rowPositions: [-1] }],
    ['SHAPE_MISMATCH', 'interventions[0].direction: expected 3 values, one per selected neuron, got 2', { kind: 'add', layers: [0], direction: [1, 2] }],
    ['SHAPE_MISMATCH', 'interventions[0].rowPositions: expected 1 positions, one per row, got 2', { kind: 'patch', layers: [0], rows: [[1, 2, 3]], rowPositions: [0, 1] }],
    ['SITE_NOT_FOUND', 'mlpOut.0: the block has no such node', { kind: 'zero', site: 'mlpOut', layers: [0] }],
  ])('%s %s', (code, message, intervention) => {
    let error: unknown;
    try {
      compile(intervention);
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
  });
});

describe('expectedChanges', () => {
  // The logits of the last prompt position and of every sampled token are needed.
  const sequence = { promptLength: 5, begin: 2, end: 9, isOutput: (position: number) => position >= 4 };
  test.each<[number, unknown]>([
    [7 * WIDTH, { kind: 'zero', layers: [0] }],
    [7 * 2 * LAYERS, { kind: 'zero', layers: 'all', neurons: [0, 2] }],
    [3 * WIDTH, { kind: 'zero', layers: [0], positions: 'prompt' }],
    [4 * 8, { kind: 'zero', layers: [0], positions: 'completion', site: 'mlpPost' }],
    [3 * 7 + 5, { kind: 'zero', layers: 'all', site: 'mlpPost', neurons: [1] }],
    [1, { kind: 'zero', layers: [3], site: 'mlpPost', neurons: [1], positions: 'prompt' }],
    [1, { kind: 'zero', layers: [0], positions: 's0', neurons: [1] }],
    [2 * WIDTH, { kind: 'zero', layers: [0], positions: [0, 1, -1, 8, 9] }],
    [3 * WIDTH, { kind: 'zero', layers: [0], fromToken: 6 }],
    [2 * WIDTH, { kind: 'patch', layers: [0], rows: [], rowPositions: [1, 2, 8, 9] }],
    [1 * WIDTH, { kind: 'patch', layers: [0], rows: [], rowPositions: [1, 2, 8, 9], positions: 'prompt' }],
  ])('%d: %j', (expected, intervention) => {
    expect(expectedChanges(intervention as Intervention, table, sequence)).toBe(expected);
  });
});
