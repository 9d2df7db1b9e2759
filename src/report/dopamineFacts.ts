/** What results of `values`, `dopamine` and `interplay` say, in words: for findings, page and terminal. */
import type { Dopamine, DopaminePruning, DopamineScore } from './dopamineSchema.js';
import { NOISY_BASELINE } from './dopamineSchema.js';
import { side } from './facts.js';
import { fixed, percent, withInterval } from './format.js';
import type { Interplay, InterplayComparison, InterplayMeasure } from './interplaySchema.js';
import type { Estimate } from './schema.js';
import type { Values } from './valuesSchema.js';
import { formatRanges } from '../util/ranges.js';

const two = (x: number | null | undefined): string => fixed(x, 2);
const estimateText = (estimate: Estimate): string => withInterval(estimate, two);
const counted = (count: number, name: string): string => `${count.toLocaleString('en-US')} ${name}${count === 1 ? '' : 's'}`;

/** Noise as a share of the variance of δ; it is estimated, and comes out above 1 where all is noise. */
export const noiseText = (noise: number | null): string => (noise !== null && noise >= 1 ? 'all' : percent(noise, 0));
/** Layers that are edited at once. */
export const layersText = (layers: readonly number[]): string => `layer${layers.length === 1 ? '' : 's'} ${formatRanges(layers)}${layers.length === 1 ? '' : ' together'}`;

/** Names of the probes in a layer's scores. */
export const DOPAMINE_NAMES = { main: 'dopamine', linear: 'linear', shuffled: 'shuffled errors' } as const;

/** Scores of the best layer's probes. */
export function dopamineScores({ layers, bestLayer }: Dopamine): readonly DopamineScore[] {
  return layers.find(({ layer }) => layer === bestLayer)?.scores ?? [];
}

/** The probe's, the null's, and the best of the fair baselines by Spearman on large errors, each where there is one. */
export function dopamineRivals(dopamine: Dopamine): { main?: DopamineScore | undefined; shuffled?: DopamineScore | undefined; best?: DopamineScore | undefined } {
  const scores = dopamineScores(dopamine);
  const of = ({ large }: DopamineScore): number => large.spearman.value ?? -Infinity;
  const fair = dopamine.baselines.filter((score) => score.name !== NOISY_BASELINE && score.large.spearman.value !== null);
  return {
    main: scores.find(({ name }) => name === DOPAMINE_NAMES.main),
    shuffled: scores.find(({ name }) => name === DOPAMINE_NAMES.shuffled),
    best: fair.reduce<DopamineScore | undefined>((best, score) => (best === undefined || of(score) > of(best) ? score : best), undefined),
  };
}

/** The smallest set of at least a twentieth of the neurons on the pruning curve. */
export function fewNeurons({ pruning }: Dopamine): DopaminePruning | undefined {
  return pruning.filter(({ share }) => share >= 0.05).sort((a, b) => a.kept - b.kept)[0];
}

/** Whether held-out errors are followed, plainly. */
export function dopamineSentence(dopamine: Dopamine): string {
  const { main, shuffled, best } = dopamineRivals(dopamine);
  const { settings, bestLayer, steps } = dopamine;
  if (main === undefined || main.large.spearman.value === null) {
    return 'Prediction errors: no correlation can be given, there are too few held-out steps with a large error.';
  }
  const { spearman } = main.large;
  const verdict = { above: 'it follows them', below: 'it goes against them', over: 'that is not distinguishable from 0', none: 'without an interval' }[side(spearman, 0) ?? 'none'];
  const nothing = shuffled === undefined || shuffled.large.spearman.value === null ? '' : ` The same probe on errors dealt out anew: ${estimateText(shuffled.large.spearman)}.`;
  const rival = best === undefined ? '' : ` Best without a look inside or by the value probe: ${best.name}, ${estimateText(best.large.spearman)}.`;
  const noise = steps.noise === null ? '' : ` ${noiseText(steps.noise).replace('all', 'All')} of the variance of the errors is noise of the continuations.`;
  return `Prediction errors: on ${counted(spearman.n, 'held-out step')} that changed the value by more than ${settings.threshold}, the dopamine probe of layer ${bestLayer} has a Spearman of ${estimateText(spearman)} with the error: ${verdict}. Over all ${main.all.spearman.n} held-out steps: ${estimateText(main.all.spearman)}.${nothing}${rival}${noise}`;
}

