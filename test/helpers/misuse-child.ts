/**
 * Arguments that could take the process down or block it, one per process: `misuse-child.ts <case>`. Prints how the case
 * ended, as one JSON line.
 */
import { generate, loadModel } from '../../src/index.js';
import { native } from '../../src/native/addon.js';
import type { NativeSessionParams } from '../../src/native/addon.js';
import { RUN_PARAMS, SESSION_PARAMS, nativeRequest, runOnce, startRun } from './native.js';
import { oraclePath } from './oracle.js';

const model = await loadModel(oraclePath('llama-q8_0.gguf'), { gpuLayers: 0, isolate: false });

async function nativeRun(params: Partial<NativeSessionParams>, sourceCount = 0): Promise<unknown> {
  const session = new (native().NativeSession)(model.handle, { ...SESSION_PARAMS, ...params });
  const { last } = await runOnce(session, { ...RUN_PARAMS, editLists: [{ sourceCount, edits: [] }] }, { ...nativeRequest(), edits: 0 });
  const { contextLength } = session.info();
  await session.release();
  if (last.error !== undefined) {
    throw last.error;
  }
  return { contextLength };
}

const CASES: Record<string, () => Promise<unknown>> = {
  'sourceCount -1': async () => nativeRun({}, -1),
  'sourceCount 2^31-1': async () => nativeRun({}, 0x7fffffff),
  'ubatch 2^31-1': async () => nativeRun({ ubatch: 0x7fffffff }),
  'contextLength 2^31-1': async () => nativeRun({ contextLength: 0x7fffffff }),
  'contextLength times parallel 2^32': async () => nativeRun({ contextLength: 1 << 24, parallel: 256 }),
  'flashAttention 7': async () => nativeRun({ flashAttention: 7 as never }),
  'close while the run waits': async () => {
    const session = new (native().NativeSession)(model.handle, SESSION_PARAMS);
    const { run } = startRun(session);
    run.push(nativeRequest());
    try {
      run.close();
    } finally {
      run.cancel();
      await session.release();
    }
    return 'closed';
  },
  'close from a getter of the pushed request': async () => {
    const session = new (native().NativeSession)(model.handle, SESSION_PARAMS);
    const { run, end } = startRun(session);
    run.cancel();
    await end;
    const request = Object.defineProperty(nativeRequest(), 'id', {
      get: () => {
        run.close();
        return 1;
      },
    });
    try {
      run.push(request);
      return 'pushed';
    } finally {
      await session.release();
    }
  },
  'onProgress that throws': async () => {
    const session = model.createSession({ threads: 1, contextLength: 256 });
    const onProgress = (): void => {
      throw new RangeError('from onProgress');
    };
    for await (const _ of generate(session, [{ prompt: [1, 2, 3], maxTokens: 2 }], { onProgress }));
    return 'finished';
  },
};

const run = CASES[process.argv[2] ?? ''];
if (run === undefined) {
  throw new Error(`no case '${process.argv[2]}'`);
}
try {
  console.log(JSON.stringify({ value: await run() }));
} catch (error) {
  const { name, message, code } = error as Error & { code?: string };
  console.log(JSON.stringify({ name, message, code }));
}
await model.dispose();
