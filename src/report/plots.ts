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
  /** Lines without points, for many x close to each other. */
  readonly bare?: boolean;
  /** Outer size in pixels, default 520 × 320. */
  readonly size?: { readonly width: number; readonly height: number };
  /** Thin reference lines from (x, y) to (x2, y2), in data units. */
  readonly references?: readonly { readonly x: number; readonly y: number; readonly x2: number; readonly y2: number; readonly strong?: boolean }[];
}

/** Outer width in pixels of a plot that is not told its own. */
export const WIDTH = 520;

/** A colour of the page (style.ts) as plots name it. */
export const color = (name: string): string => `var(--${name})`;

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
    labelLimit: 420, titleLimit: 400, symbolOpacity: 1, gradientStrokeColor: color('axis'),
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

/** Names of series above this length stand one below the other. */
const LONG_NAME = 26;

/** Lines with points, intervals as bars or bands, and reference lines. */
export function lineSpec(plot: LinePlot): TopLevelSpec {
  const names = plot.series.map(({ name }) => name);
  const bands = new Set(plot.series.filter(({ band }) => band === true).map(({ name }) => name));
  const rows = plot.points.filter(({ y }) => y !== null);
  const ranged = rows.filter(({ low, high }) => typeof low === 'number' && typeof high === 'number');
  const lines = plot.bare === true ? { symbolType: 'stroke', symbolStrokeWidth: 2, symbolSize: 300 } : {};
  const legend = names.length < 2 ? null : { title: null, orient: 'bottom', direction: 'horizontal', columns: names.some(({ length }) => length > LONG_NAME) ? 1 : 2, columnPadding: 24, ...lines };
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
    { data: { values: rows }, mark: { type: 'line', strokeWidth: 2, clip: true }, encoding: { x, y, color: colored, strokeDash: { ...scaled(plot.series.map(({ dash }) => dash)), legend: plot.bare === true ? legend : null } } },
    ...(plot.bare === true ? [] : [{ data: { values: rows }, mark: { type: 'point', filled: true, size: 55, opacity: 1, clip: true }, encoding: { x, y, color: colored, shape: scaled(plot.series.map(({ shape }) => shape)) } }]),
  ];
  const size = plot.size ?? { width: WIDTH, height: 320 };
  return { ...size, autosize: { type: 'fit', contains: 'padding' }, config: CONFIG, layer: layers } as unknown as TopLevelSpec;
}

/** What the colours of cells mean. */
export interface CellScale {
  /** Title of the legend. */
  readonly title: string;
  /** Numbers beyond are shown as its ends. */
  readonly domain: readonly [number, number];
  /** With it colours run from orange (low) over white (here) to blue (high), on each side up to its end; without it from dark to light. */
  readonly middle?: number;
}

const AUC_SCALE: CellScale = { title: 'AUC (0.5 and below: darkest)', domain: [0.5, 1] };

/** Cells of numbers. */
export interface CellPlot {
  readonly columnTitle: string;
  /** Labels, each of them once. */
  readonly columns: readonly string[];
  /** Default "layer". */
  readonly rowTitle?: string;
  /** From the bottom up; labels, each of them once; one value per column, null where there is none. */
  readonly rows: readonly { readonly label: string | number; readonly values: readonly (number | null)[] }[];
  /** Default: AUC from 0.5 to 1. */
  readonly scale?: CellScale;
  /** Outer width in pixels, default 520. */
  readonly width?: number;
}

/** More columns than this are too narrow for numbers in the cells and for labels that lie. */
const MANY_COLUMNS = 14;

/** Colours of cells, and which of them are light enough for dark numbers. */
function cellColors({ title, domain: [low, high], middle }: CellScale): { color: object; light: string } {
  const legend = { title, orient: 'bottom', direction: 'horizontal', gradientLength: 240, gradientThickness: 12, tickCount: 5 };
  const scale = middle === undefined ? { domain: [low, high], scheme: 'cividis', clamp: true } : { domain: [low, high], domainMid: middle, scheme: 'blueorange', reverse: true, clamp: true };
  const light = middle === undefined ? `datum.value > ${low + 0.46 * (high - low)}` : `datum.value > ${middle - 0.72 * (middle - low)} && datum.value < ${middle + 0.72 * (high - middle)}`;
  return { color: { field: 'value', type: 'quantitative', scale, legend }, light };
}

/** A heat map, with its numbers in the cells where there is room. */
export function cellSpec(plot: CellPlot): TopLevelSpec {
  const { columns, rows, rowTitle = 'layer', scale = AUC_SCALE, width = WIDTH } = plot;
  const values = rows.flatMap(({ label, values: own }) => own.map((value, i) => ({ row: String(label), column: columns[i], value })));
  const many = columns.length > MANY_COLUMNS;
  const longest = Math.min(18, Math.max(0, ...columns.map(({ length }) => length)));
  const x = { field: 'column', type: 'ordinal', sort: null, scale: { domain: columns }, axis: { title: plot.columnTitle, labelAngle: many ? -90 : 0, labelLimit: 120, domain: false, ticks: false, labelOverlap: many ? false : 'greedy' } };
  const y = { field: 'row', type: 'ordinal', scale: { domain: rows.map(({ label }) => String(label)).reverse() }, axis: { title: rowTitle, domain: false, ticks: false, labelLimit: 300 } };
  const { color: colored, light } = cellColors(scale);
  const known = values.filter(({ value }) => value !== null);
  const layers = [
    { data: { values: known }, mark: { type: 'rect', stroke: color('bg'), strokeWidth: many ? 0.5 : 1 }, encoding: { x, y, color: colored } },
    {
      data: { values: many ? [] : known },
      mark: { type: 'text', fontSize: 11 },
      encoding: { x, y, text: { field: 'value', format: '.2f' }, color: { condition: { test: light, value: '#000' }, value: '#fff' } },
    },
    { data: { values: values.filter(({ value }) => value === null) }, mark: { type: 'text', text: '–', color: color('fg') }, encoding: { x, y } },
  ];
  const height = 92 + (rows.length > 16 ? 17 : 24) * rows.length + (many ? 7 * longest : 0);
  return { width, height, autosize: { type: 'fit', contains: 'padding' }, config: CONFIG, layer: layers } as unknown as TopLevelSpec;
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
