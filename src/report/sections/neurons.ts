/** The best-ranked neurons with their statistics. */
import { NONE, aligned, fixed, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import type { Cell } from '../parts.js';
import { table } from '../parts.js';
import type { DatasetResult, NeuronRow } from '../schema.js';
import { PLACES } from '../schema.js';
import { visibleText } from '../text.js';

function row(neuron: NeuronRow, methods: readonly string[], method: string): Cell[] {
  const rank = (name: string): Cell => {
    const value = neuron.ranks[name] ?? null;
    return { content: value === null ? NONE : String(value), sort: value };
  };
  const score = neuron.scores[method] ?? null;
  return [
    { content: neuron.sink ? html`${neuron.neuron} <span class="mark">massive</span>` : String(neuron.neuron), sort: neuron.neuron },
    { content: String(neuron.rank), sort: neuron.rank },
    { content: score === null ? NONE : aligned(score), sort: score },
    ...methods.filter((name) => name !== method).map(rank),
    ...PLACES.map((place) => ({ content: withInterval(neuron.auc[place], (x) => fixed(x, 2)), sort: neuron.auc[place].value })),
    ...[neuron.mean, neuron.std, neuron.rms].map((value) => ({ content: aligned(value), sort: value })),
  ];
}

/** The table of top neurons. */
export function neuronsSection({ ranking }: DatasetResult, id: string): Html {
  const methods = [...new Set(ranking.neurons.flatMap(({ ranks }) => Object.keys(ranks)))];
  const others = methods.filter((name) => name !== ranking.method).map((name) => `rank by ${visibleText(name)}`);
  return html`<section id="${id}-neurons"><h3>The best-ranked neurons of layer ${ranking.layer}</h3>
${table({
  caption: `The first ${ranking.neurons.length} neurons by ${visibleText(ranking.method)}: ranks by every method, AUC of the raw coordinate alone on held-out problems, statistics of the coordinate`,
  head: ['neuron', 'rank', 'score', ...others, 'AUC: s₀', 'AUC: middle', 'AUC: last token', 'mean', 'std', 'RMS'],
  rows: ranking.neurons.map((neuron) => row(neuron, methods, ranking.method)),
  sortable: true,
})}
<p class="how"><strong>How to read this.</strong> A neuron is one coordinate of the residual stream. Ranks count from 1 over all neurons of the layer; a neuron that every method ranks high is a better candidate than one that a single method likes.
AUC below 0.5: high activation means failure. An interval that contains 0.5 shows no effect of the coordinate alone.
<span class="mark">massive</span> marks coordinates far larger than the rest (attention sinks and the like): zeroing one breaks a model whatever it encodes, so distrust effects that rest on them.</p></section>`;
}
