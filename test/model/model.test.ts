/** Loading, metadata, text and the bundled models. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Model } from '../../src/index.js';
import { SITES, captureToFile, generate, loadModel } from '../../src/index.js';
import { SafetensorsReader } from '../../src/util/safetensors.js';
import { oraclePath } from '../helpers/oracle.js';
import { writeSplitTinyGguf } from '../helpers/tiny-gguf.mjs';

const bundled = (name: string): string => fileURLToPath(new URL(`../../models/${name}`, import.meta.url));

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-model-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('loading', () => {
  test('progress ends at 1; an aborted signal is ABORTED with its reason', async () => {
    const fractions: number[] = [];
    const model = await loadModel(oraclePath('llama.gguf'), { gpuLayers: 0, onProgress: (fraction) => fractions.push(fraction) });
    await model.dispose();
    await new Promise((resolve) => setImmediate(resolve));
    expect(fractions.at(-1)).toBe(1);
    const failure = loadModel(oraclePath('llama.gguf'), { signal: AbortSignal.abort(new Error('no')) });
    await expect(failure).rejects.toMatchObject({ code: 'ABORTED', cause: { message: 'no' } });
  });

  test('a text that the vocabulary cannot spell is refused with its name', async () => {
    await using model = await loadModel('models/planted.gguf', { gpuLayers: 0, isolate: false });
    expect(() => model.tokenize('Ω')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/^text: .*vocabulary cannot spell/) }));
  });

  const copy = (name: string, change: (path: string) => void): string => {
    const path = join(directory, name);
    copyFileSync(oraclePath('llama.gguf'), path);
    change(path);
    return path;
  };
  test.each<[string, () => string, string, RegExp]>([
    ['a missing file', () => join(directory, 'none.gguf'), 'MODEL_LOAD', /does not exist/],
    ['not a GGUF', () => copy('text.gguf', (path) => writeFileSync(path, 'hello, this is text')), 'MODEL_LOAD', /GGUF/],
    ['a truncated GGUF', () => copy('short.gguf', (path) => truncateSync(path, 300_000)), 'MODEL_LOAD', /truncated|ends|beyond|short/i],
    [
      'an unknown architecture',
      () =>
        copy('arch.gguf', (path) => {
          const bytes = readFileSync(path);
          bytes.write('lxama', bytes.indexOf('llama', 24));
          writeFileSync(path, bytes);
        }),
      'UNSUPPORTED_ARCH',
      /lxama/,
    ],
    [
      'a missing split',
      () => {
        const parts = writeSplitTinyGguf(join(directory, 'split'), 2, {});
        unlinkSync(parts[1] as string);
        return parts[0] as string;
      },
      'MODEL_LOAD',
      /00002-of-00002/,
    ],
  ])('%s is an error that says so', async (_, make, code, message) => {
    const failure = loadModel(make(), { gpuLayers: 0 });
    await expect(failure).rejects.toMatchObject({ code });
    await expect(failure).rejects.toThrow(message);
  });

  test('too many sequences and an impossible context are INVALID_ARGUMENT', async () => {
    await using model = await loadModel(oraclePath('llama.gguf'), { gpuLayers: 0 });
    expect(() => model.createSession({ parallel: 257 })).toThrow(/parallel: expected 1\.\.256 sequences, got 257/);
    expect(() => model.createSession({ contextLength: 0 })).toThrow(/contextLength/);
    expect(() => model.createSession({ cacheTypeK: 'f12' as 'f16' })).toThrow(/cacheTypeK: expected f32/);
  });

  test('all parts of a split model are hashed', async () => {
    const parts = writeSplitTinyGguf(join(directory, 'whole'), 3, {});
    await using model = await loadModel(parts[0] as string, { gpuLayers: 0 });
    await using session = model.createSession({ threads: 1, contextLength: 256 });
    const path = join(directory, 'split.safetensors');
    const manifest = await captureToFile(session, [[1, 2, 3]], { layers: 'all' }, path);
    const hash = createHash('sha256');
    parts.forEach((part: string) => hash.update(readFileSync(part)));
    expect(manifest.model.sha256).toBe(hash.digest('hex'));
    await using reader = await SafetensorsReader.open(path);
    expect(JSON.parse(reader.header.metadata.rewardlens ?? '')).toMatchObject({ rowCount: 3, model: { sha256: manifest.model.sha256 } });
  });
});

describe.each(['reasoner-base.gguf', 'reasoner-rl.gguf'])('bundled %s', (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(bundled(name), { gpuLayers: 0 });
  });
  afterAll(async () => model.dispose());

  test('one token per byte, no BOS, text survives the round trip', () => {
    const text = '3*x+05=029 x in 01-08\n';
    const tokens = model.tokenize(text);
    expect([...tokens]).toEqual([...Buffer.from(text)]);
    expect(model.detokenize(tokens)).toBe(text);
    expect(model.applyChatTemplate([{ role: 'user', content: text }])).toBe(text);
    expect(model.metadata()['general.architecture']).toBe('qwen2');
  });

  test('sites are listed layer by layer in the order of computation', async () => {
    await using session = model.createSession({ threads: 1, contextLength: 256 });
    const sites = await session.sites();
    const blocks = Object.keys(SITES).filter((site) => site !== 'logits');
    expect(sites.map(({ site, layer }) => `${site}.${layer}`)).toEqual([...[0, 1, 2, 3, 4, 5].flatMap((layer) => blocks.map((site) => `${site}.${layer}`)), 'logits.5']);
    expect(sites.every(({ found }) => found)).toBe(true);
  });

  test('stop strings and grammars end or bind the text', async () => {
    await using session = model.createSession({ threads: 1, contextLength: 256, parallel: 3 });
    const prompt = '56*11 tens digit? (A)0-2 (B)3-4 (C)5-7 (D)8-9\n';
    const requests = [
      { prompt, maxTokens: 96, temperature: 0 },
      { prompt, maxTokens: 96, temperature: 0, stop: ['Answer'] },
      { prompt, maxTokens: 96, temperature: 0, grammar: 'root ::= "Answer: (" [A-D] ")"' },
    ];
    const texts: string[] = [];
    const reasons: string[] = [];
    for await (const result of generate(session, requests)) {
      texts[result.index] = result.text;
      reasons[result.index] = result.finishReason;
    }
    expect(texts[0]).toMatch(/^\d+\*\d+=\d+\n\d+\*\d+=\d+\n\d+\nAnswer: \([A-D]\)\n?$/);
    expect(texts[1]).toBe(texts[0]?.slice(0, texts[0].indexOf('Answer')));
    expect(texts[2]).toMatch(/^Answer: \([A-D]\)$/);
    expect(reasons).toEqual(['eog', 'stop', 'eog']);
  });
});
