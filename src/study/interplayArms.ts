/** Arms of an interplay: sets of one layer, and of all layers together. */
import type { Arm } from '../ablate/arms.js';
import { percent } from '../ablate/arms.js';
import { mean } from '../stats/moments.js';
import { formatRanges } from '../util/ranges.js';
import type { ArmGrid } from './armPlan.js';
import { listedLayers } from './armPlan.js';

/** An arm that edits one layer or several. */
export interface InterplayEdit extends Pick<Arm, 'name' | 'role' | 'group' | 'draw' | 'share' | 'kind' | 'interventions'> {
  /** Ascending; none in the base arm. */
  readonly layers: readonly number[];
  /** Neurons of each of these layers. */
  readonly neurons: readonly (readonly number[])[];
}

/** Layers to edit, all below the dopamine probe's: those asked for, else those of lists by layer, else what the folder holds. */
export function earlierLayers(grid: Pick<ArmGrid, 'layers' | 'list'>, { layers, dopamine }: { layers: readonly number[]; dopamine: { bestLayer: number } }): number[] {
  const wanted = grid.layers === 'all' ? (listedLayers(grid) ?? layers) : grid.layers;
  return wanted.filter((layer) => layer < dopamine.bestLayer);
}

/**
 * Arms of one layer (of the grid of {@link planArms}) as arms of an interplay, the base first. Together go the arms of all layers that are the same set, or the same draw of a
 * control, with the same share: a draw that a layer lacks is left out. Lists may differ in length from layer to layer; `share` is then their mean. A single layer is itself.
 * `alone`: also every layer by itself.
 */
export function interplayArms(arms: readonly Arm[], options: { alone: boolean }): InterplayEdit[] {
  const [base, ...own] = arms as [Arm, ...Arm[]];
  const all = [...new Set(own.map(({ layer }) => layer))];
  const joint = all.length < 2 ? [] : [...bySet(own).values()].filter((parts) => parts.length === all.length).map(join);
  return [{ ...alone(base), layers: [], neurons: [] }, ...(options.alone || all.length < 2 ? own.map(alone) : []), ...joint];
}

function bySet(arms: readonly Arm[]): Map<string, Arm[]> {
  const sets = new Map<string, Arm[]>();
  const listed = arms.some(({ group }) => group === 'list'); // one set a layer, of whatever share
  for (const arm of arms) {
    const key = JSON.stringify([arm.group, arm.draw, listed ? null : arm.share, arm.kind]);
    sets.set(key, [...(sets.get(key) ?? []), arm]);
  }
  return sets;
}

const alone = ({ name, role, group, draw, layer, share, kind, neurons, interventions }: Arm): InterplayEdit => ({ name, role, group, draw, share, kind, layers: [layer], neurons: [neurons], interventions });

function join(parts: readonly Arm[]): InterplayEdit {
  const sorted = parts.toSorted((a, b) => a.layer - b.layer);
  const [{ role, group, draw, share: first, kind, positions }] = sorted as [Arm];
  const share = sorted.every((part) => part.share === first) ? first : mean(sorted.map((part) => part.share));
  const layers = sorted.map(({ layer }) => layer);
  return {
    name: `${group}${role === 'control' ? `#${draw}` : ''}-${percent(share)}-L${formatRanges(layers).replaceAll(' ', '')}-${kind}-${positions}`,
    role, group, draw, share, kind, layers,
    neurons: sorted.map(({ neurons }) => neurons),
    interventions: sorted.flatMap(({ interventions }) => [...interventions]),
  };
}
