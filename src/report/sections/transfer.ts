/** How far value neurons and probes carry over between the folders of a study: overlap and cross-AUC, as heat maps. */
import { shownLayer, transferSentence } from '../applyFacts.js';
import { NONE, fixed, percent, shareText, signed, significant, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { figure, pairs, panels, table } from '../parts.js';
import type { CellPlot } from '../plots.js';
import { cellSpec } from '../plots.js';
import { renderSvg } from '../svg.js';
import { visibleText } from '../text.js';
import type { CrossAuc, PairOverlap, Transfer } from '../transferSchema.js';

const two = (x: number | null): string => fixed(x, 2);
const namesOf = ({ folders }: Transfer): string[] => folders.map(({ name }) => visibleText(name));

/** Folders by number, which has room in a column's label too. Rows from the bottom up, so that the first folder is on top. */
function cellsOf(names: readonly string[], cell: (row: number, column: number) => number | null): Pick<CellPlot, 'columns' | 'rows'> {
  return {
    columns: names.map((_, column) => `[${column + 1}]`),
    rows: names.map((name, row) => ({ label: `[${row + 1}] ${name}`, values: names.map((_, column) => cell(row, column)) })).reverse(),
  };
}

async function overlapFigure(transfer: Transfer, share: number, id: string): Promise<Html> {
  const names = namesOf(transfer);
  const own = transfer.overlaps.filter((entry) => entry.share === share);
  const between = (row: number, column: number): PairOverlap | undefined => own.find(({ a, b }) => (a === row && b === column) || (a === column && b === row));
  const most = Math.max(0.1, ...own.map(({ iou }) => iou));
  const spec = cellSpec({ columnTitle: 'folder', rowTitle: '', ...cellsOf(names, (row, column) => between(row, column)?.iou ?? null), scale: { title: 'IoU, mean over layers', domain: [0, Math.ceil(10 * most) / 10] } });
  return figure({
    title: `Overlap of the best ${shareText(share)} of the neurons`,
    plot: await renderSvg(spec, { id, title: `Overlap of value neurons, best ${shareText(share)}`, description: 'A heat map with its numbers in the cells; they follow as a table with chance and p-values.' }),
    how: 'IoU is the number of shared neurons over the size of the union. A light cell means little by itself: see in the table whether the overlap is beyond chance, and beyond that of neurons of like magnitude.',
    numbers: table({
      caption: `Best ${shareText(share)} of the neurons; p over layers, after Bonferroni’s correction`,
      head: ['pair', 'neurons in each set', 'IoU', 'chance', 'p', 'p against like magnitudes'],
      rows: own.map(({ a, b, count, iou, expectedIou, p, pMatched }) => [`${names[a] ?? ''} and ${names[b] ?? ''}`, String(count), fixed(iou), fixed(expectedIou), significant(p, 2), significant(pMatched, 2)]),
    }),
  });
}

async function crossFigure(transfer: Transfer, id: string): Promise<Html> {
  const { auc, place } = transfer;
  const names = namesOf(transfer);
  const at = (row: number, column: number): CrossAuc | undefined => auc.find(({ from, to }) => from === row && to === column);
  const layerOf = (entry: CrossAuc | undefined): ReturnType<typeof shownLayer> => (entry === undefined ? undefined : shownLayer(transfer, entry));
  const value = (row: number, column: number): number | null => layerOf(at(row, column))?.auc[place].value ?? null;
  const spec = cellSpec({ columnTitle: 'held-out problems of', rowTitle: 'probe of', ...cellsOf(names, value) });
  return figure({
    title: `Probes of one folder on the states of another: ${place}`,
    plot: await renderSvg(spec, { id, title: `Cross-AUC, ${place}`, description: 'A heat map with its numbers in the cells; they follow as a table with intervals.' }),
    how: 'AUC of the row’s value probe on held-out problems of the column that the row never saw, at the layer where the row is best. The diagonal is each probe at home. A probe that carries over is light off the diagonal too.',
    numbers: table({
      caption: `AUC at ${place} with 95 % intervals, and how much better the column’s own probe is on the same trajectories`,
      head: ['probe of', 'on', 'layer', 'AUC', 'own probe’s advantage', 'trajectories', 'left out: seen in training'],
      rows: auc.map((entry) => {
        const layer = shownLayer(transfer, entry);
        const difference = layer?.difference?.[place];
        return [names[entry.from] ?? '', names[entry.to] ?? '', layer === undefined ? NONE : String(layer.layer), layer === undefined ? NONE : withInterval(layer.auc[place], two), difference === undefined ? NONE : withInterval(difference, (x) => signed(x, 2)), String(entry.trajectories), String(entry.excluded)];
      }),
      numbersFrom: 2,
    }),
  });
}

/** The section on transfer. Cost: a plot per share, and one. */
export async function transferSection(transfer: Transfer): Promise<Html> {
  const names = namesOf(transfer);
  const shares = [...new Set(transfer.overlaps.map(({ share }) => share))];
  const options = [];
  for (const [i, share] of shares.entries()) {
    options.push({ label: percent(share, 0), content: await overlapFigure(transfer, share, `transfer-overlap-${i}`) });
  }
  return html`<section id="transfer"><h2>Across folders: transfer</h2>
<p><strong>${visibleText(transferSentence(transfer))}</strong></p>
<details><summary>Pair by pair</summary><ul class="findings">${transfer.findings.map((text) => html`<li>${visibleText(text)}</li>`)}</ul></details>
${transfer.incompatible.map(({ a, b, reason }) => html`<p>Not compared: ${names[a] ?? ''} and ${names[b] ?? ''}: ${visibleText(reason)}.</p>`)}
<div class="pair"><div>${options.length === 0 ? null : panels('transfer-shares', 'Share of the neurons', options, 0)}</div>${await crossFigure(transfer, 'transfer-auc')}</div>
${pairs('Folders', transfer.folders.map(({ name, model, quantization, layers, trajectories, heldOut, seed }, i) => [`[${i + 1}] ${visibleText(name)}`, `${visibleText(model.replace(/^.*[\\/]/, ''))} (${visibleText(quantization)}), ${layers.length} layers, ${trajectories} trajectories, ${heldOut} held out${seed === null ? '' : `, seed ${seed}`}`]))}
</section>`;
}
