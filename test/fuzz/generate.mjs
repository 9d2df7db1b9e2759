/** Random recipes for mutate.mjs. Equal seeds give equal sequences. */
import { createRandom } from '../helpers/tiny-gguf.mjs';
import {
  ARCHITECTURES, ARCHITECTURE_KEYS, BIG_INTEGERS, GLOBAL_KEYS, INTEGERS, REALS, STRINGS, TENSOR_TYPES,
} from './dictionary.mjs';
import { BASES, GROWN_BASES } from './mutate.mjs';

const PRESENT_KEYS = [
  '.context_length', '.embedding_length', '.block_count', '.feed_forward_length', '.attention.head_count',
  '.attention.head_count_kv', '.attention.layer_norm_rms_epsilon', '.rope.dimension_count', '.rope.freq_base',
  '.vocab_size', 'tokenizer.ggml.model', 'tokenizer.ggml.pre', 'tokenizer.ggml.bos_token_id', 'general.architecture',
  'general.file_type', 'general.alignment', 'tokenizer.ggml.tokens', 'tokenizer.ggml.scores', 'tokenizer.ggml.token_type',
];
const TENSOR_NAMES = [
  'rope_freqs.weight', 'output.weight', 'output.bias', 'blk.0.attn_q.bias', 'blk.0.attn_qkv.weight',
  'blk.1.attn_norm.weight', 'blk.99.attn_q.weight', 'blk.-1.x', 'x', '', 'a'.repeat(63), 'a'.repeat(64),
  'blk.0.ffn_gate_inp.weight', 'blk.0.attn_q.scale', 'blk.0.ffn_down.input_scale', 'token_embd.weight',
  'blk.0.attn_sinks.weight', 'blk.0.rope_freqs.weight',
];
const REAL_KEY = /scale|epsilon|softcap|factor|beta|bias|freq|clamp|cap|alpha|mult|bound/;

// JSON has neither bigint nor NaN: values in recipes are written as { big } and { real } where needed.
const encodeArgument = (value) => {
  if (typeof value === 'bigint') return { big: String(value) };
  if (typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))) return { real: String(value) };
  return value;
};
/** Random choices of one seed. */
class Choices {
  constructor(seed) { this.random = createRandom(seed); }
  below(limit) { return Math.floor(this.random() * limit); }
  chance(probability) { return this.random() < probability; }
  pick(list) { return list[this.below(list.length)]; }
  times(count, make) { return Array.from({ length: count }, make); }
  index() { return this.below(64); }
  big() { return encodeArgument(this.pick(BIG_INTEGERS)); }
  real() { return encodeArgument(this.pick(REALS)); }
  headerOffset() { return this.chance(0.2) ? this.below(64) : this.below(4096); }
  key() { return this.chance(0.75) ? `.${this.pick(ARCHITECTURE_KEYS)}` : this.pick(GLOBAL_KEYS); }
  smallOrOdd(limit = 70, small = 0.5) { return this.chance(small) ? this.below(limit) : this.pick(INTEGERS); }
  tensorType() { return Number(this.pick(Object.keys(TENSOR_TYPES))); }

  /** `[type, value, elementType?]` of any type. */
  typedValue() {
    const type = this.pick(['u32', 'u32', 'u32', 'f32', 'f32', 'i32', 'u16', 'u64', 'bool', 'string', 'array']);
    if (type === 'string') return [type, this.pick(STRINGS)];
    if (type === 'f32') return [type, this.real()];
    if (type === 'u64') return [type, this.big()];
    if (type === 'bool') return [type, this.below(2)];
    if (type !== 'array') return [type, this.pick(INTEGERS)];
    const elementType = this.pick(['u32', 'i32', 'f32', 'string', 'bool', 'u8']);
    const item = () => {
      if (elementType === 'string') return this.pick(STRINGS);
      return elementType === 'f32' ? this.real() : this.pick(INTEGERS);
    };
    return [type, this.times(this.pick([0, 1, 2, 3, 4, 5, 64, 512, 513]), item), elementType];
  }

  /** `[type, value, elementType?]` of the type that llama.cpp probably expects of `key`. */
  soundValue(key) {
    if (REAL_KEY.test(key)) return ['f32', this.real()];
    const choice = this.random();
    if (choice < 0.75) return ['u32', this.smallOrOdd(70, 0.8)];
    if (choice < 0.85) return ['bool', this.below(2)];
    return ['array', this.times(this.pick([1, 2, 4]), () => this.smallOrOdd(70, 0.8)), this.pick(['u32', 'i32'])];
  }

  head() {
    const [size, heads] = [this.pick([1, 2, 4, 8, 3, 5, 7, 31]), this.pick([1, 2, 3, 4, 6])];
    return ['setHead', size * heads, heads, this.pick([1, 2, 3, heads]), this.pick([1, 2, 33, 64]),
      this.pick([4, 5, 64, 300]), this.pick(['spm', 'none'])];
  }
}

