/**
 * Runs the same edited capture and generation on the CPU and on a Vulkan device and prints how far they are apart, as one
 * JSON line. A process of its own, because the device is chosen by GGML_VK_VISIBLE_DEVICES before ggml loads.
 */
import type { Intervention } from '../../src/index.js';
import { captureActivations, generate, listDevices, loadModel } from '../../src/index.js';
import { oraclePath, relativeL2 } from './oracle.js';

const EDITS: Intervention[] = [
  { kind: 'zero', site: 'residMid', layers: [0], neurons: [1, 2, 3] },
  { kind: 'scale', layers: [1], positions: [1, 3], factor: 2 },
];

async function run(gpuLayers: number): Promise<{ blocks: Map<string, Float32Array>; tokens: number[][]; edits: unknown[] }> {
  await using model = await loadModel(oraclePath('llama.gguf'), { gpuLayers });
  await using session = model.createSession({ parallel: 2, threads: 1, contextLength: 256, flashAttention: false });
  const activations = await captureActivations(session, [[1, 2, 3, 4, 5], [9, 8, 7]], { site: ['residPost', 'attnOut'], layers: 'all' }, { interventions: EDITS });
  const blocks = new Map(activations.blocks.map(({ name, site, layer }) => [name, activations.get(site, layer).data]));
  const tokens: number[][] = [];
  const edits: unknown[] = [];
  const requests = [{ prompt: [1, 2, 3], maxTokens: 6, temperature: 0 }, { prompt: [1, 2, 3], maxTokens: 6, temperature: 0, interventions: EDITS }];
  for await (const result of generate(session, requests)) {
    tokens[result.index] = [...result.tokens];
    edits[result.index] = result.edits;
  }
  return { blocks, tokens, edits };
}

const device = listDevices().find(({ backend }) => backend === 'Vulkan');
if (device === undefined) {
  console.log(JSON.stringify({ device: null }));
} else {
  const cpu = await run(0);
  const gpu = await run(99);
  const errors = [...cpu.blocks].map(([name, rows]) => ({ name, error: relativeL2(gpu.blocks.get(name) ?? new Float32Array(0), rows) }));
  console.log(JSON.stringify({ device: device.description, errors, tokens: { cpu: cpu.tokens, gpu: gpu.tokens }, edits: gpu.edits }));
}
