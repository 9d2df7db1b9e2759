/** Generation: what a sequence says depends on itself alone; edits, sharing, streams, errors. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { GenerateOptions, GenerateResult, Intervention, Model, SequenceRequest, Session } from '../../src/index.js';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SafetensorsReader, captureActivations, captureToFile, generate, loadModel } from '../../src/index.js';
import { oraclePath, relativeL2 } from '../helpers/oracle.js';

const PREFIX = Array.from({ length: 24 }, (_, i) => (i * 7 + 3) % 90);

/** Results in request order. */
async function run(session: Session, requests: SequenceRequest[], options: GenerateOptions = {}): Promise<GenerateResult[]> {
  const out: GenerateResult[] = [];
  for await (const result of generate(session, requests, options)) {
    out[result.index] = result;
  }
  return out;
}

const texts = (results: GenerateResult[]): number[][] => results.map((result) => [...result.tokens]);

describe.each(['llama', 'llama-q8_0', 'qwen3', 'gemma2', 'gemma3', 'phi3', 'qwen3moe'])('%s', (name) => {
  let model: Model;
  let wide: Session;
  let narrow: Session;
  beforeAll(async () => {
    model = await loadModel(oraclePath(`${name}.gguf`), { gpuLayers: 0 });
    wide = model.createSession({ parallel: 5, threads: 1, contextLength: 256 });
    narrow = model.createSession({ parallel: 1, threads: 1, contextLength: 256, ubatch: 16 });
  });
  afterAll(async () => model.dispose());

  const edits: Intervention[] = [{ kind: 'zero', layers: [0], neurons: [1, 5], positions: 'completion' }];
  const everywhere: Intervention[] = [{ kind: 'scale', layers: 'all', factor: 1.5, site: 'attnOut' }];
  const requests: SequenceRequest[] = [0, 1, 2, 3, 4, 5, 6].flatMap((seed) => [
    { prompt: [...PREFIX, 7], maxTokens: 6 + seed, seed },
    { prompt: [...PREFIX, 9, 11], maxTokens: 5, seed, interventions: edits },
    { prompt: [...PREFIX.slice(0, 20), 4], maxTokens: 4, seed, interventions: everywhere },
  ]);

  test('tokens are the same alone, side by side, with and without shared prefixes', async () => {
    const alone = texts(await run(narrow, requests, { sharePrefixes: false }));
    const together = await run(wide, requests, { sharePrefixes: false });
    const shared = await run(wide, requests);
    expect(texts(together)).toEqual(alone);
    expect(texts(shared)).toEqual(alone);
    expect(together.every((result) => result.sharedPrefix === 0)).toBe(true);
    expect(shared.filter((result) => result.sharedPrefix >= 16).length).toBeGreaterThan(requests.length / 2);
    // The prefix of an arm that edits the prompt is shared only within that arm, and its edits there are accounted for.
    const reused = shared.find((result) => result.sharedPrefix > 0 && result.edits[0] !== undefined && result.edits[0].shared > 0);
    const layers = (await wide.sites()).filter(({ site, outputRows }) => site === 'attnOut' && !outputRows).length; // Gemma's last is after the cut to output rows
    expect(layers).toBeGreaterThanOrEqual(model.info.layerCount - 1);
    expect(reused?.edits[0]?.shared).toBe((reused?.sharedPrefix ?? 0) * 64 * layers);
  });

  test('an identity edit and an empty list change nothing, captured log-probabilities included', async () => {
    const plain: SequenceRequest[] = [{ prompt: PREFIX, maxTokens: 12, seed: 3, logProbabilities: true }];
    const identity: Intervention[] = [{ kind: 'scale', layers: 'all', factor: 1 }];
    const [reference] = await run(narrow, plain);
    const [edited] = await run(narrow, plain.map((request) => ({ ...request, interventions: identity })));
    const [empty] = await run(narrow, plain.map((request) => ({ ...request, interventions: [] })));
    expect(edited?.logProbabilities).toEqual(reference?.logProbabilities);
    expect(edited?.entropies).toEqual(reference?.entropies);
    expect(empty?.logProbabilities).toEqual(reference?.logProbabilities);
    // 35 positions went through the lower layers; in the last one only the 12 that were sampled from have rows.
    const changed = 64 * (35 * (model.info.layerCount - 1) + 12);
    expect(edited?.edits).toEqual([{ changed, expected: changed, shared: 0 }]);
  });

  test('patching all rows of a layer from another run makes the layers above that run’s', async () => {
    const source = [3, 1, 4, 1, 5];
    const target = [2, 7, 1, 8, 2];
    const clean = await captureActivations(narrow, [source], { layers: 'all' });
    const rows = clean.get('residPost', 0);
    const patch: Intervention = { kind: 'patch', layers: [0], rows: { data: rows.data, width: 64 }, rowPositions: [0, 1, 2, 3, 4] };
    const patched = await captureActivations(narrow, [target], { layers: 'all' }, { interventions: [patch] });
    const top = model.info.layerCount - 1;
    expect(patched.get('residPost', top).data).toEqual(clean.get('residPost', top).data);
  });
});

