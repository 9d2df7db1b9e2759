/** What the addon says to wrong arguments, past the checks of the TypeScript layer: an error, never a crash. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Model } from '../../src/index.js';
import { generate, loadModel } from '../../src/index.js';
import type { NativeModel, NativeRun, NativeSession } from '../../src/native/addon.js';
import { native } from '../../src/native/addon.js';
import { REFUSED, RUN_PARAMS, SESSION_PARAMS, failure, nativeRequest, runChild, startRun } from '../helpers/native.js';
import { oraclePath } from '../helpers/oracle.js';

const path = oraclePath('llama-q8_0.gguf');
const MODEL_PARAMS = { path, gpuLayers: 0, devices: [], mmap: true, mlock: false, checkTensors: false };

let model: Model;
let handle: NativeModel;
let session: NativeSession;
beforeAll(async () => {
  model = await loadModel(path, { gpuLayers: 0 });
  handle = model.handle;
  session = new (native().NativeSession)(handle, SESSION_PARAMS);
});
afterAll(async () => {
  await session?.release();
  await model?.dispose();
});

/* eslint-disable @typescript-eslint/unbound-method -- methods are given other receivers on purpose */

/** Nothing that is a string, an object of properties, a typed array or a function. */
const NOTHINGS: [string, unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['a number', 7],
  ['NaN', Number.NaN],
  ['a bigint', 10n],
  ['a boolean', true],
  ['a symbol', Symbol('x')],
];
const OBJECTS: [string, unknown][] = [
  ['an object', {}],
  ['an object without prototype', Object.create(null)],
  ['a date', new Date(0)],
  ['a buffer', Buffer.from('x')],
];
const FUNCTION: [string, unknown] = ['a function', () => undefined];

describe.each([...NOTHINGS, ...OBJECTS, FUNCTION])('%s', (_, value) => {
  const any = value as never;

  test('is no text, no tokens, no model', async () => {
    expect(await failure(() => handle.tokenize(any, true, true))).toMatch(REFUSED);
    expect(await failure(() => handle.detokenize(any, true, true))).toMatch(REFUSED);
    expect(await failure(() => new (native().NativeSession)(any, SESSION_PARAMS))).toMatch(REFUSED);
    if (value !== undefined && value !== null) {
      expect(await failure(async () => native().loadModel({ ...MODEL_PARAMS, path: any }).promise)).toMatch(REFUSED);
    }
  });

  test('is no path of a file, directory or plugin', async () => {
    expect(await failure(async () => native().checkFile(any))).toMatch(REFUSED);
    expect(await failure(() => native().loadBackends(any))).toMatch(REFUSED);
    expect(await failure(() => native().loadPlugin(any))).toMatch(REFUSED);
  });

  if (value !== 7) {
    test('is no token', async () => {
      expect(await failure(() => handle.tokenPiece(any, true))).toMatch(REFUSED);
      expect(await failure(() => handle.isEndOfGeneration(any))).toMatch(REFUSED);
    });
  }
  if (typeof value !== 'function') {
    test('is no listener', async () => {
      expect(await failure(() => session.start(RUN_PARAMS, any))).toMatch(REFUSED);
    });
  }
});

test.each(NOTHINGS)('%s is no object of parameters', async (_, value) => {
  const any = value as never;
  const { run, end } = startRun(session);
  expect(await failure(async () => native().loadModel(any).promise)).toMatch(REFUSED);
  expect(await failure(() => new (native().NativeSession)(handle, any))).toMatch(REFUSED);
  expect(await failure(() => run.push(any))).toMatch(REFUSED);
  expect(await failure(() => run.acknowledge(any, true))).toMatch(REFUSED);
  run.finish();
  expect((await end).error).toBeUndefined();
  run.close();
  expect(await failure(() => session.start(any, () => undefined))).toMatch(REFUSED);
});

