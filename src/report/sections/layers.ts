/** AUC by layer, against the linear probe, the shuffled null and the best baseline; and along the trajectory. */
import { LINEAR, PLACE_NAMES, SHUFFLED, bestBaseline, bestLayer, side } from '../facts.js';
import { fixed, significant, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { figure, placePanels, table } from '../parts.js';
import type { PlotPoint, Series } from '../plots.js';
import { cellSpec, lineSpec } from '../plots.js';
import type { ByPlace, DatasetResult, Estimate, Place } from '../schema.js';
import { PLACES } from '../schema.js';
import { renderSvg } from '../svg.js';
import { visibleText } from '../text.js';

const SERIES = {
  value: { name: 'value probe', color: 's-value', dash: [], shape: 'circle' },
  linear: { name: 'linear probe', color: 's-linear', dash: [6, 3], shape: 'square' },
  shuffled: { name: 'shuffled rewards (null)', color: 's-null', dash: [2, 2], shape: 'triangle-up' },
  baseline: { name: 'best baseline', color: 's-base', dash: [10, 3, 2, 3], shape: 'diamond', band: true },
} satisfies Record<string, Series>;

/** Scale of AUC that holds every number shown, 0.5 and 1, in tenths. */
export function aucDomain(estimates: readonly { low: number | null; high: number | null; value?: number | null }[]): [number, number] {
  const numbers = estimates.flatMap(({ low, high, value }) => [low, high, value ?? null]).filter((x) => x !== null);
  return [Math.floor(10 * Math.min(0.4, ...numbers) + 1e-9) / 10, 1];
}

function layerPoints(dataset: DatasetResult, place: Place): PlotPoint[] {
  const outside = bestBaseline(dataset, place, { outsideOnly: true });
  const point = (series: Series, x: number, from: ByPlace | undefined): PlotPoint[] => (from === undefined ? [] : [{ series: series.name, x, y: from[place].value, low: from[place].low, high: from[place].high }]);
  const ends = [dataset.layers[0], dataset.layers.at(-1)].map((layer) => layer?.layer ?? 0);
  return [
    // Side by side, so that intervals do not hide each other.
    ...dataset.layers.flatMap((layer) => [
      ...point(SERIES.value, layer.layer - 0.12, layer.auc),
      ...point(SERIES.linear, layer.layer, layer.variants[LINEAR]),
      ...point(SERIES.shuffled, layer.layer + 0.12, layer.variants[SHUFFLED]),
    ]),
    ...[(ends[0] ?? 0) - 0.4, (ends[1] ?? 0) + 0.4].flatMap((x) => point(SERIES.baseline, x, outside?.auc)),
  ];
}

function layerTable(dataset: DatasetResult, place: Place): Html {
  const variants = [...new Set(dataset.layers.flatMap(({ variants: own }) => Object.keys(own)))];
  const best = bestLayer(dataset).layer;
  return table({
    caption: `AUC by layer, held out: ${PLACE_NAMES[place]}`,
    head: ['layer', 'value probe', ...variants.map(visibleText), 'validation AUC', 'Brier score'],
    rows: dataset.layers.map((layer) => [
      layer.layer === best ? html`${layer.layer} <span class="mark">best</span>` : String(layer.layer),
      withInterval(layer.auc[place]),
      ...variants.map((name) => (layer.variants[name] === undefined ? '–' : withInterval(layer.variants[name][place]))),
      fixed(layer.validationAuc[place]),
      fixed(layer.brier[place]),
    ]),
  });
}

async function byLayer(dataset: DatasetResult, id: string): Promise<Html> {
  const numbers = dataset.layers.map(({ layer }) => layer);
  const all: Estimate[] = [...dataset.layers.flatMap(({ auc, variants }) => [auc, ...Object.values(variants)]), ...dataset.baselines.map(({ auc }) => auc)].flatMap((auc) => PLACES.map((place) => auc[place]));
  const domain = aucDomain(all);
  const range: [number, number] = [Math.min(...numbers) - 0.5, Math.max(...numbers) + 0.5];
  return placePanels(`${id}-layers`, async (place, own) => {
    const points = layerPoints(dataset, place);
    const used = Object.values<Series>(SERIES).filter(({ name }) => points.some(({ series, y }) => series === name && y !== null));
    const spec = lineSpec({
      series: used,
      points,
      x: { title: 'layer', domain: range, ticks: numbers.filter((_, i) => i % Math.ceil(numbers.length / 16) === 0) },
      y: { title: 'AUC', domain },
      references: [{ x: range[0], x2: range[1], y: 0.5, y2: 0.5, strong: true }],
    });
    const baseline = bestBaseline(dataset, place, { outsideOnly: true });
    const auc = bestLayer(dataset).auc[place];
    const description = `Value probe at layer ${bestLayer(dataset).layer}: ${withInterval(auc)}. Chance is 0.5. The numbers follow as a table.`;
    return figure({
      title: `AUC by layer: ${PLACE_NAMES[place]}`,
      plot: await renderSvg(spec, { id: own, title: `AUC by layer, ${PLACE_NAMES[place]}`, description }),
      how: html`Bars are 95 % intervals on held-out problems. Controls: the same probe trained on shuffled rewards, a linear probe where one was trained, and the best score that needs no look inside
(${baseline === undefined ? 'none here' : visibleText(baseline.name)}). No effect would look like the null: all points on the dotted line at 0.5. An advantage over the baseline that lies within its band is none.
${side(auc, 0.5) === 'over' ? html`<strong>Here the interval of the best layer contains 0.5.</strong>` : null}`,
      numbers: layerTable(dataset, place),
    });
  });
}

async function deciles(dataset: DatasetResult, id: string): Promise<Html> {
  const columns = Array.from({ length: 10 }, (_, d) => `${10 * d + 5} %`);
  const spec = cellSpec({ columnTitle: 'share of the trajectory that is behind the state', columns, rows: dataset.layers.map(({ layer, deciles: own }) => ({ label: layer, values: own.map(({ value }) => value) })) });
  return figure({
    title: 'AUC by layer along the trajectory',
    plot: await renderSvg(spec, { id: `${id}-deciles`, title: 'AUC by layer and tenth of the trajectory', description: 'A heat map with the numbers in its cells; they follow as a table with intervals.' }),
    how: 'Each cell is the held-out AUC of one layer at one tenth of the trajectory. Value that builds up gets lighter to the right. No effect would be dark all over (0.5); single light cells among many are chance.',
    numbers: table({
      caption: 'AUC by layer and tenth of the trajectory, held out',
      head: ['layer', ...columns],
      rows: dataset.layers.map(({ layer, deciles: own }) => [String(layer), ...own.map((estimate) => withInterval(estimate, (x) => fixed(x, 2)))]),
    }),
  });
}

/** Training of the probes, and coordinates with massive activations. */
function trainingTable(dataset: DatasetResult): Html {
  const rows = dataset.layers.map((layer) => [
    String(layer.layer),
    visibleText(layer.site),
    `${layer.epochs}, best ${layer.bestEpoch}`,
    significant(layer.trainLoss.at(-1)),
    significant(layer.validationLoss.length === 0 ? null : Math.min(...layer.validationLoss)),
    layer.sinks.length === 0 ? 'none' : layer.sinks.map(({ neuron, ratioToMedian }) => `${neuron} (${significant(ratioToMedian)}×)`).join(', '),
  ]);
  return html`<details><summary>Training, and coordinates with massive activations</summary>
${table({ caption: 'Per layer: epochs trained and kept, losses, and coordinates whose RMS is far above the median (how many times)', head: ['layer', 'site', 'epochs', 'last training loss', 'least validation loss', 'massive coordinates'], rows, numbersFrom: 2 })}</details>`;
}

/** The section on layers. */
export async function layersSection(dataset: DatasetResult, id: string): Promise<Html> {
  return html`<section id="${id}-auc"><h3>Where the value is: AUC by layer</h3>
<div class="pair">${await byLayer(dataset, id)}${await deciles(dataset, id)}</div>
${trainingTable(dataset)}</section>`;
}