describe('runs', () => {
  let model: Model;
  let session: Session;
  beforeAll(async () => {
    model = await loadModel(oraclePath('llama-q8_0.gguf'), { gpuLayers: 0 });
    session = model.createSession({ parallel: 4, threads: 1, contextLength: 256 });
  });
  afterAll(async () => model.dispose());

  test('resampled values come from the given rows, the same for the same seed', async () => {
    const rows = [new Float32Array(2).fill(1), new Float32Array(2).fill(2), new Float32Array(2).fill(3)];
    const edit = (seed: number): Intervention[] => [{ kind: 'resample', layers: [1], neurons: [4, 9], rows, seed }];
    const read = async (seed: number): Promise<number[]> => {
      const activations = await captureActivations(session, [PREFIX], { layers: [1], neurons: [4, 9] }, { interventions: edit(seed) });
      return [...activations.get('residPost', 1).data];
    };
    const first = await read(1);
    expect(first.every((value, i) => [1, 2, 3].includes(value) && (i % 2 === 0 || value === first[i - 1]))).toBe(true);
    expect(new Set(first).size).toBe(3);
    expect(await read(1)).toEqual(first);
    expect(await read(2)).not.toEqual(first);
  });

  test('captured rows of a generation are those of reading its tokens', async () => {
    const [result] = await run(session, [{ prompt: PREFIX, maxTokens: 9, seed: 1 }], { capture: { site: ['residPost', 'mlpPost'], layers: 'all' } });
    const sequence = [...PREFIX, ...(result?.tokens ?? [])].slice(0, result?.processedTokens);
    const reread = await captureActivations(session, [sequence], { site: ['residPost', 'mlpPost'], layers: 'all' });
    expect([...(result?.activations?.tokens ?? [])]).toEqual(sequence);
    expect([...(result?.activations?.position ?? [])]).toEqual(sequence.map((_, i) => i));
    for (const { site, layer } of reread.blocks) {
      expect(result?.activations?.get(site, layer).data).toEqual(reread.get(site, layer).data);
    }
  });

  test('completions of unequal length stream to a file without gaps, in the order of the requests', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'rewardlens-capture-')), 'rows.safetensors');
    const requests: SequenceRequest[] = [9, 1, 30, 4, 17].map((maxTokens, seed) => ({ prompt: PREFIX.slice(0, 3 + seed), maxTokens, seed }));
    const results: number[][] = [];
    const manifest = await captureToFile(session, requests, { layers: 'all' }, path, { onResult: (result) => (results[result.index] = [...result.promptTokens, ...result.tokens].slice(0, result.processedTokens)) });
    await using reader = await SafetensorsReader.open(path);
    const expected = results.flat();
    expect(manifest.rowCount).toBe(expected.length);
    expect([...(await reader.read('tokens')).data]).toEqual(expected);
    expect([...(await reader.read('sequence')).data]).toEqual(results.flatMap((tokens, i) => tokens.map(() => i)));
    expect([...(await reader.read('position')).data]).toEqual(results.flatMap((tokens) => tokens.map((_, i) => i)));
    const reread = await captureActivations(session, results, { layers: 'all' });
    for (const { name, site, layer } of reread.blocks) {
      const stored = await reader.read(name);
      expect(stored.shape).toEqual([expected.length, 64]);
      expect(relativeL2(stored.data as Float32Array, reread.get(site, layer).data)).toBeLessThan(3e-4); // one row or many: other kernels
    }
    expect(readdirSync(dirname(path))).toEqual(['rows.safetensors']);
    rmSync(dirname(path), { recursive: true });
  });

  test('requests from a stream are pulled as results are taken, arms by name', async () => {
    let pulled = 0;
    async function* stream(): AsyncGenerator<SequenceRequest> {
      for (let i = 0; i < 500; i++) {
        pulled++;
        yield { prompt: [1 + (i % 80), 2, 3], maxTokens: 2, seed: i, arm: i % 2 === 0 ? 'clean' : 'zeroed', label: i };
      }
    }
    const arms = { clean: [], zeroed: [{ kind: 'zero', layers: [1], neurons: [0] }] } as const;
    let taken = 0;
    for await (const result of generate(session, stream(), { arms })) {
      taken++;
      expect(pulled - taken).toBeLessThanOrEqual(4 + 64);
      expect(result.edits.map(({ changed }) => changed)).toEqual(result.arm === 'clean' ? [] : [4]);
      expect(result.label).toBe(result.index);
    }
    expect(taken).toBe(500);
  });

  test('leaving the loop early frees the session; a second run at once is BUSY', async () => {
    const endless: SequenceRequest[] = Array.from({ length: 50 }, (_, i) => ({ prompt: [1, 2, i], maxTokens: 200, seed: i }));
    for await (const result of generate(session, endless)) {
      await expect(run(session, endless)).rejects.toMatchObject({ code: 'BUSY' });
      expect(result.tokens).toHaveLength(200);
      break;
    }
    expect(await run(session, [{ prompt: [1], maxTokens: 1 }])).toHaveLength(1);
  });

  test('an abort signal rejects with ABORTED and its reason, and the session goes on', async () => {
    const controller = new AbortController();
    const endless: SequenceRequest[] = Array.from({ length: 50 }, (_, i) => ({ prompt: [1, 2, i], maxTokens: 200 }));
    setTimeout(() => controller.abort(new Error('enough')), 20);
    await expect(run(session, endless, { signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } });
    await expect(run(session, endless, { signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await run(session, [{ prompt: [1], maxTokens: 1 }])).toHaveLength(1);
  });

  test('the context’s end is a finish reason; a prompt that does not fit is CONTEXT_FULL', async () => {
    const [result] = await run(session, [{ prompt: PREFIX, maxTokens: 1000 }]);
    expect(result?.finishReason).toBe('context');
    expect(result?.processedTokens).toBe(256);
    const long = { prompt: new Array<number>(257).fill(1) };
    await expect(run(session, [long])).rejects.toMatchObject({ code: 'CONTEXT_FULL', details: { promptTokens: 257, contextLength: 256 } });
  });

  test.each<[string, SequenceRequest, string, RegExp]>([
    ['an unknown token', { prompt: [1, 96] }, 'INVALID_ARGUMENT', /requests\[0\]\.prompt\[1\]: expected a token id in 0\.\.95, got 96/],
    ['no token', { prompt: [] }, 'INVALID_ARGUMENT', /prompt: expected at least one token/],
    ['text without tokenizer', { prompt: 'hello' }, 'INVALID_ARGUMENT', /no tokenizer/],
    ['a bad temperature', { prompt: [1], temperature: Number.NaN }, 'INVALID_ARGUMENT', /requests\[0\]\.temperature/],
    ['a bad layer', { prompt: [1], interventions: [{ kind: 'zero', layers: [3] }] }, 'INVALID_ARGUMENT', /requests\[0\]\.interventions\[0\]\.layers: .*-3\.\.2, got 3/],
    ['a bad neuron', { prompt: [1], interventions: [{ kind: 'zero', layers: [0], neurons: [64] }] }, 'INVALID_ARGUMENT', /neurons\[0\]: expected an integer in 0\.\.63, got 64/],
    ['a short direction', { prompt: [1], interventions: [{ kind: 'add', layers: [0], direction: [1, 2] }] }, 'SHAPE_MISMATCH', /direction: expected 64 values/],
    ['an edit that breaks the model', { prompt: [1, 2], maxTokens: 2, interventions: [{ kind: 'scale', layers: [2], factor: 3e38 }, { kind: 'scale', layers: [2], factor: 3e38 }] }, 'NON_FINITE', /NaN/],
  ])('%s is an error that says so', async (_, request, code, message) => {
    const failure = run(session, [request]);
    await expect(failure).rejects.toMatchObject({ code });
    await expect(failure).rejects.toThrow(message);
    expect(await run(session, [{ prompt: [1], maxTokens: 1 }])).toHaveLength(1);
  });
});

