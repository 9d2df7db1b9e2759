/** Runs, requests and rows that make no sense, past the checks of the TypeScript layer: an error, never a crash. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Model } from '../../src/index.js';
import { loadModel } from '../../src/index.js';
import type { NativeSession } from '../../src/native/addon.js';
import { native } from '../../src/native/addon.js';
import { REFUSED, RUN_PARAMS, SESSION_PARAMS, failure, nativeEdit, nativeRequest, runOnce, startRun } from '../helpers/native.js';
import { oraclePath } from '../helpers/oracle.js';

const CAPTURE = { sites: [{ site: 'residPost', layer: 0 }], positions: { kind: 'all' }, halfPrecision: false };

let model: Model;
let session: NativeSession;
beforeAll(async () => {
  model = await loadModel(oraclePath('llama-q8_0.gguf'), { gpuLayers: 0 });
});
beforeEach(() => {
  session = new (native().NativeSession)(model.handle, SESSION_PARAMS);
});
afterEach(async () => session.release());
afterAll(async () => model?.dispose());

describe('runs', () => {
  const edits = (edit: Record<string, unknown>, sourceCount: unknown = 1) => ({ editLists: [{ sourceCount, edits: [{ ...nativeEdit(), ...edit }] }] });
  const capture = (change: Record<string, unknown>) => ({ capture: { ...CAPTURE, ...change } });

  test.each<[string, Record<string, unknown>]>([
    ['editLists missing', { editLists: undefined }],
    ['editLists that are an object', { editLists: { length: 1 } }],
    ['an edit list that is a number', { editLists: [1] }],
    ['no edits in a list', { editLists: [{ sourceCount: 1 }] }],
    ['edits with a hole', { editLists: [{ sourceCount: 1, edits: new Array(3) }] }],
    ['sourceCount 0', edits({}, 0)],
    ['sourceCount NaN', edits({}, Number.NaN)],
    ['source -1', edits({ source: -1 })],
    ['source 1 of 1', edits({ source: 1 })],
    ['an unknown site', edits({ site: 'residual' })],
    ['a site that is a number', edits({ site: 1 })],
    ['layer 3 of 3', edits({ layer: 3 })],
    ['layer -1', edits({ layer: -1 })],
    ['layer 2^31-1', edits({ layer: 2 ** 31 - 1 })],
    ['layer 0.5', edits({ layer: 0.5 })],
    ['an unknown op', edits({ op: 'erase' })],
    ['values of doubles', edits({ values: new Float64Array(1) })],
    ['values of an array', edits({ values: [0] })],
    ['values missing', edits({ values: undefined })],
    ['neuron -1', edits({ neurons: Int32Array.of(-1) })],
    ['neuron 64 of 64', edits({ neurons: Int32Array.of(64) })],
    ['neurons of an array', edits({ neurons: [1] })],
    ['unknown positions', edits({ positions: { kind: 'some' } })],
    ['positions that are a string', edits({ positions: 'all' })],
    ['listed positions of an array', edits({ positions: { kind: 'list', list: [1] } })],
    ['an edit at last', edits({ positions: { kind: 'last' } })],
    ['an unknown choice', edits({ choice: 'random' })],
    ['an edit seed of -1', edits({ op: 'rows', seed: -1 })],
    ['an edit seed of 0.5', edits({ op: 'rows', seed: 0.5, values: new Float32Array(64) })],
    ['a capture that is a string', { capture: 'all' }],
    ['a capture without sites', capture({ sites: undefined })],
    ['a captured site that is a string', capture({ sites: ['residPost'] })],
    ['a captured layer -1', capture({ sites: [{ site: 'residPost', layer: -1 }] })],
    ['a captured layer 2^31-1', capture({ sites: [{ site: 'residPost', layer: 2 ** 31 - 1 }] })],
    ['a captured neuron -1', capture({ neurons: Int32Array.of(-1) })],
    ['a captured neuron 2^30', capture({ neurons: Int32Array.of(2 ** 30) })],
    ['halfPrecision 1', capture({ halfPrecision: 1 })],
    ['promptOnly 1', { promptOnly: 1 }],
    ['minSharedPrefix 2^31', { minSharedPrefix: 2 ** 31 }],
    ['maxPendingBytes -1', { maxPendingBytes: -1 }],
    ['maxPendingBytes NaN', { maxPendingBytes: Number.NaN }],
    ['maxPendingBytes Infinity', { maxPendingBytes: Infinity }],
    ['chunkBytes 2^31', { chunkBytes: 2 ** 31 }],
    ['chunkBytes 0.5', { chunkBytes: 0.5 }],
  ])('%s is refused, and the next run works', async (_, params) => {
    const code = await failure(async () => {
      const { last } = await runOnce(session, { ...RUN_PARAMS, ...params }, { ...nativeRequest(), edits: params.editLists === undefined ? -1 : 0 });
      throw last.error ?? new Error('the run went through');
    });
    expect(code).toMatch(REFUSED);
    expect((await runOnce(session)).last.error).toBeUndefined();
  });

  test.each<[string, Record<string, unknown>, string?]>([
    ['values of no element', edits({ values: new Float32Array(0) })],
    ['values of 3 of 64', edits({ values: new Float32Array(3) })],
    ['one bound', edits({ op: 'clamp' })],
    ['a short direction', edits({ op: 'project' })],
    ['half a row', edits({ op: 'rows', values: new Float32Array(32) })],
    ['fewer rows than positions', edits({ op: 'rows', choice: 'position', rowPositions: Int32Array.of(0, 1), values: new Float32Array(64) })],
  ])('%s is SHAPE_MISMATCH', async (_, params) => {
    const { last } = await runOnce(session, { ...RUN_PARAMS, ...params });
    expect(last.error).toMatchObject({ code: 'SHAPE_MISMATCH' });
  });

  test.each<[string, Record<string, unknown>]>([
    ['id -1', { id: -1 }],
    ['id 0.5', { id: 0.5 }],
    ['id 2^33', { id: 2 ** 33 }],
    ['no prompt', { prompt: undefined }],
    ['an empty prompt', { prompt: new Int32Array(0) }],
    ['an array for a prompt', { prompt: [1, 2] }],
    ['a prompt of 16-bit numbers', { prompt: Int16Array.of(1) }],
    ['a prompt of unsigned numbers', { prompt: Uint32Array.of(1) }],
    ['a prompt of floats', { prompt: Float32Array.of(1) }],
    ['a view for a prompt', { prompt: new DataView(new ArrayBuffer(8)) }],
    ['token -1', { prompt: Int32Array.of(1, -1) }],
    ['token 96', { prompt: Int32Array.of(96) }],
    ['token 2^31-1', { prompt: Int32Array.of(2 ** 31 - 1) }],
    ['maxTokens -1', { maxTokens: -1 }],
    ['maxTokens NaN', { maxTokens: Number.NaN }],
    ['maxTokens 2^31', { maxTokens: 2 ** 31 }],
    ['maxTokens 10n', { maxTokens: 10n }],
    ['edits 0 of none', { edits: 0 }],
    ['edits 2^31-1', { edits: 2 ** 31 - 1 }],
    ['temperature NaN', { temperature: Number.NaN }],
    ['temperature -1', { temperature: -1 }],
    ['temperature Infinity', { temperature: Infinity }],
    ['temperature 1e308', { temperature: 1e308 }],
    ['temperature "1"', { temperature: '1' }],
    ['topK -2^31-1', { topK: -(2 ** 31) - 1 }],
    ['topK 0.5', { topK: 0.5 }],
    ['topP NaN', { topP: Number.NaN }],
    ['minP NaN', { minP: Number.NaN }],
    ['seed -1', { seed: -1 }],
    ['seed 0.5', { seed: 0.5 }],
    ['seed NaN', { seed: Number.NaN }],
    ['seed 2^53', { seed: 2 ** 53 }],
    ['grammar 1', { grammar: 1 }],
    ['a grammar without tokenizer', { grammar: 'root ::= "a"' }],
    ['stop "x"', { stop: 'x' }],
    ['stop with a symbol', { stop: [Symbol('x')] }],
    ['stop with a number', { stop: [1] }],
    ['statistics 1', { statistics: 1 }],
    ['ignoreEog "yes"', { ignoreEog: 'yes' }],
  ])('a request with %s is refused, and the run goes on', async (_, change) => {
    const { run, events, end } = startRun(session);
    expect(await failure(() => run.push({ ...nativeRequest(), ...change }))).toMatch(REFUSED);
    run.push(nativeRequest());
    run.finish();
    expect((await end).error).toBeUndefined();
    run.close();
    expect(events.filter(({ kind }) => kind === 'result')).toHaveLength(1);
  });

  test('a detached prompt is refused, a prompt too long is CONTEXT_FULL, a getter’s error comes out', async () => {
    const { run, end } = startRun(session);
    const prompt = Int32Array.of(1, 2);
    structuredClone(prompt, { transfer: [prompt.buffer] });
    expect(await failure(() => run.push({ ...nativeRequest(), prompt }))).toMatch(REFUSED);
    expect(await failure(() => run.push({ ...nativeRequest(), prompt: new Int32Array(257) }))).toBe('CONTEXT_FULL');
    const thrower = Object.defineProperty(nativeRequest(), 'prompt', {
      get: () => {
        throw new RangeError('from a getter');
      },
    });
    expect(await failure(() => run.push(thrower))).toBe('RangeError');
    run.finish();
    expect((await end).error).toBeUndefined();
    run.close();
  });

  test('what is no chunk cannot be acknowledged, and a foreign one takes nothing it may not take', async () => {
    const { run, end } = startRun(session);
    for (const chunk of [{}, { bytes: 1 }, { bytes: 1, blocks: {} }, { bytes: -1, blocks: [] }, { bytes: Number.NaN, blocks: [] }, { bytes: Infinity, blocks: [] }, { bytes: '1', blocks: [] }]) {
      expect(await failure(() => run.acknowledge(chunk as never, true))).toMatch(REFUSED);
    }
    run.acknowledge({ bytes: 1e15, blocks: [1, 'x', {}, null, new SharedArrayBuffer(8)] } as never, true);
    run.finish();
    expect((await end).error).toBeUndefined();
    run.close();
  });

  test('acknowledging twice, and rows after their memory was given back', async () => {
    const { events, run } = await runOnce(session, { ...RUN_PARAMS, ...capture({}) } as never);
    const chunks = events.flatMap((event) => (event.kind === 'capture' ? [event.chunk] : []));
    expect(chunks.length).toBeGreaterThan(0);
    for (const chunk of chunks) {
      expect(chunk.blocks[0]?.byteLength).toBe(chunk.bytes);
      run.acknowledge(chunk, false);
      expect(chunk.blocks[0]?.byteLength).toBe(chunk.bytes);
      run.acknowledge(chunk, true);
      run.acknowledge(chunk, true);
      expect(chunk.blocks[0]?.byteLength).toBe(0);
    }
  });

  test('a run object after its end: push is ABORTED, the rest does nothing', async () => {
    const { run } = await runOnce(session);
    expect(await failure(() => run.push(nativeRequest()))).toBe('ABORTED');
    run.finish();
    run.cancel();
    run.close();
    const { last } = await runOnce(session); // that cancel was not for this run
    expect(last.error).toBeUndefined();
  });

  test('push after finish and after cancel is ABORTED', async () => {
    const { run, end } = startRun(session);
    run.finish();
    expect(await failure(() => run.push(nativeRequest()))).toBe('ABORTED');
    expect((await end).error).toBeUndefined();
    run.close();
    const second = startRun(session);
    second.run.cancel();
    expect(await failure(() => second.run.push(nativeRequest()))).toBe('ABORTED');
    expect((await second.end).error).toMatchObject({ code: 'ABORTED' });
    second.run.close();
  });

  test('a second run, or the sites, while one is on is BUSY; both go on', async () => {
    const { run, end, events } = startRun(session);
    expect(await failure(() => session.start(RUN_PARAMS, () => undefined))).toBe('BUSY');
    expect(await failure(async () => session.sites())).toBe('BUSY');
    run.push(nativeRequest());
    run.finish();
    expect((await end).error).toBeUndefined();
    expect(await failure(() => session.start(RUN_PARAMS, () => undefined))).toBe('BUSY'); // not closed yet
    run.close();
    expect(events.some(({ kind }) => kind === 'result')).toBe(true);
    // Looking for the sites takes the session too. A new session with much to allocate, so that it lasts for a while: looking into
    // the table of one that knows its sites is over in microseconds.
    const fresh = new (native().NativeSession)(model.handle, { ...SESSION_PARAMS, parallel: 128, contextLength: 8192 });
    const sites = fresh.sites();
    expect(await failure(() => fresh.start(RUN_PARAMS, () => undefined))).toBe('BUSY');
    await sites;
    expect((await runOnce(fresh)).last.error).toBeUndefined();
    await fresh.release();
    expect((await runOnce(session)).last.error).toBeUndefined();
  });
});
