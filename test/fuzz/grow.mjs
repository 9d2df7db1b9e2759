/**
 * Grows a tiny working model for every architecture that llama.cpp knows, by listening to its errors: a missing key is
 * added, a missing tensor is added, a wrong shape is corrected, until the model loads and decodes a token.
 *
 *   node test/fuzz/grow.mjs [ARCHITECTURE ...]
 *
 * Writes test/fuzz/architectures.json (all architectures, or the named ones replaced): what the fuzzer starts from, and
 * the proof that the header check refuses none of them. Needed again only when llama.cpp is updated.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { ARCHITECTURES } from './dictionary.mjs';
import { encodeGguf } from '../helpers/tiny-gguf.mjs';
import { grownSpec } from './grown.mjs';
import { findBackendDir, findLoadCheck, runLoadCheck } from './load-check.mjs';

const target = join(dirname(fileURLToPath(import.meta.url)), 'architectures.json');

// Values for keys that llama.cpp asks for; small, and fitting each other. Others start as 2, or 1e-5 for a real.
const PREFERRED = {
  expert_count: 4, expert_used_count: 2, experts_per_group: 2, expert_feed_forward_length: 32,
  expert_shared_feed_forward_length: 32, expert_chunk_feed_forward_length: 32, expert_shared_count: 1,
  expert_gating_func: 1, leading_dense_block_count: 1, interleave_moe_layer_step: 1, nextn_predict_layers: 0,
  'attention.key_length': 16, 'attention.value_length': 16, 'attention.key_length_mla': 16, 'attention.value_length_mla': 16,
  'attention.q_lora_rank': 8, 'attention.kv_lora_rank': 8, 'attention.sliding_window': 64, 'attention.shared_kv_layers': 0,
  'attention.indexer.key_length': 16, 'attention.indexer.top_k': 4, 'attention.decay_lora_rank': 8,
  'attention.iclr_lora_rank': 8, 'attention.value_residual_mix_lora_rank': 8, 'attention.gate_lora_rank': 8,
  'attention.sliding_window_pattern': [1, 0], 'rope.dimension_count': 16, 'rope.dimension_sections': [4, 2, 2, 0],
  'ssm.conv_kernel': 4, 'ssm.inner_size': 64, 'ssm.state_size': 16, 'ssm.time_step_rank': 4, 'ssm.group_count': 1,
  'wkv.head_size': 16, 'kda.head_dim': 16, 'shortconv.l_cache': 3, time_mix_extra_dim: 8, time_decay_extra_dim: 8,
  rescale_every_n_layers: 6, embedding_length_per_layer_input: 16,
};

function setKey(model, key, value) {
  const type = Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'u32' : 'f32';
  model.keys[key] = [type, type === 'array' ? { type: 'i32', values: value } : value];
}

function addKey(model, architecture, key) {
  const name = key.slice(architecture.length + 1);
  setKey(model, key, PREFERRED[name] ?? (/eps|scale|beta|bound|factor/.test(name) ? 1e-5 : 2));
}

function retypeKey(model, key, wanted) {
  const type = { str: 'string', arr: 'array' }[wanted] ?? wanted;
  const values = { string: 'none', bool: true, array: { type: 'i32', values: [2, 2] } };
  model.keys[key] = [type, values[type] ?? (Number(model.keys[key]?.[1]) || 1)];
}

// The attention weights of one layer are optional to some loaders, but not to their graphs.
function addFusedAttention(model, architecture, layer) {
  model.tensors[`blk.${layer}.attn_qkv.weight`] = [1];
}

function addExperts(model, architecture) {
  for (const name of ['expert_count', 'expert_used_count', 'expert_feed_forward_length']) {
    setKey(model, `${architecture}.${name}`, PREFERRED[name]);
  }
}

// [pattern of the message, what to do about it]
const REMEDIES = [
  [/zero experts|ffn_gate_inp\.weight' has wrong shape; expected +\d+, +0,/, (model, arch) => addExperts(model, arch)],
  [/token type count|token_types\.weight' has wrong shape; expected +\d+, +0,/,
    (model) => setKey(model, 'tokenizer.ggml.token_type_count', 2)],
  [/(?:key not found in model: |key ')([^\s']+)/, (model, arch, key) => addKey(model, arch, key)],
  [/layer (\d+) has neither/, addFusedAttention],
  [/key (\S+) has wrong type \S+ but expected type (\S+)/, (model, arch, key, type) => retypeKey(model, key, type)],
  [/(?:missing tensor|tensor) '([^']+)'(?: not found)?\n/, (model, arch, name) => { model.tensors[name] = [1]; }],
  [/tensor '([^']+)' has wrong shape; expected ([\d, ]+), got/, (model, arch, name, dims) => {
    model.tensors[name] = dims.split(',').map((dim) => Number(dim.trim()));
  }],
];

/** Applies the first remedy that fits; false when there is none, or the shape asked for cannot be. */
function remedy(model, architecture, message) {
  for (const [pattern, apply] of REMEDIES) {
    const found = pattern.exec(`${message}\n`);
    if (!found) continue;
    apply(model, architecture, ...found.slice(1));
    return !Object.values(model.tensors).some((dims) => dims.some((dim) => dim < 1 || dim > 1e6));
  }
  return false;
}

async function grow(architecture, run) {
  const model = { keys: {}, tensors: { 'token_embd.weight': [32, 64] } };
  let previous = '';
  for (let attempt = 0; attempt < 400; attempt += 1) {
    const { verdict, report, why } = await run(encodeGguf(grownSpec(architecture, model)));
    if (verdict === 'works') return { model };
    const message = report?.message ?? why;
    if (verdict === 'contained' || message === previous || !remedy(model, architecture, message)) return { message };
    previous = message;
  }
  return { message: 'too many attempts' };
}

async function main() {
  const named = process.argv.slice(2);
  const folder = mkdtempSync(join(tmpdir(), 'rewardlens-grow-'));
  const [program, backendDir] = [findLoadCheck(), findBackendDir()];
  const queue = [...(named.length > 0 ? named : ARCHITECTURES)];
  const grown = named.length > 0 ? JSON.parse(readFileSync(target, 'utf8')) : {};
  const worker = async (slot) => {
    const run = (bytes) => {
      const path = join(folder, `${slot}.gguf`);
      writeFileSync(path, bytes);
      return runLoadCheck(program, path, { backendDir, seconds: 10, budgetBytes: 512 * 1024 * 1024 });
    };
    for (let architecture = queue.shift(); architecture; architecture = queue.shift()) {
      const { model, message } = await grow(architecture, run);
      if (model) grown[architecture] = model;
      else process.stdout.write(`${architecture}: ${message.split('\n').slice(0, 2).join(' ')}\n`);
    }
  };
  await Promise.all([worker(0), worker(1)]);
  const lines = Object.keys(grown).sort().map((name) => `${JSON.stringify(name)}: ${JSON.stringify(grown[name])}`);
  writeFileSync(target, `{\n${lines.join(',\n')}\n}\n`);
  process.stdout.write(`${lines.length} architectures\n`);
  rmSync(folder, { recursive: true, force: true });
}

await main();
