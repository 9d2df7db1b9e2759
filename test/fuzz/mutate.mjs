/**
 * Mutations of tiny GGUF models. A recipe is plain JSON: `{ base, ops: [[name, ...arguments]] }`. The same
 * recipe always builds the same bytes, so a finding is a line of JSON and needs no binary in the tree.
 */
import { encodeGguf, splitGgufSpec, tinyGgufSpec } from '../helpers/tiny-gguf.mjs';
import { grownSpec, readGrownModels } from './grown.mjs';
import { ARCHITECTURE_KEYS, TENSOR_TYPES } from './dictionary.mjs';

/** Valid models that mutations start from, besides `grown:<architecture>` of architectures.json. Small, so fast. */
export const BASES = {
  llama: { layerCount: 2 },
  gqa: { headCount: 4, kvHeadCount: 2, tiedEmbeddings: true, type: 'f16' },
  qwen2: { architecture: 'qwen2', kvHeadCount: 1 },
  quantized: { type: 'q8_0', vocabSize: 400, layerCount: 1 },
  noVocabulary: { tokenizer: 'none', layerCount: 1 },
};

// JSON has neither bigint nor NaN: values in recipes are written as { big } and { real } where needed (generate.mjs).
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

/** Names of the grown models, as bases of recipes. */
export const GROWN_BASES = Object.keys(grownModels).map((name) => `grown:${name}`);

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
