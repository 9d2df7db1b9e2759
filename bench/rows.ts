/** Rows of the result: what was measured, against what, and which ratio was aimed at. */
import type { Hardware } from './hardware.js';
import type { Comparison } from './measure.js';

/** One line of the table and one object of `--json`. */
export interface Row {
  name: string;
  /** ours / reference, both in `unit`. */
  ratio: number;
  /** The ratio aimed at; null for rows that only explain others. */
  target: number | null;
  /** Whether larger (>=) or smaller (<=) ratios are better. */
  comparison: '>=' | '<=';
  /** Was the target reached? null without one. */
  met: boolean | null;
  ours: number;
  reference: number;
  unit: string;
  /** Smallest and largest ratio within one round; null for single measurements. */
  spread: [number, number] | null;
  /** The ratio counting only time inside llama_decode, without sampling and events; null where it means nothing. */
  decodeRatio: number | null;
  /** What the reference is, and anything that the number alone would hide. */
  note: string;
  hardware: Hardware;
  settings: Readonly<Record<string, unknown>>;
}

/** A row before the facts that all rows share are added. */
export type Finding = Omit<Row, 'hardware' | 'settings' | 'met'>;

/** A finding of two interleaved contenders; higher rates are better. */
export function finding(name: string, unit: string, comparison: Comparison, target: number | null, note: string): Finding {
  const differs = comparison.sameTokens === false ? ' WARNING: the two sides sampled different tokens.' : '';
  return {
    name,
    unit,
    target,
    comparison: '>=',
    ratio: comparison.ratio,
    ours: comparison.ours,
    reference: comparison.reference,
    spread: comparison.spread,
    decodeRatio: comparison.busyRatio,
    note: `${note}${comparison.sameTokens === true ? ' Both sides sampled the same tokens.' : ''}${differs}`,
  };
}

/** A finding against a limit or a sum; lower is better. */
export function limitFinding(name: string, unit: string, ours: number, reference: number, target: number, note: string): Finding {
  return { name, unit, target, comparison: '<=', ratio: ours / reference, ours, reference, spread: null, decodeRatio: null, note };
}

/** Adds the facts that all rows share. */
export function complete(findings: readonly Finding[], hardware: Hardware, settings: Readonly<Record<string, unknown>>): Row[] {
  return findings.map((row) => ({ ...row, met: reached(row), hardware, settings }));
}

function reached({ ratio, target, comparison }: Finding): boolean | null {
  if (target === null) {
    return null;
  }
  return comparison === '>=' ? ratio >= target : ratio <= target;
}

const HEADER = ['what', 'ours', 'reference', 'unit', 'ratio', 'spread', 'decode only', 'target', ''];

/** The rows as a table for a terminal, notes below it. */
export function formatTable(rows: readonly Row[]): string {
  const cells = rows.map((row, index) => [
    `${index + 1} ${row.name}`,
    number(row.ours),
    number(row.reference),
    row.unit,
    row.ratio.toFixed(row.ratio < 2 ? 3 : 2),
    row.spread === null ? '' : row.spread.map((value) => value.toFixed(2)).join('..'),
    row.decodeRatio === null ? '' : row.decodeRatio.toFixed(row.decodeRatio < 2 ? 3 : 2),
    row.target === null ? '' : `${row.comparison} ${row.target}`,
    row.met === null ? '' : row.met ? 'met' : 'MISSED',
  ]);
  const widths = HEADER.map((title, column) => Math.max(title.length, ...cells.map((line) => (line[column] ?? '').length)));
  const line = (values: readonly string[]): string =>
    values.map((value, column) => (column === 0 || column === 3 ? value.padEnd(widths[column] ?? 0) : value.padStart(widths[column] ?? 0))).join('  ').trimEnd();
  const notes = rows.map((row, index) => `${String(index + 1).padStart(2)}: ${row.note}`);
  return [line(HEADER), line(widths.map((width) => '-'.repeat(width))), ...cells.map(line), '', ...notes].join('\n');
}

function number(value: number): string {
  return value >= 1000 ? value.toFixed(0) : value.toPrecision(4);
}
