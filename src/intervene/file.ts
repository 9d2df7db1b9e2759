/** Interventions from a JSON file (docs/interventions.md). */
import { readFile } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { parseJson } from '../util/json.js';
import { SafetensorsReader } from '../util/safetensors.js';
import type { FileIntervention, TensorReference } from './schema.js';
import { interventionsFile } from './schema.js';
import type { Intervention, PerLayer, Rows, Vector } from './types.js';

/**
 * Reads and checks an interventions file; tensors that it names are read too, relative to the file. Layers, neurons and
 * widths are checked against a model only when a run compiles the list. Errors: IO, STORE_CORRUPT, INVALID_ARGUMENT;
 * messages name the file and the path inside it (`edits.json: interventions[2].neurons[0]: …`). Memory: the tensors.
 */
export async function readInterventions(path: string): Promise<Intervention[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new RewardLensError('IO', `cannot read '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
  }
  const name = basename(path);
  return parseInterventions(parseJson(text, name), { name, directory: dirname(path) });
}

/**
 * The same for a value that is already parsed. `name` begins error messages; `directory` is where relative tensor files
 * are looked for. Errors: as {@link readInterventions}.
 */
export async function parseInterventions(value: unknown, where: { name: string; directory: string }): Promise<Intervention[]> {
  const root = Array.isArray(value) ? { version: 1, interventions: value as unknown[] } : value;
  const parsed = interventionsFile.safeParse(root);
  if (!parsed.success) {
    throw schemaError(parsed.error.issues, root, where.name);
  }
  const tensors = new TensorFiles(where.directory);
  try {
    const out: Intervention[] = [];
    for (const [i, item] of parsed.data.interventions.entries()) {
      out.push(await resolveTensors(item, `${where.name}: interventions[${i}]`, tensors));
    }
    return out;
  } finally {
    await tensors.close();
  }
}

function schemaError(issues: readonly z.core.$ZodIssue[], root: unknown, name: string): RewardLensError {
  const issue = issues[0] as z.core.$ZodIssue;
  const path = issue.path.reduce<string>((text, key) => (typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`), '');
  const prefix = path === '' ? name : `${name}: ${path}`;
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  const received = issue.path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key], root);
  if (issue.code === 'unrecognized_keys') {
    return new RewardLensError('INVALID_ARGUMENT', `${prefix}: unknown key ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}${more}`, {
      details: { parameter: path, keys: issue.keys },
    });
  }
  const expected = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
  if (received === undefined) {
    return new RewardLensError('INVALID_ARGUMENT', `${prefix}: expected ${expected}, but it is missing${more}`, { details: { parameter: path, expected } });
  }
  const error = invalidArgument(prefix, expected, issue.code === 'invalid_key' ? issue.path.at(-1) : received);
  return more === '' ? error : new RewardLensError('INVALID_ARGUMENT', error.message + more, { details: { ...error.details } });
}

interface Matrix {
  data: Float32Array | Int32Array;
  rows: number;
  width: number;
}

/** Runs `body`; its errors get `path` in front. */
async function at<T>(path: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw error instanceof RewardLensError
      ? new RewardLensError(error.code, `${path}: ${error.message}`, { cause: error, details: { ...error.details } })
      : error;
  }
}

/** Open safetensors files of one interventions file. */
class TensorFiles {
  readonly #directory: string;
  readonly #readers = new Map<string, SafetensorsReader>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  async #reader(file: string, path: string): Promise<SafetensorsReader> {
    const absolute = resolve(this.#directory, file);
    let reader = this.#readers.get(absolute);
    if (reader === undefined) {
      reader = await at(`${path}.file`, () => SafetensorsReader.open(absolute));
      this.#readers.set(absolute, reader);
    }
    return reader;
  }

