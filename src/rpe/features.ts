/** Activations of a step as one row of features: z-scored along the trajectory, then averaged over the step's tokens. */
import { checkLength } from '../stats/estimate.js';

/**
 * `running`: by mean and deviation of the trajectory's states up to and with this one: what a detector can know while the model
 * speaks. `response`: by those of the whole response, as in the paper's appendix; this looks ahead. `none`: as they are.
 */
export const ZSCORES = ['running', 'response', 'none'] as const;
export type Zscore = (typeof ZSCORES)[number];

/** Tokens [begin, end) of a completion. */
export interface TokenRange {
  readonly begin: number;
  readonly end: number;
}

/**
 * States [first, last] that hold a step's own tokens, among `states`: token t is read by state t + 1, and the last sampled token by none. A step of that
 * token alone has the last state.
 */
export function statesOfStep({ begin, end }: TokenRange, states: number): { first: number; last: number } {
  const last = Math.min(end, states - 1);
  return { first: Math.min(begin + 1, last), last };
}

/**
 * z-scores of every column over the states of one trajectory, [states, columns] row-major, as `mode` says. A column without spread so far is 0; so is the first
 * state of `running`. Source: Welford (1962) for the running moments.
 */
export function zscored(rows: Float32Array, columns: number, mode: Zscore): Float32Array {
  const states = rows.length / columns;
  checkLength('rows', rows, Math.floor(states) * columns, 'state and column');
  if (mode === 'none') {
    return rows;
  }
  const out = new Float32Array(rows.length);
  const mean = new Float64Array(columns);
  const squares = new Float64Array(columns);
  const score = (s: number, count: number): void => {
    for (let c = 0; c < columns; c++) {
      const [value, centre] = [rows[s * columns + c] as number, mean[c] as number];
      const variance = (squares[c] as number) / count;
      // equal values leave a spread of rounding errors
      out[s * columns + c] = variance > (1e-6 * centre) ** 2 && variance > 0 ? (value - centre) / Math.sqrt(variance) : 0;
    }
  };
  for (let s = 0; s < states; s++) {
    for (let c = 0; c < columns; c++) {
      const value = rows[s * columns + c] as number;
      const before = value - (mean[c] as number);
      mean[c] = (mean[c] as number) + before / (s + 1);
      squares[c] = (squares[c] as number) + before * (value - (mean[c] as number));
    }
    if (mode === 'running') {
      score(s, s + 1);
    }
  }
  for (let s = 0; mode === 'response' && s < states; s++) {
    score(s, states);
  }
  return out;
}

/** Mean over each step's states of z-scored rows: [steps, columns]. `scores`: the whole trajectory, [states, columns]. */
export function poolSteps(scores: Float32Array, columns: number, steps: readonly TokenRange[]): Float32Array {
  const out = new Float32Array(steps.length * columns);
  steps.forEach((step, k) => {
    const { first, last } = statesOfStep(step, scores.length / columns);
    for (let c = 0; c < columns; c++) {
      let sum = 0;
      for (let s = first; s <= last; s++) {
        sum += scores[s * columns + c] as number;
      }
      out[k * columns + c] = sum / (last - first + 1);
    }
  });
  return out;
}