describe('a sequence’s numbers do not depend on the others (CPU, Q8_0)', () => {
  test.each([2, 17, 33, 63, 64, 65, 96, 129, 255, 300])('prompts of %i tokens: log-probabilities are equal bit for bit', async (length) => {
    await using model = await loadModel(fileURLToPath(new URL('../../models/reasoner-base.gguf', import.meta.url)), { gpuLayers: 0 });
    await using alone = model.createSession({ parallel: 1, threads: 1, contextLength: 512 });
    await using wide = model.createSession({ parallel: 8, threads: 1, contextLength: 512 });
    // Equal beginnings, so that prefixes are shared at various lengths; some prompts are longer than others.
    const requests: SequenceRequest[] = Array.from({ length: 9 }, (_, i) => ({
      prompt: Array.from({ length: length + (i % 3 === 2 ? i : 0) }, (__, j) => 1 + ((j * 7 + (j >= length - 2 - i * 3 ? i * 13 : 0)) % 250)),
      maxTokens: 6,
      seed: i,
      logProbabilities: true,
    }));
    const numbers = async (session: Session, sharePrefixes: boolean): Promise<number[][]> =>
      (await run(session, requests, { sharePrefixes })).map((result) => [...(result.logProbabilities ?? []), ...result.tokens]);
    const reference = await numbers(alone, false);
    expect(await numbers(wide, false)).toEqual(reference);
    expect(await numbers(wide, true)).toEqual(reference);
    expect(await numbers(alone, true)).toEqual(reference);
  });
});
