/** Synthetic trajectories whose value coordinates are known. */
import type { MemoryTrajectory } from '../probe/memory.js';
import { mulberry32 } from '../util/random.js';

/** What to plant. */
export interface PlantOptions {
  readonly width: number;
  readonly trajectories: number;
  /** Scale of each planted coordinate. */
  readonly scales: readonly number[];
  readonly seed: number;
}

/** Noise of a planted coordinate; the value itself has a standard deviation of 1 at s_0. */
const NOISE = 0.5;
/** How surely the reward follows from where the value ends. */
const SHARP = 2;

/** Standard normal numbers (Box–Muller). */
function normals(random: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/**
 * Trajectories of 6 to 14 states in which a hidden value walks at random and the reward is drawn from where it ends. Planted
 * coordinate j shows the value with noise, times `scales[j]`; all others are noise at scales spread over the same range, and
 * every coordinate has an offset. The order of coordinates is random. Returns the planted ones, ascending.
 */
export function plantedTrajectories(options: PlantOptions): { trajectories: MemoryTrajectory[]; planted: number[] } {
  const random = mulberry32(options.seed);
  const normal = normals(random);
  const { width, scales } = options;
  const places = Array.from({ length: width }, (_, i) => i).map((i) => [random(), i] as const).sort(([a], [b]) => a - b).map(([, i]) => i);
  const planted = places.slice(0, scales.length);
  const low = Math.log(Math.min(...scales));
  const high = Math.log(Math.max(...scales));
  const scaleOf = new Float64Array(width);
  places.forEach((place, i) => (scaleOf[place] = scales[i] ?? Math.exp(low + (high - low) * random())));
  const offset = Float64Array.from(scaleOf, (scale) => scale * normal());
  const shows = new Set(planted);
  const trajectories = Array.from({ length: options.trajectories }, (_, t): MemoryTrajectory => {
    const count = 6 + Math.floor(random() * 9);
    const states = new Float32Array(count * width);
    let value = normal();
    for (let s = 0; s < count; s++) {
      value += s === 0 ? 0 : 0.4 * normal();
      for (let j = 0; j < width; j++) {
        const signal = shows.has(j) ? value + NOISE * normal() : normal();
        states[s * width + j] = (offset[j] as number) + (scaleOf[j] as number) * signal;
      }
    }
    const reward = random() < 1 / (1 + Math.exp(-SHARP * value)) ? 1 : 0;
    return { problem: `planted-${t}`, reward, states };
  });
  return { trajectories, planted: [...planted].sort((a, b) => a - b) };
}
