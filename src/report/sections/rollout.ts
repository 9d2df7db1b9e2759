/** What the model was asked and how often it was right. */
import { fixed, percent, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { pairs } from '../parts.js';
import type { DatasetResult } from '../schema.js';
import { visibleText } from '../text.js';

/** A value of a free-form record: texts as they are, everything else as JSON. */
export function valueText(value: unknown): string {
  return visibleText(typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value)));
}

const listText = (record: Readonly<Record<string, unknown>>): string =>
  Object.entries(record).map(([key, value]) => `${visibleText(key)} ${valueText(value)}`).join(', ') || '–';

/** Rollout, split and probe, as tables. */
export function rolloutSection({ rollout, split, probe, ...dataset }: DatasetResult, id: string): Html {
  const { promptLengths } = rollout;
  const share = (value: (typeof rollout)['accuracy']): string => withInterval(value, (x) => percent(x));
  return html`<section id="${id}-rollout"><h3>Rollout</h3>
<div class="pair">
${pairs('What the model did', [
  ['problems', `${rollout.problems}, ${rollout.samplesPerProblem} ${rollout.samplesPerProblem === 1 ? 'sample' : 'samples'} each: ${rollout.trajectories} trajectories`],
  ['accuracy', `${share(rollout.accuracy)} of the decided ones`],
  ['verdicts', `${rollout.correct} correct, ${rollout.wrong} wrong, ${rollout.unknown} unknown (left out of training and of every number)`],
  ['completion', `${fixed(rollout.meanTokens, 1)} tokens on average, at most ${rollout.maxTokens}`],
  ['ended by', listText(rollout.finishReasons)],
  ['prompts', promptLengths.min === promptLengths.max ? `${promptLengths.min} tokens, all alike` : `${promptLengths.min} to ${promptLengths.max} tokens`],
  ['sampling', `${listText(rollout.sampling)}; seed ${rollout.seed}; template ${visibleText(rollout.template)}`],
])}
${pairs('What the numbers rest on', [
  ['data set', html`${visibleText(dataset.source)}, format ${visibleText(dataset.format)}, answers checked as ${visibleText(dataset.check)}`],
  ['SHA-256 of the problems', html`<code>${dataset.sha256}</code>`],
  ['split by problem', `${split.train} trajectories to train, ${split.validation} to validate, ${split.test} held out (${split.testProblems} problems); seed ${split.seed}`],
  ['accuracy, held out', share(split.testAccuracy)],
  ['value probe', listText(probe)],
])}
</div></section>`;
}
