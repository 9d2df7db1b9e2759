/**
 * Seeded mutations of tiny GGUF models. A recipe is plain JSON: `{ base, ops: [[name, ...arguments]] }`. The same
 * recipe always builds the same bytes, so a finding is a line of JSON and needs no binary in the tree.
 */
import {
  createRandom, encodeGguf, splitGgufSpec, tinyGgufSpec,
} from '../helpers/tiny-gguf.mjs';
import { grownSpec, readGrownModels } from './grown.mjs';
import {
  ARCHITECTURES, ARCHITECTURE_KEYS, BIG_INTEGERS, GLOBAL_KEYS, INTEGERS, REALS, STRINGS, TENSOR_TYPES,
} from './dictionary.mjs';

/** Valid models that mutations start from, besides `grown:<architecture>` of architectures.json. Small, so fast. */
export const BASES = {
  llama: { layerCount: 2 },
  gqa: { headCount: 4, kvHeadCount: 2, tiedEmbeddings: true, type: 'f16' },
  qwen2: { architecture: 'qwen2', kvHeadCount: 1 },
  quantized: { type: 'q8_0', vocabSize: 400, layerCount: 1 },
  noVocabulary: { tokenizer: 'none', layerCount: 1 },
};

// JSON has neither bigint nor NaN: values in recipes are written as { big } and { real } where needed.
const encodeArgument = (value) => {
  if (typeof value === 'bigint') return { big: String(value) };
  if (typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))) return { real: String(value) };
  return value;
};
const decodeArgument = (value) => {
  if (value && typeof value === 'object' && 'big' in value) return BigInt(value.big);
  if (value && typeof value === 'object' && 'real' in value) return value.real === '-0' ? -0 : Number(value.real);
  return value;
};

const INTEGER_BITS = { u8: 8, i8: 8, u16: 16, i16: 16, u32: 32, i32: 32, u64: 64, i64: 64, bool: 8 };

// Wraps a number into the range of its type instead of throwing.
function fit(type, value) {
  if (type === 'string') return String(value);
  if (type === 'f32' || type === 'f64') return Number(value);
  const bits = INTEGER_BITS[type];
  const big = typeof value === 'bigint' ? value : BigInt(Math.trunc(Number.isFinite(Number(value)) ? Number(value) : 0));
  const wrapped = type.startsWith('i') ? BigInt.asIntN(bits, big) : BigInt.asUintN(bits, big);
  return bits === 64 ? wrapped : Number(wrapped);
}

function makeValue(type, value, elementType) {
  if (type !== 'array') return fit(type, decodeArgument(value));
  return { type: elementType, values: value.map((item) => fit(elementType, decodeArgument(item))) };
}

const architectureOf = (spec) => String(spec.metadata.find((entry) => entry[0] === 'general.architecture')?.[2] ?? 'llama');
const resolveKey = (spec, key) => (key.startsWith('.') ? architectureOf(spec) + key : key);
const tensorAt = (spec, index) => spec.tensors[index % spec.tensors.length];

// Gives the tensor data of the size that its dims and type ask for; contents from its old data, repeated.
function resizeData(tensor, typeId) {
  const [block, blockBytes] = TENSOR_TYPES[typeId] ?? [1, 4];
  const elements = tensor.dims.reduce((product, dim) => product * Number(dim), 1);
  const bytes = Math.min(Math.max(0, Math.ceil(elements / block) * blockBytes), 4 << 20);
  const source = tensor.data.length > 0 ? tensor.data : Buffer.alloc(1);
  tensor.data = Buffer.alloc(bytes, source);
}

