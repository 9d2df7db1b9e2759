/** Models of a real shape with random weights, generated on this machine: nothing to download, and it runs anywhere. */
import { closeSync, existsSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GgufKeyValue, GgufTensorSpec, TinyTensorType } from '../test/helpers/tiny-gguf.mjs';
import { createRandom, encodeGguf, floatToHalf } from '../test/helpers/tiny-gguf.mjs';

/** Sizes of a decoder of the qwen2 architecture. */
export interface Shape {
  dModel: number;
  layerCount: number;
  headCount: number;
  kvHeadCount: number;
  dFf: number;
  vocabSize: number;
  tiedEmbeddings: boolean;
}

/** Weight type of the matrices; norms and biases are always f32. */
export type WeightType = TinyTensorType;

const VOCABULARY = 32768;

/** Shapes of Qwen2.5, with a vocabulary of 32k instead of 152k; `tiny` is for trying the benchmark itself. */
export const SHAPES: Readonly<Record<string, Shape>> = {
  tiny: { dModel: 128, layerCount: 4, headCount: 4, kvHeadCount: 2, dFf: 512, vocabSize: 1024, tiedEmbeddings: true },
  '0.5b': { dModel: 896, layerCount: 24, headCount: 14, kvHeadCount: 2, dFf: 4864, vocabSize: VOCABULARY, tiedEmbeddings: true },
  '1.5b': { dModel: 1536, layerCount: 28, headCount: 12, kvHeadCount: 2, dFf: 8960, vocabSize: VOCABULARY, tiedEmbeddings: true },
  '7b': { dModel: 3584, layerCount: 28, headCount: 28, kvHeadCount: 4, dFf: 18944, vocabSize: VOCABULARY, tiedEmbeddings: false },
};

/** Raised whenever the bytes of a generated model change, so that a cached file of an older version is not taken. */
const GENERATOR_VERSION = 1;
const ALIGNMENT = 32;
const CHUNK_VALUES = 1 << 20; // weights written at a time; a multiple of Q8_0's block
const Q8_0_BLOCK = 32;
const Q8_0_BYTES = Q8_0_BLOCK + 2;
const INT8_STD = Math.sqrt((256 * 256 - 1) / 12); // of a uniform byte
const NORMAL_TABLE = 1 << 16;

interface PlannedTensor {
  name: string;
  dims: number[];
  type: WeightType;
  mean: number;
  std: number;
}

/** Every tensor of the model, in file order. Matrices have standard deviation 1/sqrt(inputs), so activations stay finite. */
function planTensors(shape: Shape, type: WeightType): PlannedTensor[] {
  const { dModel, dFf } = shape;
  const kvWidth = (dModel / shape.headCount) * shape.kvHeadCount;
  const tensors: PlannedTensor[] = [];
  const matrix = (name: string, inputs: number, outputs: number): void => {
    tensors.push({ name: `${name}.weight`, dims: [inputs, outputs], type, mean: 0, std: inputs ** -0.5 });
  };
  const vector = (name: string, width: number, mean: number): void => {
    tensors.push({ name, dims: [width], type: 'f32', mean, std: 0.1 });
  };
  matrix('token_embd', dModel, shape.vocabSize);
  for (let layer = 0; layer < shape.layerCount; layer++) {
    const block = `blk.${layer}`;
    vector(`${block}.attn_norm.weight`, dModel, 1);
    for (const [part, width] of [['attn_q', dModel], ['attn_k', kvWidth], ['attn_v', kvWidth]] as const) {
      matrix(`${block}.${part}`, dModel, width);
      vector(`${block}.${part}.bias`, width, 0);
    }
    matrix(`${block}.attn_output`, dModel, dModel);
    vector(`${block}.ffn_norm.weight`, dModel, 1);
    matrix(`${block}.ffn_gate`, dModel, dFf);
    matrix(`${block}.ffn_up`, dModel, dFf);
    matrix(`${block}.ffn_down`, dFf, dModel);
  }
  vector('output_norm.weight', dModel, 1);
  if (!shape.tiedEmbeddings) {
    matrix('output', dModel, shape.vocabSize);
  }
  return tensors;
}

/** A minimal SentencePiece vocabulary: three control tokens, the newline byte and filler. */
function tokenizerMetadata(vocabSize: number): GgufKeyValue[] {
  const filler = Array.from({ length: vocabSize - 4 }, (_, i) => `t${i}`);
  const kinds = [2, 3, 3, 6, ...filler.map(() => 1)];
  return [
    ['tokenizer.ggml.model', 'string', 'llama'],
    ['tokenizer.ggml.pre', 'string', 'default'],
    ['tokenizer.ggml.tokens', 'array', { type: 'string', values: ['<unk>', '<s>', '</s>', '<0x0A>', ...filler] }],
    ['tokenizer.ggml.scores', 'array', { type: 'f32', values: kinds.map((_, i) => -i) }],
    ['tokenizer.ggml.token_type', 'array', { type: 'i32', values: kinds }],
    ['tokenizer.ggml.unknown_token_id', 'u32', 0],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
  ];
}

function metadata(name: string, shape: Shape, type: WeightType): GgufKeyValue[] {
  return [
    ['general.architecture', 'string', 'qwen2'],
    ['general.name', 'string', `random weights, ${name}`],
    ['general.file_type', 'u32', { f32: 0, f16: 1, q8_0: 7 }[type]],
    ['general.alignment', 'u32', ALIGNMENT],
    ['qwen2.context_length', 'u32', 32768],
    ['qwen2.embedding_length', 'u32', shape.dModel],
    ['qwen2.block_count', 'u32', shape.layerCount],
    ['qwen2.feed_forward_length', 'u32', shape.dFf],
    ['qwen2.attention.head_count', 'u32', shape.headCount],
    ['qwen2.attention.head_count_kv', 'u32', shape.kvHeadCount],
    ['qwen2.attention.layer_norm_rms_epsilon', 'f32', 1e-6],
    ['qwen2.rope.freq_base', 'f32', 1e6],
    ['qwen2.vocab_size', 'u32', shape.vocabSize],
    ...tokenizerMetadata(shape.vocabSize),
  ];
}

