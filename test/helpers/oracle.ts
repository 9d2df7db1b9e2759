/** Reads the PyTorch reference fixtures of test/fixtures/oracle (format: tools/oracle/README.md). */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Intervention } from '../../src/intervene/types.js';
import type { Site } from '../../src/model/sites.js';

interface OracleEdit {
  kind: string;
  site: Site;
  layers: number[];
  positions: 'all' | 'prompt' | { explicit: number[] };
  neurons?: number[];
  coefficient?: number;
  factor?: number;
  min?: number;
  max?: number;
  tensors?: Record<string, string>;
}

export interface OracleCase {
  name: string;
  sequence: number;
  edits: OracleEdit[];
  layers: number[];
}

export interface Oracle {
  architecture: string;
  layerCount: number;
  dModel: number;
  vocabSize: number;
  relativeL2Tolerance: number;
  sequences: { tokenCount: number; sites: Site[] }[];
  edits: OracleCase[];
  tensor(name: string): Float32Array;
  tokens(sequence: number): Int32Array;
  interventions(item: OracleCase): Intervention[];
}

/** Path of a file in test/fixtures/oracle. */
export function oraclePath(file: string): string {
  return fileURLToPath(new URL(`../fixtures/oracle/${file}`, import.meta.url));
}

/** Loads the reference of one architecture. A missing fixture throws. */
export function loadOracle(name: string): Oracle {
  const bytes = readFileSync(oraclePath(`${name}.safetensors`));
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerLength).toString('utf8')) as Record<string, { data_offsets: [number, number] }> & {
    __metadata__: { oracle: string };
  };
  const facts = JSON.parse(header.__metadata__.oracle) as Omit<Oracle, 'tensor' | 'tokens' | 'interventions'>;
  const raw = (tensor: string): ArrayBuffer => {
    const entry = header[tensor];
    if (entry === undefined) {
      throw new Error(`fixture ${name} has no tensor ${tensor}`);
    }
    const [begin, end] = entry.data_offsets;
    return new Uint8Array(bytes.subarray(8 + headerLength + begin, 8 + headerLength + end)).buffer;
  };
  const tensor = (key: string): Float32Array => new Float32Array(raw(key));
  return {
    ...facts,
    tensor,
    tokens: (sequence) => new Int32Array(raw(`tokens.${sequence}`)),
    interventions: (item) => item.edits.map((edit) => toIntervention(edit, tensor)),
  };
}

function toIntervention(edit: OracleEdit, tensor: (name: string) => Float32Array): Intervention {
  const payload = (key: string): Float32Array => tensor(edit.tensors?.[key] ?? `missing payload ${key}`);
  const positions = typeof edit.positions === 'string' ? edit.positions : edit.positions.explicit;
  const target = { site: edit.site, layers: edit.layers, positions, ...(edit.neurons === undefined ? {} : { neurons: edit.neurons }) };
  switch (edit.kind) {
    case 'zero':
      return { kind: 'zero', ...target };
    case 'set':
      return { kind: 'set', ...target, value: payload('value') };
    case 'add':
      return { kind: 'add', ...target, direction: payload('direction'), coefficient: edit.coefficient ?? 1 };
    case 'scale':
      return { kind: 'scale', ...target, factor: edit.factor ?? 1 };
    case 'clamp':
      return { kind: 'clamp', ...target, min: edit.min ?? 0, max: edit.max ?? 0 };
    case 'projectOut':
      return { kind: 'projectOut', site: edit.site, layers: edit.layers, positions, direction: payload('direction') };
    case 'patch': {
      const rowPositions = Array.isArray(positions) ? (positions) : [];
      const data = payload('rows');
      return { kind: 'patch', ...target, rowPositions, rows: { data, width: data.length / rowPositions.length } };
    }
    default:
      throw new Error(`fixture has an unknown edit kind ${edit.kind}`);
  }
}

/** ‖a − b‖ / ‖b‖. */
export function relativeL2(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) {
    throw new Error(`lengths differ: ${a.length} and ${b.length}`);
  }
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    difference += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
    norm += (b[i] ?? 0) ** 2;
  }
  return Math.sqrt(difference / norm);
}
