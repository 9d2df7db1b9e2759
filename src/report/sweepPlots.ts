/** Plots of an ablation sweep: accuracy by layer against the draws of controls, and changes of all arms as a forest. */
import type { TopLevelSpec } from 'vega-lite';
import type { ArmResult, ModelResult } from './ablationSchema.js';
import type { Series } from './plots.js';
import { CONFIG, WIDTH, color } from './plots.js';
import type { Setting } from './sweepFacts.js';
import { drawnCells, groupName, isOf } from './sweepFacts.js';

type Look = Pick<Series, 'color' | 'dash' | 'shape'>;

const LOOKS: Readonly<Record<string, Look>> = {
  top: { color: 's-value', dash: [], shape: 'circle' },
  list: { color: 's-value', dash: [6, 3], shape: 'diamond' },
  bottom: { color: 's-null', dash: [6, 3], shape: 'cross' },
  matched: { color: 's-base', dash: [], shape: 'triangle-up' },
  random: { color: 's-linear', dash: [], shape: 'square' },
  'random-no-sinks': { color: 's-null', dash: [], shape: 'square' },
  spread: { color: 's-refit', dash: [], shape: 'diamond' },
  largest: { color: 's-linear', dash: [2, 2], shape: 'cross' },
  wanda: { color: 's-refit', dash: [2, 2], shape: 'circle' },
  'next-token': { color: 's-base', dash: [2, 2], shape: 'square' },
  terminal: { color: 's-null', dash: [2, 2], shape: 'diamond' },
};
const OTHER: Look = { color: 's-null', dash: [], shape: 'circle' };

/** How a group of arms looks in every plot. */
const seriesOf = (group: string): Series => ({ name: groupName(group), ...(LOOKS[group] ?? OTHER) });

/** Groups of a setting, sets first, each in the order of the plan. */
function groupsOf({ arms }: ModelResult, setting: Setting): string[] {
  const own = arms.filter((arm) => isOf(setting, arm));
  return [...new Set([...own.filter(({ role }) => role === 'set'), ...own.filter(({ role }) => role === 'control')].map(({ group }) => group))];
}

/** Ends in tenths that hold all numbers. */
function tenths(numbers: readonly number[]): [number, number] {
  return [Math.floor(10 * Math.min(...numbers) - 1e-9) / 10, Math.ceil(10 * Math.max(...numbers) + 1e-9) / 10];
}

/** Colour and shape by group, with one legend for both unless rows have names. */
function scales(groups: readonly string[], named = false): { colored: object; shaped: object; dashed: object } {
  const series = groups.map(seriesOf);
  const legend = named ? null : { title: null, orient: 'bottom', direction: 'horizontal', columns: 2, columnPadding: 24 };
  const scaled = (range: readonly unknown[]): object => ({ field: 'series', type: 'nominal', sort: null, scale: { domain: series.map(({ name }) => name), range }, legend });
  return {
    colored: scaled(series.map((one) => color(one.color))),
    shaped: scaled(series.map(({ shape }) => shape)),
    dashed: { ...scaled(series.map(({ dash }) => dash)), legend: null },
  };
}

/** Marks of a set (point with interval) and of draws (their range, every one of them, their mean); `along` runs along the numbers, `across` over the rows. */
function marks(along: 'x' | 'y', axes: { x: object; y: object }, groups: readonly string[], rows: { sets: object[]; spans: object[]; draws: object[] }): object[] {
  const { colored, shaped } = scales(groups, along === 'x');
  const across = along === 'y' ? 'x' : 'y';
  const range = { [across]: axes[across], [along]: { ...axes[along], field: 'low' }, [`${along}2`]: { field: 'high' }, color: colored };
  return [
    { data: { values: rows.spans }, mark: { type: 'rule', strokeWidth: 11, opacity: 0.25 }, encoding: range },
    { data: { values: rows.draws }, mark: { type: 'point', filled: true, size: 12, opacity: 0.8 }, encoding: { ...axes, color: colored, shape: shaped } },
    { data: { values: rows.spans }, mark: { type: 'tick', orient: along === 'y' ? 'horizontal' : 'vertical', size: 11, thickness: 2 }, encoding: { ...axes, color: colored } },
    { data: { values: rows.sets }, mark: { type: 'rule', strokeWidth: 1.5 }, encoding: range },
    { data: { values: rows.sets }, mark: { type: 'point', filled: true, size: 60, opacity: 1 }, encoding: { ...axes, color: colored, shape: shaped } },
  ];
}

/** Side steps of draws, so that equal ones stay apart: −2 … 2. */
const aside = (draw: number): number => ((2 * draw) % 5) - 2;

const mean = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
const valuesOf = (arms: readonly ArmResult[], pick: (arm: ArmResult) => number | null | undefined): number[] => arms.map(pick).filter((x) => typeof x === 'number');

