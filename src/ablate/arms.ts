/** Arms of a sweep: named intervention settings. */
import type { Intervention } from '../intervene/types.js';
import type { Positions } from '../model/positions.js';
import type { Site } from '../model/sites.js';

export const ABLATION_KINDS = ['zero', 'mean'] as const;
export type AblationKind = (typeof ABLATION_KINDS)[number];

/** Where in the sequence an arm edits. */
export type ArmPositions = Extract<Positions, 'all' | 'prompt' | 'completion'>;

/** One arm. The base arm has no neurons and no interventions. */
export interface Arm {
  /** Unique in the sweep: "base", "top-2%-L3-zero-all", "matched#4-2%-L3-zero-all". */
  readonly name: string;
  /** "base", or the group of the set: top, bottom, random, matched … */
  readonly group: string;
  readonly draw: number;
  readonly site: Site;
  readonly layer: number;
  readonly share: number;
  readonly kind: AblationKind;
  readonly positions: ArmPositions;
  readonly neurons: readonly number[];
  readonly interventions: readonly Intervention[];
}

/** The arm that changes nothing. */
export const BASE_ARM: Arm = {
  name: 'base', group: 'base', draw: 0, site: 'residPost', layer: -1, share: 0, kind: 'zero', positions: 'all', neurons: [], interventions: [],
};

/** Makes an arm of a set. `means` [width]: the layer's means, for mean ablation. */
export function makeArm(facts: Omit<Arm, 'name' | 'interventions'>, means: Float32Array): Arm {
  const { group, draw, site, layer, share, kind, positions, neurons } = facts;
  const target = { site, layers: [layer], neurons, positions };
  const intervention: Intervention =
    kind === 'zero' ? { kind: 'zero', ...target } : { kind: 'mean', ...target, means: Float32Array.from(neurons, (neuron) => means[neuron] as number) };
  const name = `${group}${draw > 0 || group === 'random' || group === 'matched' || group === 'spread' ? `#${draw}` : ''}-${Number((100 * share).toPrecision(3))}%-L${layer}-${kind}-${positions}`;
  return { ...facts, name, interventions: [intervention] };
}
