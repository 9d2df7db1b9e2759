/** From the values of single pairs to maps: means, intervals, tests, controls, and what they say. */
import { setImmediate } from 'node:timers/promises';
import { throwIfAborted } from '../native/errors.js';
import type { PatchMap } from '../patch/cells.js';
import { columnCount } from '../patch/cells.js';
import type { PairValues, PatchMetric, PatchValues } from '../patch/metrics.js';
import { LEAST_GAP, PATCH_METRICS, effectOf } from '../patch/metrics.js';
import type { PatchPair } from '../patch/pairs.js';
import type { PairMap, PatchRunResult } from '../patch/run.js';
import type { PatchCell, PatchMapResult, PatchMetricMap } from '../report/patchSchema.js';
import { orNull } from '../stats/estimate.js';
import { mean } from '../stats/moments.js';
import { meanChange } from '../stats/paired.js';
import { signFlipsMaxT } from '../stats/signFlips.js';

/** Bootstrap resamples of a cell's interval: maps have thousands of cells. */
const RESAMPLES = 1000;

const known = (values: readonly (number | null | undefined)[]): number[] => values.filter((value): value is number => typeof value === 'number');
const meanOf = (values: readonly (number | null | undefined)[]): number | null => orNull(mean(known(values)));

/** One map's values for one metric, by pair: [layers × columns]. */
interface Numbers {
  raw: (number | null)[];
  effect: (number | null)[];
  control: (number | null)[];
}

function numbersOf(map: PatchMap, metric: PatchMetric, base: PairValues, { own, control }: PairMap): Numbers {
  const pick = (values: PatchValues | undefined): number | null => values?.[metric] ?? null;
  const raw = Array.from(own, pick);
  const effect = (value: number | null): number | null => effectOf(metric, map.mode, value, base);
  return { raw, effect: raw.map(effect), control: Array.from(control, pick).map(effect) };
}

function cellOf(byPair: readonly Numbers[], at: number, p: number | null): PatchCell {
  const effects = known(byPair.map(({ effect }) => effect[at]));
  const single = effects.length < 2;
  const effect = single ? { value: effects[0] ?? null, low: null, high: null, n: effects.length } : meanChange(new Float64Array(effects.length), effects, { resamples: RESAMPLES });
  return { raw: meanOf(byPair.map(({ raw }) => raw[at])), effect, p: single ? null : p, control: meanOf(byPair.map(({ control }) => control[at])) };
}

/** One metric of one map. Cost: 1000 bootstrap means a cell, and the sign flips: 5 s for 1600 cells of 100 pairs. */
export function metricMap(map: PatchMap, metric: PatchMetric, base: readonly PairValues[], pairs: readonly PairMap[]): PatchMetricMap {
  const byPair = pairs.map((pair, p) => numbersOf(map, metric, base[p] as PairValues, pair));
  const usable = byPair.filter(({ effect }) => effect.some((value) => value !== null));
  const tested = usable.length < 2 ? undefined : signFlipsMaxT(usable.map(({ effect }) => effect.map((value) => value ?? NaN)));
  const columns = columnCount(map);
  const side = (name: keyof PairValues): number | null => meanOf(base.map((values) => values[name][metric]));
  return {
    metric,
    base: { clean: side('clean'), corrupted: side('corrupted') },
    pairs: usable.length,
    leftOut: byPair.length - usable.length,
    leastGap: LEAST_GAP[metric],
    leastP: tested?.least ?? null,
    cells: map.layers.map((_, l) => Array.from({ length: columns }, (__, c) => cellOf(byPair, l * columns + c, tested?.p[l * columns + c] ?? null))),
  };
}

/** The token of a column where all prompts of all pairs have the same one; for a single pair "clean→corrupted" where they differ. */
function tokenAt(pairs: readonly PatchPair[], offset: number, piece: (token: number) => string): string | null {
  const at = (tokens: Int32Array): number | undefined => tokens.at(offset);
  const tokens = new Set(pairs.flatMap(({ clean, corrupted }) => [at(clean), at(corrupted)]));
  const all = [...tokens].filter((token): token is number => token !== undefined).map(piece);
  return tokens.size === 1 || pairs.length === 1 ? all.join('→') : null;
}

/** All metrics of all maps. `piece`: text of a token. Errors: ABORTED. */
export async function summariseMaps(
  maps: readonly PatchMap[],
  pairs: readonly PatchPair[],
  result: PatchRunResult,
  options: { piece: (token: number) => string; signal?: AbortSignal | undefined },
): Promise<PatchMapResult[]> {
  const metrics = PATCH_METRICS.filter((metric) => result.base.some(({ clean }) => clean[metric] !== null));
  const out: PatchMapResult[] = [];
  for (const [m, map] of maps.entries()) {
    const found: PatchMetricMap[] = [];
    for (const metric of metrics) {
      await setImmediate(); // an interrupt is heard between two metrics
      throwIfAborted('comparing the pairs', options.signal);
      found.push(metricMap(map, metric, result.base, result.maps[m] ?? []));
    }
    out.push({ ...describeMap(map, pairs, options.piece), metrics: found });
  }
  return out;
}

function describeMap(map: PatchMap, pairs: readonly PatchPair[], piece: (token: number) => string): Omit<PatchMapResult, 'metrics'> {
  return {
    kind: map.kind,
    mode: map.mode,
    site: map.site,
    layers: [...map.layers],
    positions: map.kind === 'groups' ? map.positions : null,
    columns:
      map.kind === 'groups'
        ? map.groups.map(({ name, neurons }) => ({ name, offset: null, token: null, neurons: Object.fromEntries(map.layers.map((layer) => [String(layer), [...(neurons[layer] ?? [])]])) }))
        : map.offsets.map((offset) => ({ name: String(offset), offset, token: tokenAt(pairs, offset, piece), neurons: null })),
  };
}

/** A cell with its place. */
export interface PlacedCell extends PatchCell {
  readonly layer: number;
  /** Index of its column. */
  readonly column: number;
}

/** Cells with an effect, the largest |mean effect| first. */
export function strongestCells(map: PatchMapResult, metric: PatchMetric): PlacedCell[] {
  const cells = map.metrics.find((entry) => entry.metric === metric)?.cells ?? [];
  const placed = cells.flatMap((row, l) => row.map((cell, column): PlacedCell => ({ ...cell, layer: map.layers[l] as number, column })));
  return placed.filter(({ effect }) => effect.value !== null).sort((a, b) => Math.abs(b.effect.value as number) - Math.abs(a.effect.value as number));
}
