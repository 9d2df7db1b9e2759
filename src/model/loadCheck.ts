/** Makes sure that a model file cannot take the process down before llama.cpp gets to see it. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { libraryDirectory, native, nativeDirectory } from '../native/addon.js';
import type { ErrorCode } from '../native/errors.js';
import { RewardLensError, aborted, guardAsync, throwIfAborted } from '../native/errors.js';

/** The JSON line of rewardlens-load-check. */
interface LoadCheckReport {
  ok: boolean;
  code?: string;
  stage?: string;
  message?: string;
}

/** Wall-clock limit of the trial load, seconds. It reads no weights, so size hardly matters. */
const TRIAL_SECONDS = 60;

/**
 * Checks the file's header here and then lets a child process go through llama.cpp's own loading, which aborts on some
 * malformed files. Errors: MODEL_LOAD or UNSUPPORTED_ARCH with the reason, ABORTED. Cost: header parsing (ms) plus one
 * process start and a load without weights (about 0.1 s for small models). Returns the model's files in load order.
 */
export async function checkModelFile(path: string, options: { isolate: boolean; signal?: AbortSignal | undefined }): Promise<string[]> {
  const check = await guardAsync(native().checkFile(path));
  if (!check.ok) {
    throw new RewardLensError(check.code as ErrorCode, check.message, { details: { path, kind: check.kind } });
  }
  throwIfAborted(`loading '${path}'`, options.signal);
  const program = resolve(nativeDirectory, process.platform === 'win32' ? 'rewardlens-load-check.exe' : 'rewardlens-load-check');
  if (options.isolate && existsSync(program)) {
    await trialLoad(program, path, options.signal);
  }
  return check.files;
}

async function trialLoad(program: string, path: string, signal: AbortSignal | undefined): Promise<void> {
  const outcome = await new Promise<{ output: string; log: string; code: number | null; killed: string | null }>((done, fail) => {
    const args = [path, '--backend-dir', libraryDirectory(), '--seconds', String(TRIAL_SECONDS)];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(signal === undefined ? {} : { signal }) });
    let output = '';
    let log = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-4096)));
    child.on('error', fail);
    child.on('close', (code, killed) => done({ output, log, code, killed }));
  }).catch((error: unknown) => {
    throw signal?.aborted === true ? aborted(`loading '${path}'`, signal) : error;
  });
  const report = parseReport(outcome.output);
  if (report?.ok === true && outcome.code === 0) {
    return;
  }
  const lastLine = outcome.log.trim().split('\n').at(-1) ?? '';
  const reason =
    report !== undefined && !report.ok
      ? (report.message ?? 'it was refused')
      : `llama.cpp ended the trial process (${outcome.killed ?? `exit code ${outcome.code ?? 'unknown'}`})${lastLine === '' ? '' : `: ${lastLine}`}`;
  throw new RewardLensError('MODEL_LOAD', `'${path}' cannot be loaded: ${reason}`, {
    details: { path, stage: report?.stage, signal: outcome.killed, log: outcome.log },
  });
}

function parseReport(output: string): LoadCheckReport | undefined {
  try {
    return JSON.parse(output.trim().split('\n').at(-1) ?? '') as LoadCheckReport;
  } catch {
    return undefined;
  }
}
