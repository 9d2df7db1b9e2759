/** From any score to a probability. */
import { checkFinite, checkLength, type Numbers } from './estimate.js';

/** p(score) = 1 / (1 + exp(−(intercept + slope · score))). */
export interface Logistic {
  slope: number;
  intercept: number;
}

const PENALTY = 1;
const STEPS = 100;

/**
 * Logistic regression of reward on one score (Platt scaling, Platt 1999), rewards in [0, 1] taken as target probabilities. The
 * score is standardised, and half the squared slope is added to the log loss (as scikit-learn's `LogisticRegression(C=1)`
 * on a standardised score), so that separable data have a finite answer; a constant score gives slope 0. Newton's method.
 * INVALID_ARGUMENT for unequal lengths and values that are not finite.
 */
export function fitLogistic(scores: Numbers, rewards: Numbers): Logistic {
  checkLength('scores', scores, rewards.length, 'reward');
  checkFinite('scores', scores);
  checkFinite('rewards', rewards);
  const n = rewards.length;
  const mean = Array.from(scores).reduce((a, b) => a + b, 0) / n;
  const std = Math.sqrt(Array.from(scores).reduce((sum, score) => sum + (score - mean) ** 2, 0) / n);
  const z = Float64Array.from(scores, (score) => (std > 0 ? (score - mean) / std : 0));
  const rate = Math.min(1 - 1e-6, Math.max(1e-6, Array.from(rewards).reduce((a, b) => a + b, 0) / n));
  let a = Math.log(rate / (1 - rate));
  let b = 0;
  for (let step = 0; step < STEPS; step++) {
    const { gradient, hessian } = derivatives(z, rewards, a, b);
    const determinant = hessian[0] * hessian[2] - hessian[1] ** 2;
    if (!(determinant > 1e-12)) {
      break; // all rewards equal: the intercept has no optimum, the rate is close enough
    }
    const da = (hessian[2] * gradient[0] - hessian[1] * gradient[1]) / determinant;
    const db = (hessian[0] * gradient[1] - hessian[1] * gradient[0]) / determinant;
    a -= da;
    b -= db;
    if (Math.abs(da) + Math.abs(db) < 1e-12) {
      break;
    }
  }
  return std > 0 ? { slope: b / std, intercept: a - (b * mean) / std } : { slope: 0, intercept: a };
}

function derivatives(z: Float64Array, rewards: Numbers, a: number, b: number): { gradient: [number, number]; hessian: [number, number, number] } {
  const gradient: [number, number] = [0, PENALTY * b];
  const hessian: [number, number, number] = [0, 0, PENALTY];
  for (let i = 0; i < z.length; i++) {
    const x = z[i] as number;
    const p = 1 / (1 + Math.exp(-(a + b * x)));
    const error = p - (rewards[i] as number);
    gradient[0] += error;
    gradient[1] += error * x;
    hessian[0] += p * (1 - p);
    hessian[1] += p * (1 - p) * x;
    hessian[2] += p * (1 - p) * x * x;
  }
  return { gradient, hessian };
}

/** Probabilities of scores. */
export function applyLogistic({ slope, intercept }: Logistic, scores: Numbers): Float64Array {
  return Float64Array.from(scores, (score) => 1 / (1 + Math.exp(-(intercept + slope * score))));
}
