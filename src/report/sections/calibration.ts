/** Whether a value is a probability: calibration; and what simpler scores reach: baselines. */
import { PLACE_NAMES, SHORT_PLACES, SHUFFLED, bestLayer, isOutside, side } from '../facts.js';
import { NONE, fixed, signed, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { figure, table } from '../parts.js';
import { lineSpec } from '../plots.js';
import type { Baseline, ByPlace, DatasetResult, Place } from '../schema.js';
import { PLACES } from '../schema.js';
import { renderSvg } from '../svg.js';
import { visibleText } from '../text.js';

async function calibrationFigure(dataset: DatasetResult, place: Place, id: string): Promise<Html> {
  const found = dataset.calibration.find((entry) => entry.place === place);
  const bins = found?.bins ?? [];
  const name = 'value probe';
  const spec = lineSpec({
    series: [{ name, color: 's-value', dash: [], shape: 'circle' }],
    points: bins.flatMap(({ meanPredicted, observed }) => (meanPredicted === null ? [] : [{ series: name, x: meanPredicted, y: observed.value, low: observed.low, high: observed.high }])),
    x: { title: 'predicted: V', domain: [0, 1] },
    y: { title: 'observed share of reward', domain: [0, 1] },
    size: { width: 400, height: 320 },
    references: [{ x: 0, y: 0, x2: 1, y2: 1, strong: true }],
  });
  return figure({
    title: `Calibration: ${SHORT_PLACES[place]}`,
    plot: await renderSvg(spec, { id, title: `Calibration, ${PLACE_NAMES[place]}`, description: `Expected calibration error ${fixed(found?.expectedError)}. The numbers follow as a table.` }),
    note: html`Expected calibration error ${fixed(found?.expectedError)}, Brier score ${fixed(bestLayer(dataset).brier[place])}.`,
    numbers: table({
      caption: `Calibration, held out: ${PLACE_NAMES[place]}; n trajectories`,
      head: ['V from – to', 'mean V', 'observed', 'n'],
      rows: bins.map((bin) => [`${fixed(bin.low, 2)} – ${fixed(bin.high, 2)}`, fixed(bin.meanPredicted), withInterval(bin.observed, (x) => fixed(x, 2)), String(bin.observed.n)]),
    }),
  });
}

function differenceText(difference: Baseline['difference'][Place]): string {
  if (difference === null) {
    return NONE;
  }
  const verdict = { above: ' ▲', below: ' ▼', over: '' }[side(difference, 0) ?? 'over'];
  return `${withInterval(difference, (x) => signed(x, 2))}${verdict}`;
}

function baselineTable(dataset: DatasetResult): Html {
  const { auc } = bestLayer(dataset);
  const cells = (from: ByPlace): string[] => PLACES.map((place) => withInterval(from[place], (x) => fixed(x, 2)));
  const kind = (baseline: Baseline): string => (isOutside(dataset, baseline) ? 'no look inside' : baseline.name === SHUFFLED ? 'null' : 'another probe');
  return table({
    caption: 'AUC, held out, and the value probe’s advantage on the same trajectories (paired), with 95 % intervals',
    head: ['score', 'kind', 'AUC: s₀', 'AUC: middle', 'AUC: last token', 'advantage: s₀', 'advantage: middle', 'advantage: last token'],
    rows: [
      [html`<strong>value probe, layer ${bestLayer(dataset).layer}</strong>`, '', ...cells(auc), '', '', ''],
      ...dataset.baselines.map((baseline) => [visibleText(baseline.name), kind(baseline), ...cells(baseline.auc), ...PLACES.map((place) => differenceText(baseline.difference[place]))]),
    ],
    numbersFrom: 2,
  });
}

/** Baselines and calibration. */
export async function comparisonSection(dataset: DatasetResult, id: string): Promise<Html> {
  const figures = [];
  for (const place of PLACES) {
    figures.push(await calibrationFigure(dataset, place, `${id}-calibration-${place}`));
  }
  return html`<section id="${id}-baselines"><h3>Against simpler scores: baselines</h3>
${baselineTable(dataset)}
<p class="how"><strong>How to read this.</strong> ▲ the value probe is better and the interval of the advantage excludes 0; ▼ it is worse; no mark: no difference was shown.
Shuffled rewards are the null: judged by the rewards it was trained on, its interval must contain 0.5. – means that the score does not exist at that place.</p></section>
<section id="${id}-calibration"><h3>Is the value a probability: calibration</h3>
<p class="how"><strong>How to read this.</strong> The value probe of layer ${bestLayer(dataset).layer}. A perfect forecast lies on the dotted diagonal. Bars are 95 % intervals (Wilson); bins of few trajectories have long ones. A probe that knows nothing would show a flat line
at the model’s accuracy, or a single point.</p>
<div class="pair small">${figures}</div></section>`;
}
