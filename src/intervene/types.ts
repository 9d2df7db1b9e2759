/** Interventions: edits of the forward pass as plain data. */
import type { Positions } from '../model/positions.js';
import type { Layers, Site } from '../model/sites.js';

/** Numbers in row-major order; typed arrays are used without conversion where possible. */
export type Vector = readonly number[] | Float32Array;
/** One vector for every layer, or one per layer keyed by layer number. */
export type PerLayer<T> = T | Readonly<Record<number, T>>;
/** Rows of a matrix: arrays of equal length, or flat data with the row length. */
export type Rows = readonly Vector[] | { readonly data: Float32Array; readonly width: number };

/** What an intervention touches. */
export interface Target {
  /** Default residPost. */
  readonly site?: Site;
  /** Layers counted from 0 (negative from the end), or 'all'. */
  readonly layers: Layers;
  /** Coordinates of the site; default: the whole width. Not for `projectOut`. */
  readonly neurons?: readonly number[] | Int32Array;
  /** Default 'all'. */
  readonly positions?: Exclude<Positions, 'last'>;
  /** Only positions ≥ this ("from token n on"). Default 0. */
  readonly fromToken?: number;
}

/** x ← 0 */
export interface ZeroIntervention extends Target {
  readonly kind: 'zero';
}
/** x ← value: one number, or one per selected neuron */
export interface SetIntervention extends Target {
  readonly kind: 'set';
  readonly value: number | Vector;
}
/** x ← factor · x: one number, or one per selected neuron. Factor 1 is the identity, bit for bit. */
export interface ScaleIntervention extends Target {
  readonly kind: 'scale';
  readonly factor: number | Vector;
}
/** x ← x + coefficient · direction, one entry per selected neuron (steering) */
export interface AddIntervention extends Target {
  readonly kind: 'add';
  readonly direction: PerLayer<Vector>;
  /** Default 1. */
  readonly coefficient?: number;
}
/** x ← min(max(x, min), max) */
export interface ClampIntervention extends Target {
  readonly kind: 'clamp';
  readonly min: number;
  readonly max: number;
}
/** x ← the given mean of each selected neuron (mean ablation) */
export interface MeanIntervention extends Target {
  readonly kind: 'mean';
  readonly means: PerLayer<Vector>;
}
/** x ← a row drawn from `rows`, by a hash of seed and position (resample ablation) */
export interface ResampleIntervention extends Target {
  readonly kind: 'resample';
  readonly rows: PerLayer<Rows>;
  /** Default 0. */
  readonly seed?: number;
}
/** x ← the row captured elsewhere for this position; positions without a row stay as they are */
export interface PatchIntervention extends Target {
  readonly kind: 'patch';
  readonly rows: PerLayer<Rows>;
  /** Absolute position of each row. */
  readonly rowPositions: readonly number[] | Int32Array;
}
/** x ← x − (x·d)d with d the unit vector along `direction` [width] (directional ablation) */
export interface ProjectOutIntervention extends Omit<Target, 'neurons'> {
  readonly kind: 'projectOut';
  readonly neurons?: undefined;
  readonly direction: PerLayer<Vector>;
}

/** One edit. A list of them is applied at each site in list order; capture at the same site sees the edited values. */
export type Intervention =
  | ZeroIntervention
  | SetIntervention
  | ScaleIntervention
  | AddIntervention
  | ClampIntervention
  | MeanIntervention
  | ResampleIntervention
  | PatchIntervention
  | ProjectOutIntervention;

/** How often an intervention acted in one sequence. */
export interface EditCount {
  /** (row, neuron) values written in the sequence's own forward passes. */
  changed: number;
  /** The same, computed beforehand from the plan; a difference is HOOK_NOT_FIRED. */
  expected: number;
  /** Values written earlier in the prompt prefix that the sequence shares with another one under the same edits. */
  shared: number;
}
