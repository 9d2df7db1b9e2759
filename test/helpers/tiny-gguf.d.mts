export type GgufValueType =
  | 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'bool' | 'string' | 'array' | 'u64' | 'i64' | 'f64';
export type TinyTensorType = 'f32' | 'f16' | 'q8_0';

export interface TinyGgufOptions {
  architecture?: 'llama' | 'qwen2';
  dModel?: number;
  layerCount?: number;
  headCount?: number;
  kvHeadCount?: number;
  dFf?: number;
  vocabSize?: number;
  seed?: number;
  tokenizer?: 'none' | 'spm';
  contextLength?: number;
  type?: TinyTensorType;
  tiedEmbeddings?: boolean;
  ropeBase?: number;
  normEps?: number;
  chatTemplate?: string;
}

export interface GgufArray {
  type: Exclude<GgufValueType, 'array'>;
  values: (string | number | bigint | boolean)[];
}
export type GgufValue = string | number | bigint | boolean | Buffer | GgufArray;
export type GgufKeyValue = [key: string | Buffer, type: GgufValueType, value: GgufValue];

export interface GgufTensorSpec {
  name: string;
  dims: (number | bigint)[];
  type: TinyTensorType;
  data: Buffer;
  typeId?: number;
  offset?: number | bigint;
}

export interface GgufSpec {
  version: number;
  alignment: number;
  metadata: GgufKeyValue[];
  tensors: GgufTensorSpec[];
}

export const GGUF_TYPE: Readonly<Record<GgufValueType, number>>;
export const GGML_TYPE: Readonly<Record<TinyTensorType, number>>;
export function createRandom(seed: number): () => number;
export function floatToHalf(value: number): number;
export function halfToFloat(bits: number): number;
export function encodeTensorData(values: ArrayLike<number>, type: TinyTensorType): Buffer;
export function tinyGgufSpec(options?: TinyGgufOptions): GgufSpec;
export function encodeGguf(spec: GgufSpec): Buffer;
export function splitGgufSpec(spec: GgufSpec, partCount: number): GgufSpec[];
export function splitGgufPath(prefix: string, part: number, partCount: number): string;
export function writeTinyGguf(
  path: string,
  options?: TinyGgufOptions,
): { path: string; bytes: number; metadata: GgufKeyValue[]; tensorNames: string[] };
export function writeSplitTinyGguf(prefix: string, partCount: number, options?: TinyGgufOptions): string[];
