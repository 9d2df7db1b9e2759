/** The page of activation patching: one HTML file that needs nothing else. */
import type { PatchMetric } from '../patch/metrics.js';
import { NONE, fixed, significant, withInterval } from '../report/format.js';
import type { Child, Html } from '../report/html.js';
import { html } from '../report/html.js';
import { renderPage } from '../report/page.js';
import { figure, pairs as pairTable, panels, table } from '../report/parts.js';
import type { PatchMapResult, PatchMetricMap, Patching } from '../report/patchSchema.js';
import { cellSpec } from '../report/plots.js';
import { flatten } from '../report/sections/provenance.js';
import { renderSvg } from '../report/svg.js';
import { visibleText, visibleToken } from '../report/text.js';
import { EFFECT_NAMES, METRIC_NAMES, columnName, mapName } from './patchFindings.js';
import { strongestCells } from './patchMaps.js';

/** Rows of the table of the strongest cells. */
const STRONGEST = 30;
/** Colours end at ±1: all of the gap. */
const SCALE = [-1, 1] as const;

type Column = PatchMapResult['columns'][number];

const oneLine = (text: string): string => visibleToken(text).replaceAll('\n', '');

/** Labels of an axis: unique and short. */
function axisLabels(columns: readonly Column[]): string[] {
  return columns.map(({ name, token }) => (token === null ? name : `${name} ${oneLine(token).slice(0, 14)}`));
}

interface Shown {
  map: PatchMapResult;
  result: PatchMetricMap;
  id: string;
}

/** Heat map of the effect, or of the control's. */
async function heatMap({ map, result, id }: Shown, what: 'effect' | 'control'): Promise<Html> {
  const columns = axisLabels(map.columns);
  const valueOf = (cell: PatchMetricMap['cells'][number][number]): number | null => (what === 'effect' ? cell.effect.value : cell.control);
  const rows = map.layers.map((layer, l) => ({ label: layer, values: (result.cells[l] ?? []).map(valueOf) }));
  const hover = rows.flatMap(({ label, values }, l) => values.flatMap((value, c) => {
    const cell = result.cells[l]?.[c];
    const rest = what === 'control' || cell === undefined ? '' : ` ${cell.effect.low === null ? '' : `[${fixed(cell.effect.low, 2)}, ${fixed(cell.effect.high, 2)}]`}${cell.p === null ? '' : `, p = ${significant(cell.p, 2)}`}${cell.control === null ? '' : `, control ${fixed(cell.control, 2)}`}`;
    return value === null ? [] : [`layer ${label}, ${columnName(map, c)}: ${fixed(value, 3)}${rest}`];
  }));
  const effect = EFFECT_NAMES[map.mode];
  const wide = columns.length > 18; // the page shows it larger
  const spec = cellSpec({
    columnTitle: map.kind === 'positions' ? 'position and token' : 'neurons',
    columns,
    rows,
    scale: { title: `${effect}, ${METRIC_NAMES[result.metric]}`, domain: SCALE, middle: 0 },
    width: wide ? Math.min(1280, Math.max(1000, 100 + 24 * columns.length)) : Math.max(520, 100 + (columns.length > 14 ? 24 : 42) * columns.length),
  });
  const title = what === 'effect' ? `${effect} by layer and ${map.kind === 'positions' ? 'position' : 'group of neurons'}` : "The same with another pair's activations: the null map";
  return figure({
    title,
    wide,
    plot: await renderSvg(spec, { id: `${id}-${what}`, title, description: `${mapName(map)}, ${METRIC_NAMES[result.metric]}. The numbers follow as a table.`, hover }),
    numbers: table({
      caption: `${title}: ${METRIC_NAMES[result.metric]}, mean over the pairs${what === 'effect' && result.leastP !== null ? '; * p ≤ 0.05, adjusted for all cells of the map' : ''}`,
      head: ['layer', ...columns],
      rows: map.layers.map((layer, l) => [String(layer), ...(result.cells[l] ?? []).map((cell) => ({ content: `${fixed(valueOf(cell), 2)}${what === 'effect' && cell.p !== null && cell.p <= 0.05 ? '*' : ''}` }))]),
    }),
  });
}

function strongestTable({ map, result }: Shown): Html {
  const cells = strongestCells(map, result.metric).slice(0, STRONGEST);
  return table({
    caption: `The ${cells.length} cells with the largest ${EFFECT_NAMES[map.mode]}: mean over the pairs with 95 % bootstrap interval (not adjusted for having been picked), p of sign flips adjusted for all cells (max-T), the mean effect of another pair's activations, and the mean of the metric itself`,
    head: ['layer', map.kind === 'positions' ? 'position' : 'neurons', 'effect', 'p', 'control', METRIC_NAMES[result.metric], 'pairs'],
    rows: cells.map((cell) => [
      { content: String(cell.layer), sort: cell.layer },
      columnName(map, cell.column).replace(/^(position|neurons) /, ''),
      { content: withInterval(cell.effect), sort: cell.effect.value },
      { content: cell.p === null ? NONE : significant(cell.p, 2), sort: cell.p },
      { content: fixed(cell.control), sort: cell.control },
      { content: significant(cell.raw), sort: cell.raw },
      { content: String(cell.effect.n), sort: cell.effect.n },
    ]),
    numbersFrom: 2,
    sortable: true,
  });
}

