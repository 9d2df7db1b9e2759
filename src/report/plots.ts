/** Plots as Vega-Lite specifications: lines with intervals, and grids of cells. Colours are CSS variables of the page (style.ts). */
import type { TopLevelSpec } from 'vega-lite';

/** How one series looks; never by colour alone. */
export interface Series {
  readonly name: string;
  /** CSS variable without the dashes. */
  readonly color: string;
  readonly dash: readonly number[];
  readonly shape: 'circle' | 'square' | 'triangle-up' | 'diamond' | 'cross';
  /** Interval as a band behind the line instead of bars at the points. */
  readonly band?: boolean;
}

/** One point of a series; without `y` it is left out. */
export interface PlotPoint {
  readonly series: string;
  readonly x: number;
  readonly y: number | null;
  readonly low?: number | null | undefined;
  readonly high?: number | null | undefined;
}

/** A plot of lines. */
export interface LinePlot {
  readonly series: readonly Series[];
  readonly points: readonly PlotPoint[];
  readonly x: { readonly title: string; readonly domain: readonly [number, number]; readonly log?: boolean; readonly ticks?: readonly number[]; readonly percent?: boolean };
  readonly y: { readonly title: string; readonly domain: readonly [number, number] };
  /** Outer size in pixels, default 520 × 320. */
  readonly size?: { readonly width: number; readonly height: number };
  /** Thin reference lines from (x, y) to (x2, y2), in data units. */
  readonly references?: readonly { readonly x: number; readonly y: number; readonly x2: number; readonly y2: number; readonly strong?: boolean }[];
}

/** Outer width in pixels. */
const WIDTH = 520;

const color = (name: string): string => `var(--${name})`;

/** Fonts, lines and text of every plot. */
export const CONFIG = {
  aria: false,
  background: null,
  font: 'inherit',
  padding: 4,
  view: { stroke: color('axis') },
  axis: {
    labelColor: color('fg'), titleColor: color('fg'), gridColor: color('grid'), tickColor: color('axis'), domainColor: color('axis'),
    labelFontSize: 12, titleFontSize: 12, titleFontWeight: 'normal', labelPadding: 4, titlePadding: 8,
  },
  legend: {
    labelColor: color('fg'), titleColor: color('fg'), labelFontSize: 12, titleFontSize: 12, titleFontWeight: 'normal', symbolSize: 90, symbolStrokeWidth: 0,
    labelLimit: 260, titleLimit: 400, symbolOpacity: 1, gradientStrokeColor: color('axis'),
  },
} as const;

function axisX(x: LinePlot['x']): Record<string, unknown> {
  return {
    title: x.title,
    grid: false,
    labelOverlap: 'greedy',
    // Widths of texts are estimated, without fonts, and on the large side.
    labelSeparation: -6,
    ...(x.ticks === undefined ? { tickCount: 5 } : { values: x.ticks }),
    ...(x.percent === true ? { labelExpr: "format(datum.value * 100, '.2~r') + ' %'" } : {}),
  };
}

/** Lines with points, intervals as bars or bands, and reference lines. */
export function lineSpec(plot: LinePlot): TopLevelSpec {
  const names = plot.series.map(({ name }) => name);
  const bands = new Set(plot.series.filter(({ band }) => band === true).map(({ name }) => name));
  const rows = plot.points.filter(({ y }) => y !== null);
  const ranged = rows.filter(({ low, high }) => typeof low === 'number' && typeof high === 'number');
    const legend = names.length < 2 ? null : { title: null, orient: 'bottom', direction: 'horizontal', columns: 2, columnPadding: 24 };
  const scaled = (range: readonly unknown[]): object => ({ field: 'series', type: 'nominal', sort: null, scale: { domain: names, range }, legend });
  const colored = scaled(plot.series.map((series) => color(series.color)));
  const x = { field: 'x', type: 'quantitative', scale: { type: plot.x.log === true ? 'log' : 'linear', domain: plot.x.domain, nice: false }, axis: axisX(plot.x) };
  const scaleY = { domain: plot.y.domain, nice: false };
  const y = { field: 'y', type: 'quantitative', scale: scaleY, axis: { title: plot.y.title, tickCount: 6 } };
  const range = { y: { ...y, field: 'low' }, y2: { field: 'high' } };
  const layers: object[] = [
    {
      data: { values: plot.references ?? [] },
      mark: { type: 'rule', color: color('fg'), strokeDash: [2, 3] },
      encoding: { x, y, x2: { field: 'x2' }, y2: { field: 'y2' }, opacity: { condition: { test: 'datum.strong', value: 0.9 }, value: 0.5 } },
    },
    { data: { values: ranged.filter(({ series }) => bands.has(series)) }, mark: { type: 'area', opacity: 0.22, clip: true }, encoding: { x, ...range, color: colored } },
    { data: { values: ranged.filter(({ series }) => !bands.has(series)) }, mark: { type: 'rule', strokeWidth: 1.5, clip: true }, encoding: { x, ...range, color: colored } },
    { data: { values: rows }, mark: { type: 'line', strokeWidth: 2, clip: true }, encoding: { x, y, color: colored, strokeDash: { ...scaled(plot.series.map(({ dash }) => dash)), legend: null } } },
    { data: { values: rows }, mark: { type: 'point', filled: true, size: 55, opacity: 1, clip: true }, encoding: { x, y, color: colored, shape: scaled(plot.series.map(({ shape }) => shape)) } },
  ];
  const size = plot.size ?? { width: WIDTH, height: 320 };
  return { ...size, autosize: { type: 'fit', contains: 'padding' }, config: CONFIG, layer: layers } as unknown as TopLevelSpec;
}

