/** Models from test/fuzz/architectures.json: `{ keys: { name: [type, value] }, tensors: { name: dims } }` → a GGUF spec. */
import { readFileSync } from 'node:fs';

import { tinyGgufSpec } from '../helpers/tiny-gguf.mjs';

const VOCABULARY = tinyGgufSpec({ layerCount: 1 }).metadata;

// Seeded by the name only, small, never zero: enough for a forward pass without NaN.
function weights(name, dims) {
  const count = dims.reduce((product, dim) => product * dim, 1);
  const values = Float32Array.from({ length: count }, (_, i) => (((i * 7919 + name.length * 31) % 101) - 50.5) / 400);
  return Buffer.from(values.buffer);
}

/** The spec of a model of `architecture`: two layers of width 32, 64 tokens, and what `model` adds or replaces. */
export function grownSpec(architecture, model) {
  const metadata = new Map();
  for (const [key, type, value] of VOCABULARY) {
    metadata.set(key.startsWith('llama.') ? architecture + key.slice('llama'.length) : key, [type, value]);
  }
  metadata.set('general.architecture', ['string', architecture]);
  metadata.set(`${architecture}.block_count`, ['u32', 2]);
  for (const [key, entry] of Object.entries(model.keys)) metadata.set(key, entry);
  return {
    version: 3,
    alignment: 32,
    metadata: [...metadata].map(([key, [type, value]]) => [key, type, value]),
    tensors: Object.entries(model.tensors).map(([name, dims]) => ({ name, dims, type: 'f32', data: weights(name, dims) })),
  };
}

/** Architecture → model, of every architecture that could be grown. */
export function readGrownModels() {
  return JSON.parse(readFileSync(new URL('architectures.json', import.meta.url), 'utf8'));
}
