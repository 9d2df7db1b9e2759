/** Quantizing against gguf-py's quantizer (tools/oracle/make_models.py), and what must not be left behind. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { loadModel } from '../../src/model/model.js';
import type { QuantizationType } from '../../src/model/quantize.js';
import { QUANTIZATION_TYPES, quantizeModel } from '../../src/model/quantize.js';
import { captureActivations } from '../../src/run/capture.js';

const ORIGINAL = 'test/fixtures/oracle/llama.gguf';
let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-quantize-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const out = (name: string): string => join(directory, name);

/** The stream of some tokens in all layers, and the model's own name of its quantization. */
async function stream(path: string): Promise<{ values: number[]; quantization: string }> {
  await using model = await loadModel(path, { gpuLayers: 0, isolate: false });
  await using session = model.createSession({ contextLength: 64, threads: 1 });
  const rows = await captureActivations(session, [[1, 5, 9, 33, 2]], { layers: 'all' });
  return { values: rows.blocks.flatMap(({ site, layer }) => [...rows.get(site, layer).data]), quantization: model.info.quantization };
}

describe('quantizeModel', () => {
  test.each([['Q8_0', 'test/fixtures/oracle/llama-q8_0.gguf'], ['Q4_0', 'test/fixtures/oracle/llama-q4_0.gguf']] as const)('%s: the same model as gguf-py makes', async (type, oracle) => {
    const path = out(`${type}.gguf`);
    const seen: number[] = [];
    const result = await quantizeModel(ORIGINAL, path, { type, threads: 1, onProgress: (done, total) => seen.push(done / total) });
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(result.fallbacks).toBe(type === 'Q8_0' ? 0 : 1); // the output matrix of Q4_0 is to be Q6_K, for which its rows are too short
    expect(result.outputBytes).toBe(readFileSync(path).length);
    expect(result.inputBytes).toBe(readFileSync(ORIGINAL).length);
    const [own, other] = [await stream(path), await stream(oracle)];
    if (type === 'Q8_0') {
      expect(own).toEqual(other);
    } else {
      // llama.cpp keeps the output matrix at more bits, gguf-py does not; the stream below it is the same
      expect(own.values).toEqual(other.values);
    }
  });

  test('rows too short for the type are counted, and what they got is said', async () => {
    const result = await quantizeModel(ORIGINAL, out('short.gguf'), { type: 'Q4_K_M', threads: 1 });
    const matrices = result.tensors.filter(({ type }) => type !== 'f32');
    expect(matrices.map(({ type }) => type)).not.toContain('q4_K'); // rows of 64 values, blocks of 256
    expect(result.fallbacks).toBeGreaterThan(0);
    expect(result.fallbacks).toBeLessThanOrEqual(matrices.reduce((sum, { count }) => sum + count, 0));
    expect((await stream(out('short.gguf'))).values.every(Number.isFinite)).toBe(true);
  });

  test('a quantized model is refused unless that is wanted, and no file is left', async () => {
    const before = readdirSync(directory);
    await expect(quantizeModel('models/reasoner-base.gguf', out('again.gguf'), { type: 'Q2_K', threads: 1 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining("'models/reasoner-base.gguf' is quantized already (Q8_0)") as unknown,
    });
    expect(readdirSync(directory)).toEqual(before);
    const result = await quantizeModel('models/reasoner-base.gguf', out('again.gguf'), { type: 'Q2_K', threads: 1, allowRequantize: true });
    expect(result.outputBytes).toBeLessThan(0.7 * result.inputBytes);
  });

  test('what cannot be read or written is said, and an older file stays as it was', async () => {
    const cut = out('cut.gguf');
    writeFileSync(cut, readFileSync(ORIGINAL));
    truncateSync(cut, 3000);
    writeFileSync(out('older.gguf'), 'older');
    const before = readdirSync(directory);
    const refused = async (input: string, output: string, type: QuantizationType = 'Q8_0'): Promise<string> =>
      quantizeModel(input, output, { type, threads: 1 }).then(() => 'no error', (error: { code: string }) => error.code);
    expect(await refused(cut, out('older.gguf'))).toBe('MODEL_LOAD');
    expect(await refused(out('nowhere.gguf'), out('older.gguf'))).toBe('MODEL_LOAD');
    expect(await refused(ORIGINAL, join(directory, 'nowhere', 'x.gguf'))).toBe('IO');
    expect(await refused(cut, `${directory}/./cut.gguf`)).toBe('MODEL_LOAD');
    expect(await refused(ORIGINAL, `./${ORIGINAL}`)).toBe('INVALID_ARGUMENT');
    expect(await refused(ORIGINAL, out('x.gguf'), 'Q9' as QuantizationType)).toBe('INVALID_ARGUMENT');
    expect(readdirSync(directory)).toEqual(before);
    expect(readFileSync(out('older.gguf'), 'utf8')).toBe('older');
  });

  test('an interrupted run leaves nothing', async () => {
    const before = readdirSync(directory);
    const controller = new AbortController();
    const run = quantizeModel('models/reasoner-base.gguf', out('never.gguf'), { type: 'Q4_K_M', threads: 1, allowRequantize: true, signal: controller.signal, onProgress: () => controller.abort(new Error('enough')) });
    await expect(run).rejects.toMatchObject({ code: 'ABORTED' });
    expect(readdirSync(directory)).toEqual(before);
    await expect(quantizeModel(ORIGINAL, out('never.gguf'), { type: 'F16', signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test('every type that is offered is one that the quantizer takes', async () => {
    for (const type of QUANTIZATION_TYPES) {
      const { outputBytes } = await quantizeModel(ORIGINAL, out('any.gguf'), { type, threads: 1 });
      expect(outputBytes).toBeGreaterThan(0);
    }
    expect(existsSync(out('any.gguf'))).toBe(true);
  });
});