describe('objects of another kind', () => {
  const construct = (value: unknown) => (): unknown => new (native().NativeSession)(value as never, SESSION_PARAMS);

  test('a session, a run, an impostor and a wrapper are no models', async () => {
    const { run, end } = startRun(session);
    for (const value of [session, run, Object.create(handle), new Proxy(handle, {}), model, { ...handle }]) {
      expect(await failure(construct(value))).toMatch(REFUSED);
    }
    run.finish();
    await end;
    run.close();
  });

  test('methods refuse another receiver', async () => {
    const call = (method: unknown, receiver: unknown, ...args: unknown[]) => failure(() => (method as () => unknown).apply(receiver, args as []));
    const names = ['info', 'metadata', 'tokenize', 'detokenize', 'tokenPiece', 'isEndOfGeneration', 'release'] as const;
    for (const name of names) {
      expect(await call(handle[name], session, 'a')).toMatch(REFUSED);
      expect(await call(handle[name], {}, 'a')).toMatch(REFUSED);
      expect(await call(handle[name], undefined, 'a')).toMatch(REFUSED);
    }
    for (const name of ['info', 'sites', 'start', 'release'] as const) {
      expect(await call(session[name], handle, RUN_PARAMS, () => undefined)).toMatch(REFUSED);
      expect(await call(session[name], {}, RUN_PARAMS, () => undefined)).toMatch(REFUSED);
    }
    const { run, end } = startRun(session);
    for (const name of ['push', 'finish', 'cancel', 'acknowledge', 'close'] as const) {
      expect(await call(run[name], session, nativeRequest())).toMatch(REFUSED);
      expect(await call(run[name], handle, nativeRequest())).toMatch(REFUSED);
    }
    run.finish();
    expect((await end).error).toBeUndefined();
    run.close();
  });

  test('classes cannot be made by hand or called', async () => {
    const { run, end } = startRun(session);
    const Run = run.constructor as new (...args: unknown[]) => NativeRun;
    const NativeModelClass = handle.constructor as new (...args: unknown[]) => NativeModel;
    expect(await failure(() => new Run())).toMatch(REFUSED);
    expect(await failure(() => new Run(handle, RUN_PARAMS, () => undefined))).toMatch(REFUSED);
    expect(await failure(() => new NativeModelClass())).toMatch(REFUSED);
    expect(await failure(() => new NativeModelClass(handle))).toMatch(REFUSED);
    const { NativeSession } = native();
    expect(await failure(() => (NativeSession as unknown as (...args: unknown[]) => unknown)(handle, SESSION_PARAMS))).toMatch(REFUSED);
    run.finish();
    await end;
    run.close();
  });
});

test.each<[string, Record<string, unknown>]>([
  ['contextLength 0', { contextLength: 0 }],
  ['contextLength -1', { contextLength: -1 }],
  ['contextLength 1.5', { contextLength: 1.5 }],
  ['contextLength NaN', { contextLength: Number.NaN }],
  ['contextLength 2^32', { contextLength: 2 ** 32 }],
  ['contextLength 2^31-1', { contextLength: 2 ** 31 - 1 }],
  ['contextLength × parallel 2^32', { contextLength: 2 ** 24, parallel: 256 }],
  ['contextLength "256"', { contextLength: '256' }],
  ['parallel 0', { parallel: 0 }],
  ['parallel 257', { parallel: 257 }],
  ['parallel Infinity', { parallel: Infinity }],
  ['ubatch -1', { ubatch: -1 }],
  ['ubatch 1e10', { ubatch: 1e10 }],
  ['threads -1', { threads: -1 }],
  ['threads 1e6', { threads: 1e6 }],
  ['flashAttention 7', { flashAttention: 7 }],
  ['flashAttention true', { flashAttention: true }],
  ['cacheTypeK f64', { cacheTypeK: 'f64' }],
  ['cacheTypeV 16', { cacheTypeV: 16 }],
  ['offloadKqv 1', { offloadKqv: 1 }],
])('a session with %s is refused', async (_, params) => {
  expect(await failure(() => new (native().NativeSession)(handle, { ...SESSION_PARAMS, ...params }))).toMatch(REFUSED);
});

