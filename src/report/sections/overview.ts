/** What comes first: findings in words, one row per data set, and whether the self-test passed. */
import { PLACE_NAMES, bestBaseline, bestLayer, inputCount, neededInputs, orderedFindings, pruningOf } from '../facts.js';
import { fixed, percent, seconds, shareText, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { table } from '../parts.js';
import type { DatasetResult, Place, Study } from '../schema.js';
import { PLACES } from '../schema.js';
import { visibleText } from '../text.js';

/** The smallest good set of neurons, in words: "4 of 192 (2.1 %)". */
export function neededText(dataset: DatasetResult, place: Place): string | undefined {
  const points = pruningOf(dataset, bestLayer(dataset).layer);
  const needed = points === undefined ? undefined : neededInputs(points, place);
  const all = inputCount(points);
  return needed === undefined || all === undefined ? undefined : `${needed.kept} of ${all} (${shareText(needed.kept / all)})`;
}

const two = (x: number | null): string => fixed(x, 2);

function datasetRow(dataset: DatasetResult, index: number): (string | Html)[] {
  const best = bestLayer(dataset);
  const baseline = bestBaseline(dataset, 'middle');
  return [
    html`<a href="#d${index}">${visibleText(dataset.name)}</a>`,
    withInterval(dataset.rollout.accuracy, (x) => percent(x, 0)),
    String(best.layer),
    ...PLACES.map((place) => withInterval(best.auc[place], two)),
    baseline === undefined ? '–' : html`${withInterval(baseline.auc.middle, two)}<br>${visibleText(baseline.name)}`,
    neededText(dataset, 'middle') ?? '–',
  ];
}

/** Findings in words, then the table of headline numbers. */
export function overviewSection(study: Study): Html {
  const items = orderedFindings(study).map(({ dataset, text }) => html`<li>${dataset === null ? null : html`<strong>${visibleText(dataset)}:</strong> `}${visibleText(text)}</li>\n`);
  return html`<section id="findings"><h2>Findings</h2>
${items.length === 0 ? html`<p>No findings were written down; the numbers below speak for themselves.</p>` : html`<ul class="findings">${items}</ul>`}
${table({
  caption: 'Headline numbers on held-out problems: AUC of the value probe at the best layer, chosen on validation problems, with 95 % intervals',
  head: ['data set', 'accuracy of the model', 'layer', 'AUC at s₀', 'AUC at the middle', 'AUC at the last token', 'best baseline at the middle', 'neurons needed at the middle'],
  rows: study.datasets.map(datasetRow),
})}
<p class="how"><strong>How to read this.</strong> AUC is the chance that a trajectory that ends right is valued higher than one that ends wrong: 0.5 is guessing, 1 is perfect.
An interval that contains 0.5 shows no effect. A place is a state of the trajectory: ${PLACE_NAMES.s0}, its middle, and the state before the last token.
Neurons needed: the smallest set of the best-ranked neurons whose AUC, and that of every larger set, is within 0.03 of all of them.
The best baseline is picked on the very numbers it is compared by, which favours the baseline.</p>
</section>`;
}

/** Outcome of the self-test. */
export function selfTestSection({ selfTest }: Study): Html {
  const passed = selfTest.checks.filter((check) => check.passed).length;
  const verdict = selfTest.passed
    ? html`<p class="good"><strong>✓ Passed:</strong> ${passed} of ${selfTest.checks.length} checks in ${seconds(selfTest.seconds)}.</p>`
    : html`<p class="bad"><strong>✗ Failed:</strong> ${passed} of ${selfTest.checks.length} checks passed. Do not trust the numbers below until this is understood.</p>`;
  return html`<section id="self-test"><h2>Self-test</h2>
<p>Before anything else the same code was run on signals that were planted, which it must find, and on rewards that were shuffled, where it must find nothing.</p>
${verdict}
${table({
  caption: 'Checks of the self-test',
  head: ['check', 'outcome', 'expected', 'observed'],
  rows: selfTest.checks.map((check) => [visibleText(check.name), check.passed ? '✓ passed' : '✗ failed', visibleText(check.expected), visibleText(check.observed)]),
  numbersFrom: 9,
})}
</section>`;
}
