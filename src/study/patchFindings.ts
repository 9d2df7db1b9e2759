/** What the maps of activation patching say, in words: the plain truth first. */
import type { PatchMetric, PatchMode } from '../patch/metrics.js';
import type { PatchMapResult, Patching } from '../report/patchSchema.js';
import { fixed, significant, withInterval } from '../report/format.js';
import { visibleToken } from '../report/text.js';
import type { PlacedCell } from './patchMaps.js';
import { strongestCells } from './patchMaps.js';

/** Level at which a cell is called beyond chance, after the adjustment for all cells of its map. */
const ALPHA = 0.05;

/** Share of an effect from which that of another pair's activations is called the same. */
const AS_MUCH = 0.8;

export const METRIC_NAMES: Readonly<Record<PatchMetric, string>> = {
  'logit-diff': 'logit difference', probability: 'probability of the answer', kl: 'KL(clean ‖ patched)',
};

/** What an effect is called in a mode. */
export const EFFECT_NAMES: Readonly<Record<PatchMode, string>> = { denoising: 'restoration', noising: 'damage (1 − restoration)' };

/** "denoising, residPost, by position" */
export function mapName({ mode, site, kind, positions }: Pick<PatchMapResult, 'mode' | 'site' | 'kind' | 'positions'>): string {
  return `${mode}, ${site}, ${kind === 'positions' ? 'by position' : `by neuron group (${positions === 'last' ? 'last position' : 'all positions'})`}`;
}

/** "position 5 (·Paris)", "neurons 0–15" */
export function columnName(map: PatchMapResult, column: number): string {
  const { name, offset, token } = map.columns[column] as PatchMapResult['columns'][number];
  return offset === null ? `neurons ${name}` : `position ${name}${token === null ? '' : ` (${visibleToken(token).replaceAll('\n', '')})`}`;
}

/** "layer 3, position 5: 0.92 [0.85, 0.97], p = 0.004; another prompt's activations: 0.11" */
export function cellText(map: PatchMapResult, cell: PlacedCell): string {
  const p = cell.p === null ? '' : `, p = ${significant(cell.p, 2)}`;
  const control = cell.control === null ? '' : `; another prompt's activations: ${fixed(cell.control, 2)}`;
  return `layer ${cell.layer}, ${columnName(map, cell.column)}: ${withInterval(cell.effect, (x) => fixed(x, 2))}${p}${control}`;
}

/** Another pair's activations do nearly the same, so that the effect says nothing of what this pair's held. */
const asMuch = ({ effect, control }: PlacedCell): boolean => control !== null && effect.value !== null && control * Math.sign(effect.value) >= AS_MUCH * Math.abs(effect.value) && effect.value !== 0;

function mapFinding(map: PatchMapResult, metric: PatchMetric): string | undefined {
  const result = map.metrics.find((entry) => entry.metric === metric);
  const [strongest] = strongestCells(map, metric);
  if (result === undefined || strongest === undefined) {
    return `${mapName(map)}: no pair has a gap between clean and corrupted that could be restored (${METRIC_NAMES[metric]}).`;
  }
  const cells = result.cells.flat().filter(({ effect }) => effect.value !== null).length;
  const text = `the largest ${EFFECT_NAMES[map.mode]} is at ${cellText(map, strongest)}${asMuch(strongest) ? ', as much: either anything put in there does that, or the two pairs are alike' : ''}`;
  if (result.leastP === null) {
    return `${mapName(map)}: ${text}. One pair only: no interval and no test.`;
  }
  if (result.leastP > ALPHA) {
    return `${mapName(map)}: ${text}. ${result.pairs} pairs cannot give a p below ${significant(result.leastP, 2)}.`;
  }
  const found = result.cells.flat().filter(({ p }) => p !== null && p <= ALPHA).length;
  return found === 0
    ? `${mapName(map)}: no cell has an effect beyond chance (p > ${ALPHA} in all ${cells} cells, adjusted for their number); ${text}.`
    : `${mapName(map)}: ${found} of ${cells} cells have an effect beyond chance (p ≤ ${ALPHA}, adjusted for their number); ${text}.`;
}

/** Findings of the maps by one metric, and what is to be known about the pairs. */
export function patchFindings({ maps, pairs, metric, skipped }: Pick<Patching, 'maps' | 'pairs' | 'metric' | 'skipped'>): string[] {
  const count = pairs.length === 1 ? 'One pair' : `${pairs.length} pairs`;
  const out = [`${count}${skipped.length === 0 ? '' : `, ${skipped.length} left out`}; ${METRIC_NAMES[metric]} at the last position.`];
  const leftOut = maps[0]?.metrics.find((entry) => entry.metric === metric)?.leftOut ?? 0;
  if (leftOut > 0) {
    out.push(`${leftOut} of them count in raw values alone: clean and corrupted hardly differ in this metric, so there is nothing to restore.`);
  }
  const unwilling = pairs.filter(({ base }) => (base.clean['logit-diff'] ?? 1) <= 0).length;
  if (unwilling > 0) {
    out.push(`In ${unwilling} of ${pairs.length} the clean run does not prefer the answer to the wrong one.`);
  }
  return [...out, ...maps.map((map) => mapFinding(map, metric)).filter((text) => text !== undefined)];
}
