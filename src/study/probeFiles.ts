/** Trained probes on disk: safetensors, one set of tensors per probe (docs/probe.md). */
import { RewardLensError } from '../native/errors.js';
import type { TrainedProbe } from '../probe/train.js';
import type { Tensor } from '../util/safetensors.js';
import { SafetensorsReader, saveTensors } from '../util/safetensors.js';

export const PROBE_FORMAT = 'rewardlens.probes';

/** What a probe is, without its arrays. */
type ProbeFacts = Omit<TrainedProbe, 'weights' | 'mean' | 'scale' | 'neurons'>;

/** Tensor name prefix of a probe: "value.3". */
const prefixOf = (probe: { name: string; layer: number }): string => `${probe.name}.${probe.layer}`;

/**
 * Saves probes: tensors `<name>.<layer>.w1` [hidden, inputs], `.b1` [hidden], `.w2` [hidden] (linear: [inputs]), `.b2` [1],
 * `.mean`, `.scale` [inputs], `.neurons` [inputs] when not all are used; the rest in `__metadata__.rewardlens`. Errors: IO.
 */
export async function saveProbes(path: string, probes: readonly TrainedProbe[], manifest: object): Promise<void> {
  const tensors = new Map<string, Tensor>();
  const facts = probes.map((probe): ProbeFacts => {
    const { weights, mean, scale, neurons, ...rest } = probe;
    const add = (name: string, data: Float32Array | Int32Array, shape: readonly number[] = [data.length]): unknown => tensors.set(`${prefixOf(probe)}.${name}`, { shape, data });
    if (probe.hidden > 0) {
      add('w1', weights.w1, [probe.hidden, mean.length]);
      add('b1', weights.b1);
    }
    add('w2', weights.w2);
    add('b2', weights.b2);
    add('mean', mean);
    add('scale', scale);
    if (neurons !== undefined) {
      add('neurons', neurons);
    }
    return rest;
  });
  await saveTensors(path, tensors, { format: PROBE_FORMAT, rewardlens: JSON.stringify({ ...manifest, probes: facts }) });
}

/** Loads what {@link saveProbes} wrote. Errors: IO, STORE_CORRUPT, INVALID_ARGUMENT when it is another kind of file. */
export async function loadProbes(path: string): Promise<TrainedProbe[]> {
  await using reader = await SafetensorsReader.open(path);
  if (reader.header.metadata.format !== PROBE_FORMAT) {
    throw new RewardLensError('INVALID_ARGUMENT', `'${path}' holds no probes: its format is ${JSON.stringify(reader.header.metadata.format ?? 'unknown')}, expected ${PROBE_FORMAT}`);
  }
  const { probes } = JSON.parse(reader.header.metadata.rewardlens ?? '{}') as { probes: ProbeFacts[] };
  const out: TrainedProbe[] = [];
  for (const facts of probes) {
    const floats = async (name: string): Promise<Float32Array> => (await reader.read(`${prefixOf(facts)}.${name}`)).data as Float32Array;
    const has = (name: string): boolean => reader.header.tensors.has(`${prefixOf(facts)}.${name}`);
    out.push({
      ...facts,
      weights: {
        w1: has('w1') ? await floats('w1') : new Float32Array(0),
        b1: has('b1') ? await floats('b1') : new Float32Array(0),
        w2: await floats('w2'),
        b2: await floats('b2'),
      },
      mean: await floats('mean'),
      scale: await floats('scale'),
      ...(has('neurons') ? { neurons: (await reader.read(`${prefixOf(facts)}.neurons`)).data as Int32Array } : {}),
    });
  }
  return out;
}