test.each<[string, Record<string, unknown>]>([
  ['gpuLayers 2^31', { gpuLayers: 2 ** 31 }],
  ['gpuLayers NaN', { gpuLayers: Number.NaN }],
  ['gpuLayers "all"', { gpuLayers: 'all' }],
  ['devices "CPU"', { devices: 'CPU' }],
  ['an unknown device', { devices: ['nowhere'] }],
  ['a device that is an object', { devices: [{}] }],
  ['a device that is a symbol', { devices: [Symbol('x')] }],
  ['mmap 1', { mmap: 1 }],
  ['mlock "no"', { mlock: 'no' }],
  ['checkTensors {}', { checkTensors: {} }],
])('a model with %s is refused', async (_, params) => {
  expect(await failure(async () => native().loadModel({ ...MODEL_PARAMS, ...params }).promise)).toMatch(REFUSED);
});

describe('tokens', () => {
  test.each([-1, 96, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 0.5, Number.NaN, Infinity])('%p is outside the vocabulary', async (token) => {
    expect(await failure(() => handle.tokenPiece(token, true))).toMatch(REFUSED);
    expect(await failure(() => handle.detokenize(Int32Array.of(1, token), false, true))).toMatch(REFUSED);
    const eog = await failure(() => expect(handle.isEndOfGeneration(token)).toBe(false)); // an id of no token ends nothing
    expect(['no error', 'INVALID_ARGUMENT']).toContain(eog);
  });

  test.each([new Int16Array(2), new Uint32Array(2), new Float32Array(2), new BigInt64Array(2), new DataView(new ArrayBuffer(8)), [1, 2]])(
    'only an Int32Array holds tokens: %#',
    async (tokens) => {
      expect(await failure(() => handle.detokenize(tokens as never, false, true))).toMatch(REFUSED);
    },
  );
});

describe('after disposal', () => {
  test('every method of a model and of its session is DISPOSED', async () => {
    const other = await loadModel(path, { gpuLayers: 0 });
    const { handle: gone } = other;
    const theirs = other.createSession({ threads: 1, contextLength: 256 });
    const { handle: goneSession } = theirs;
    await other.dispose();
    const calls: (() => unknown)[] = [
      () => gone.info(),
      () => gone.metadata(),
      () => gone.tokenize('a', true, true),
      () => gone.detokenize(Int32Array.of(1), true, true),
      () => gone.tokenPiece(1, true),
      () => gone.isEndOfGeneration(1),
      () => new (native().NativeSession)(gone, SESSION_PARAMS),
      () => goneSession.info(),
      () => goneSession.sites(),
      () => goneSession.start(RUN_PARAMS, () => undefined),
      () => other.metadata(),
      () => other.tokenize('a'),
      () => other.detokenize([1]),
      () => other.tokenPiece(1),
      () => other.createSession(),
      () => theirs.info,
      () => theirs.sites(),
      () => generate(theirs, [{ prompt: [1] }]).next(),
    ];
    for (const [i, call] of calls.entries()) {
      expect([i, await failure(call)]).toEqual([i, 'DISPOSED']);
    }
    await gone.release();
    await goneSession.release();
  });
});

describe('in a process of its own', () => {
  test.each<[string, Record<string, unknown>]>([
    ['sourceCount -1', { code: expect.stringMatching(/^(INVALID_ARGUMENT|MEMORY_BUDGET)$/) }],
    ['sourceCount 2^31-1', { code: expect.stringMatching(/^(INVALID_ARGUMENT|MEMORY_BUDGET)$/) }],
    ['ubatch 2^31-1', { code: expect.stringMatching(/^(INVALID_ARGUMENT|MEMORY_BUDGET)$/) }],
    ['contextLength 2^31-1', { code: expect.stringMatching(/^(INVALID_ARGUMENT|MEMORY_BUDGET)$/), message: expect.not.stringMatching(/-\d/) }],
    ['contextLength times parallel 2^32', { code: expect.stringMatching(/^(INVALID_ARGUMENT|MEMORY_BUDGET)$/) }],
    ['flashAttention 7', { code: 'INVALID_ARGUMENT' }],
    ['close while the run waits', {}],
    ['close from a getter of the pushed request', { code: 'ABORTED' }],
    ['onProgress that throws', { name: 'RangeError', message: 'from onProgress' }],
  ])('%s neither crashes nor hangs', (name, outcome) => {
    const { status, signal, stdout, stderr } = runChild('misuse-child.ts', name);
    expect({ status, signal, stderr }).toMatchObject({ status: 0, signal: null });
    expect(JSON.parse(stdout.trim())).toMatchObject(outcome);
  });
});