function byteCount(type: WeightType, values: number): number {
  return type === 'q8_0' ? (values / Q8_0_BLOCK) * Q8_0_BYTES : values * (type === 'f16' ? 2 : 4);
}

const valueCount = (tensor: PlannedTensor): number => tensor.dims.reduce((product, dim) => product * dim, 1);
const padded = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** Random numbers in bulk: xorshift32 words (Marsaglia 2003) and a table of standard normal values. */
class Generator {
  #state: number;
  readonly #normals: Float32Array;
  readonly #tables = new Map<string, Float32Array | Uint16Array>();

  constructor(seed: number) {
    const random = createRandom(seed);
    this.#state = (Math.floor(random() * 0xfffffffe) + 1) | 0;
    this.#normals = Float32Array.from({ length: NORMAL_TABLE }, () => {
      let sum = -6; // twelve uniforms: no libm, so the same bytes on every machine
      for (let i = 0; i < 12; i++) {
        sum += random();
      }
      return sum;
    });
  }

  #fill(words: Int32Array): void {
    let x = this.#state;
    for (let i = 0; i < words.length; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      words[i] = x;
    }
    this.#state = x;
  }

  /** Blocks of uniform bytes under one scale: standard deviation `std`, as Q8_0 stores it. */
  #q8(values: number, std: number): Uint8Array {
    const bytes = new Uint8Array(byteCount('q8_0', values));
    this.#fill(new Int32Array(bytes.buffer, 0, bytes.length >>> 2));
    const scale = floatToHalf(std / INT8_STD);
    for (let at = 0; at < bytes.length; at += Q8_0_BYTES) {
      bytes[at] = scale & 0xff;
      bytes[at + 1] = scale >>> 8;
    }
    return bytes;
  }

  /** The bytes of the next `values` values of a tensor. */
  next(tensor: PlannedTensor, values: number): Uint8Array {
    if (tensor.type === 'q8_0') {
      return this.#q8(values, tensor.std);
    }
    const words = new Int32Array(Math.ceil(values / 2));
    this.#fill(words);
    const picks = new Uint16Array(words.buffer, 0, values);
    const table = this.#table(tensor);
    const out = table instanceof Uint16Array ? new Uint16Array(values) : new Float32Array(values);
    for (let i = 0; i < values; i++) {
      out[i] = table[picks[i] ?? 0] ?? 0;
    }
    return new Uint8Array(out.buffer);
  }

  /** The normal values at a tensor's mean and deviation, encoded. */
  #table({ type, mean, std }: PlannedTensor): Float32Array | Uint16Array {
    const key = `${type} ${mean} ${std}`;
    let table = this.#tables.get(key);
    if (table === undefined) {
      const values = this.#normals.map((normal) => mean + std * normal);
      table = type === 'f16' ? Uint16Array.from(values, floatToHalf) : values;
      this.#tables.set(key, table);
    }
    return table;
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(file, bytes, at);
  }
}

function writeModel(path: string, name: string, shape: Shape, type: WeightType, seed: number): void {
  const tensors = planTensors(shape, type);
  let offset = 0;
  const headers: GgufTensorSpec[] = tensors.map((tensor) => {
    const header = { name: tensor.name, dims: tensor.dims, type: tensor.type, data: Buffer.alloc(0), offset };
    offset += padded(byteCount(tensor.type, valueCount(tensor)));
    return header;
  });
  const generator = new Generator(seed);
  const file = openSync(path, 'w');
  try {
    writeAll(file, encodeGguf({ version: 3, alignment: ALIGNMENT, metadata: metadata(name, shape, type), tensors: headers }));
    for (const tensor of tensors) {
      const total = valueCount(tensor);
      for (let done = 0; done < total; done += CHUNK_VALUES) {
        writeAll(file, generator.next(tensor, Math.min(CHUNK_VALUES, total - done)));
      }
      const bytes = byteCount(tensor.type, total);
      writeAll(file, new Uint8Array(padded(bytes) - bytes));
    }
  } finally {
    closeSync(file);
  }
}

/** A generated model on disk. */
export interface GeneratedModel {
  path: string;
  bytes: number;
  shape: Shape;
  /** Seconds that generation took; 0 when the file was already there. */
  seconds: number;
}

/**
 * The model of shape `name` under the system's temporary directory, generated once. Streams to disk: memory stays at a
 * few MB. The same name, type and seed give the same bytes. Cost: 0.5b in Q8_0 is 0.4 GB and takes a few seconds, 7b 7 GB.
 */
export function generateModel(name: string, type: WeightType, seed = 1): GeneratedModel {
  const shape = SHAPES[name];
  if (shape === undefined) {
    throw new RangeError(`--shape: expected one of ${Object.keys(SHAPES).join(', ')}, got ${name}`);
  }
  const path = join(tmpdir(), `rewardlens-bench-v${GENERATOR_VERSION}-${name}-${type}-${seed}.gguf`);
  if (existsSync(path)) {
    return { path, bytes: statSync(path).size, shape, seconds: 0 };
  }
  const start = performance.now();
  const partial = `${path}.${process.pid}`;
  try {
    writeModel(partial, name, shape, type, seed);
    renameSync(partial, path); // a finished file or none
  } finally {
    rmSync(partial, { force: true });
  }
  return { path, bytes: statSync(path).size, shape, seconds: (performance.now() - start) / 1000 };
}
