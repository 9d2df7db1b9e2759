/** Small closed-form statistics. */

/** A share k/n with its Wilson score interval (Wilson 1927) at 95 %, all in 0..1. n = 0 gives NaN. */
export function wilson(k: number, n: number): { share: number; low: number; high: number } {
  const z = 1.959963984540054;
  const p = k / n;
  const centre = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { share: p, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}
