/** Massive activations: the few coordinates that are far larger than all others whatever the text (attention sinks). */
import { checkFinite, checkLength, type Numbers } from '../stats/estimate.js';
import { median } from '../stats/moments.js';

/** A massive coordinate; `ratioToMedian` is its RMS over the median RMS of the layer. */
export interface Sink {
  neuron: number;
  rms: number;
  ratioToMedian: number;
}

/** When a coordinate counts as massive. */
export interface SinkRule {
  /** RMS over the median RMS of the layer's coordinates, default 20. */
  ratio?: number;
  /** Largest |h| of each coordinate: catches one that is massive at a single position (position 0) of many. */
  maxAbs?: Numbers;
  /** Largest |h| over the median RMS, default 1000; used with `maxAbs`. */
  maxRatio?: number;
}

/**
 * Coordinates whose RMS over rows is above `ratio` × the median RMS of the layer, or whose largest |h| is above
 * `maxRatio` × it, by falling RMS. Sun et al. (2024, "Massive Activations in Large Language Models") call an activation
 * massive when it is above 100 and above 1000 × the median of its hidden state; their absolute 100 is left out (it
 * depends on the model's scale), and 20 is for RMS over many rows, where one massive position among 2500 is worth 1000
 * / √2500. Coordinates that are always zero do not count for the median.
 */
export function findSinks(rms: Numbers, { ratio = 20, maxAbs, maxRatio = 1000 }: SinkRule = {}): Sink[] {
  checkFinite('rms', rms);
  if (maxAbs !== undefined) {
    checkLength('maxAbs', maxAbs, rms.length, 'neuron');
    checkFinite('maxAbs', maxAbs);
  }
  const values = Array.from(rms);
  const typical = median(values.filter((value) => value > 0));
  return values
    .map((value, neuron) => ({ neuron, rms: value, ratioToMedian: value / typical }))
    .filter(({ neuron, ratioToMedian }) => ratioToMedian > ratio || ((maxAbs?.[neuron] ?? 0) / typical > maxRatio))
    .sort((a, b) => b.rms - a.rms || a.neuron - b.neuron);
}

/** `neurons` without the sinks, in the same order. */
export function excludeSinks(neurons: readonly number[], sinks: readonly Sink[]): number[] {
  const massive = new Set(sinks.map(({ neuron }) => neuron));
  return neurons.filter((neuron) => !massive.has(neuron));
}