const SPEC_OPS = {
  setKey(spec, key, type, value, elementType) {
    const name = resolveKey(spec, key);
    const entry = [name, type, makeValue(type, value, elementType)];
    const index = spec.metadata.findIndex((item) => item[0] === name);
    if (index < 0) spec.metadata.push(entry);
    else spec.metadata[index] = entry;
  },
  removeKey(spec, key) {
    const name = resolveKey(spec, key);
    spec.metadata = spec.metadata.filter((entry) => entry[0] !== name);
  },
  duplicateKey(spec, index) { spec.metadata.push(spec.metadata[index % spec.metadata.length]); },
  renameKey(spec, index, name) {
    const at = index % spec.metadata.length;
    spec.metadata[at] = [name, ...spec.metadata[at].slice(1)];
  },
  setArchitecture(spec, name) {
    const old = architectureOf(spec);
    spec.metadata = spec.metadata.map(([key, type, value]) => {
      if (key === 'general.architecture') return [key, type, name];
      return [key.startsWith(`${old}.`) ? name + key.slice(old.length) : key, type, value];
    });
  },
  fillKeys(spec, from, count, value) {
    for (const key of ARCHITECTURE_KEYS.slice(from, from + count)) {
      const name = `${architectureOf(spec)}.${key}`;
      if (!spec.metadata.some((entry) => entry[0] === name)) {
        const real = /scale|epsilon|softcap|factor|beta|bias|freq|clamp|cap|alpha|mult|bound/.test(key);
        spec.metadata.push([name, real ? 'f32' : 'u32', fit(real ? 'f32' : 'u32', decodeArgument(value))]);
      }
    }
  },
  setToken(spec, index, text) {
    const tokens = spec.metadata.find((entry) => entry[0] === 'tokenizer.ggml.tokens')?.[2].values;
    if (tokens) tokens[index % tokens.length] = text;
  },
  resizeArray(spec, key, length) {
    const entry = spec.metadata.find((item) => item[0] === key && item[1] === 'array');
    if (entry) entry[2] = { ...entry[2], values: Array.from({ length }, (_, i) => entry[2].values[i] ?? fit(entry[2].type, i)) };
  },
  resizeTensor(spec, index, dim, size) {
    const tensor = tensorAt(spec, index);
    tensor.dims = tensor.dims.map((old, i) => (i === dim % tensor.dims.length ? size : old));
    resizeData(tensor, tensor.typeId ?? { f32: 0, f16: 1, q8_0: 8 }[tensor.type]);
  },
  claimDims(spec, index, dims) { tensorAt(spec, index).dims = dims.map((dim) => fit('i64', decodeArgument(dim))); },
  retypeTensor(spec, index, typeId) {
    const tensor = tensorAt(spec, index);
    tensor.typeId = typeId;
    resizeData(tensor, typeId);
  },
  claimType(spec, index, typeId) { tensorAt(spec, index).typeId = typeId; },
  claimOffset(spec, index, offset) { tensorAt(spec, index).offset = fit('u64', decodeArgument(offset)); },
  renameTensor(spec, index, name) { tensorAt(spec, index).name = name; },
  removeTensor(spec, index) { spec.tensors.splice(index % spec.tensors.length, 1); },
  duplicateTensor(spec, index, name) { spec.tensors.push({ ...tensorAt(spec, index), name }); },
  swapTensors(spec, a, b) {
    const [first, second] = [tensorAt(spec, a), tensorAt(spec, b)];
    [first.name, second.name] = [second.name, first.name];
  },
  fillTensor(spec, index, byte) { tensorAt(spec, index).data.fill(byte); },
  setHead(spec, dModel, headCount, kvHeadCount, dFf, vocabSize, tokenizer) {
    Object.assign(spec, tinyGgufSpec({ dModel, headCount, kvHeadCount, dFf, vocabSize, tokenizer }));
  },
  setVersion(spec, version) { spec.version = version; },
  setAlignment(spec, alignment) {
    spec.alignment = alignment;
    SPEC_OPS.setKey(spec, 'general.alignment', 'u32', alignment);
  },
  split(spec, partCount, part) { Object.assign(spec, splitGgufSpec(spec, partCount)[part % partCount]); },
};

