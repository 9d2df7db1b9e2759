/**
 * Tiny, seeded, valid GGUF models in plain JavaScript: no build, no download, a few tens of kilobytes.
 *
 * `writeTinyGguf` writes a decoder that llama.cpp loads and decodes. The weights are random, so the text is noise:
 * use it for loading, shapes, capture, edits, threading and malformed-file tests, not for anything that needs skill.
 * The same options and seed give the same bytes on every machine.
 *
 * Format: ggml/docs/gguf.md (version 3, little endian). Required keys and tensors: llama.cpp src/models/llama.cpp and
 * src/models/qwen2.cpp.
 */
import { writeFileSync } from 'node:fs';

/** GGUF value type ids (gguf.h, `enum gguf_type`). */
export const GGUF_TYPE = Object.freeze({
  u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10, i64: 11, f64: 12,
});

/** Tensor type ids (ggml.h, `enum ggml_type`), those written here. */
export const GGML_TYPE = Object.freeze({ f32: 0, f16: 1, q8_0: 8 });

const ALIGNMENT = 32;
const Q8_0_BLOCK = 32;
const LLAMA_FTYPE = { f32: 0, f16: 1, q8_0: 7 };
const DEFAULTS = {
  architecture: 'llama', dModel: 32, layerCount: 2, headCount: 2, kvHeadCount: undefined, dFf: 64, vocabSize: 64,
  seed: 1, tokenizer: 'spm', contextLength: 256, type: 'f32', tiedEmbeddings: false, ropeBase: 10000, normEps: 1e-5,
  chatTemplate: undefined,
};

/** Seeded uniform numbers in [0, 1): mulberry32 (32-bit state, exact in every JavaScript engine). */
export function createRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Standard normal numbers from twelve uniforms: sums only, so the bytes do not depend on a machine's libm. */
function normal(random) {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random();
  return sum;
}

/** Nearest IEEE half of a float, as its 16 bits (round half to even; subnormals and overflow handled). */
export function floatToHalf(value) {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const bits = view.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 127 + 15;
  const mantissa = bits & 0x7fffff;
  if (exponent >= 31) return sign | 0x7c00 | (((bits >>> 23) & 0xff) === 0xff && mantissa ? 0x200 : 0);
  if (exponent < -10) return sign;
  const full = exponent <= 0 ? mantissa | 0x800000 : mantissa;
  const shift = exponent <= 0 ? 14 - exponent : 13;
  const rest = full & ((1 << shift) - 1);
  const halfway = 1 << (shift - 1);
  let half = (exponent <= 0 ? 0 : exponent << 10) + (full >>> shift);
  if (rest > halfway || (rest === halfway && (half & 1))) half += 1;
  return sign | half;
}

/** The float of 16 half bits. */
export function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** Bytes of `values` in tensor type `type`. q8_0: rows of 32 with a half scale, as ggml's quantize_row_q8_0_ref. */
export function encodeTensorData(values, type) {
  if (type === 'f32') return Buffer.from(Float32Array.from(values).buffer);
  if (type === 'f16') return Buffer.from(Uint16Array.from(values, floatToHalf).buffer);
  if (type !== 'q8_0') throw new TypeError(`tensor type must be f32, f16 or q8_0, got ${type}`);
  const out = Buffer.alloc((values.length / Q8_0_BLOCK) * (Q8_0_BLOCK + 2));
  for (let block = 0, at = 0; block < values.length; block += Q8_0_BLOCK, at += Q8_0_BLOCK + 2) {
    let max = 0;
    for (let i = 0; i < Q8_0_BLOCK; i++) max = Math.max(max, Math.abs(values[block + i]));
    const scale = max / 127;
    out.writeUInt16LE(floatToHalf(scale), at);
    for (let i = 0; i < Q8_0_BLOCK; i++) {
      out.writeInt8(scale === 0 ? 0 : Math.round(values[block + i] / scale), at + 2 + i);
    }
  }
  return out;
}

