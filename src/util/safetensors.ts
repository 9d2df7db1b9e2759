/**
 * Safetensors files (https://huggingface.co/docs/safetensors): 8 bytes header length, a JSON header, raw little-endian data.
 * Written in place while rows arrive, because no library writes them that way; read one tensor at a time.
 */
import type { FileHandle } from 'node:fs/promises';
import { open, rename, rm } from 'node:fs/promises';
import { RewardLensError } from '../native/errors.js';

/** Element types used here, with their size in bytes. */
export const DTYPE_BYTES = { F32: 4, F16: 2, I32: 4, I64: 8, U8: 1 } as const;
export type Dtype = keyof typeof DTYPE_BYTES;

export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major; the first dimension is the number of rows. */
  readonly shape: readonly number[];
}

interface HeaderEntry {
  dtype: Dtype;
  shape: number[];
  data_offsets: [number, number];
}

/** A range of rows [begin, end) that was really written. */
export interface RowRange {
  begin: number;
  end: number;
}

const ALIGNMENT = 8;
const COPY_BYTES = 4 << 20;
const READ_BYTES = 1 << 30;
/** The format's own limit of a header. */
const MAX_HEADER_BYTES = 100_000_000;

function bytesOf(spec: TensorSpec): number {
  return DTYPE_BYTES[spec.dtype] * spec.shape.reduce((product, size) => product * size, 1);
}

function rowBytesOf(spec: TensorSpec): number {
  return DTYPE_BYTES[spec.dtype] * spec.shape.slice(1).reduce((product, size) => product * size, 1);
}