/** How few neurons carry it, against both controls; undefined when nothing is there to be carried. */
export function dopaminePruningSentence(dopamine: Dopamine): string | undefined {
  const few = fewNeurons(dopamine);
  const { main } = dopamineRivals(dopamine);
  if (few === undefined || main === undefined || side(main.large.spearman, 0) !== 'above') {
    return undefined;
  }
  return `Its best ${counted(few.kept, 'neuron')} alone have a Spearman of ${estimateText(few.top)}; random sets of that size ${two(few.random.mean)}, magnitude-matched ones ${two(few.matched.mean)} (means of ${few.random.draws} and ${few.matched.draws} draws).`;
}

/** What surprise groups show, each contrast over the mean of the response. */
export function surpriseSentence({ surprise }: Dopamine): string {
  const { groups, cells, both } = surprise;
  const told = ` Surprise sets low against high V(s₀), which a value neuron tells apart too: ${counted(both.length, 'neuron')} differ${both.length === 1 ? 's' : ''} by value and by outcome, each at equal values of the other, as surprise would.`;
  const shown = cells.filter(({ position, significant }) => position === 'mean' && significant !== null);
  const names = { surprise: 'positive against negative surprise', positive: 'positive surprise against expected success', negative: 'negative surprise against expected failure', low: 'success against failure at low V(s₀)', high: 'success against failure at high V(s₀)' } as const;
  const sizes = `${groups.positive} trajectories with positive and ${groups.negative} with negative surprise`;
  return shown.length === 0
    ? `Surprise groups: ${sizes}, too few to compare.`
    : `Surprise groups (${sizes}): ${shown.map(({ contrast, significant }) => `${counted(significant ?? 0, 'neuron')} differ${significant === 1 ? 's' : ''} in ${names[contrast]}`).join(', ')} (adjusted p < 0.05).${told}`;
}

/** What the values are worth, and what they cost. */
export function valuesSentence({ counts, tokens, probe, tdErrors, exhausted }: Values): string {
  const prefix = tokens.computed + tokens.shared;
  const shared = prefix === 0 ? '' : `; of the prefixes ${percent(tokens.shared / prefix, 0)} came from a cache`;
  const agreement = probe === null ? '' : ` The value probe of layer ${probe.layer} agrees with them on ${probe.states} held-out states with a Spearman of ${estimateText(probe.spearman)}.`;
  return `Values of ${counted(counts.states, 'state')} in ${counts.trajectories} trajectories by continuation (${counted(tokens.sampled, 'sampled token')}${shared}${exhausted ? '; the budget ended it' : ''}): ${percent(tdErrors.large, 0)} of the steps change the value by more than 0.3.${agreement}`;
}

/** The comparison of one set, control and measure. */
export function interplayComparison({ comparisons }: Interplay, arm: string, measure: InterplayMeasure, control: string): InterplayComparison | undefined {
  return comparisons.find((entry) => entry.arm === arm && entry.measure === measure && entry.control === control);
}

/** What is left of the dopamine probe without value neurons of earlier layers, against the control that leaves most doubt. */
export function interplaySentence(interplay: Interplay): string {
  const sets = interplay.arms.filter(({ role }) => role === 'set');
  const parts = sets.map(({ name, group, layers, share, agreement }) => {
    const own = interplay.comparisons.filter((entry) => entry.arm === name && entry.measure === 'agreement');
    const hardest = own.reduce<InterplayComparison | undefined>((worst, entry) => (worst === undefined || entry.p > worst.p ? entry : worst), undefined);
    const against = hardest === undefined ? 'no control to compare with' : `${hardest.control} sets ${two(hardest.meanControl)}, p ${hardest.p.toPrecision(2)} of ${hardest.draws} draws: ${hardest.p <= 0.05 ? 'more is taken away than by controls' : hardest.draws < 19 ? 'so few draws can show no difference' : 'no more is taken away than by controls'}`;
    return `without ${group === 'top' ? `the best ${percent(share, 0)} of the value neurons of ${layersText(layers)}` : `those of ${name}`} it agrees with itself by ${estimateText(agreement)} (${against})`;
  });
  return `Interplay: the dopamine probe of layer ${interplay.layer}, ${parts.join('; ') || 'with nothing taken away'}.${parts.length > 1 ? ` p is not corrected for the ${parts.length} sets.` : ''}`;
}