// Applied to the encoded file. Offsets are taken modulo its length.
const BYTE_OPS = {
  flipBit: (bytes, offset, bit) => {
    bytes[offset % bytes.length] ^= 1 << bit;
    return bytes;
  },
  setByte: (bytes, offset, value) => {
    bytes[offset % bytes.length] = value;
    return bytes;
  },
  writeU32: (bytes, offset, value) => {
    bytes.writeUInt32LE(value >>> 0, offset % Math.max(1, bytes.length - 4));
    return bytes;
  },
  writeU64: (bytes, offset, value) => {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(decodeArgument(value))), offset % Math.max(1, bytes.length - 8));
    return bytes;
  },
  truncate: (bytes, length) => bytes.subarray(0, length % (bytes.length + 1)),
  extend: (bytes, length, value) => Buffer.concat([bytes, Buffer.alloc(length, value)]),
  remove: (bytes, offset, count) => {
    const at = offset % bytes.length;
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + count)]);
  },
  insert: (bytes, offset, count, value) => {
    const at = offset % bytes.length;
    return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(count, value), bytes.subarray(at)]);
  },
};

const grownModels = readGrownModels();
const GROWN_BASES = Object.keys(grownModels).map((name) => `grown:${name}`);
const baseSpecs = new Map();

const makeBase = (name) => (name.startsWith('grown:')
  ? grownSpec(name.slice('grown:'.length), grownModels[name.slice('grown:'.length)])
  : tinyGgufSpec(BASES[name]));

// A fresh copy of a base's specification; making the weights anew would take most of the fuzzer's time.
function copyBase(name) {
  if (!baseSpecs.has(name)) baseSpecs.set(name, makeBase(name));
  const spec = baseSpecs.get(name);
  const copyValue = (value) => (value.values ? { ...value, values: [...value.values] } : value);
  return {
    ...spec,
    metadata: spec.metadata.map(([key, type, value]) => [key, type, copyValue(value)]),
    tensors: spec.tensors.map((tensor) => ({ ...tensor, dims: [...tensor.dims], data: Buffer.from(tensor.data) })),
  };
}

function applySpecOps(spec, ops) {
  for (const [name, ...args] of ops) {
    if (spec.tensors.length === 0 || spec.metadata.length === 0) break;
    if (name in SPEC_OPS) SPEC_OPS[name](spec, ...args);
    else if (!(name in BYTE_OPS)) throw new TypeError(`unknown operation ${name}`);
  }
  return spec;
}

function applyByteOps(encoded, ops) {
  let bytes = Buffer.from(encoded);
  for (const [name, ...args] of ops) {
    if (name in BYTE_OPS && bytes.length > 8) bytes = BYTE_OPS[name](bytes, ...args);
  }
  return bytes;
}

/**
 * The files of a recipe, one or, with `parts: N`, those of a split model. Byte operations come after the others, whatever
 * their order; of a split model both change only part `part` (0).
 */
export function buildRecipe(recipe) {
  const spec = copyBase(recipe.base);
  if (!recipe.parts) return [applyByteOps(encodeGguf(applySpecOps(spec, recipe.ops)), recipe.ops)];
  return splitGgufSpec(spec, recipe.parts).map((part, index) => {
    if (index !== (recipe.part ?? 0)) return encodeGguf(part);
    return applyByteOps(encodeGguf(applySpecOps(part, recipe.ops)), recipe.ops);
  });
}

