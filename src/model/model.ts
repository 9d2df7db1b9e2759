/** A loaded GGUF model. */
import { Template } from '@huggingface/jinja';
import { existsSync } from 'node:fs';
import type { DeviceInfo, NativeModel, NativeModelInfo } from '../native/addon.js';
import { gpuPlugins, native } from '../native/addon.js';
import { RewardLensError, aborted, fromNative, guard, guardAsync, invalidArgument, throwIfAborted } from '../native/errors.js';
import { checkModelFile } from './loadCheck.js';
import type { SessionOptions } from './session.js';
import { Session } from './session.js';

/** Options of {@link loadModel}. Flag names of the command line are llama.cpp's. */
export interface LoadOptions {
  /** Layers on the GPU (`-ngl`); default: all when a GPU backend loads, else 0. 0 loads no GPU backend. */
  gpuLayers?: number;
  /** Devices to use (`--device`), names as {@link listDevices} gives them; default: llama.cpp's choice. */
  devices?: readonly string[];
  /** Map the file instead of reading it; default true. */
  mmap?: boolean;
  /** Keep the weights in RAM; default false. */
  mlock?: boolean;
  /** Validate all tensor data while loading (reads the whole file); default false. */
  checkTensors?: boolean;
  /** Try the file in a child process first, because llama.cpp aborts on some malformed files; default true. */
  isolate?: boolean;
  /** Called with the loaded fraction, 0..1. */
  onProgress?: (fraction: number) => void;
  signal?: AbortSignal;
}

/** Facts of a model that do not change. Token ids are -1 when the vocabulary has none. */
export type ModelInfo = NativeModelInfo & { path: string };

/** A chat message for {@link Model.applyChatTemplate}. */
export interface ChatMessage {
  role: string;
  content: string;
}

/** Loads backends for `names` (every installed one that works when undefined). A plugin asked for by name must load. */
function loadGpuBackends(devices: readonly string[] | undefined): void {
  for (const [name, path] of gpuPlugins()) {
    const wanted = devices?.some((device) => device.toLowerCase().startsWith(name));
    if (devices !== undefined && wanted !== true) {
      continue;
    }
    try {
      native().loadPlugin(path);
    } catch (error) {
      if (wanted === true) {
        throw fromNative(error);
      }
    }
  }
}

/** Compute devices; GPU backends that are installed and work on this machine are loaded first. Errors: BACKEND. */
export function listDevices(): DeviceInfo[] {
  loadGpuBackends(undefined);
  return guard(() => native().devices());
}

/**
 * Loads the GGUF at `path` (for a split model, its first part). Errors: MODEL_LOAD (not a GGUF, truncated, missing
 * split, refused by llama.cpp: the message says which), UNSUPPORTED_ARCH, INVALID_ARGUMENT, ABORTED. Cost: a header
 * check and a trial load without weights in a child process (about 0.1 s), then llama.cpp's load, off the event loop.
 */
