/** What is left of dopamine neurons when value neurons of earlier layers are taken away. */
import { interplayComparison, interplaySentence, layersText } from '../dopamineFacts.js';
import { NONE, fixed, percent, seconds, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import type { Interplay, InterplayArm, InterplayMeasure } from '../interplaySchema.js';
import { INTERPLAY_MEASURES } from '../interplaySchema.js';
import { pairs, table } from '../parts.js';
import { visibleText } from '../text.js';

const two = (x: number | null): string => fixed(x, 2);
const MEASURES: Readonly<Record<InterplayMeasure, string>> = { score: 'Spearman of the probe with δ', agreement: 'the probe’s agreement with itself', trace: 'the neurons’ agreement with themselves' };

const valueOf = ({ score, agreement, trace }: InterplayArm, measure: InterplayMeasure): string => (measure === 'trace' ? two(trace) : withInterval(measure === 'score' ? score : agreement, two));

function armTable(interplay: Interplay): Html {
  const controls = [...new Set(interplay.comparisons.map(({ control }) => control))];
  const sets = interplay.arms.filter(({ role }) => role === 'set');
  const against = (arm: string, measure: InterplayMeasure, control: string): string => {
    const found = interplayComparison(interplay, arm, measure, control);
    return found === undefined ? NONE : `${two(found.meanControl)} (${found.p.toPrecision(2)})`;
  };
  return table({
    caption: 'Held-out trajectories read again; controls: mean over draws, and p, the one-sided share of draws that leave as little',
    head: ['arm', 'measure', 'value', ...controls.map((control) => `${control} controls (p)`)],
    rows: [
      ...INTERPLAY_MEASURES.map((measure) => ['nothing taken away', MEASURES[measure], valueOf(interplay.base, measure), ...controls.map(() => '')]),
      ...sets.flatMap((arm) => INTERPLAY_MEASURES.map((measure) => [visibleText(arm.name), MEASURES[measure], valueOf(arm, measure), ...controls.map((control) => against(arm.name, measure, control))])),
    ],
    numbersFrom: 2,
  });
}

/** The section on the interplay of value and dopamine neurons; `notes` say what it left out. */
export function interplaySection(interplay: Interplay, id: string, notes: readonly string[]): Html {
  const sets = interplay.arms.filter(({ role }) => role === 'set');
  const draws = Math.max(0, ...interplay.comparisons.map((entry) => entry.draws));
  return html`<section id="${id}-interplay"><h3>Do dopamine neurons need value neurons: interplay</h3>
<p><strong>${visibleText(interplaySentence(interplay))}</strong> ${[...notes, ...interplay.notes].map(visibleText).join(' ')}</p>
${armTable(interplay)}
<p class="how"><strong>How to read this.</strong> The text stays what it was; the probe is not trained anew. That a set leaves less than 1 shows nothing: any edit does. <strong>That it leaves less than controls of the same size and magnitude is the finding.</strong></p>
${pairs('What this rests on', [
    ['dopamine probe', `layer ${interplay.layer}; neurons ${interplay.dopamineNeurons.join(', ')}`],
    ['held-out trajectories', `${interplay.trajectories}, with ${interplay.steps.all} steps, ${interplay.steps.large} of them with a large δ`],
    ['arms', `${sets.length} ${sets.length === 1 ? 'set' : 'sets'} (${sets.map(({ layers, share }) => `${percent(share, 0)} of ${layersText(layers)}`).join(', ')}), ${interplay.arms.length - sets.length} draws of controls; no p below ${fixed(1 / (draws + 1), 3)}`],
    ['wall time', seconds(interplay.seconds)],
  ])}</section>`;
}
