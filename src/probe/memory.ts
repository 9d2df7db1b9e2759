/** Trajectories held in memory, for self-tests and for data that is not in a store. */
import type { TrajectoryData } from './data.js';

/** One trajectory: states [count, layers, width] row-major. */
export interface MemoryTrajectory {
  readonly problem: string;
  readonly reward: number;
  readonly states: Float32Array;
}

/** Training data from arrays. Cost: a copy of what is read. */
export function memoryData(site: string, layers: readonly number[], width: number, trajectories: readonly MemoryTrajectory[]): TrajectoryData {
  const rowLength = layers.length * width;
  const concat = (parts: readonly Float32Array[]): Float32Array => {
    const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  };
  const statesOf = (i: number): Float32Array => trajectories[i]?.states ?? new Float32Array(0);
  return {
    site,
    layers,
    width,
    problems: trajectories.map(({ problem }) => problem),
    rewards: Float32Array.from(trajectories, ({ reward }) => reward),
    lengths: Int32Array.from(trajectories, ({ states }) => states.length / rowLength),
    entries: Int32Array.from(trajectories, (_, i) => i),
    read: async (indices) => concat(indices.map(statesOf)),
    readStates: async (indices, states) => concat(indices.map((i, k) => statesOf(i).subarray((states[k] ?? 0) * rowLength, ((states[k] ?? 0) + 1) * rowLength))),
  };
}