async function metricPanel(shown: Shown): Promise<Html> {
  const { map, result } = shown;
  const controlled = result.cells.some((row) => row.some(({ control }) => control !== null));
  const [from, to] = map.mode === 'denoising' ? ['corrupted', 'clean'] as const : ['clean', 'corrupted'] as const;
  const few = result.leastP === null ? 'One pair only: no interval, no test.' : `${result.pairs} pairs; the smallest p that they can give is ${significant(result.leastP, 2)}.`;
  return html`<p>Mean ${METRIC_NAMES[result.metric]} of the unedited runs: clean ${significant(result.base.clean)}, corrupted ${significant(result.base.corrupted)}. 0 is the ${from} run, 1 the ${to} run.
${few}${result.leftOut === 0 ? '' : ` ${result.leftOut} left out of effects: their clean and corrupted runs differ by less than ${significant(result.leastGap)}, or they have no wrong answer.`}</p>
${await heatMap(shown, 'effect')}
${controlled ? await heatMap(shown, 'control') : null}
${strongestTable(shown)}`;
}

async function mapSection(map: PatchMapResult, index: number, metric: PatchMetric): Promise<Html> {
  const id = `m${index}`;
  const options = [];
  for (const [m, result] of map.metrics.entries()) {
    options.push({ label: METRIC_NAMES[result.metric], content: await metricPanel({ map, result, id: `${id}-${m}` }) });
  }
  const chosen = Math.max(0, map.metrics.findIndex((result) => result.metric === metric));
  return html`<section id="${id}"><h2>${mapName(map)}</h2>${panels(`${id}-metric`, 'Metric', options, chosen)}</section>`;
}

function pairsSection({ pairs, skipped, notes }: Patching): Html {
  const answer = ({ text, piece }: { text: string; piece: string }): Child => html`<code>${oneLine(piece)}</code>${piece === text ? null : html` of <code>${oneLine(text)}</code>`}`;
  return html`<section id="pairs"><h2>Pairs</h2>
${table({
  caption: 'Prompts, and the metrics of their unedited runs (clean / corrupted)',
  head: ['id', 'clean', 'corrupted', 'answer', 'wrong', 'tokens', 'logit difference', 'probability', 'KL', 'control'],
  rows: pairs.map((pair) => {
    const { clean, corrupted } = pair.base;
    return [
      visibleText(pair.id), html`<code>${visibleText(pair.clean)}</code>`, html`<code>${visibleText(pair.corrupted)}</code>`, html`${answer(pair.answer)}`, pair.wrong === null ? NONE : html`${answer(pair.wrong)}`,
      String(pair.tokens), `${fixed(clean['logit-diff'], 2)} / ${fixed(corrupted['logit-diff'], 2)}`, `${significant(clean.probability)} / ${significant(corrupted.probability)}`, significant(corrupted.kl), pair.control === null ? NONE : visibleText(pair.control),
    ];
  }),
  numbersFrom: 5,
})}
${notes.length + skipped.length === 0 ? null : html`<ul>${notes.map((note) => html`<li>${visibleText(note)}</li>`)}${skipped.map(({ line, message }) => html`<li>left out: line ${line}: ${visibleText(message)}</li>`)}</ul>`}
</section>`;
}

/** The page as text; texts of models are escaped. The same result gives the same bytes. Cost: 10 to 40 ms per heat map. */
export async function renderPatchReport(patching: Patching): Promise<string> {
  const { maps, metric, findings, manifest, sweep, source } = patching;
  const sections = [];
  for (const [index, map] of maps.entries()) {
    sections.push(await mapSection(map, index, metric));
  }
  const contents = html`<nav aria-label="Contents"><ul><li><a href="#findings">Findings</a></li>${maps.map((map, i) => html`<li><a href="#m${i}">${mapName(map)}</a></li>`)}<li><a href="#pairs">Pairs</a></li><li><a href="#provenance">Provenance</a></li></ul></nav>`;
  const body = html`<section id="findings"><h2>Findings</h2><ul class="findings">${findings.map((finding) => html`<li>${visibleText(finding)}</li>`)}</ul>
<p class="how"><strong>How to read this.</strong> Activations of one prompt are put into the run of the other at one place, and the next token is looked at. Denoising puts clean activations into the corrupted run: blue where the answer comes back.
Noising puts corrupted ones into the clean run: blue where the answer is lost. An effect that another pair’s activations have as well says nothing about what the place holds.</p></section>
${sections}
${pairsSection(patching)}
<section id="provenance"><h2>Provenance</h2>
${pairTable('Manifest', [['format', `${patching.format}, version ${patching.version}`], ['pairs', html`<code>${visibleText(source)}</code>`], ...flatten(manifest), ...flatten(sweep, 'sweep.')])}
<p>Every number of this page, and more, is in <code>patch.json</code> beside it; <code>patch.parquet</code> has a row per cell.</p></section>`;
  return renderPage({ title: `Activation patching: ${visibleText(source)}`, kind: 'patching', contents, body });
}
