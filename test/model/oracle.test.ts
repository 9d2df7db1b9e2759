/** Every site, layer and token, and the edited forward pass, against Hugging Face transformers (PyTorch hooks). */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Activations } from '../../src/capture/activations.js';
import { captureActivations, loadModel } from '../../src/index.js';
import type { Model, Session, Site } from '../../src/index.js';
import { loadOracle, oraclePath, relativeL2 } from '../helpers/oracle.js';

const ARCHITECTURES = ['llama', 'qwen2', 'qwen3', 'gemma2', 'gemma3', 'phi3', 'olmo2', 'qwen3moe', 'gpt2', 'gemma3-gelu'];

/** Rows of one sequence of a block. */
function rowsOf(activations: Activations, site: Site, layer: number, sequence: number): Float32Array {
  const view = activations.get(site, layer);
  const width = view.shape[1] ?? 0;
  const first = activations.sequence.indexOf(sequence);
  const count = activations.sequence.filter((s) => s === sequence).length;
  return view.data.subarray(first * width, (first + count) * width);
}

describe.each(ARCHITECTURES)('%s', (name) => {
  const oracle = loadOracle(name);
  let model: Model;
  let session: Session;

  beforeAll(async () => {
    model = await loadModel(oraclePath(`${name}.gguf`), { gpuLayers: 0 });
    session = model.createSession({ parallel: 3, threads: 1, contextLength: 256, ubatch: 16, flashAttention: false, cacheTypeK: 'f32', cacheTypeV: 'f32' });
  });
  afterAll(async () => {
    await model.dispose();
  });

  test('all sites of all layers and tokens, sequences of unequal length in one run', async () => {
    const sites = [...new Set(oracle.sequences.flatMap((sequence) => sequence.sites))];
    const order = [3, 1, 0, 2]; // any order: rows know where they belong
    const activations = await captureActivations(session, order.map((k) => oracle.tokens(k)), { site: [...sites, 'logits'], layers: 'all' });
    let compared = 0;
    for (const [index, k] of order.entries()) {
      for (const site of oracle.sequences[k]?.sites ?? []) {
        for (let layer = 0; layer < oracle.layerCount; layer++) {
          const error = relativeL2(rowsOf(activations, site, layer, index), oracle.tensor(`${site}.${layer}.${k}`));
          expect({ site, layer, k, error, ok: error <= oracle.relativeL2Tolerance }).toMatchObject({ ok: true });
          compared++;
        }
      }
      const error = relativeL2(rowsOf(activations, 'logits', oracle.layerCount - 1, index), oracle.tensor(`logits.${k}`));
      expect({ k, error, ok: error <= oracle.relativeL2Tolerance }).toMatchObject({ ok: true });
    }
    expect(compared).toBe(oracle.sequences.reduce((sum, sequence) => sum + sequence.sites.length, 0) * oracle.layerCount);
  });

  if (oracle.edits.length > 0) {
    test.each(oracle.edits.map((item) => [item.name, item] as const))('edited forward pass: %s', async (_, item) => {
      const activations = await captureActivations(
        session,
        [oracle.tokens(item.sequence)],
        { site: ['residPost', 'logits'], layers: item.layers },
        { interventions: oracle.interventions(item) },
      );
      for (const layer of item.layers) {
        const error = relativeL2(rowsOf(activations, 'residPost', layer, 0), oracle.tensor(`edited.${item.name}.residPost.${layer}`));
        expect({ layer, error, ok: error <= oracle.relativeL2Tolerance }).toMatchObject({ ok: true });
      }
      const error = relativeL2(rowsOf(activations, 'logits', oracle.layerCount - 1, 0), oracle.tensor(`edited.${item.name}.logits`));
      expect({ error, ok: error <= oracle.relativeL2Tolerance }).toMatchObject({ ok: true });
    });
  }
});