function encodeHeader(specs: readonly TensorSpec[], metadata: Record<string, string>, length?: number): Buffer {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const spec of specs) {
    const bytes = bytesOf(spec);
    header[spec.name] = { dtype: spec.dtype, shape: spec.shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  const padded = length ?? Math.ceil((json.length + 8) / ALIGNMENT) * ALIGNMENT - 8;
  if (json.length > padded) {
    throw new RewardLensError('IO', `the header needs ${json.length} bytes and ${padded} were reserved`);
  }
  const out = Buffer.alloc(8 + padded, ' ');
  out.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(out, 8);
  return out;
}

/**
 * A safetensors file whose tensors are filled row by row, in any order. Rows are laid out for the largest possible
 * count (the file is sparse); `finish` closes gaps, writes the header and renames `<path>.partial` to `path`, so a file
 * under its own name is always complete.
 */
export class SafetensorsWriter {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #specs: readonly TensorSpec[];
  readonly #headerBytes: number;
  readonly #starts = new Map<string, { start: number; rowBytes: number }>();

  private constructor(path: string, file: FileHandle, specs: readonly TensorSpec[], headerBytes: number) {
    this.path = path;
    this.#file = file;
    this.#specs = specs;
    this.#headerBytes = headerBytes;
    let start = headerBytes;
    for (const spec of specs) {
      this.#starts.set(spec.name, { start, rowBytes: rowBytesOf(spec) });
      start += bytesOf(spec);
    }
  }

  /**
   * Creates `<path>.partial`. `specs` carry the largest row counts; `metadataBytes` reserves room for the metadata given
   * to `finish`. Errors: IO.
   */
  static async create(path: string, specs: readonly TensorSpec[], metadataBytes: number): Promise<SafetensorsWriter> {
    const headerBytes = encodeHeader(specs, { reserved: ' '.repeat(metadataBytes) }).length;
    try {
      return new SafetensorsWriter(path, await open(`${path}.partial`, 'w+'), specs, headerBytes);
    } catch (error) {
      throw new RewardLensError('IO', `cannot write '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
    }
  }

  /** Writes whole rows of one tensor from row `row` on. Errors: IO (disk full and the like). */
  async writeRows(name: string, row: number, data: ArrayBufferView): Promise<void> {
    const place = this.#starts.get(name);
    if (place === undefined) {
      throw new RewardLensError('INVALID_ARGUMENT', `no tensor '${name}' in '${this.path}'`);
    }
    await this.#write(Buffer.from(data.buffer, data.byteOffset, data.byteLength), place.start + row * place.rowBytes);
  }

  /** Keeps `ranges` of rows (ascending), in every tensor, and completes the file. */
  async finish(ranges: readonly RowRange[], metadata: Record<string, string>): Promise<void> {
    const rowCount = ranges.reduce((sum, range) => sum + range.end - range.begin, 0);
    let target = this.#headerBytes;
    for (const spec of this.#specs) {
      const place = this.#starts.get(spec.name);
      for (const range of place === undefined ? [] : ranges) {
        const bytes = (range.end - range.begin) * (place?.rowBytes ?? 0);
        await this.#moveDown((place?.start ?? 0) + range.begin * (place?.rowBytes ?? 0), target, bytes);
        target += bytes;
      }
    }
    const specs = this.#specs.map((spec) => ({ ...spec, shape: [rowCount, ...spec.shape.slice(1)] }));
    await this.#write(encodeHeader(specs, metadata, this.#headerBytes - 8), 0);
    try {
      await this.#file.truncate(target);
      await this.#file.sync();
      await this.#file.close();
      await rename(`${this.path}.partial`, this.path);
    } catch (error) {
      throw new RewardLensError('IO', `completing '${this.path}' failed: ${(error as Error).message}`, { cause: error, details: { path: this.path } });
    }
  }

  /** Gives up: closes and removes the partial file. */
  async discard(): Promise<void> {
    await this.#file.close().catch(() => undefined);
    await rm(`${this.path}.partial`, { force: true });
  }

  async #moveDown(from: number, to: number, bytes: number): Promise<void> {
    if (from === to) {
      return;
    }
    const buffer = Buffer.allocUnsafe(Math.min(bytes, COPY_BYTES));
    for (let done = 0; done < bytes; ) {
      const { bytesRead } = await this.#file.read(buffer, 0, Math.min(buffer.length, bytes - done), from + done);
      if (bytesRead === 0) {
        throw new RewardLensError('IO', `'${this.path}': rows to be kept were never written`, { details: { path: this.path } });
      }
      await this.#write(buffer.subarray(0, bytesRead), to + done);
      done += bytesRead;
    }
  }

  async #write(buffer: Buffer, position: number): Promise<void> {
    try {
      for (let done = 0; done < buffer.length; ) {
        const { bytesWritten } = await this.#file.write(buffer, done, buffer.length - done, position + done);
        done += bytesWritten;
      }
    } catch (error) {
      throw new RewardLensError('IO', `writing '${this.path}' failed: ${(error as Error).message}`, { cause: error, details: { path: this.path } });
    }
  }
}

/** A tensor in memory. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** Writes tensors of any shapes at once, in the order given; the file appears complete. Errors: IO. */
export async function saveTensors(path: string, tensors: ReadonlyMap<string, Tensor>, metadata: Record<string, string>): Promise<void> {
  const specs = [...tensors].map(([name, { shape, data }]): TensorSpec => ({ name, shape, dtype: data[Symbol.toStringTag] === 'Int32Array' ? 'I32' : 'F32' }));
  const parts = [encodeHeader(specs, metadata), ...[...tensors.values()].map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength))];
  try {
    const file = await open(`${path}.partial`, 'w');
    try {
      for (const part of parts) {
        await file.writeFile(part); // goes on from the current place
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.partial`, path);
  } catch (error) {
    throw new RewardLensError('IO', `writing '${path}' failed: ${(error as Error).message}`, { cause: error, details: { path } });
  }
}

/** Header of an open safetensors file. */
export interface SafetensorsHeader {
  metadata: Record<string, string>;
  tensors: Map<string, { dtype: Dtype; shape: number[]; begin: number; end: number }>;
}

/** Reads tensors of a safetensors file. */
export class SafetensorsReader implements AsyncDisposable {
  readonly path: string;
  readonly header: SafetensorsHeader;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle, header: SafetensorsHeader) {
    this.path = path;
    this.#file = file;
    this.header = header;
  }

  /** Opens and checks the header against the file size. Errors: IO, STORE_CORRUPT. */
  static async open(path: string): Promise<SafetensorsReader> {
    let file: FileHandle;
    try {
      file = await open(path, 'r');
    } catch (error) {
      throw new RewardLensError('IO', `cannot read '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
    }
    try {
      return new SafetensorsReader(path, file, await readHeader(file, path));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** One tensor's shape and data (F32 as is, F16 widened, I32 as is). Errors: INVALID_ARGUMENT, STORE_CORRUPT. */
  async read(name: string): Promise<{ shape: number[]; data: Float32Array | Int32Array }> {
    const tensor = this.header.tensors.get(name);
    if (tensor === undefined) {
      throw new RewardLensError('INVALID_ARGUMENT', `'${this.path}' has no tensor '${name}'; it has ${[...this.header.tensors.keys()].join(', ')}`);
    }
    const bytes = new Uint8Array(tensor.end - tensor.begin);
    for (let done = 0; done < bytes.length; ) {
      // One read takes at most 2 GiB.
      const { bytesRead } = await this.#file.read(bytes, done, Math.min(bytes.length - done, READ_BYTES), tensor.begin + done);
      if (bytesRead === 0) {
        throw new RewardLensError('STORE_CORRUPT', `'${this.path}': tensor '${name}' is cut short`);
      }
      done += bytesRead;
    }
    switch (tensor.dtype) {
      case 'F32':
        return { shape: tensor.shape, data: new Float32Array(bytes.buffer) };
      case 'I32':
        return { shape: tensor.shape, data: new Int32Array(bytes.buffer) };
      case 'F16':
        return { shape: tensor.shape, data: Float32Array.from(new Uint16Array(bytes.buffer), halfToFloat) };
      default:
        throw new RewardLensError('INVALID_ARGUMENT', `'${this.path}': tensor '${name}' has type ${tensor.dtype}; expected F32, F16 or I32`);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function readHeader(file: FileHandle, path: string): Promise<SafetensorsHeader> {
  const corrupt = (what: string): RewardLensError => new RewardLensError('STORE_CORRUPT', `'${path}' is not a valid safetensors file: ${what}`, { details: { path } });
  const { size } = await file.stat();
  const lengthBytes = Buffer.alloc(8);
  if ((await file.read(lengthBytes, 0, 8, 0)).bytesRead !== 8) {
    throw corrupt('it is shorter than 8 bytes');
  }
  const length = Number(lengthBytes.readBigUInt64LE());
  if (8 + length > size || length > MAX_HEADER_BYTES) {
    throw corrupt(`its header of ${length} bytes does not fit in ${size} bytes`);
  }
  const json = Buffer.alloc(length);
  await file.read(json, 0, length, 8);
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(json.toString('utf8')) as Record<string, unknown>;
  } catch {
    throw corrupt('its header is not JSON');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw corrupt('its header is not a JSON object');
  }
  const header: SafetensorsHeader = { metadata: (parsed.__metadata__ ?? {}) as Record<string, string>, tensors: new Map() };
  for (const [name, value] of Object.entries(parsed)) {
    if (name === '__metadata__') {
      continue;
    }
    const entry = value as HeaderEntry;
    if (!isEntry(entry)) {
      throw corrupt(`the entry of tensor '${name}' is not one of dtype, shape and data_offsets`);
    }
    const [begin, end] = entry.data_offsets;
    if (!Object.hasOwn(DTYPE_BYTES, entry.dtype) || end - begin !== bytesOf({ name, dtype: entry.dtype, shape: entry.shape }) || 8 + length + end > size) {
      throw corrupt(`tensor '${name}' does not fit its type, shape or the file`);
    }
    header.tensors.set(name, { dtype: entry.dtype, shape: entry.shape, begin: 8 + length + begin, end: 8 + length + end });
  }
  return header;
}

function isEntry(value: Partial<HeaderEntry> | null): value is HeaderEntry {
  const sizes = (list: unknown): boolean => Array.isArray(list) && list.every((size) => Number.isSafeInteger(size) && size >= 0);
  return typeof value?.dtype === 'string' && sizes(value.shape) && sizes(value.data_offsets) && value.data_offsets?.length === 2;
}

/** IEEE 754 half to single. */
export function halfToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) {
    return sign * fraction * 2 ** -24;
  }
  return exponent === 31 ? (fraction === 0 ? sign * Infinity : NaN) : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
