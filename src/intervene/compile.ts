/** Compiles interventions to the engine's plain edits, and counts beforehand how often each must act. */
import { asPositions, countPositions, toNativePositions } from '../model/positions.js';
import type { Site, SiteInfo } from '../model/sites.js';
import { asSite, resolveLayers } from '../model/sites.js';
import type { NativeEdit, NativeEditList } from '../native/addon.js';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import type { Intervention, PerLayer, Rows, Vector } from './types.js';

/** What compilation needs to know of a model: its sites. */
export interface SiteTable {
  readonly layerCount: number;
  /** Errors: SITE_NOT_FOUND with the reason. */
  width(site: Site, layer: number): number;
  /** True for sites of the last layer, which have rows only for tokens whose logits or capture is asked for. */
  outputRowsOnly(site: Site, layer: number): boolean;
}

/** A {@link SiteTable} from the session's catalogue. */
export function siteTable(sites: readonly SiteInfo[], layerCount: number): SiteTable {
  const byKey = new Map(sites.map((site) => [`${site.site}.${site.layer}`, site]));
  const find = (site: Site, layer: number): SiteInfo => {
    const info = byKey.get(`${site}.${layer}`);
    if (info === undefined || !info.found) {
      throw new RewardLensError('SITE_NOT_FOUND', `${site}.${layer}: ${info?.reason ?? 'no such layer'}`, { details: { site, layer } });
    }
    return info;
  };
  return {
    layerCount,
    width: (site, layer) => find(site, layer).width,
    outputRowsOnly: (site, layer) => find(site, layer).outputRows,
  };
}

const DEFAULT_SITE: Site = 'residPost';

/**
 * Compiles one list. `path` prefixes error messages ("interventions" → `interventions[2].neurons`). Errors:
 * INVALID_ARGUMENT, SHAPE_MISMATCH, SITE_NOT_FOUND. Cost: copies payloads once per layer.
 */
export function compileInterventions(list: readonly Intervention[], table: SiteTable, path = 'interventions'): NativeEditList {
  const edits: NativeEdit[] = [];
  list.forEach((intervention, source) => {
    const here = `${path}[${source}]`;
    for (const layer of resolveLayers(intervention.layers, table.layerCount, `${here}.layers`)) {
      edits.push(compileOne(intervention, source, layer, table, here));
    }
  });
  return { sourceCount: list.length, edits };
}

function compileOne(intervention: Intervention, source: number, layer: number, table: SiteTable, path: string): NativeEdit {
  const site = asSite(intervention.site ?? DEFAULT_SITE, `${path}.site`);
  const positions = asPositions(intervention.positions ?? 'all', `${path}.positions`, { allowLast: false });
  const width = table.width(site, layer);
  const from = intervention.fromToken ?? 0;
  if (!Number.isInteger(from) || from < 0) {
    throw invalidArgument(`${path}.fromToken`, 'an integer ≥ 0', from);
  }
  const neurons = compileNeurons(intervention, width, path);
  const selected = neurons?.length ?? width;
  return {
    source,
    site,
    layer,
    ...(neurons === undefined ? {} : { neurons }),
    positions: toNativePositions(positions, from),
    ...payload(intervention, layer, selected, path),
  };
}

function compileNeurons(intervention: Intervention, width: number, path: string): Int32Array | undefined {
  if (intervention.neurons === undefined) {
    return undefined;
  }
  const neurons = Int32Array.from(intervention.neurons);
  if (neurons.length === 0) {
    throw invalidArgument(`${path}.neurons`, 'at least one neuron (leave it out for the whole width)', intervention.neurons);
  }
  if (new Set(neurons).size !== neurons.length) {
    throw invalidArgument(`${path}.neurons`, 'each neuron once', intervention.neurons);
  }
  Array.from(intervention.neurons).forEach((neuron, i) => {
    if (!Number.isInteger(neuron) || neuron < 0 || neuron >= width) {
      throw invalidArgument(`${path}.neurons[${i}]`, `an integer in 0..${width - 1}`, neuron);
    }
  });
  return neurons;
}

type Payload = Pick<NativeEdit, 'op' | 'values' | 'choice' | 'seed' | 'rowPositions'>;

function payload(intervention: Intervention, layer: number, selected: number, path: string): Payload {
  switch (intervention.kind) {
    case 'zero':
      return { op: 'set', values: Float32Array.of(0) };
    case 'set':
      return { op: 'set', values: scalarOrVector(intervention.value, selected, `${path}.value`) };
    case 'scale':
      return { op: 'scale', values: scalarOrVector(intervention.factor, selected, `${path}.factor`) };
    case 'add': {
      const direction = vector(ofLayer(intervention.direction, layer, `${path}.direction`), selected, `${path}.direction`);
      const coefficient = finite(intervention.coefficient ?? 1, `${path}.coefficient`);
      return { op: 'add', values: direction.map((value) => value * coefficient) };
    }
    case 'clamp':
      if (!(intervention.min <= intervention.max)) {
        throw invalidArgument(`${path}.max`, `at least min (${intervention.min})`, intervention.max);
      }
      return { op: 'clamp', values: Float32Array.of(intervention.min, intervention.max) };
    case 'mean':
      return { op: 'set', values: vector(ofLayer(intervention.means, layer, `${path}.means`), selected, `${path}.means`) };
    case 'resample':
      return {
        op: 'rows',
        values: rows(ofLayer(intervention.rows, layer, `${path}.rows`), selected, `${path}.rows`),
        choice: 'seeded',
        seed: finite(intervention.seed ?? 0, `${path}.seed`),
      };
    case 'patch':
      return patchPayload(ofLayer(intervention.rows, layer, `${path}.rows`), intervention.rowPositions, selected, path);
    case 'projectOut':
      return { op: 'project', values: unit(vector(ofLayer(intervention.direction, layer, `${path}.direction`), selected, `${path}.direction`), path) };
    default:
      throw invalidArgument(`${path}.kind`, 'zero, set, scale, add, clamp, mean, resample, patch or projectOut', (intervention as { kind: unknown }).kind);
  }
}