export async function loadModel(path: string, options: LoadOptions = {}): Promise<Model> {
  if (typeof path !== 'string' || path === '') {
    throw invalidArgument('path', 'the path of a GGUF file', path);
  }
  if (!existsSync(path)) {
    throw new RewardLensError('MODEL_LOAD', `'${path}' does not exist`, { details: { path, kind: 'IO' } });
  }
  if (options.gpuLayers !== undefined && !Number.isInteger(options.gpuLayers)) {
    throw invalidArgument('gpuLayers', 'an integer', options.gpuLayers);
  }
  throwIfAborted(`loading '${path}'`, options.signal);
  const files = await checkModelFile(path, { isolate: options.isolate ?? true, signal: options.signal });
  if (options.gpuLayers !== 0 || options.devices !== undefined) {
    loadGpuBackends(options.devices);
  }
  const hasGpu = native().devices().some((device) => device.type !== 'cpu' && device.type !== 'accel');
  let progressError: { error: unknown } | undefined;
  const onProgress = (fraction: number): void => {
    try {
      options.onProgress?.(fraction);
    } catch (error) {
      progressError ??= { error };
      load.abort();
    }
  };
  const load = guard(() =>
    native().loadModel(
      {
        path,
        gpuLayers: options.gpuLayers ?? (hasGpu ? -1 : 0),
        devices: [...(options.devices ?? [])],
        mmap: options.mmap ?? true,
        mlock: options.mlock ?? false,
        checkTensors: options.checkTensors ?? false,
      },
      onProgress,
    ),
  );
  const onAbort = (): void => load.abort();
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const handle = await guardAsync(load.promise);
    if (options.signal?.aborted === true) {
      await handle.release();
      throw aborted(`loading '${path}'`, options.signal);
    }
    return new Model(handle, path, files, { gpuLayers: options.gpuLayers ?? (hasGpu ? -1 : 0), devices: options.devices ?? [] });
  } catch (error) {
    throw progressError === undefined ? error : progressError.error;
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/** A loaded model. Owns its sessions: disposing it disposes them first. */
export class Model implements AsyncDisposable {
  readonly info: ModelInfo;
  /** Every file of the model in load order; one unless it is split. */
  readonly files: readonly string[];
  /** Where the weights were asked to be: layers on the GPU (-1: all) and devices (empty: llama.cpp's choice). */
  readonly placement: { readonly gpuLayers: number; readonly devices: readonly string[] };
  #handle: NativeModel | undefined;
  readonly #sessions = new Set<Session>();
  #template: Template | undefined;

  /** Use {@link loadModel}. */
  constructor(handle: NativeModel, path: string, files: readonly string[], placement: Model['placement']) {
    this.#handle = handle;
    this.files = files;
    this.placement = placement;
    this.info = Object.freeze({ ...handle.info(), path });
  }

  /** The addon's object. Errors: DISPOSED. */
  get handle(): NativeModel {
    if (this.#handle === undefined) {
      throw new RewardLensError('DISPOSED', `the model '${this.info.path}' has been disposed`);
    }
    return this.#handle;
  }

  /** Scalar metadata of the file as text, by key. Arrays (the vocabulary) are left out. */
  metadata(): Record<string, string> {
    return guard(() => this.handle.metadata());
  }

  /**
   * Token ids of `text`. `addSpecial` (default true) adds BOS/EOS as the model wants; `parseSpecial` (default true) turns
   * the text of control tokens into the tokens. Errors: INVALID_ARGUMENT for a model without tokenizer, DISPOSED.
   */
  tokenize(text: string, options: { addSpecial?: boolean; parseSpecial?: boolean } = {}): Int32Array {
    return guard(() => this.handle.tokenize(text, options.addSpecial ?? true, options.parseSpecial ?? true));
  }

  /**
   * Text of token ids. `removeSpecial` (default false) drops a leading BOS; `special` (default true) renders control
   * tokens. Errors: INVALID_ARGUMENT for ids outside the vocabulary, DISPOSED.
   */
  detokenize(tokens: Int32Array | readonly number[], options: { removeSpecial?: boolean; special?: boolean } = {}): string {
    const ids = tokens instanceof Int32Array ? tokens : Int32Array.from(tokens);
    return guard(() => this.handle.detokenize(ids, options.removeSpecial ?? false, options.special ?? true));
  }

  /** Bytes of one token: possibly part of a UTF-8 character, so not a string. Control tokens give their name, without `special` (default true) nothing. */
  tokenPiece(token: number, options: { special?: boolean } = {}): Buffer {
    return guard(() => this.handle.tokenPiece(token, options.special ?? true));
  }

  /**
   * The prompt text of a conversation by the model's own chat template (Jinja, stored in the GGUF), ready for
   * {@link tokenize} with `addSpecial: false`. Errors: INVALID_ARGUMENT when the model has no template or it refuses.
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: { addGenerationPrompt?: boolean; template?: string } = {}): string {
    const source = options.template ?? this.info.chatTemplate;
    if (source === '') {
      throw new RewardLensError('INVALID_ARGUMENT', `'${this.info.path}' carries no chat template; give raw prompts or a template`);
    }
    try {
      const template = options.template === undefined ? (this.#template ??= new Template(source)) : new Template(source);
      return template.render({
        messages: messages.map((message) => ({ ...message })),
        add_generation_prompt: options.addGenerationPrompt ?? true,
        bos_token: this.#specialText(this.info.bos),
        eos_token: this.#specialText(this.info.eos),
      });
    } catch (error) {
      throw new RewardLensError('INVALID_ARGUMENT', `the chat template failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  #specialText(token: number): string {
    return token < 0 ? '' : this.tokenPiece(token).toString('utf8');
  }

  /** A session of this model. Errors: INVALID_ARGUMENT, UNSUPPORTED_ARCH, DISPOSED. Cost: none until the first run. */
  createSession(options: SessionOptions = {}): Session {
    const session = new Session(this, options, () => this.#sessions.delete(session));
    this.#sessions.add(session);
    return session;
  }

  /** Disposes the sessions, waits for their work in flight and frees the model. Idempotent. */
  async dispose(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await Promise.all([...this.#sessions].map((session) => session.dispose()));
    await handle?.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