/** Edits of the metadata, sound or not. */
const metadataEdits = (c) => [
  () => ['setKey', c.key(), ...c.typedValue()], () => ['setKey', c.pick(PRESENT_KEYS), ...c.typedValue()],
  () => ['setKey', `.${c.pick(ARCHITECTURE_KEYS)}`, 'u32', c.smallOrOdd(70, 0.7)],
  () => ['setKey', c.pick(PRESENT_KEYS), 'u32', c.smallOrOdd()],
  () => ['removeKey', c.pick(PRESENT_KEYS)], () => ['duplicateKey', c.index()],
  () => ['renameKey', c.index(), c.pick(STRINGS)], () => ['setArchitecture', c.pick(ARCHITECTURES)],
  () => ['fillKeys', c.below(ARCHITECTURE_KEYS.length), 1 + c.below(60), c.pick(INTEGERS.slice(0, 24))],
  () => ['setToken', c.index(), c.pick(STRINGS)],
  () => ['resizeArray', c.pick(['tokenizer.ggml.tokens', 'tokenizer.ggml.scores', 'tokenizer.ggml.token_type']),
    c.pick([0, 1, 2, 63, 64, 65, 1000])],
  () => ['setVersion', c.pick([0, 1, 2, 3, 4, 0x03000000, 0xffffffff])],
  () => ['setAlignment', c.pick([1, 2, 8, 16, 32, 64, 4096, 65536, 3])], () => ['split', 1 + c.below(4), c.below(3)],
];

/** Edits of the tensor descriptions, sound or not. */
const tensorEdits = (c) => [
  () => ['resizeTensor', c.index(), c.below(2), c.pick(INTEGERS.slice(0, 26))],
  () => ['claimDims', c.index(), c.times(1 + c.below(5), () => (c.chance(0.6) ? c.pick(INTEGERS) : c.big()))],
  () => ['retypeTensor', c.index(), c.tensorType()], () => ['claimType', c.index(), c.below(60) - 4],
  () => ['claimOffset', c.index(), c.big()], () => ['renameTensor', c.index(), c.pick(TENSOR_NAMES)],
  () => ['removeTensor', c.index()], () => ['duplicateTensor', c.index(), c.pick(TENSOR_NAMES)],
  () => ['swapTensors', c.index(), c.index()], () => ['fillTensor', c.index(), c.pick([0, 0x7f, 0x80, 0xff, 0xc0])],
  () => c.head(),
];

/** Edits of the encoded bytes. */
const byteEdits = (c) => [
  () => ['flipBit', c.headerOffset(), c.below(8)], () => ['flipBit', c.headerOffset(), c.below(8)],
  () => ['flipBit', c.below(1 << 20), c.below(8)], () => ['setByte', c.headerOffset(), c.pick([0, 1, 0x7f, 0x80, 0xff])],
  () => ['writeU32', c.headerOffset(), c.pick(INTEGERS)], () => ['writeU64', c.headerOffset(), c.big()],
  () => ['writeU64', c.pick([8, 16]), c.big()], () => ['truncate', c.below(1 << 20)], () => ['truncate', c.below(4096)],
  () => ['extend', c.below(5000), c.pick([0, 255])], () => ['remove', c.headerOffset(), 1 + c.below(64)],
  () => ['insert', c.headerOffset(), 1 + c.below(64), c.pick([0, 255])],
];

/** Edits that leave the structure sound, so that the file gets past the header check and deep into llama.cpp. */
const soundEdits = (c) => [
  () => {
    const name = c.pick(ARCHITECTURE_KEYS);
    return ['setKey', `.${name}`, ...c.soundValue(name)];
  },
  () => ['fillKeys', c.below(ARCHITECTURE_KEYS.length), 1 + c.below(80), c.pick(INTEGERS.slice(0, 12))],
  () => ['retypeTensor', c.index(), c.tensorType()], () => ['resizeTensor', c.index(), c.below(2), 1 + c.below(130)],
  () => ['duplicateTensor', c.index(), c.pick(TENSOR_NAMES)], () => ['swapTensors', c.index(), c.index()],
  () => ['removeTensor', c.index()], () => ['setToken', c.index(), `${c.pick(STRINGS)}${c.below(9)}`],
  () => ['setKey', 'tokenizer.ggml.model', 'string', c.pick(STRINGS)],
  () => ['setKey', 'tokenizer.ggml.merges', 'array', ['a b', 'th e', '', ' ', 'x'], 'string'],
  () => ['setKey', 'tokenizer.ggml.pre', 'string', c.pick(STRINGS)], () => c.head(),
  () => ['setKey', c.pick(GLOBAL_KEYS.filter((name) => name.endsWith('_id'))), 'u32', c.pick(INTEGERS)],
];

const splitKeyEdit = (c) => ['setKey', c.pick(['split.no', 'split.count', 'split.tensors.count']), ...c.pick([
  ['u16', c.pick([0, 1, 2, 3, 4, 5, 65535])], ['i32', c.pick(INTEGERS)], c.typedValue(),
])];

/** A source of random recipes: call it for the next one. */
export function createRecipeSource(seed) {
  const c = new Choices(seed);
  const anyEdits = [...metadataEdits(c), ...tensorEdits(c), ...byteEdits(c)];
  const deepEdits = soundEdits(c);
  const anyOps = () => c.times(c.chance(0.6) ? 1 : 1 + c.below(4), () => c.pick(anyEdits)());
  const soundOps = () => {
    const ops = c.times(1 + c.below(4), () => c.pick(deepEdits)());
    return c.chance(0.3) ? [['setArchitecture', c.pick(ARCHITECTURES)], ...ops] : ops;
  };
  return () => {
    if (c.chance(0.1)) {
      const parts = 2 + c.below(3);
      const ops = c.chance(0.4) ? [splitKeyEdit(c)] : anyOps();
      return { base: c.pick(Object.keys(BASES)), parts, part: c.below(parts), ops };
    }
    const base = c.pick(c.chance(0.5) && GROWN_BASES.length > 0 ? GROWN_BASES : Object.keys(BASES));
    return { base, ops: c.chance(0.6) ? soundOps() : anyOps() };
  };
}