/** SentencePiece-like vocabulary: control tokens, newline byte, `▁`, letters, digits, signs, then bytes and filler. */
function spmVocabulary(size) {
  const pieces = [['<unk>', 0, 2], ['<s>', 0, 3], ['</s>', 0, 3], ['<0x0A>', 0, 6], ['▁', -1, 1]];
  for (const text of 'etaoinshrdlcumwfgypbvkxqjz0123456789+-*/=.,?!:()') pieces.push([text, -10, 1]);
  for (const text of ['th', 'he', 'in', 'er', '▁t', '▁a', '▁i', '▁th', '▁the', 'an']) pieces.push([text, -5, 1]);
  for (let byte = 0; byte < 256; byte++) {
    if (byte !== 10) pieces.push([`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 0, 6]);
  }
  for (const text of 'ETAOINSHRDLCUMWFGYPBVKXQJZ') pieces.push([text, -11, 1]);
  for (let i = pieces.length; i < size; i++) pieces.push([`[filler ${i}]`, -100, 1]);
  return pieces.slice(0, size);
}

function tokenizerMetadata(options) {
  if (options.tokenizer === 'none') {
    return [
      [`${options.architecture}.vocab_size`, 'u32', options.vocabSize],
      ['tokenizer.ggml.model', 'string', 'no_vocab'],
    ];
  }
  if (options.tokenizer !== 'spm') throw new TypeError(`tokenizer must be none or spm, got ${options.tokenizer}`);
  if (options.vocabSize < 4) throw new RangeError(`vocabSize must be at least 4 with spm, got ${options.vocabSize}`);
  const pieces = spmVocabulary(options.vocabSize);
  const metadata = [
    [`${options.architecture}.vocab_size`, 'u32', options.vocabSize],
    ['tokenizer.ggml.model', 'string', 'llama'],
    ['tokenizer.ggml.pre', 'string', 'default'],
    ['tokenizer.ggml.tokens', 'array', { type: 'string', values: pieces.map((piece) => piece[0]) }],
    ['tokenizer.ggml.scores', 'array', { type: 'f32', values: pieces.map((piece) => piece[1]) }],
    ['tokenizer.ggml.token_type', 'array', { type: 'i32', values: pieces.map((piece) => piece[2]) }],
    ['tokenizer.ggml.unknown_token_id', 'u32', 0],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
    ['tokenizer.ggml.add_bos_token', 'bool', true],
  ];
  if (options.chatTemplate) metadata.push(['tokenizer.chat_template', 'string', options.chatTemplate]);
  return metadata;
}

function modelMetadata(options) {
  const { architecture: arch } = options;
  return [
    ['general.architecture', 'string', arch],
    ['general.name', 'string', `tiny-${arch}-${options.seed}`],
    ['general.file_type', 'u32', LLAMA_FTYPE[options.type]],
    ['general.alignment', 'u32', ALIGNMENT],
    [`${arch}.context_length`, 'u32', options.contextLength],
    [`${arch}.embedding_length`, 'u32', options.dModel],
    [`${arch}.block_count`, 'u32', options.layerCount],
    [`${arch}.feed_forward_length`, 'u32', options.dFf],
    [`${arch}.attention.head_count`, 'u32', options.headCount],
    [`${arch}.attention.head_count_kv`, 'u32', options.kvHeadCount],
    [`${arch}.attention.layer_norm_rms_epsilon`, 'f32', options.normEps],
    [`${arch}.rope.dimension_count`, 'u32', options.dModel / options.headCount],
    [`${arch}.rope.freq_base`, 'f32', options.ropeBase],
    ...tokenizerMetadata(options),
  ];
}

function modelTensors(options) {
  const random = createRandom(options.seed);
  const { dModel, dFf, vocabSize } = options;
  const kvWidth = (dModel / options.headCount) * options.kvHeadCount;
  const tensors = [];
  const add = (name, dims, mean, std, type) => {
    const count = dims.reduce((product, dim) => product * dim, 1);
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = mean + std * normal(random);
    tensors.push({ name, dims, type, data: encodeTensorData(values, type) });
  };
  const matrix = (name, inputs, outputs) => add(`${name}.weight`, [inputs, outputs], 0, inputs ** -0.5, options.type);
  const norm = (name) => add(`${name}.weight`, [dModel], 1, 0.1, 'f32');
  add('token_embd.weight', [dModel, vocabSize], 0, 1, options.type);
  for (let layer = 0; layer < options.layerCount; layer++) {
    const name = (part) => `blk.${layer}.${part}`;
    norm(name('attn_norm'));
    for (const [part, width] of [['attn_q', dModel], ['attn_k', kvWidth], ['attn_v', kvWidth]]) {
      matrix(name(part), dModel, width);
      if (options.architecture === 'qwen2') add(`${name(part)}.bias`, [width], 0, 0.1, 'f32');
    }
    matrix(name('attn_output'), dModel, dModel);
    norm(name('ffn_norm'));
    matrix(name('ffn_gate'), dModel, dFf);
    matrix(name('ffn_up'), dModel, dFf);
    matrix(name('ffn_down'), dFf, dModel);
  }
  norm('output_norm');
  if (!options.tiedEmbeddings) matrix('output', dModel, vocabSize);
  return tensors;
}

function resolveOptions(options) {
  const resolved = { ...DEFAULTS, ...options };
  resolved.kvHeadCount ??= resolved.headCount;
  if (!['llama', 'qwen2'].includes(resolved.architecture)) {
    throw new TypeError(`architecture must be llama or qwen2, got ${resolved.architecture}`);
  }
  if (resolved.dModel % resolved.headCount !== 0) {
    throw new RangeError(`dModel ${resolved.dModel} must be a multiple of headCount ${resolved.headCount}`);
  }
  if (resolved.type === 'q8_0' && (resolved.dModel % Q8_0_BLOCK || resolved.dFf % Q8_0_BLOCK)) {
    throw new RangeError(`q8_0 needs dModel and dFf in multiples of ${Q8_0_BLOCK}`);
  }
  return resolved;
}

/**
 * The model of `options` as plain data: `{ version, alignment, metadata: [[key, type, value]], tensors: [{ name, dims,
 * type, data }] }`. Edit it (drop a key, change a dim) and pass it to `encodeGguf` to make a malformed file.
 */
export function tinyGgufSpec(options = {}) {
  const resolved = resolveOptions(options);
  return { version: 3, alignment: ALIGNMENT, metadata: modelMetadata(resolved), tensors: modelTensors(resolved) };
}

const WRITERS = {
  u8: ['writeUInt8', 1, Number], i8: ['writeInt8', 1, Number], u16: ['writeUInt16LE', 2, Number],
  i16: ['writeInt16LE', 2, Number], u32: ['writeUInt32LE', 4, Number], i32: ['writeInt32LE', 4, Number],
  f32: ['writeFloatLE', 4, Number], bool: ['writeUInt8', 1, Number], u64: ['writeBigUInt64LE', 8, BigInt],
  i64: ['writeBigInt64LE', 8, BigInt], f64: ['writeDoubleLE', 8, Number],
};

function encodeScalar(type, value) {
  const [method, size, convert] = WRITERS[type];
  const out = Buffer.alloc(size);
  out[method](convert(value));
  return out;
}

function encodeString(text) {
  const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text, 'utf8');
  return Buffer.concat([encodeScalar('u64', bytes.length), bytes]);
}

function encodeValue(type, value) {
  return type === 'string' ? encodeString(value) : encodeScalar(type, value);
}

function encodeKeyValue([key, type, value]) {
  const parts = [encodeString(key), encodeScalar('i32', GGUF_TYPE[type])];
  if (type === 'array') {
    parts.push(encodeScalar('i32', GGUF_TYPE[value.type]), encodeScalar('u64', value.values.length));
    for (const item of value.values) parts.push(encodeValue(value.type, item));
  } else {
    parts.push(encodeValue(type, value));
  }
  return Buffer.concat(parts);
}

const padTo = (length, alignment) => (alignment - (length % alignment)) % alignment;

/**
 * The bytes of a GGUF file. A tensor may override what is written about it, to make a malformed file: `typeId`
 * (instead of its type's id) and `offset` (bytes from the start of the data, instead of the next aligned position).
 */
export function encodeGguf(spec) {
  const head = [
    Buffer.from('GGUF'), encodeScalar('u32', spec.version), encodeScalar('i64', spec.tensors.length),
    encodeScalar('i64', spec.metadata.length), ...spec.metadata.map(encodeKeyValue),
  ];
  const data = [];
  let offset = 0;
  for (const tensor of spec.tensors) {
    head.push(encodeString(tensor.name), encodeScalar('u32', tensor.dims.length));
    for (const dim of tensor.dims) head.push(encodeScalar('i64', dim));
    head.push(encodeScalar('i32', tensor.typeId ?? GGML_TYPE[tensor.type]));
    head.push(encodeScalar('u64', tensor.offset ?? offset));
    const padding = padTo(tensor.data.length, spec.alignment);
    data.push(tensor.data, Buffer.alloc(padding));
    offset += tensor.data.length + padding;
  }
  const header = Buffer.concat(head);
  return Buffer.concat([header, Buffer.alloc(padTo(header.length, spec.alignment)), ...data]);
}

/** The parts of a split model: the metadata in the first, the tensors spread in order, `split.*` keys in each. */
export function splitGgufSpec(spec, partCount) {
  const perPart = Math.ceil(spec.tensors.length / partCount);
  return Array.from({ length: partCount }, (_, part) => ({
    ...spec,
    metadata: [
      ...(part === 0 ? spec.metadata : []),
      ['split.no', 'u16', part],
      ['split.count', 'u16', partCount],
      ['split.tensors.count', 'i32', spec.tensors.length],
    ],
    tensors: spec.tensors.slice(part * perPart, (part + 1) * perPart),
  }));
}

/** `<prefix>-00001-of-00003.gguf`: llama.cpp's name of part `part` (counted from 0) of `partCount`. */
export function splitGgufPath(prefix, part, partCount) {
  const pad = (number) => String(number).padStart(5, '0');
  return `${prefix}-${pad(part + 1)}-of-${pad(partCount)}.gguf`;
}

/**
 * Writes a tiny model to `path` and returns `{ path, bytes, metadata, tensorNames }`.
 *
 * Options, all optional: `architecture` 'llama' | 'qwen2' (llama), `dModel` (32), `layerCount` (2), `headCount` (2),
 * `kvHeadCount` (= headCount), `dFf` (64), `vocabSize` (64), `seed` (1), `tokenizer` 'spm' | 'none' (spm),
 * `contextLength` (256), `type` of the matrices 'f32' | 'f16' | 'q8_0' (f32; norms and biases stay f32),
 * `tiedEmbeddings` (false: writes `output.weight`), `ropeBase` (10000), `normEps` (1e-5), `chatTemplate`.
 *
 * With `spm`, token 0 is `<unk>`, 1 `<s>` (added in front), 2 `</s>`; lower-case text, digits and common signs have
 * tokens from `vocabSize` 64 on, and every byte has one from `vocabSize` 320 on. Below that, llama.cpp throws
 * `std::out_of_range` when it is asked to tokenize a character that has no token.
 */
export function writeTinyGguf(path, options = {}) {
  const spec = tinyGgufSpec(options);
  const bytes = encodeGguf(spec);
  writeFileSync(path, bytes);
  return { path, bytes: bytes.length, metadata: spec.metadata, tensorNames: spec.tensors.map((tensor) => tensor.name) };
}

/** Writes the model as `partCount` files `<prefix>-00001-of-….gguf`; returns their paths, the first one to be loaded. */
export function writeSplitTinyGguf(prefix, partCount, options = {}) {
  return splitGgufSpec(tinyGgufSpec(options), partCount).map((part, index) => {
    const path = splitGgufPath(prefix, index, partCount);
    writeFileSync(path, encodeGguf(part));
    return path;
  });
}
