/** Writes activations that are in memory to a capture file (docs/capture-format.md). */
import type { TensorSpec } from '../util/safetensors.js';
import { SafetensorsWriter } from '../util/safetensors.js';
import type { Activations } from './activations.js';

/** Names and order of the row tensors that every capture file has. */
export const ROW_TENSORS = ['tokens', 'sequence', 'position'] as const;

/** Saves as f32 safetensors with `manifest` in the metadata. Errors: IO. */
export async function saveActivations(path: string, activations: Activations, manifest: object): Promise<void> {
  const { rowCount, blocks } = activations;
  const specs: TensorSpec[] = blocks.map(({ name, site, layer }) => ({ name, dtype: 'F32', shape: [rowCount, activations.get(site, layer).shape[1] ?? 0] }));
  for (const name of ROW_TENSORS) {
    specs.push({ name, dtype: 'I32', shape: [rowCount] });
  }
  const metadata = { format: 'rewardlens.capture', rewardlens: JSON.stringify(manifest) };
  const writer = await SafetensorsWriter.create(path, specs, JSON.stringify(metadata).length);
  try {
    for (const { name, site, layer } of blocks) {
      await writer.writeRows(name, 0, activations.get(site, layer).data);
    }
    for (const name of ROW_TENSORS) {
      await writer.writeRows(name, 0, activations[name]);
    }
    await writer.finish([{ begin: 0, end: rowCount }], metadata);
  } catch (error) {
    await writer.discard();
    throw error;
  }
}
