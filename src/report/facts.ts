/** What the numbers of a study say, worked out once for the page, the terminal and the findings. */
import type { Baseline, DatasetResult, Estimate, LayerResult, Place, PruningPoint, Study } from './schema.js';

/** Names of places for people. */
export const PLACE_NAMES: Readonly<Record<Place, string>> = { s0: 's₀ (before the first token)', middle: 'middle', last: 'last token' };

/** The same where there is little room. */
export const SHORT_PLACES: Readonly<Record<Place, string>> = { s0: 's₀', middle: 'middle', last: 'last token' };

/** Loss of AUC up to which a smaller set of neurons counts as good as all inputs. */
export const TOLERANCE = 0.03;

/** Name of the baseline that no probe may beat: a probe trained and judged on shuffled rewards. */
export const SHUFFLED = 'shuffled rewards';
/** Name of linear probes trained on the states of one place alone, one per place. */
export const LINEAR_PLACED = 'linear probe of this place alone';
/** Name of the linear probe on the same states. */
export const LINEAR = 'linear probe';

/** The layer that everything but the tables by layer is about. */
export function bestLayer(dataset: DatasetResult): LayerResult {
  return dataset.layers[dataset.bestLayer] as LayerResult;
}

/** Whether a baseline looks at nothing inside the model: it is no probe that was trained on the best layer. */
export function isOutside(dataset: DatasetResult, { name }: Baseline): boolean {
  return !(name in bestLayer(dataset).variants) && name !== SHUFFLED && name !== LINEAR && name !== LINEAR_PLACED;
}

/**
 * The baseline with the highest held-out AUC at a place: one without a look inside, or a linear probe; the null and other ways to
 * train the same probe do not count. Chosen on the numbers it is compared by, which favours the baseline. Undefined: none has a number.
 */
export function bestBaseline(dataset: DatasetResult, place: Place, options: { outsideOnly?: boolean } = {}): Baseline | undefined {
  const eligible = dataset.baselines.filter((baseline) => isOutside(dataset, baseline) || ([LINEAR, LINEAR_PLACED].includes(baseline.name) && options.outsideOnly !== true));
  return eligible.reduce<Baseline | undefined>((best, one) => {
    const value = one.auc[place].value;
    return value !== null && value > (best?.auc[place].value ?? -1) ? one : best;
  }, undefined);
}

/** Points of the pruning curve of one layer, most inputs first; undefined when it was not pruned. */
export function pruningOf(dataset: DatasetResult, layer: number): PruningPoint[] | undefined {
  const points = dataset.pruning.find((entry) => entry.layer === layer)?.points;
  return points === undefined || points.length === 0 ? undefined : [...points].sort((a, b) => b.kept - a.kept);
}

/**
 * The fewest inputs whose AUC is at most {@link TOLERANCE} below that of all inputs, while every larger set of the curve is as good too: a
 * curve that falls and comes back by chance does not count. Undefined when there are no numbers,
 * or nothing to keep: all inputs are not above 0.5 by their interval.
 */
export function neededInputs(points: readonly PruningPoint[], place: Place): PruningPoint | undefined {
  const sorted = [...points].sort((a, b) => b.kept - a.kept);
  const whole = sorted[0]?.top[place];
  const all = whole?.value ?? null;
  if (whole === undefined || all === null || side(whole, 0.5) !== 'above') {
    return undefined;
  }
  const fails = sorted.findIndex(({ top }) => (top[place].value ?? -1) < all - TOLERANCE);
  return fails < 0 ? sorted.at(-1) : sorted[fails - 1];
}

/** Inputs of the probe: the most that any point of a pruning curve keeps; undefined without one. */
export function inputCount(points: readonly PruningPoint[] | undefined): number | undefined {
  return points === undefined ? undefined : Math.max(...points.map(({ kept }) => kept));
}

/** Whether an interval lies wholly above, wholly below, or over `reference`; undefined without an interval. */
export function side({ low, high }: Pick<Estimate, 'low' | 'high'>, reference: number): 'above' | 'below' | 'over' | undefined {
  if (low === null || high === null) {
    return undefined;
  }
  return low > reference ? 'above' : high < reference ? 'below' : 'over';
}

/** Findings of the whole study and, after them, those of each data set in its order; of unknown data sets last. */
export function orderedFindings(study: Study): Study['findings'] {
  const position = (name: string | null): number => {
    const found = study.datasets.findIndex((dataset) => dataset.name === name);
    return name === null ? -1 : found < 0 ? study.datasets.length : found;
  };
  return [...study.findings].sort((a, b) => position(a.dataset) - position(b.dataset));
}
