/** Smaller copies of a model by llama.cpp's own quantizer. */
import { spawn } from 'node:child_process';
import { rename, rm, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { nativeDirectory, native } from '../native/addon.js';
import type { ErrorCode } from '../native/errors.js';
import { RewardLensError, aborted, guardAsync, invalidArgument, throwIfAborted } from '../native/errors.js';

/** llama.cpp's names of file types that need no importance matrix, from the largest to the smallest. */
export const QUANTIZATION_TYPES = [
  'F32', 'F16', 'BF16', 'Q8_0', 'Q6_K', 'Q5_K_M', 'Q5_K_S', 'Q5_1', 'Q5_0', 'Q4_K_M', 'Q4_K_S', 'Q4_1', 'Q4_0', 'IQ4_NL', 'IQ4_XS', 'Q3_K_L', 'Q3_K_M', 'Q3_K_S', 'Q2_K',
] as const;
export type QuantizationType = (typeof QUANTIZATION_TYPES)[number];

/** Options of {@link quantizeModel}. */
export interface QuantizeOptions {
  readonly type: QuantizationType;
  /** Default: all hardware threads. */
  readonly threads?: number | undefined;
  /** Quantize what is quantized already, which loses more than quantizing the original. Default false. */
  readonly allowRequantize?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Tensors done, of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What came of it. */
export interface Quantized {
  readonly inputBytes: number;
  readonly outputBytes: number;
  /** Tensors that got another type than asked for, because their rows are no multiple of its block (256 of K-quants). */
  readonly fallbacks: number;
  /** What the file holds now. A file type mixes tensor types on purpose: norms stay f32, some matrices get more bits. */
  readonly tensors: readonly { readonly type: string; readonly count: number; readonly bytes: number }[];
}

interface Outcome {
  result: ({ ok: true } & Pick<Quantized, 'fallbacks' | 'tensors'>) | { ok: false; message: string } | undefined;
  log: string;
  code: number | null;
  killed: string | null;
}

/**
 * Writes a copy of the model `input` with its matrices as `type` to `output`, by llama.cpp's `llama_model_quantize` in a
 * child process, without importance matrix. The parts of a split model become one file. `output` is replaced at the end, when the copy is
 * complete, or not at all. Errors: INVALID_ARGUMENT for an unknown type, a model that is quantized already (without `allowRequantize`), output on input;
 * MODEL_LOAD with llama.cpp's reason; IO; ABORTED. Cost: reads and writes the weights once.
 */
export async function quantizeModel(input: string, output: string, options: QuantizeOptions): Promise<Quantized> {
  const { type, signal } = options;
  if (!QUANTIZATION_TYPES.includes(type)) {
    throw invalidArgument('type', `one of ${QUANTIZATION_TYPES.join(', ')}`, type);
  }
  throwIfAborted(`quantizing '${input}'`, signal);
  const check = await guardAsync(native().checkFile(input));
  if (!check.ok) {
    throw new RewardLensError(check.code as ErrorCode, check.message, { details: { path: input, kind: check.kind } });
  }
  if (check.files.some((file) => resolve(file) === resolve(output))) {
    throw invalidArgument('output', 'another file than the input', output);
  }
  const temporary = `${output}.${process.pid}.tmp`;
  try {
    const { result, ...end } = await runQuantizer([input, temporary, type, String(options.threads ?? 0), options.allowRequantize === true ? '1' : '0'], options, input);
    if (result?.ok !== true) {
      throw failure(input, output, result?.message, end);
    }
    const [before, after] = [await sizes(check.files), await sizes([temporary])];
    await rename(temporary, output);
    return { inputBytes: before, outputBytes: after, fallbacks: result.fallbacks, tensors: result.tensors };
  } finally {
    await rm(temporary, { force: true });
  }
}

async function sizes(paths: readonly string[]): Promise<number> {
  const all = await Promise.all(paths.map((path) => stat(path)));
  return all.reduce((sum, { size }) => sum + size, 0);
}

async function runQuantizer(args: readonly string[], { signal, onProgress }: QuantizeOptions, input: string): Promise<Outcome> {
  const program = resolve(nativeDirectory, process.platform === 'win32' ? 'rewardlens-quantize.exe' : 'rewardlens-quantize');
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(signal === undefined ? {} : { signal, killSignal: 'SIGKILL' as const }) });
  const out: Outcome = { result: undefined, log: '', code: null, killed: null };
  child.stderr.setEncoding('utf8').on('data', (text: string) => (out.log = (out.log + text).slice(-4096)));
  createInterface(child.stdout).on('line', (line) => {
    const message = JSON.parse(line) as { done: number; total: number } | Exclude<Outcome['result'], undefined>;
    if ('ok' in message) {
      out.result = message;
    } else {
      onProgress?.(message.done, message.total);
    }
  });
  let failed: unknown;
  await new Promise<void>((done) => {
    child.on('error', (error) => (failed = error));
    child.on('close', (code, killed) => {
      Object.assign(out, { code, killed });
      done();
    });
  });
  if (signal?.aborted === true) {
    throw aborted(`quantizing '${input}'`, signal);
  }
  if (failed !== undefined) {
    throw new RewardLensError('BACKEND', `cannot start '${program}': ${(failed as Error).message}; run "npm run build:native"`, { cause: failed });
  }
  return out;
}

/** What went wrong, in terms of the arguments where it lies in them. */
function failure(input: string, output: string, message: string | undefined, { log, code, killed }: Omit<Outcome, 'result'>): RewardLensError {
  const reason = (message ?? `llama.cpp ended the process (${killed ?? `exit code ${code ?? 'unknown'}`}): ${log.trim().split('\n').at(-1) ?? ''}`)
    .replace(/^llama_model_quantize: failed to quantize: /, '')
    .trim();
  const requantized = /^requantizing from type (\S+) is disabled/.exec(reason);
  if (requantized !== null) {
    return new RewardLensError('INVALID_ARGUMENT', `'${input}' is quantized already (${requantized[1]?.toUpperCase()}): take the original, or allow it to be quantized again (--allow-requantize), which loses more`, {
      details: { path: input, type: requantized[1] },
    });
  }
  return reason.includes('iostream')
    ? new RewardLensError('IO', `cannot write '${output}': the directory does not exist, or the disk is full`, { details: { path: output } })
    : new RewardLensError('MODEL_LOAD', `'${input}' cannot be quantized: ${reason}`, { details: { path: input, log } });
}
