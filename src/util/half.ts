/** Half-precision floats. */
import { halfToFloat } from './safetensors.js';

let table: Float32Array | undefined;

/** Value of every 16-bit pattern: a look-up is several times faster than computing it. 256 KiB, made once. */
export function halfTable(): Float32Array {
  table ??= Float32Array.from({ length: 0x10000 }, (_, bits) => halfToFloat(bits));
  return table;
}

/** Widens half floats; Float32Array comes back as it is. */
export function toFloat32(values: Uint16Array | Float32Array): Float32Array {
  if (values instanceof Float32Array) {
    return values;
  }
  const widen = halfTable();
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    out[i] = widen[values[i] as number] as number;
  }
  return out;
}