/** A source of random recipes. Equal seeds give equal sequences. */
export function createRecipeSource(seed) {
  const random = createRandom(seed);
  const below = (limit) => Math.floor(random() * limit);
  const pick = (list) => list[below(list.length)];
  const index = () => below(64);
  const headerOffset = () => (random() < 0.2 ? below(64) : below(4096));
  const key = () => (random() < 0.75 ? `.${pick(ARCHITECTURE_KEYS)}` : pick(GLOBAL_KEYS));
  const present = () => pick([
    '.context_length', '.embedding_length', '.block_count', '.feed_forward_length', '.attention.head_count',
    '.attention.head_count_kv', '.attention.layer_norm_rms_epsilon', '.rope.dimension_count', '.rope.freq_base',
    '.vocab_size', 'tokenizer.ggml.model', 'tokenizer.ggml.pre', 'tokenizer.ggml.bos_token_id', 'general.architecture',
    'general.file_type', 'general.alignment', 'tokenizer.ggml.tokens', 'tokenizer.ggml.scores', 'tokenizer.ggml.token_type',
  ]);
  const typedValue = () => {
    const type = pick(['u32', 'u32', 'u32', 'f32', 'f32', 'i32', 'u16', 'u64', 'bool', 'string', 'array']);
    if (type === 'string') return [type, pick(STRINGS)];
    if (type === 'f32') return [type, encodeArgument(pick(REALS))];
    if (type === 'u64') return [type, encodeArgument(pick(BIG_INTEGERS))];
    if (type === 'bool') return [type, below(2)];
    if (type !== 'array') return [type, pick(INTEGERS)];
    const elementType = pick(['u32', 'i32', 'f32', 'string', 'bool', 'u8']);
    const length = pick([0, 1, 2, 3, 4, 5, 64, 512, 513]);
    const item = () => (elementType === 'string' ? pick(STRINGS) : encodeArgument(pick(elementType === 'f32' ? REALS : INTEGERS)));
    return [type, Array.from({ length }, item), elementType];
  };
  const sameTypeValue = () => {
    const name = pick(ARCHITECTURE_KEYS);
    return [`.${name}`, 'u32', random() < 0.7 ? below(70) : pick(INTEGERS)];
  };
  const tensorName = () => pick([
    'rope_freqs.weight', 'output.weight', 'output.bias', 'blk.0.attn_q.bias', 'blk.0.attn_qkv.weight', 'blk.1.attn_norm.weight',
    'blk.99.attn_q.weight', 'blk.-1.x', 'x', '', 'a'.repeat(63), 'a'.repeat(64), 'blk.0.ffn_gate_inp.weight', 'blk.0.attn_q.scale',
    'blk.0.ffn_down.input_scale', 'token_embd.weight', 'blk.0.attn_sinks.weight', 'blk.0.rope_freqs.weight',
  ]);
  const dims = () => Array.from({ length: 1 + below(5) }, () => encodeArgument(random() < 0.6 ? pick(INTEGERS) : pick(BIG_INTEGERS)));
  const generators = [
    () => ['setKey', key(), ...typedValue()], () => ['setKey', present(), ...typedValue()],
    () => ['setKey', ...sameTypeValue()], () => ['setKey', present(), 'u32', random() < 0.5 ? below(70) : pick(INTEGERS)],
    () => ['removeKey', present()], () => ['duplicateKey', index()], () => ['renameKey', index(), pick(STRINGS)],
    () => ['setArchitecture', pick(ARCHITECTURES)],
    () => ['fillKeys', below(ARCHITECTURE_KEYS.length), 1 + below(60), encodeArgument(pick(INTEGERS.slice(0, 24)))],
    () => ['setToken', index(), pick(STRINGS)],
    () => ['resizeArray', pick(['tokenizer.ggml.tokens', 'tokenizer.ggml.scores', 'tokenizer.ggml.token_type']), pick([0, 1, 2, 63, 64, 65, 1000])],
    () => ['resizeTensor', index(), below(2), pick(INTEGERS.slice(0, 26))], () => ['claimDims', index(), dims()],
    () => ['retypeTensor', index(), Number(pick(Object.keys(TENSOR_TYPES)))], () => ['claimType', index(), below(60) - 4],
    () => ['claimOffset', index(), encodeArgument(pick(BIG_INTEGERS))], () => ['renameTensor', index(), tensorName()],
    () => ['removeTensor', index()], () => ['duplicateTensor', index(), tensorName()], () => ['swapTensors', index(), index()],
    () => ['fillTensor', index(), pick([0, 0x7f, 0x80, 0xff, 0xc0])],
    () => {
      const head = pick([1, 2, 4, 8, 3, 5, 7, 31]);
      const heads = pick([1, 2, 3, 4, 6]);
      return ['setHead', head * heads, heads, pick([1, 2, 3, heads]), pick([1, 2, 33, 64]), pick([4, 5, 64, 300]), pick(['spm', 'none'])];
    },
    () => ['setVersion', pick([0, 1, 2, 3, 4, 0x03000000, 0xffffffff])],
    () => ['setAlignment', pick([1, 2, 8, 16, 32, 64, 4096, 65536, 3])], () => ['split', 1 + below(4), below(3)],
    () => ['flipBit', headerOffset(), below(8)], () => ['flipBit', headerOffset(), below(8)],
    () => ['flipBit', below(1 << 20), below(8)], () => ['setByte', headerOffset(), pick([0, 1, 0x7f, 0x80, 0xff])],
    () => ['writeU32', headerOffset(), pick(INTEGERS)], () => ['writeU64', headerOffset(), encodeArgument(pick(BIG_INTEGERS))],
    () => ['writeU64', pick([8, 16]), encodeArgument(pick(BIG_INTEGERS))], () => ['truncate', below(1 << 20)],
    () => ['truncate', below(4096)], () => ['extend', below(5000), pick([0, 255])],
    () => ['remove', headerOffset(), 1 + below(64)], () => ['insert', headerOffset(), 1 + below(64), pick([0, 255])],
  ];
  // Files whose structure is sound, so that they get past the header check and deep into llama.cpp.
  const realKey = /scale|epsilon|softcap|factor|beta|bias|freq|clamp|cap|alpha|mult|bound/;
  const soundValue = (name) => {
    if (realKey.test(name)) return ['f32', encodeArgument(pick(REALS))];
    const integer = () => (random() < 0.8 ? below(70) : pick(INTEGERS));
    const choice = random();
    if (choice < 0.75) return ['u32', integer()];
    if (choice < 0.85) return ['bool', below(2)];
    return ['array', Array.from({ length: pick([1, 2, 4]) }, integer), pick(['u32', 'i32'])];
  };
  const soundGenerators = [
    () => {
      const name = pick(ARCHITECTURE_KEYS);
      return ['setKey', `.${name}`, ...soundValue(name)];
    },
    () => ['fillKeys', below(ARCHITECTURE_KEYS.length), 1 + below(80), encodeArgument(pick(INTEGERS.slice(0, 12)))],
    () => ['retypeTensor', index(), Number(pick(Object.keys(TENSOR_TYPES)))], () => ['resizeTensor', index(), below(2), 1 + below(130)],
    () => ['duplicateTensor', index(), tensorName()], () => ['swapTensors', index(), index()],
    () => ['setToken', index(), `${pick(STRINGS)}${below(9)}`], () => ['setKey', 'tokenizer.ggml.model', 'string', pick(STRINGS)],
    () => ['setKey', 'tokenizer.ggml.merges', 'array', ['a b', 'th e', '', ' ', 'x'], 'string'],
    () => ['setKey', 'tokenizer.ggml.pre', 'string', pick(STRINGS)], generators[21],
    () => ['setKey', pick(GLOBAL_KEYS.filter((name) => name.endsWith('_id'))), 'u32', pick(INTEGERS)],
  ];
  const soundRecipe = () => {
    const ops = Array.from({ length: 1 + below(4) }, () => pick(soundGenerators)());
    return random() < 0.3 ? [['setArchitecture', pick(ARCHITECTURES)], ...ops] : ops;
  };
  const anyRecipe = () => Array.from({ length: random() < 0.6 ? 1 : 1 + below(4) }, () => pick(generators)());
  const base = () => pick(random() < 0.5 ? GROWN_BASES : Object.keys(BASES));
  const splitRecipe = () => {
    const parts = 2 + below(3);
    const splitKey = () => ['setKey', pick(['split.no', 'split.count', 'split.tensors.count']), ...pick([
      ['u16', pick([0, 1, 2, 3, 4, 5, 65535])], ['i32', pick(INTEGERS)], typedValue(),
    ])];
    const ops = random() < 0.4 ? [splitKey()] : anyRecipe();
    return { base: pick(Object.keys(BASES)), parts, part: below(parts), ops };
  };
  return () => (random() < 0.1 ? splitRecipe() : { base: base(), ops: random() < 0.6 ? soundRecipe() : anyRecipe() });
}