  /** Layers for which the file has a tensor that `{layer}` in the name stands for. */
  async layersOf(reference: TensorReference, path: string): Promise<number[]> {
    const [head, tail] = reference.tensor.split('{layer}') as [string, string];
    const names = [...(await this.#reader(reference.file, path)).header.tensors.keys()];
    return names
      .filter((name) => name.startsWith(head) && name.endsWith(tail) && /^\d+$/.test(name.slice(head.length, name.length - tail.length)))
      .map((name) => Number(name.slice(head.length, name.length - tail.length)));
  }

  /** A tensor as a matrix (a vector is one row), only the rows of `sequence` when that is given. */
  async read(reference: TensorReference, tensor: string, path: string): Promise<Matrix> {
    const reader = await this.#reader(reference.file, path);
    const { shape, data } = await at(`${path}.tensor`, () => reader.read(tensor));
    if (shape.length < 1 || shape.length > 2 || data.length === 0) {
      throw invalidArgument(`${path}.tensor`, 'a tensor of one or two dimensions that is not empty', `${tensor} [${shape.join(', ')}]`);
    }
    const width = shape.length === 1 ? 1 : (shape[1] ?? 1);
    const whole: Matrix = { data, rows: data.length / width, width };
    if (reference.sequence === undefined) {
      return whole;
    }
    const { data: sequence } = await at(`${path}.sequence`, () => reader.read('sequence'));
    const keep = [...sequence.keys()].filter((row) => sequence[row] === reference.sequence);
    if (keep.length === 0 || sequence.length !== whole.rows) {
      throw invalidArgument(`${path}.sequence`, `a sequence with rows in '${reference.file}'`, reference.sequence);
    }
    const picked = data instanceof Int32Array ? new Int32Array(keep.length * width) : new Float32Array(keep.length * width);
    keep.forEach((row, i) => picked.set(data.subarray(row * width, (row + 1) * width), i * width));
    return { data: picked, rows: keep.length, width };
  }

  async close(): Promise<void> {
    for (const reader of this.#readers.values()) {
      await reader.close();
    }
  }
}

function isReference(value: unknown): value is TensorReference {
  return typeof value === 'object' && value !== null && 'file' in value;
}

async function resolveTensors(item: FileIntervention, path: string, tensors: TensorFiles): Promise<Intervention> {
  const vectors = (value: unknown, key: string): Promise<PerLayer<Vector>> =>
    resolvePerLayer(value, item.layers, `${path}.${key}`, tensors, (reference, tensor, here) => readVector(tensors, reference, tensor, here));
  const rows = (value: unknown, key: string): Promise<PerLayer<Rows>> =>
    resolvePerLayer(value, item.layers, `${path}.${key}`, tensors, (reference, tensor, here) => readRows(tensors, reference, tensor, here));
  const scalar = async (value: number | number[] | TensorReference, key: string): Promise<number | Vector> =>
    isReference(value) ? readVector(tensors, value, withoutLayer(value, `${path}.${key}`), `${path}.${key}`) : value;
  switch (item.kind) {
    case 'set':
      return { ...item, value: await scalar(item.value, 'value') } as Intervention;
    case 'scale':
      return { ...item, factor: await scalar(item.factor, 'factor') } as Intervention;
    case 'add':
    case 'projectOut':
      return { ...item, direction: await vectors(item.direction, 'direction') } as Intervention;
    case 'mean':
      return { ...item, means: await vectors(item.means, 'means') } as Intervention;
    case 'resample':
      return { ...item, rows: await rows(item.rows, 'rows') } as Intervention;
    case 'patch': {
      const here = `${path}.rowPositions`;
      const rowPositions = isReference(item.rowPositions)
        ? Int32Array.from((await tensors.read(item.rowPositions, withoutLayer(item.rowPositions, here), here)).data)
        : item.rowPositions;
      return { ...item, rows: await rows(item.rows, 'rows'), rowPositions } as Intervention;
    }
    case 'zero':
    case 'clamp':
      return item as Intervention;
  }
}

function withoutLayer(reference: TensorReference, path: string): string {
  if (reference.tensor.includes('{layer}')) {
    throw invalidArgument(`${path}.tensor`, 'one tensor for all layers', reference.tensor);
  }
  return reference.tensor;
}

type ReadOne<T> = (reference: TensorReference, tensor: string, path: string) => Promise<T>;

/** A value that may be inline, a reference, or either of them per layer. `{layer}` stands for every layer that is meant. */
async function resolvePerLayer<T>(
  value: unknown,
  layers: FileIntervention['layers'],
  path: string,
  tensors: TensorFiles,
  read: ReadOne<T>,
): Promise<PerLayer<T>> {
  if (Array.isArray(value)) {
    return value as T;
  }
  if (!isReference(value)) {
    const out: Record<number, T> = {};
    for (const [layer, entry] of Object.entries(value as Record<string, unknown>)) {
      const here = `${path}.${layer}`;
      out[Number(layer)] = isReference(entry) ? await read(entry, withoutLayer(entry, here), here) : (entry as T);
    }
    return out;
  }
  if (!value.tensor.includes('{layer}')) {
    return read(value, value.tensor, path);
  }
  // Layers from the end and "all" need the model; every layer of the file will do until the run checks.
  const known = layers !== 'all' && layers.every((layer) => layer >= 0);
  const wanted = known ? layers : await tensors.layersOf(value, path);
  if (wanted.length === 0) {
    throw invalidArgument(`${path}.tensor`, `a name that '${value.file}' has for some layer`, value.tensor);
  }
  const out: Record<number, T> = {};
  for (const layer of wanted) {
    out[layer] = await read(value, value.tensor.replace('{layer}', String(layer)), path);
  }
  return out;
}

async function readVector(tensors: TensorFiles, reference: TensorReference, tensor: string, path: string): Promise<Float32Array> {
  const matrix = await tensors.read(reference, tensor, path);
  const data = Float32Array.from(matrix.data);
  // [width] arrives as one column; [1, width] is a vector as well.
  if (reference.row === undefined && reference.reduce === undefined) {
    if (matrix.width !== 1 && matrix.rows !== 1) {
      throw invalidArgument(`${path}.tensor`, 'a vector (or say which "row", or "reduce": "mean")', `${tensor} [${matrix.rows}, ${matrix.width}]`);
    }
    return data;
  }
  if (reference.row !== undefined) {
    if (reference.reduce !== undefined || reference.row >= matrix.rows) {
      throw invalidArgument(`${path}.row`, `an integer in 0..${matrix.rows - 1}, without "reduce"`, reference.row);
    }
    return data.slice(reference.row * matrix.width, (reference.row + 1) * matrix.width);
  }
  const sums = new Float64Array(matrix.width);
  data.forEach((entry, i) => (sums[i % matrix.width] = (sums[i % matrix.width] ?? 0) + entry));
  return Float32Array.from(sums, (sum) => sum / matrix.rows);
}

async function readRows(tensors: TensorFiles, reference: TensorReference, tensor: string, path: string): Promise<Rows> {
  if (reference.row !== undefined || reference.reduce !== undefined) {
    throw invalidArgument(path, 'rows: "row" and "reduce" make a single vector', reference.tensor);
  }
  const { data, width } = await tensors.read(reference, tensor, path);
  return { data: Float32Array.from(data), width };
}
