/** Layers below the edits of a prompt computed once for all arms: the results of full passes, bit for bit, and said to be so. */
import { describe, expect, test } from '@jest/globals';
import type { EngineOptions, RunProgress } from '../../src/run/engine.js';
import type { GenerateResult, Intervention, Model, SequenceRequest } from '../../src/index.js';
import { generate, loadModel } from '../../src/index.js';

interface Run {
  results: GenerateResult[];
  progress: RunProgress;
}

async function run(model: Model, requests: SequenceRequest[], options: Pick<EngineOptions, 'arms' | 'skipLayers'>): Promise<Run> {
  await using session = model.createSession({ parallel: 3, threads: 1, contextLength: 128, ubatch: 64 });
  const capture = { site: 'residPost', layers: 'all', positions: 'completion' } as const;
  const results: GenerateResult[] = [];
  const sequences = generate(session, requests, { ...options, capture });
  for (let step = await sequences.next(); ; step = await sequences.next()) {
    if (step.done === true) {
      return { results, progress: step.value };
    }
    results[step.value.index] = step.value;
  }
}

/** Everything a sequence gave, as values that compare bit for bit. */
function contents({ tokens, logProbabilities, entropies, edits, activations, processedTokens }: GenerateResult): unknown {
  return {
    tokens: [...tokens],
    logProbabilities: [...(logProbabilities ?? [])],
    entropies: [...(entropies ?? [])],
    written: edits.map(({ changed, expected, shared }) => [changed + shared, expected + shared]),
    rows: activations?.blocks.map(({ site, layer }) => [...activations.get(site, layer).data]),
    processedTokens,
  };
}

describe.each(['reasoner-rl', 'planted'])('%s', (name) => {
  test('arms of all layers and positions', async () => {
    await using model = await loadModel(`models/${name}.gguf`, { gpuLayers: 0 });
    const layers = Array.from({ length: model.info.layerCount }, (_, layer) => layer);
    const arms: Record<string, readonly Intervention[]> = { base: [] };
    for (const layer of layers) {
      arms[`all ${layer}`] = [{ kind: 'zero', layers: [layer], neurons: [1, 5, 9] }];
      arms[`one ${layer}`] = [{ kind: 'scale', layers: [layer], neurons: [2, 3], factor: 3, positions: [20] }];
      arms[`mlp ${layer}`] = [{ kind: 'scale', layers: [layer], site: 'mlpOut', factor: 0.5, positions: 'prompt' }];
    }
    const prompts = [3, 4].map((seed) => Array.from({ length: 30 }, (_, i) => (i < 18 ? i : i * seed) % model.info.vocabSize));
    const requests = prompts.flatMap((prompt) => Object.keys(arms).map((arm): SequenceRequest => ({ prompt, arm, maxTokens: 6, logProbabilities: true, ignoreEog: true })));
    const full = await run(model, requests, { arms, skipLayers: false });
    const skipped = await run(model, requests, { arms });
    for (const [index, { label, arm }] of full.results.entries()) {
      expect({ arm, label, ...(contents(skipped.results[index] as GenerateResult) as object) }).toEqual({ arm, label, ...(contents(full.results[index] as GenerateResult) as object) });
    }
    expect(full.progress).toMatchObject({ skippedTokens: 0, skippedLayerTokens: 0, skipFallbacks: 0 });
    expect(full.results.every(({ skippedLayers }) => skippedLayers === 0)).toBe(true);
    // Prompt rows of an arm that were computed at all lacked its skipped layers.
    const expected = skipped.results.reduce((sum, { promptTokens, sharedPrefix, skippedLayers }) => sum + (promptTokens.length - sharedPrefix) * skippedLayers, 0);
    expect(skipped.progress).toMatchObject({ skippedLayerTokens: expected, skipFallbacks: 0 });
    expect(Math.max(...skipped.results.map(({ skippedLayers }) => skippedLayers))).toBe(layers.length - 1);
  });
});

test('with flash attention all layers are computed: equality is not certain', async () => {
  await using model = await loadModel('models/planted.gguf', { gpuLayers: 0 });
  await using session = model.createSession({ parallel: 2, threads: 1, contextLength: 128, flashAttention: true });
  const arms: Record<string, readonly Intervention[]> = { base: [], last: [{ kind: 'zero', layers: [1], neurons: [1] }] };
  const prompt = Array.from({ length: 20 }, (_, i) => i);
  const results: GenerateResult[] = [];
  for await (const result of generate(session, ['base', 'last', 'last'].map((arm) => ({ prompt, arm, maxTokens: 2 })), { arms })) {
    results.push(result);
  }
  expect(results.map(({ skippedLayers }) => skippedLayers)).toEqual([0, 0, 0]);
});
