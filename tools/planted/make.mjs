/**
 * Writes models/planted.gguf and models/planted-null.gguf: two tiny llama models that differ in two weights.
 *
 *     node tools/planted/make.mjs
 *
 * In the first, one coordinate of the residual stream carries correctness: the embedding of every token puts a graded
 * value on coordinate CARRIER, no block reads or writes it, and the output turns it into the odds of `y` (right) against
 * `n` (wrong). Otherwise tokens differ by one of two random vectors only, so that no other coordinate tells what CARRIER
 * holds. Coordinate LEVEL is constant and keeps all other tokens improbable. Blocks are random. In the null twin the
 * output ignores CARRIER: `y` and `n` are even whatever the stream holds. The same bytes on every machine.
 */
import { writeFileSync } from 'node:fs';
import { encodeGguf, encodeTensorData, tinyGgufSpec } from '../../test/helpers/tiny-gguf.mjs';

const D_MODEL = 64;
const CARRIER = 37;
const LEVEL = 11;
/** Odds of y against n change by e^(2 GAIN h) for a normalised carrier h. */
const GAIN = 1.6;
const LEVEL_VALUE = 5;
const LEVEL_GAIN = 3;
/** Scale of what the blocks add. */
const BLOCK_SCALE = 0.3;
const SPREAD = 2;

function floats(tensor) {
  return new Float32Array(tensor.data.buffer.slice(tensor.data.byteOffset, tensor.data.byteOffset + tensor.data.byteLength));
}

function build(gain) {
  const spec = tinyGgufSpec({ dModel: D_MODEL, layerCount: 3, headCount: 4, dFf: 96, vocabSize: 64, seed: 20602, contextLength: 256 });
  const names = spec.metadata.find(([key]) => key === 'tokenizer.ggml.tokens')[2].values;
  const edit = (name, change) => {
    const tensor = spec.tensors.find((entry) => entry.name === name);
    const values = floats(tensor);
    change(values, tensor.dims);
    tensor.data = encodeTensorData(values, 'f32');
  };
  // Evenly spread values over the vocabulary, in an order that has nothing to do with the letters' numbers.
  edit('token_embd.weight', (values) => {
    for (let token = 0; token < names.length; token++) {
      values.copyWithin(token * D_MODEL, (token % 2) * D_MODEL, (token % 2 + 1) * D_MODEL);
      values[token * D_MODEL + CARRIER] = SPREAD * (((token * 29) % names.length) / (names.length - 1) - 0.5) * 2;
      values[token * D_MODEL + LEVEL] = LEVEL_VALUE;
    }
    values[names.indexOf('y') * D_MODEL + CARRIER] = SPREAD / 2; // a right start makes a right end likelier
    values[names.indexOf('n') * D_MODEL + CARRIER] = -SPREAD / 2;
  });
  for (let layer = 0; layer < 3; layer++) {
    for (const part of ['attn_q', 'attn_k', 'attn_v', 'ffn_gate', 'ffn_up']) {
      edit(`blk.${layer}.${part}.weight`, (values, [inputs]) => {
        for (let at = CARRIER; at < values.length; at += inputs) values[at] = 0;
      });
    }
    for (const part of ['attn_output', 'ffn_down']) {
      edit(`blk.${layer}.${part}.weight`, (values, [inputs, outputs]) => {
        for (let out = 0; out < outputs; out++) {
          for (let i = 0; i < inputs; i++) values[out * inputs + i] *= out === CARRIER || out === LEVEL ? 0 : BLOCK_SCALE;
        }
      });
    }
  }
  edit('output_norm.weight', (values) => values.fill(1));
  edit('output.weight', (values) => {
    values.fill(0);
    for (const [text, sign] of [['y', 1], ['n', -1]]) {
      values[names.indexOf(text) * D_MODEL + CARRIER] = sign * gain;
      values[names.indexOf(text) * D_MODEL + LEVEL] = LEVEL_GAIN;
    }
  });
  spec.metadata.find(([key]) => key === 'general.name')[2] = gain === 0 ? 'planted-null' : 'planted';
  spec.metadata.push(['rewardlens.planted.neuron', 'u32', CARRIER]);
  return spec;
}

for (const [name, gain] of [['planted', GAIN], ['planted-null', 0]]) {
  const path = new URL(`../../models/${name}.gguf`, import.meta.url);
  const bytes = encodeGguf(build(gain));
  writeFileSync(path, bytes);
  console.log(`${path.pathname}: ${bytes.length} bytes`);
}
