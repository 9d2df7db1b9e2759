/** Arguments of the addon's own methods, and runs through them without the TypeScript layer above. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { NativeEdit, NativeEvent, NativeRequest, NativeRun, NativeRunParams, NativeSession, NativeSessionParams } from '../../src/native/addon.js';

export const SESSION_PARAMS: NativeSessionParams = {
  contextLength: 256,
  parallel: 1,
  ubatch: 32,
  threads: 1,
  flashAttention: -1,
  cacheTypeK: 'f16',
  cacheTypeV: 'f16',
  offloadKqv: true,
};

export const RUN_PARAMS: NativeRunParams = { editLists: [], promptOnly: false };

/** A request of three tokens that samples two. */
export function nativeRequest(): NativeRequest {
  return {
    id: 0,
    prompt: Int32Array.of(1, 2, 3),
    maxTokens: 2,
    edits: -1,
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    seed: 0,
    grammar: '',
    stop: [],
    statistics: false,
    ignoreEog: true,
  };
}

/** An edit of residPost in layer 0. */
export function nativeEdit(): NativeEdit {
  return { source: 0, site: 'residPost', layer: 0, op: 'set', positions: { kind: 'all' }, values: Float32Array.of(0) };
}

/** Codes of an argument that was refused; see {@link failure}. */
export const REFUSED = /^(INVALID_ARGUMENT|TypeError)$/;

/** What `body` throws or rejects with: 'TypeError', its code, or what else happened. */
export async function failure(body: () => unknown): Promise<string> {
  try {
    await body();
    return 'no error';
  } catch (error) {
    const { code, name } = error as Error & { code?: string };
    return code ?? name;
  }
}

type EndEvent = Extract<NativeEvent, { kind: 'end' }>;

export interface StartedRun {
  run: NativeRun;
  events: NativeEvent[];
  end: Promise<EndEvent>;
}

/** Starts a run and collects its events; `end` settles with the last one. */
export function startRun(session: NativeSession, params: NativeRunParams = RUN_PARAMS): StartedRun {
  const events: NativeEvent[] = [];
  let resolve!: (event: EndEvent) => void;
  const end = new Promise<EndEvent>((done) => (resolve = done));
  const run = session.start(params, (batch) => {
    events.push(...batch);
    const last = batch.at(-1);
    if (last?.kind === 'end') {
      resolve(last);
    }
  });
  return { run, events, end };
}

/** Runs one request to its end and frees the session for the next run. */
export async function runOnce(session: NativeSession, params: NativeRunParams = RUN_PARAMS, request = nativeRequest()): Promise<StartedRun & { last: EndEvent }> {
  const started = startRun(session, params);
  try {
    started.run.push(request);
  } finally {
    started.run.finish();
  }
  const last = await started.end;
  started.run.close();
  return { ...started, last };
}

export interface ChildResult {
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

/**
 * Runs a case of a script of this folder in a process of its own and waits for its end. One that is not done within
 * `timeoutMs` gets SIGKILL. Its data segment is limited, so that a wrong size is an error and not the end of the machine.
 */
export function runChild(script: string, name: string, options: { nodeFlags?: string[]; timeoutMs?: number } = {}): ChildResult {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const node = [process.execPath, ...(options.nodeFlags ?? []), '--import', 'tsx', file, name];
  const { status, signal, stdout, stderr } = spawnSync('sh', ['-c', 'ulimit -d 6000000; exec "$@"', 'sh', ...node], {
    env: { ...process.env, NODE_OPTIONS: '' },
    encoding: 'utf8',
    timeout: options.timeoutMs ?? 20_000,
    killSignal: 'SIGKILL',
  });
  return { status, signal, stdout, stderr: stderr.slice(-2000) };
}