function patchPayload(source: Rows, rowPositions: readonly number[] | Int32Array, selected: number, path: string): Payload {
  const values = rows(source, selected, `${path}.rows`);
  const positions = Int32Array.from(rowPositions);
  if (positions.length * selected !== values.length) {
    throw shapeMismatch(`${path}.rowPositions`, `${values.length / selected} positions, one per row`, positions.length);
  }
  if (positions.some((position) => position < 0) || new Set(positions).size !== positions.length) {
    throw invalidArgument(`${path}.rowPositions`, 'absolute positions, each once', rowPositions);
  }
  // The engine searches positions: sort them together with their rows.
  const order = [...positions.keys()].sort((a, b) => (positions[a] ?? 0) - (positions[b] ?? 0));
  const sorted = new Float32Array(values.length);
  order.forEach((from, to) => sorted.set(values.subarray(from * selected, (from + 1) * selected), to * selected));
  return { op: 'rows', values: sorted, choice: 'position', rowPositions: positions.slice().sort() };
}

function ofLayer<T>(value: PerLayer<T>, layer: number, path: string): T {
  if (Array.isArray(value) || ArrayBuffer.isView(value) || (typeof value === 'object' && value !== null && 'data' in value)) {
    return value as T;
  }
  const entry = (value as Readonly<Record<number, T>>)[layer];
  if (entry === undefined) {
    throw invalidArgument(path, `an entry for layer ${layer}`, `layers ${Object.keys(value as object).join(', ')}`);
  }
  return entry;
}

function shapeMismatch(parameter: string, expected: string, received: number): RewardLensError {
  return new RewardLensError('SHAPE_MISMATCH', `${parameter}: expected ${expected}, got ${received}`, { details: { parameter, expected, received } });
}

function finite(value: number, path: string): number {
  if (!Number.isFinite(value)) {
    throw invalidArgument(path, 'a finite number', value);
  }
  return value;
}

function scalarOrVector(value: number | Vector, selected: number, path: string): Float32Array {
  return typeof value === 'number' ? Float32Array.of(finite(value, path)) : vector(value, selected, path);
}

function vector(value: Vector, selected: number, path: string): Float32Array {
  if (value.length !== selected) {
    throw shapeMismatch(path, `${selected} values, one per selected neuron`, value.length);
  }
  const out = Float32Array.from(value);
  const bad = out.findIndex((entry) => !Number.isFinite(entry));
  if (bad >= 0) {
    throw invalidArgument(`${path}[${bad}]`, 'a finite number', value[bad]);
  }
  return out;
}

function rows(value: Rows, selected: number, path: string): Float32Array {
  if ('data' in value) {
    if (value.width !== selected || value.data.length === 0 || value.data.length % selected !== 0) {
      throw shapeMismatch(`${path}.width`, `rows of ${selected} values`, value.width);
    }
    return value.data;
  }
  if (value.length === 0) {
    throw invalidArgument(path, 'at least one row', value);
  }
  const out = new Float32Array(value.length * selected);
  value.forEach((row, i) => out.set(vector(row, selected, `${path}[${i}]`), i * selected));
  return out;
}

function unit(direction: Float32Array, path: string): Float32Array {
  const norm = Math.hypot(...direction);
  if (!(norm > 0)) {
    throw invalidArgument(`${path}.direction`, 'a direction that is not zero', 'zeros');
  }
  return direction.map((value) => value / norm);
}

/** What a sequence went through, as far as counting needs it. */
export interface CountedSequence {
  promptLength: number;
  /** Positions begin..end-1 were computed in the sequence itself. */
  begin: number;
  end: number;
  /** Whether a position has rows in the last layer's output-only sites. */
  isOutput: (position: number) => boolean;
}

/**
 * How many (row, neuron) values an intervention must write in a sequence. Counted from the definition, independent of
 * the engine; compared with its counters after every sequence. In the last layer only rows that feed logits or a capture
 * exist, so others are not expected.
 */
export function expectedChanges(intervention: Intervention, table: SiteTable, sequence: CountedSequence): number {
  const { promptLength, begin, end, isOutput } = sequence;
  const site = intervention.site ?? DEFAULT_SITE;
  const inSet = (low: number, high: number): number =>
    countPositions(intervention.positions ?? 'all', promptLength, low, high, intervention.fromToken ?? 0);
  const candidates = (): number[] =>
    intervention.kind === 'patch'
      ? [...intervention.rowPositions].filter((p) => p >= begin && p < end && inSet(p, p + 1) === 1)
      : Array.from({ length: Math.max(0, end - begin) }, (_, i) => begin + i).filter((p) => inSet(p, p + 1) === 1);
  let total = 0;
  for (const layer of resolveLayers(intervention.layers, table.layerCount)) {
    const rows = table.outputRowsOnly(site, layer)
      ? candidates().filter(isOutput).length
      : intervention.kind === 'patch'
        ? candidates().length
        : inSet(begin, end);
    total += rows * (intervention.neurons?.length ?? table.width(site, layer));
  }
  return total;
}