/** Cells of numbers from 0.5 (and below) to 1: one row a layer, from the last at the top to the first. */
export interface CellPlot {
  readonly columnTitle: string;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly layer: number; readonly values: readonly (number | null)[] }[];
}

/** A heat map with its numbers in the cells. */
export function cellSpec(plot: CellPlot): TopLevelSpec {
  const values = plot.rows.flatMap(({ layer, values: own }) => own.map((value, i) => ({ layer, column: plot.columns[i], value })));
  const x = { field: 'column', type: 'ordinal', sort: null, axis: { title: plot.columnTitle, labelAngle: 0, domain: false, ticks: false, labelOverlap: 'greedy' } };
  const y = { field: 'layer', type: 'ordinal', sort: 'descending', axis: { title: 'layer', domain: false, ticks: false } };
  const scale = { domain: [0.5, 1], scheme: 'cividis', clamp: true };
  const legend = { title: 'AUC (0.5 and below: darkest)', orient: 'bottom', direction: 'horizontal', gradientLength: 240, gradientThickness: 12, tickCount: 5 };
  const known = values.filter(({ value }) => value !== null);
  const layers = [
    { data: { values: known }, mark: { type: 'rect', stroke: color('bg'), strokeWidth: 1 }, encoding: { x, y, color: { field: 'value', type: 'quantitative', scale, legend } } },
    {
      data: { values: known },
      mark: { type: 'text', fontSize: 11 },
      encoding: { x, y, text: { field: 'value', format: '.2f' }, color: { condition: { test: 'datum.value > 0.73', value: '#000' }, value: '#fff' } },
    },
    { data: { values: values.filter(({ value }) => value === null) }, mark: { type: 'text', text: '–', color: color('fg') }, encoding: { x, y } },
  ];
  return { width: WIDTH, height: 92 + (plot.rows.length > 16 ? 17 : 24) * plot.rows.length, autosize: { type: 'fit', contains: 'padding' }, config: CONFIG, layer: layers } as unknown as TopLevelSpec;
}

/** Where the plotting area of {@link traceSpec} lies, in shares of its outer width: for the cursor of the page. */
export const TRACE_AREA = { left: 54 / 560, width: 494 / 560 } as const;

/** V(s_t) over one trajectory of `values.length` tokens, its reward behind the last one. */
export function traceSpec(values: readonly number[], reward: number | null): TopLevelSpec {
  const count = values.length;
  const all = reward === null ? values : [...values, reward];
  const domain = [Math.min(0, ...all), Math.max(1, ...all)];
  const x = { field: 't', type: 'quantitative', scale: { domain: [1, count + 1], nice: false }, axis: { title: 'token (V before it; the reward ◆ after the last)', grid: false, tickCount: 8, format: 'd', tickMinStep: 1 } };
  const y = { field: 'v', type: 'quantitative', scale: { domain, nice: false }, axis: { title: 'V', titleAngle: 0, tickCount: 3 } };
  const line = values.map((v, t) => ({ t: t + 1, v }));
  const layers = [
    { data: { values: [{ v: 0.5 }] }, mark: { type: 'rule', color: color('fg'), strokeDash: [2, 3], opacity: 0.5 }, encoding: { y } },
    { data: { values: line }, mark: { type: 'line', strokeWidth: 1.5, color: color('s-value'), ...(count === 1 ? { point: { color: color('s-value') } } : {}) }, encoding: { x, y } },
    { data: { values: reward === null ? [] : [{ t: count + 1, v: reward }] }, mark: { type: 'point', shape: 'diamond', filled: true, size: 90, opacity: 1, color: color('s-linear') }, encoding: { x, y } },
  ];
  const padding = { left: 54, right: 12, top: 10, bottom: 40 };
  return { width: 494, height: 90, autosize: 'none', padding, config: CONFIG, layer: layers } as unknown as TopLevelSpec;
}
