/** Typed surface of everything the addon exports, and the one place that loads it. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RewardLensError, guard } from './errors.js';

export type NativeSiteName = 'residPre' | 'residMid' | 'residPost' | 'attnOut' | 'mlpPost' | 'mlpOut' | 'logits';

/** A compute device of a loaded backend; `name` is what `--device` takes. */
export interface DeviceInfo {
  name: string;
  description: string;
  type: 'cpu' | 'gpu' | 'igpu' | 'accel';
  backend: string;
  memoryFreeBytes: number;
  memoryTotalBytes: number;
}

export interface NativeModelInfo {
  architecture: string;
  description: string;
  quantization: string;
  layerCount: number;
  dModel: number;
  headCount: number;
  kvHeadCount: number;
  trainContextLength: number;
  vocabSize: number;
  tokenizer: string;
  parameterCount: number;
  sizeBytes: number;
  recurrent: boolean;
  hybrid: boolean;
  offloaded: boolean;
  bos: number;
  eos: number;
  eot: number;
  newline: number;
  pad: number;
  addsBos: boolean;
  addsEos: boolean;
  chatTemplate: string;
}

export interface NativeModelParams {
  path: string;
  gpuLayers: number;
  devices: string[];
  mmap: boolean;
  mlock: boolean;
  checkTensors: boolean;
}

export interface NativeModel {
  info(): NativeModelInfo;
  metadata(): Record<string, string>;
  tokenize(text: string, addSpecial: boolean, parseSpecial: boolean): Int32Array;
  detokenize(tokens: Int32Array, removeSpecial: boolean, unparseSpecial: boolean): string;
  tokenPiece(token: number, special: boolean): Buffer;
  isEndOfGeneration(token: number): boolean;
  release(): Promise<void>;
}

export interface NativeSessionParams {
  contextLength: number;
  parallel: number;
  ubatch: number;
  threads: number;
  flashAttention: -1 | 0 | 1;
  cacheTypeK: string;
  cacheTypeV: string;
  offloadKqv: boolean;
}

export interface NativeSite {
  site: NativeSiteName;
  layer: number;
  found: boolean;
  /** Floats per row; 0 when the architecture has no such node. */
  width: number;
  /** Name of the llama.cpp graph node. */
  node: string;
  /** How it was recognised: by its name or by the structure of the block. */
  rule: string;
  /** When not found: why. */
  reason: string;
  /** The last layer computes rows only for tokens whose logits or capture is asked for. */
  outputRows: boolean;
}

export interface NativeSession {
  info(): { contextLength: number; parallel: number; ubatch: number; threads: number };
  sites(): Promise<NativeSite[]>;
  start(params: NativeRunParams, onEvents: (events: NativeEvent[]) => void): NativeRun;
  release(): Promise<void>;
}

export interface NativePositions {
  kind: 'all' | 'prompt' | 'completion' | 'response' | 'last' | 's0' | 'list';
  list?: Int32Array;
  from?: number;
}

export interface NativeEdit {
  source: number;
  site: NativeSiteName;
  layer: number;
  op: 'set' | 'scale' | 'add' | 'clamp' | 'rows' | 'project';
  neurons?: Int32Array;
  positions: NativePositions;
  values: Float32Array;
  choice?: 'seeded' | 'position';
  seed?: number;
  rowPositions?: Int32Array;
}

export interface NativeEditList {
  sourceCount: number;
  edits: NativeEdit[];
}

export interface NativeCapture {
  sites: { site: NativeSiteName; layer: number }[];
  positions: NativePositions;
  neurons?: Int32Array;
  halfPrecision: boolean;
}

export interface NativeRunParams {
  capture?: NativeCapture;
  editLists: NativeEditList[];
  promptOnly: boolean;
  minSharedPrefix?: number;
  skipLayers?: boolean;
  maxPendingBytes?: number;
  chunkBytes?: number;
}

export interface NativeRequest {
  id: number;
  prompt: Int32Array;
  maxTokens: number;
  edits: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  seed: number;
  grammar: string;
  stop: string[];
  statistics: boolean;
  ignoreEog: boolean;
  promptCellsOnly?: boolean;
}

export interface NativeRun {
  push(request: NativeRequest): void;
  finish(): void;
  cancel(): void;
  acknowledge(chunk: NativeChunk, release: boolean): void;
  close(): void;
}

export interface NativeResult {
  id: number;
  finishReason: 'prompt' | 'eog' | 'stop' | 'length' | 'context';
  tokens: Int32Array;
  text: string;
  logProbabilities: Float32Array;
  entropies: Float32Array;
  promptLength: number;
  sharedPrefix: number;
  skippedLayers: number;
  processed: number;
  capturedRows: number;
  changed: number[];
  changedShared: number[];
}

export interface NativeChunk {
  id: number;
  firstRow: number;
  rowCount: number;
  bytes: number;
  tokens: Int32Array;
  positions: Int32Array;
  blocks: ArrayBuffer[];
}

export interface NativeProgress {
  promptTokens: number;
  sharedTokens: number;
  /** Of the computed prompt tokens: those whose lower layers were taken from an earlier pass over the same prompt. */
  skippedTokens: number;
  /** The same times the number of layers left out. */
  skippedLayerTokens: number;
  /** Passes that could not leave layers out after all and were repeated in full. */
  skipFallbacks: number;
  completionTokens: number;
  decodeCalls: number;
  finished: number;
  active: number;
  busyMs: number;
}

