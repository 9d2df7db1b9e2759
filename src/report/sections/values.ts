/** What every step is worth: values of states by continuing them. */
import { noiseText, valuesSentence } from '../dopamineFacts.js';
import { fixed, seconds, significant, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { pairs } from '../parts.js';
import { visibleText } from '../text.js';
import type { Values } from '../valuesSchema.js';

const grouped = (count: number): string => count.toLocaleString('en-US');

/** The section on values; `notes` say what they left out. */
export function valuesSection(values: Values, id: string, notes: readonly string[]): Html {
  const { settings, counts, tokens, tdErrors, probe } = values;
  const { min, max } = settings.counts;
  return html`<section id="${id}-values"><h3>What every step is worth: values by continuation</h3>
<p><strong>${visibleText(valuesSentence(values))}</strong> ${notes.map(visibleText).join(' ')}</p>
<p class="how"><strong>How to read this.</strong> The value of a state is the mean reward of completions sampled from it. δ is the change of value from one step’s beginning to the next, at the end the reward minus the last value: a step with positive δ made success likelier.
Values of few completions differ by chance; the share of noise in the variance of δ says how much of δ that is.</p>
${pairs('Values of states', [
    ['steps', `${grouped(counts.steps)}, cut by ${visibleText(settings.steps)}; ${grouped(counts.distinctStates)} different states`],
    ['continuations', `${min === max ? min : `${min} to ${max}`} of every state; ${grouped(counts.continuations.made + counts.continuations.found)} in all, ${counts.continuations.unknown} could not be judged`],
    ['states without a value', String(counts.withoutValue)],
    ['tokens', `${grouped(tokens.sampled)} sampled; of the prefixes ${grouped(tokens.computed)} read and ${grouped(tokens.shared)} taken from a cache`],
    ['mean width of the 95 % intervals', fixed(values.meanWidth, 2)],
    ['δ', `${grouped(tdErrors.known)} known; mean ${fixed(tdErrors.mean)}, standard deviation ${fixed(tdErrors.deviation)}`],
    ['noise in the variance of δ', noiseText(tdErrors.noise)],
    ['Σδ against r − V(s₀)', `largest gap ${significant(tdErrors.telescopeGap, 2)} (rounding)`],
    ...(probe === null ? [] : [['value probe against them', `layer ${probe.layer}, ${probe.states} held-out states: Spearman ${withInterval(probe.spearman)}, Pearson ${withInterval(probe.pearson)}`] as const]),
    ['wall time', seconds(values.seconds)],
  ])}</section>`;
}