/** Accuracy by layer: sets with intervals, control draws as dots on their range with a bar at their mean; the base as a line. */
export function accuracySpec(model: ModelResult, setting: Setting): TopLevelSpec {
  const own = model.arms.filter((arm) => isOf(setting, arm));
  const layers = [...new Set(own.map(({ layer }) => layer))].sort((a, b) => a - b);
  const groups = groupsOf(model, setting);
  const gap = Math.min(1, ...layers.slice(1).map((layer, i) => layer - (layers[i] ?? layer)));
  const apart = gap * Math.min(0.16, 0.9 / groups.length); // all groups of a layer between it and its neighbours
  const place = (layer: number, group: string): number => layer + apart * (groups.indexOf(group) - (groups.length - 1) / 2);
  const sets = own.filter(({ role, accuracy }) => role === 'set' && accuracy.value !== null).map(({ layer, group, accuracy }) => ({ series: groupName(group), at: place(layer, group), value: accuracy.value, low: accuracy.low, high: accuracy.high }));
  const cells = drawnCells(model, setting).map((cell) => ({ ...cell, values: valuesOf(cell.arms, ({ accuracy }) => accuracy.value) })).filter(({ values }) => values.length > 0);
  const spans = cells.map(({ layer, group, values }) => ({ series: groupName(group), at: place(layer, group), value: mean(values), low: Math.min(...values), high: Math.max(...values) }));
  const base = model.base.accuracy;
  const ends: [number, number] = [(layers[0] ?? 0) - 0.6, (layers.at(-1) ?? 0) + 0.6];
  const width = Math.max(WIDTH, 24 * groups.length * layers.length);
  const step = (2 * (ends[1] - ends[0])) / width; // two pixels: inside the band
  const draws = cells.flatMap(({ layer, group, values }) => values.map((value, draw) => ({ series: groupName(group), at: place(layer, group) + step * aside(draw), value })));
  const ticks = layers.filter((_, i) => i % Math.ceil((layers.length * WIDTH) / (16 * width)) === 0);
  const x = { field: 'at', type: 'quantitative', scale: { domain: ends, nice: false }, axis: { title: 'layer', grid: false, values: ticks, format: 'd' } };
  const domain = tenths([...[base.value, base.low, base.high].filter((v) => v !== null), ...[...sets, ...spans].flatMap(({ value, low, high }) => [value, low, high].filter((v) => v !== null))]);
  const y = { field: 'value', type: 'quantitative', scale: { domain: [Math.max(0, domain[0]), Math.min(1, domain[1])], nice: false }, axis: { title: 'accuracy', tickCount: 6, format: '.0%' } };
  const reference = { data: { values: base.value === null ? [] : [{ value: base.value }] }, mark: { type: 'rule', color: color('fg'), strokeDash: [2, 3], opacity: 0.9 }, encoding: { y } };
  const { colored, dashed } = scales(groups);
  const line = { data: { values: sets }, mark: { type: 'line', strokeWidth: 1.5 }, encoding: { x, y, color: colored, strokeDash: dashed } };
  return { width, height: 340, autosize: { type: 'fit', contains: 'padding' }, config: CONFIG, layer: [reference, line, ...marks('y', { x, y }, groups, { sets, spans, draws })] } as unknown as TopLevelSpec;
}

/** Change of accuracy of every set with its interval, and under it the draws of its controls; no change is the line at 0. */
export function forestSpec(model: ModelResult, setting: Setting): TopLevelSpec {
  const own = model.arms.filter((arm) => isOf(setting, arm));
  const groups = groupsOf(model, setting);
  const layers = [...new Set(own.map(({ layer }) => layer))].sort((a, b) => a - b);
  // Rows from the top, an empty one between layers.
  const rows = layers.flatMap((layer, i) => [
    ...(i === 0 ? [] : [{ layer, group: '' }]),
    ...groups.filter((group) => own.some((arm) => arm.layer === layer && arm.group === group)).map((group) => ({ layer, group })),
  ]);
  const rowOf = (arm: { layer: number; group: string }): number => rows.findIndex(({ layer, group }) => layer === arm.layer && group === arm.group);
  const sets = own.filter(({ role, change }) => role === 'set' && typeof change?.value === 'number').map((arm) => ({ series: groupName(arm.group), at: rowOf(arm), value: arm.change?.value ?? 0, low: arm.change?.low ?? arm.change?.value ?? 0, high: arm.change?.high ?? arm.change?.value ?? 0 }));
  const cells = drawnCells(model, setting).map((cell) => ({ ...cell, values: valuesOf(cell.arms, ({ change }) => change?.value) })).filter(({ values }) => values.length > 0);
  const spans = cells.map((cell) => ({ series: groupName(cell.group), at: rowOf(cell), value: mean(cell.values), low: Math.min(...cell.values), high: Math.max(...cell.values) }));
  const draws = cells.flatMap((cell) => cell.values.map((value, draw) => ({ series: groupName(cell.group), at: rowOf(cell) + 0.13 * aside(draw), value })));
  const domain = tenths([...[...sets, ...spans].flatMap(({ low, high }) => [low, high]), -0.05, 0.05]);
  const labels = rows.map(({ layer, group }) => (group === '' ? '' : `L${layer} ${groupName(group)}`));
  const x = { field: 'value', type: 'quantitative', scale: { domain, nice: false }, axis: { title: 'change of accuracy, in points', tickCount: 6, labelExpr: "datum.value === 0 ? '0' : format(100 * datum.value, '+.0f')" } };
  const axis = { title: null, grid: false, ticks: false, domain: false, values: labels.flatMap((label, at) => (label === '' ? [] : [at])), labelLimit: 260, labelOverlap: false, labelExpr: `${JSON.stringify(labels)}[datum.value]` };
  const y = { field: 'at', type: 'quantitative', scale: { domain: [-0.6, rows.length - 0.4], reverse: true, nice: false }, axis };
  const zero = { data: { values: [{ value: 0 }] }, mark: { type: 'rule', color: color('fg'), opacity: 0.9 }, encoding: { x } };
  return { width: WIDTH, height: 96 + 19 * rows.length, autosize: { type: 'fit', contains: 'padding' }, config: CONFIG, layer: [zero, ...marks('x', { x, y }, groups, { sets, spans, draws })] } as unknown as TopLevelSpec;
}