export type NativeEvent =
  | { kind: 'capture'; chunk: NativeChunk; blockWidths: Int32Array }
  | { kind: 'result'; result: NativeResult }
  | { kind: 'progress'; progress: NativeProgress }
  | { kind: 'end'; progress: NativeProgress; error?: Error; blockWidths?: Int32Array };

export interface NativeCheck {
  ok: boolean;
  kind: string;
  code: string;
  message: string;
  tensorBytes: number;
  totalBytes: number;
  files: string[];
}

export interface NativeProbeWeights {
  readonly w1: Float32Array;
  readonly b1: Float32Array;
  readonly w2: Float32Array;
  readonly b2: Float32Array;
}

export interface NativeProbeSpec {
  readonly layer: number;
  readonly hidden: number;
  readonly head: 'sigmoid' | 'identity';
  readonly target: 'mc' | 'td0' | 'td0-residual' | 'td-lambda' | 'terminal';
  readonly lambda: number;
  readonly rewardColumn: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  readonly neurons?: Int32Array;
  readonly weights: NativeProbeWeights;
}

export interface NativeTrainerParams {
  readonly width: number;
  readonly layers: number;
  readonly gamma: number;
  readonly threads: number;
  readonly probes: readonly NativeProbeSpec[];
}

export interface NativeProbeTrainer {
  step(rows: Uint16Array | Float32Array, lengths: Int32Array, rewards: Float32Array): Promise<Float32Array>;
  loss(rows: Uint16Array | Float32Array, lengths: Int32Array, rewards: Float32Array): Promise<Float32Array>;
  predict(rows: Uint16Array | Float32Array): Promise<Float32Array>;
  weights(probe: number): NativeProbeWeights;
  setWeights(probe: number, weights: NativeProbeWeights): void;
  release(): Promise<void>;
}

/** A trained probe for the functions that take inputs away. */
export interface NativeProbeNet {
  readonly inputs: number;
  readonly hidden: number;
  readonly head: 'sigmoid' | 'identity';
  readonly weights: NativeProbeWeights;
}

export interface NativeAddon {
  readonly llamaRelease: string;
  readonly llamaVersion: string;
  readonly ggmlVersion: string;
  readonly ggmlCommit: string;
  readonly maxParallel: number;
  loadBackends(directory: string): void;
  loadPlugin(path: string): void;
  devices(): DeviceInfo[];
  checkFile(path: string): Promise<NativeCheck>;
  loadModel(params: NativeModelParams, onProgress?: (fraction: number) => void): { promise: Promise<NativeModel>; abort(): void };
  NativeSession: new (model: NativeModel, params: NativeSessionParams) => NativeSession;
  NativeProbeTrainer: new (params: NativeTrainerParams) => NativeProbeTrainer;
  probePredictSets(net: NativeProbeNet, x: Float32Array, rows: number, sets: Int32Array[], threads: number): Promise<Float32Array>;
  probePredictPermuted(net: NativeProbeNet, x: Float32Array, rows: number, permutation: Int32Array, threads: number): Promise<Float32Array>;
  /** Σ over rows of |W_ij| of a tensor in the files of a model [dims[0]]; empty when none has it. */
  columnNorms(files: string[], tensor: string): Promise<Float64Array>;
}

/** build/Release/rewardlens-build.json, written by the CMake build. */
interface BuildInfo {
  llamaRelease: string;
  flavor: 'prebuilt' | 'source';
  libraryDir: string;
  plugins?: Record<string, string>;
}

/** Where the native build put its products: package root/build/Release, from src/ and from dist/ alike. */
export const nativeDirectory = resolve(dirname(fileURLToPath(import.meta.url)), '../../build/Release');

let loaded: { addon: NativeAddon; build: BuildInfo } | undefined;

function load(): { addon: NativeAddon; build: BuildInfo } {
  if (loaded === undefined) {
    const path = resolve(nativeDirectory, 'rewardlens.node');
    if (!existsSync(path)) {
      throw new RewardLensError('BACKEND', `the native addon is not built: ${path} does not exist; run "npm run build:native"`);
    }
    const build = JSON.parse(readFileSync(resolve(nativeDirectory, 'rewardlens-build.json'), 'utf8')) as BuildInfo;
    const addon = guard(() => createRequire(import.meta.url)(path) as NativeAddon);
    guard(() => addon.loadBackends(resolve(nativeDirectory, build.libraryDir)));
    loaded = { addon, build };
  }
  return loaded;
}

/**
 * The addon, with llama.cpp's CPU backend loaded. Errors: BACKEND when it is not built, does not fit the llama.cpp
 * libraries, or no CPU plugin loads. Cost: the first call loads shared libraries (tens of ms).
 */
export function native(): NativeAddon {
  return load().addon;
}

/** Directory of the llama.cpp libraries and backend plugins in use. */
export function libraryDirectory(): string {
  return resolve(nativeDirectory, load().build.libraryDir);
}

/** "prebuilt" (node-llama-cpp's libraries) or "source" (npm run build:llama), and the llama.cpp release. */
export function buildInfo(): { llamaRelease: string; flavor: string } {
  const { build } = load();
  return { llamaRelease: build.llamaRelease, flavor: build.flavor };
}

/** GPU plugins that are installed, by backend name ("cuda", "vulkan"), in the order in which they are tried. */
export function gpuPlugins(): Map<string, string> {
  const out = new Map<string, string>();
  for (const [name, path] of Object.entries(load().build.plugins ?? {})) {
    const absolute = resolve(nativeDirectory, path);
    if (existsSync(absolute)) {
      out.set(name, absolute);
    }
  }
  return out;
}
