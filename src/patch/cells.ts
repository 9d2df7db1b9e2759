/** Which patches a map is made of: one cell per layer and column, for every pair. */
import type { Activations } from '../capture/activations.js';
import type { Intervention } from '../intervene/types.js';
import type { Site } from '../model/sites.js';
import type { PatchMode } from './metrics.js';
import type { PatchPair } from './pairs.js';

/** A set of neurons for every layer of its map. */
export interface NeuronGroup {
  readonly name: string;
  /** Ascending, by layer number. */
  readonly neurons: Readonly<Record<number, readonly number[]>>;
}

interface MapBase {
  readonly mode: PatchMode;
  readonly site: Site;
  readonly layers: readonly number[];
}

/** Layer × position: all neurons of a site at one position. */
export interface PositionMap extends MapBase {
  readonly kind: 'positions';
  /** A column each: from the start (≥ 0), or from the end (negative, −1 is the last token). */
  readonly offsets: readonly number[];
}

/** Layer × group of neurons, at all positions or at the last one. */
export interface GroupMap extends MapBase {
  readonly kind: 'groups';
  readonly groups: readonly NeuronGroup[];
  readonly positions: 'all' | 'last';
}

export type PatchMap = PositionMap | GroupMap;

/** Columns of a map. */
export function columnCount(map: PatchMap): number {
  return map.kind === 'positions' ? map.offsets.length : map.groups.length;
}

/** The columns of position maps: from the start where all pairs have as many tokens, else from the end. */
export function positionOffsets(pairs: readonly PatchPair[]): number[] {
  const lengths = pairs.map(({ clean }) => clean.length);
  const longest = Math.max(...lengths);
  const aligned = lengths.every((length) => length === longest);
  return Array.from({ length: longest }, (_, i) => (aligned ? i : i - longest));
}

/** One edit of one pair's run. */
export interface Cell {
  readonly site: Site;
  readonly layer: number;
  /** Undefined: the whole width. */
  readonly neurons: readonly number[] | undefined;
  /** Positions of the edited run, ascending. */
  readonly positions: readonly number[];
  /** The run whose activations are put in, as token ids. */
  readonly source: Int32Array;
  /** The edited run. */
  readonly target: Int32Array;
}

/** The side whose activations are put in; the other one is edited. */
export const sourceSide = (mode: PatchMode): 'clean' | 'corrupted' => (mode === 'denoising' ? 'clean' : 'corrupted');

/** First position at which the prompts of a pair differ: before it every activation of both runs is the same. */
export function firstDifference({ clean, corrupted }: PatchPair): number {
  const at = clean.findIndex((token, i) => token !== corrupted[i]);
  return at < 0 ? clean.length : at;
}

/**
 * The cell of a pair. `control`: the pair whose activations are put in instead of this pair's own, aligned at the last token. Undefined where
 * there is none: a position that a prompt does not have.
 */
export function cellOf(map: PatchMap, layer: number, column: number, pair: PatchPair, control?: PatchPair): Cell | undefined {
  const side = sourceSide(map.mode);
  const source = (control ?? pair)[side];
  const target = pair[side === 'clean' ? 'corrupted' : 'clean'];
  const positions = positionsOf(map, column, control === undefined ? firstDifference(pair) : 0, target.length);
  if (positions.length === 0 || (positions[0] as number) + source.length < target.length) {
    return undefined;
  }
  const neurons = map.kind === 'groups' ? map.groups[column]?.neurons[layer] : undefined;
  return neurons?.length === 0 ? undefined : { site: map.site, layer, neurons, positions, source, target };
}

/** `from`: earlier positions need no edit by a group, as both runs are the same there. */
function positionsOf(map: PatchMap, column: number, from: number, length: number): number[] {
  if (map.kind === 'positions') {
    const offset = map.offsets[column] as number;
    const position = offset >= 0 ? offset : length + offset;
    return position >= 0 && position < length ? [position] : [];
  }
  return map.positions === 'last' ? [length - 1] : Array.from({ length: Math.max(0, length - from) }, (_, i) => from + i);
}

/**
 * Whether a cell leaves the output as it is, to the bit, so that nothing needs to be run: the pair's own prompts are the same up to
 * there, or the last layer has no such row (`outputRowsOnly`: it has that of the last position alone).
 */
export function changesNothing(cell: Cell, pair: PatchPair, outputRowsOnly: boolean): boolean {
  const last = cell.positions.at(-1) as number;
  const own = cell.source === pair.clean || cell.source === pair.corrupted;
  return (own && last < firstDifference(pair)) || (outputRowsOnly && last < cell.target.length - 1);
}

/** Activations of prompts that were read together, found again by their token ids. */
export class SourceRows {
  readonly #activations: Activations;
  readonly #starts = new Map<string, number>();

  /** `prompts` in the order in which they were read, every position captured. */
  constructor(activations: Activations, prompts: readonly Int32Array[]) {
    this.#activations = activations;
    let start = 0;
    for (const prompt of prompts) {
      this.#starts.set(prompt.join(), start);
      start += prompt.length;
    }
  }

  /** The intervention of a cell. Copies its rows; a whole-width cell of one position none. */
  intervention(cell: Cell): Intervention {
    const { site, layer, neurons, positions, source, target } = cell;
    const { data, shape } = this.#activations.get(site, layer);
    const width = shape[1] as number;
    const start = (this.#starts.get(source.join()) as number) + source.length - target.length; // aligned at the last token
    const row = (position: number): Float32Array => data.subarray((start + position) * width, (start + position + 1) * width);
    // said as positions too: prefixes are shared up to the first one
    const edit = { kind: 'patch', site, layers: [layer], positions, rowPositions: positions } as const;
    if (neurons === undefined && positions.length === 1) {
      return { ...edit, rows: { data: row(positions[0] as number), width } };
    }
    const count = neurons?.length ?? width;
    const rows = new Float32Array(positions.length * count);
    positions.forEach((position, i) => {
      const from = row(position);
      rows.set(neurons === undefined ? from : neurons.map((neuron) => from[neuron] as number), i * count);
    });
    return { ...edit, ...(neurons === undefined ? {} : { neurons }), rows: { data: rows, width: count } };
  }
}
