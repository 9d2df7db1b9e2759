/** How few neurons are needed: pruning curves against random and magnitude-matched sets. */
import { PLACE_NAMES, TOLERANCE, bestLayer, inputCount, pruningOf } from '../facts.js';
import { shareText, withDraws, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { figure, placePanels, table } from '../parts.js';
import type { PlotPoint, Series } from '../plots.js';
import { cellSpec, lineSpec } from '../plots.js';
import type { Band, DatasetResult, Place, PruningPoint } from '../schema.js';
import { PLACES } from '../schema.js';
import { renderSvg } from '../svg.js';
import { visibleText } from '../text.js';
import { aucDomain } from './layers.js';
import { neededText } from './overview.js';

const SERIES = {
  top: { name: 'best-ranked neurons', color: 's-value', dash: [], shape: 'circle' },
  random: { name: 'random sets', color: 's-linear', dash: [2, 2], shape: 'square', band: true },
  matched: { name: 'sets of matched magnitude', color: 's-base', dash: [6, 3], shape: 'triangle-up', band: true },
  refit: { name: 'best-ranked, refitted', color: 's-refit', dash: [10, 3, 2, 3], shape: 'diamond' },
  refitRandom: { name: 'random sets, refitted', color: 's-refit', dash: [2, 2], shape: 'cross' },
} satisfies Record<string, Series>;

function curvePoints(points: readonly PruningPoint[], place: Place, all: number): PlotPoint[] {
  const drawn = (series: Series, x: number, { mean, low, high }: Band): PlotPoint => ({ series: series.name, x, y: mean, low, high });
  return points.flatMap((point) => {
    const x = point.kept / all;
    const refit = point.refit?.[place];
    const refitRandom = point.refitRandom?.[place];
    return [
      ...(refitRandom === undefined ? [] : [drawn(SERIES.refitRandom, x, refitRandom)]),
      drawn(SERIES.random, x, point.random[place]),
      drawn(SERIES.matched, x, point.matched[place]),
      ...(refit === undefined ? [] : [{ series: SERIES.refit.name, x, y: refit.value }]),
      { series: SERIES.top.name, x, y: point.top[place].value, low: point.top[place].low, high: point.top[place].high },
    ];
  });
}

function curveTable(points: readonly PruningPoint[], place: Place, all: number): Html {
  const refitted = points.some(({ refit }) => refit !== undefined);
  return table({
    caption: `AUC of the pruned probe, held out: ${PLACE_NAMES[place]}. Controls: mean and 2.5 to 97.5 percentiles of the draws`,
    head: ['neurons kept', 'share', 'best-ranked', 'random', 'matched magnitude', ...(refitted ? ['refitted', 'random, refitted'] : []), 'draws'],
    rows: points.map((point) => [
      String(point.kept),
      shareText(point.kept / all),
      withInterval(point.top[place]),
      withDraws(point.random[place]),
      withDraws(point.matched[place]),
      ...(refitted ? [point.refit === undefined ? '–' : withInterval(point.refit[place]), point.refitRandom === undefined ? '–' : withDraws(point.refitRandom[place])] : []),
      String(point.random[place].draws),
    ]),
  });
}

async function curve(dataset: DatasetResult, points: readonly PruningPoint[], id: string): Promise<Html> {
  const all = inputCount(points) as number;
  const ticks = points.map(({ kept }) => kept / all);
  const domain: [number, number] = [Math.min(...ticks) / 1.15, 1.15];
  const bands = points.flatMap(({ top, random, matched }) => PLACES.flatMap((place) => [top[place], random[place], matched[place]]));
  return placePanels(`${id}-pruning`, async (place, own) => {
    const rows = curvePoints(points, place, all);
    const whole = points[0]?.top[place].value ?? null;
    const spec = lineSpec({
      series: Object.values<Series>(SERIES).filter(({ name }) => rows.some(({ series, y }) => series === name && y !== null)),
      points: rows,
      x: { title: 'share of the neurons that is kept (logarithmic)', domain, log: true, ticks, percent: true },
      y: { title: 'AUC', domain: aucDomain(bands) },
      references: [{ y: 0.5, strong: true }, ...(whole === null ? [] : [{ y: whole - TOLERANCE }])].map((line) => ({ x: domain[0], x2: domain[1], y2: line.y, ...line })),
    });
    const needed = neededText(dataset, place);
    return figure({
      title: `Pruning at layer ${bestLayer(dataset).layer}: ${PLACE_NAMES[place]}`,
      plot: await renderSvg(spec, { id: own, title: `AUC against the share of neurons kept, ${PLACE_NAMES[place]}`, description: `Neurons needed: ${needed ?? 'no numbers'}. The numbers follow as a table.` }),
      how: html`From right to left ever fewer neurons are kept; the probe’s other inputs are 0, which for z-scored inputs is their mean. Controls: sets of the same size drawn at random, and drawn to match the magnitude of the kept ones (bands: 95 % of the draws).
The upper dotted line is ${TOLERANCE} below all neurons. A sparse code is a flat blue curve above both bands; no effect is a blue curve inside them.
${needed === undefined ? html`<strong>No numbers at this place.</strong>` : html`<strong>Needed here: ${needed}.</strong>`}`,
      numbers: curveTable(points, place, all),
    });
  });
}

/** Top sets of every layer, for one place. */
async function overview(dataset: DatasetResult, id: string): Promise<Html> {
  const layers = dataset.layers.map(({ layer }) => ({ layer, points: pruningOf(dataset, layer) })).filter((entry) => entry.points !== undefined);
  const kept = [...new Set(layers.flatMap(({ points }) => (points ?? []).map((point) => point.kept)))].sort((a, b) => b - a);
  const columns = kept.map(String);
  const at = (points: readonly PruningPoint[] | undefined, count: number): PruningPoint | undefined => points?.find((point) => point.kept === count);
  return placePanels(`${id}-prune-layers`, async (place, own) => {
    const rows = layers.map(({ layer, points }) => ({ label: layer, values: kept.map((count) => at(points, count)?.top[place].value ?? null) }));
    return figure({
      title: `Pruning at every layer: ${PLACE_NAMES[place]}`,
      plot: await renderSvg(cellSpec({ columnTitle: 'neurons kept', columns, rows }), { id: own, title: `AUC by layer and neurons kept, ${PLACE_NAMES[place]}`, description: 'A heat map with the numbers in its cells; they follow as a table with the controls.' }),
      how: 'AUC of the best-ranked neurons alone. Compare with the controls in the table: a light cell means little where sets of matched magnitude reach the same.',
      numbers: table({
        caption: `AUC of the best-ranked neurons / mean of the sets of matched magnitude, held out: ${PLACE_NAMES[place]}`,
        head: ['layer', ...columns],
        rows: layers.map(({ layer, points }) => [
          String(layer),
          ...kept.map((count) => {
            const point = at(points, count);
            return point === undefined ? '–' : `${withInterval({ value: point.top[place].value, low: null, high: null })} / ${withDraws({ ...point.matched[place], low: null })}`;
          }),
        ]),
      }),
    });
  });
}

/** The section on pruning. */
export async function pruningSection(dataset: DatasetResult, id: string): Promise<Html> {
  const points = pruningOf(dataset, bestLayer(dataset).layer);
  const body = points === undefined ? html`<p>The probe of the best layer was not pruned.</p>` : html`<div class="pair">${await curve(dataset, points, id)}${await overview(dataset, id)}</div>`;
  return html`<section id="${id}-sparse"><h3>How few neurons are needed: pruning</h3>
<p>Neurons ranked by <code>${visibleText(dataset.ranking.method)}</code>, without a look at held-out problems.</p>
${body}</section>`;
}
