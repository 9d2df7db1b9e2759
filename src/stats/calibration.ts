/** How far predicted rewards are from the rewards that came. */
import { checkFinite, checkLength, type Estimate, type Numbers } from './estimate.js';
import { proportion } from './proportion.js';

/** One bin of a calibration curve: predictions in (low, high], the first bin also below, the last also above. */
export interface CalibrationBin {
  low: number;
  high: number;
  /** Null in an empty bin. */
  meanPredicted: number | null;
  /** Mean reward with Wilson interval; `n` trajectories. */
  observed: Estimate;
}

/** Number of bins of a calibration curve. */
export const CALIBRATION_BINS = 10;

/**
 * Mean squared difference of prediction and reward (Brier 1950): 0 is perfect, p(1 − p) is always saying the base rate
 * p, 0.25 always saying 0.5. Rewards in [0, 1] need not be 0 or 1. NaN for no items.
 */
export function brier(predicted: Numbers, rewards: Numbers): number {
  check(predicted, rewards);
  let sum = 0;
  for (let i = 0; i < rewards.length; i++) {
    sum += ((predicted[i] as number) - (rewards[i] as number)) ** 2;
  }
  return sum / rewards.length;
}

/**
 * Calibration curve over `bins` bins of equal width (as scikit-learn's `calibration_curve(strategy="uniform")`, empty
 * bins kept). Predictions outside [0, 1] (identity head) count in the outermost bins.
 */
export function calibrationCurve(predicted: Numbers, rewards: Numbers, bins = CALIBRATION_BINS): CalibrationBin[] {
  check(predicted, rewards);
  const counts = new Array<number>(bins).fill(0);
  const predictions = new Array<number>(bins).fill(0);
  const outcomes = new Array<number>(bins).fill(0);
  for (let i = 0; i < rewards.length; i++) {
    const value = predicted[i] as number;
    const bin = Math.min(bins - 1, Math.max(0, Math.ceil(value * bins) - 1));
    counts[bin] = (counts[bin] as number) + 1;
    predictions[bin] = (predictions[bin] as number) + value;
    outcomes[bin] = (outcomes[bin] as number) + (rewards[i] as number);
  }
  return counts.map((n, bin) => ({
    low: bin / bins,
    high: (bin + 1) / bins,
    meanPredicted: n === 0 ? null : (predictions[bin] as number) / n,
    observed: proportion(outcomes[bin] as number, n),
  }));
}

/**
 * Expected calibration error of a curve (Naeini et al. 2015): |mean predicted − mean reward| averaged over bins with
 * their counts as weights. Null for no items. Grows with the number of bins and shrinks with n even for a calibrated
 * probe.
 */
export function expectedCalibrationError(curve: readonly CalibrationBin[]): number | null {
  const total = curve.reduce((sum, bin) => sum + bin.observed.n, 0);
  const error = curve.reduce(
    (sum, { meanPredicted, observed }) => sum + observed.n * Math.abs((meanPredicted ?? 0) - (observed.value ?? 0)),
    0,
  );
  return total === 0 ? null : error / total;
}

function check(predicted: Numbers, rewards: Numbers): void {
  checkLength('predicted', predicted, rewards.length, 'reward');
  checkFinite('predicted', predicted);
  checkFinite('rewards', rewards);
}
