/** Seeded randomness that is the same everywhere. */

// looked up once: many times as fast where globals are slow (vm contexts, as in jest)
const { imul } = Math;

/** mulberry32 (T. Ettinger 2017): 32-bit state, uniform numbers in [0, 1). Not for cryptography. */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = imul(t ^ (t >>> 15), t | 1);
    t ^= t + imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** `count` different integers of 0..size-1, ascending, by a seeded partial shuffle. */
export function pickRandom(size: number, count: number, seed: number): number[] {
  const random = mulberry32(seed);
  const pool = Array.from({ length: size }, (_, i) => i);
  for (let i = 0; i < Math.min(count, size); i++) {
    const j = i + Math.floor(random() * (size - i));
    [pool[i], pool[j]] = [pool[j] as number, pool[i] as number];
  }
  return pool.slice(0, count).sort((a, b) => a - b);
}
