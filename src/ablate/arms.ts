/** Arms of a sweep: named intervention settings. */
import type { Intervention } from '../intervene/types.js';
import type { Positions } from '../model/positions.js';
import type { Site } from '../model/sites.js';
import { RewardLensError } from '../native/errors.js';

/**
 * `zero`: x ← 0; `mean`: x ← the mean over training states; `resample`: x ← the value in one of {@link ArmValues.rows}, the row
 * chosen by a hash of seed and position.
 */
export const ABLATION_KINDS = ['zero', 'mean', 'resample'] as const;
export type AblationKind = (typeof ABLATION_KINDS)[number];

/** Where in the sequence an arm edits. */
export type ArmPositions = Extract<Positions, 'all' | 'prompt' | 'completion'>;

/** `set`: chosen by a score or a list, one of it; `control`: one of several seeded draws. */
export type ArmRole = 'base' | 'set' | 'control';

/** One arm. The base arm has no neurons and no interventions. */
export interface Arm {
  /** Unique in the sweep: "base", "top-2%-L3-zero-all", "matched#4-2%-L3-zero-all". */
  readonly name: string;
  readonly role: ArmRole;
  /** "base", or the group of the set: top, bottom, list, random, matched … */
  readonly group: string;
  /** Number of the draw from 0; 0 for sets. */
  readonly draw: number;
  readonly site: Site;
  readonly layer: number;
  /** Share of the layer's neurons. */
  readonly share: number;
  readonly kind: AblationKind;
  readonly positions: ArmPositions;
  /** Ascending. */
  readonly neurons: readonly number[];
  readonly interventions: readonly Intervention[];
}

/** The arm that changes nothing. */
export const BASE_ARM: Arm = {
  name: 'base',
  role: 'base',
  group: 'base',
  draw: 0,
  site: 'residPost',
  layer: -1,
  share: 0,
  kind: 'zero',
  positions: 'all',
  neurons: [],
  interventions: [],
};

/** What an ablation writes into a layer's neurons. Every arm of a layer shares them. */
export interface ArmValues {
  /** [width]; for `mean`. */
  readonly means?: Float32Array | undefined;
  /** States of the layer [n, width] row-major, and the seed that deals them out; for `resample`. */
  readonly rows?: { readonly data: Float32Array; readonly width: number; readonly seed: number } | undefined;
}

/** Makes an arm of a set. Errors: INVALID_ARGUMENT when the kind needs values that are not given. Cost for `resample`: n floats per neuron. */
export function makeArm(facts: Omit<Arm, 'name' | 'interventions'>, values: ArmValues = {}): Arm {
  const { role, group, draw, layer, share, kind, positions } = facts;
  const name = `${group}${role === 'control' ? `#${draw}` : ''}-${percent(share)}-L${layer}-${kind}-${positions}`;
  return { ...facts, name, interventions: [interventionOf(facts, values)] };
}

/** "2%", "0.52%": at most three digits. */
export function percent(share: number): string {
  return `${Number((100 * share).toPrecision(3))}%`;
}

function interventionOf({ site, layer, kind, positions, neurons }: Omit<Arm, 'name' | 'interventions'>, { means, rows }: ArmValues): Intervention {
  const target = { site, layers: [layer], neurons, positions };
  if (kind === 'zero') {
    return { kind, ...target };
  }
  if (kind === 'mean' && means !== undefined) {
    return { kind, ...target, means: Float32Array.from(neurons, (neuron) => means[neuron] as number) };
  }
  if (kind === 'resample' && rows !== undefined) {
    const { data, width, seed } = rows;
    const picked = Float32Array.from({ length: (data.length / width) * neurons.length }, (_, at) => data[Math.floor(at / neurons.length) * width + (neurons[at % neurons.length] as number)] as number);
    return { kind, ...target, rows: { data: picked, width: neurons.length }, seed };
  }
  throw new RewardLensError('INVALID_ARGUMENT', `kind: ${kind} ablation needs the layer's ${kind === 'mean' ? 'means' : 'states'}`, { details: { kind, layer } });
}
