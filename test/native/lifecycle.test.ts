/** Disposal, aborts and errors at every moment of a run: nothing hangs, and the session can be used again. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { GenerateOptions, Model, SequenceRequest, Session } from '../../src/index.js';
import { captureActivations, captureToFile, generate, loadModel } from '../../src/index.js';
import { runSequences } from '../../src/run/engine.js';
import { oraclePath } from '../helpers/oracle.js';

const path = oraclePath('llama-q8_0.gguf');
const OPTIONS = { threads: 1, contextLength: 256, parallel: 2 };
const PLAN = { layers: 'all' } as const;
/** Far more than is computed before a test stops it. */
const LONG: SequenceRequest[] = Array.from({ length: 2000 }, (_, i) => ({ prompt: [1, 2, i % 90], maxTokens: 200, seed: i }));
const SHORT: SequenceRequest[] = [{ prompt: [1, 2], maxTokens: 2 }];

let model: Model;
let session: Session;
beforeAll(async () => {
  model = await loadModel(path, { gpuLayers: 0 });
});
beforeEach(() => {
  session = model.createSession(OPTIONS);
});
afterEach(async () => session.dispose());
afterAll(async () => model?.dispose());

type Requests = Iterable<SequenceRequest> | AsyncIterable<SequenceRequest>;

async function count(on: Session, requests: Requests = SHORT, options: GenerateOptions = {}): Promise<number> {
  let results = 0;
  for await (const _ of generate(on, requests, options)) {
    results++;
  }
  return results;
}

/** A run that goes on, the first of its results taken. */
async function running(on: Session, options: GenerateOptions = {}): Promise<AsyncGenerator> {
  const run = generate(on, LONG, options);
  await run.next();
  return run;
}

async function drain(run: AsyncGenerator): Promise<void> {
  while ((await run.next()).done !== true);
}

/** Rejects when `promise` takes longer than `ms`. */
async function within<T>(promise: Promise<T>, ms = 5000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error(`not settled after ${ms} ms`)), ms)));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const STOPPED = { code: expect.stringMatching(/^(ABORTED|DISPOSED)$/) as unknown as string };

describe('disposal', () => {
  test.each(['session', 'model'] as const)('of the %s while a run generates ends the run', async (what) => {
    const own = await loadModel(path, { gpuLayers: 0 });
    const used = own.createSession(OPTIONS);
    const run = await running(used);
    const rest = expect(within(drain(run))).rejects.toMatchObject(STOPPED);
    await within((what === 'model' ? own : used).dispose());
    await rest;
    await expect(count(used)).rejects.toMatchObject({ code: 'DISPOSED' });
    await own.dispose();
  });

  test('of the session while nobody takes results, and while a capture or the sites are under way', async () => {
    const run = await running(session, { capture: PLAN });
    await within(session.dispose());
    await expect(within(drain(run))).rejects.toMatchObject(STOPPED);
    for (const start of [
      async (other: Session): Promise<unknown> => captureActivations(other, LONG.map(({ prompt }) => prompt), PLAN),
      async (other: Session): Promise<unknown> => other.sites(),
    ]) {
      const other = model.createSession(OPTIONS);
      const settled = start(other).then(() => 'done', (error: { code?: string }) => error.code);
      await within(other.dispose());
      expect(['done', 'ABORTED', 'DISPOSED']).toContain(await within(settled));
    }
  });

  test('twice, at once, and before any run', async () => {
    await within(Promise.all([session.dispose(), session.dispose()]));
    await within(session.dispose());
    const own = await loadModel(path, { gpuLayers: 0 });
    own.createSession(OPTIONS);
    await within(Promise.all([own.dispose(), own.dispose()]));
    await within(own.dispose());
  });

  test('of a model disposes its sessions; `await using` disposes both', async () => {
    let outer: Model;
    let inner: Session;
    {
      await using own = await loadModel(path, { gpuLayers: 0 });
      await using used = own.createSession(OPTIONS);
      outer = own;
      inner = used;
      expect(await count(used)).toBe(1);
    }
    expect(() => inner.info).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
    expect(() => outer.metadata()).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
    const own = await loadModel(path, { gpuLayers: 0 });
    const used = own.createSession(OPTIONS);
    await own.dispose();
    await expect(count(used)).rejects.toMatchObject({ code: 'DISPOSED' });
  });

  test('after the iterator was dropped without return', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    await running(session, { capture: PLAN });
    for (let i = 0; i < 5; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await within(session.dispose());
  });
});

describe('abort', () => {
  test('between two results', async () => {
    const controller = new AbortController();
    const run = await running(session, { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(within(drain(run))).rejects.toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } });
    expect(await count(session)).toBe(1);
  });

  test('while the source of requests has none to give', async () => {
    const controller = new AbortController();
    const source: AsyncIterable<SequenceRequest> = { [Symbol.asyncIterator]: () => ({ next: async () => new Promise(() => undefined) }) };
    const run = count(session, source, { signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    await expect(within(run)).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await within(count(session))).toBe(1);
  });

  test('by the source of requests, between two of them', async () => {
    const controller = new AbortController();
    function* source(): Generator<SequenceRequest> {
      yield* LONG.slice(0, 3);
      controller.abort();
      yield* LONG.slice(3);
    }
    await expect(within(count(session, source(), { signal: controller.signal }))).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await count(session)).toBe(1);
  });
});

describe('errors from outside', () => {
  test.each([0, 1, 50])('a source that throws after %d requests: its error comes out', async (n) => {
    function* source(): Generator<SequenceRequest> {
      yield* LONG.slice(0, n);
      throw new RangeError('from the source');
    }
    async function* asyncSource(): AsyncGenerator<SequenceRequest> {
      yield* source();
    }
    await expect(within(count(session, source()))).rejects.toThrow(new RangeError('from the source'));
    await expect(within(count(session, asyncSource()))).rejects.toThrow(new RangeError('from the source'));
    expect(await count(session)).toBe(1);
  });

  test.each(['throws', 'rejects'])('a consumer of rows that %s: its error comes out', async (how) => {
    const error = new RangeError('from the consumer');
    const onRows = (): Promise<void> => {
      if (how === 'throws') {
        throw error;
      }
      return Promise.reject(error);
    };
    await expect(within(drain(runSequences(session, LONG, { capture: PLAN, onRows })))).rejects.toBe(error);
    expect(await count(session)).toBe(1);
  });

  test('the body of the loop throws', async () => {
    const loop = async (): Promise<void> => {
      for await (const _ of generate(session, LONG)) {
        throw new RangeError('from the loop');
      }
    };
    await expect(within(loop())).rejects.toThrow(new RangeError('from the loop'));
    expect(await count(session)).toBe(1);
  });

  test('a file that cannot be written is an IO error and leaves nothing behind', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rewardlens-lifecycle-'));
    try {
      await expect(within(captureToFile(session, [[1, 2, 3]], PLAN, join(folder, 'missing', 'a.safetensors')))).rejects.toMatchObject({ code: 'IO' });
      expect(readdirSync(folder)).toEqual([]);
      expect(await count(session)).toBe(1);
      const controller = new AbortController();
      const prompts = LONG.map(({ prompt }) => prompt);
      const onProgress = (): void => controller.abort();
      const stopped = captureToFile(session, prompts, PLAN, join(folder, 'b.safetensors'), { signal: controller.signal, onProgress });
      await expect(within(stopped)).rejects.toMatchObject({ code: 'ABORTED' });
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    expect(await count(session)).toBe(1);
  });
});
