import { readFileSync } from 'node:fs';
import { Script } from 'node:vm';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { parseStudy } from '../../src/report/parse.js';
import { renderReport } from '../../src/report/report.js';
import type { Study } from '../../src/report/schema.js';
import { SCRIPT } from '../../src/report/script.js';
import { COLORS, STRONGEST } from '../../src/report/style.js';

const example = (): unknown => JSON.parse(readFileSync(new URL('../fixtures/report/study.json', import.meta.url), 'utf8'));
const study = (): Study => parseStudy(example(), 'study.json');

/** Attributes' values of every element of a kind. */
const all = (page: string, pattern: RegExp): string[] => [...page.matchAll(pattern)].map((match) => match[1] ?? '');
const inBrackets = (page: string): string[] => all(page, /<([^>]*)>/g);

describe('renderReport', () => {
  let page = '';
  /** The page without its script, style and data. */
  let markup = '';
  beforeAll(async () => {
    page = await renderReport(study());
    markup = page.replace(/<(script|style)[^>]*>[^]*?<\/\1>/g, '');
  });

  test('the same study gives the same bytes, whatever was rendered before', async () => {
    expect(await renderReport(study())).toBe(page);
  });

  test('loads nothing: no address anywhere but the namespace of SVG, and a policy that forbids loading', () => {
    expect(page.replaceAll('xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(/https?:/i);
    expect(page).not.toMatch(/\s(?:src|srcset|data|action|poster|background)\s*=\s*["'](?!#)/i);
    expect(all(page, /href="([^"]*)"/g).filter((href) => !href.startsWith('#'))).toEqual([]);
    expect(page).not.toMatch(/@import|@font-face|url\((?!#)/i);
    expect(page).toContain("default-src &#39;none&#39;");
  });

  test('every link and every reference inside leads somewhere, and ids are unique', () => {
    const ids = all(markup, / id="([^"]*)"/g);
    expect(ids.length).toBe(new Set(ids).size);
    const used = [...all(markup, /href="#([^"]*)"/g), ...all(markup, /url\(#([^)]*)\)/g), ...all(markup, / for="([^"]*)"/g), ...all(markup, /aria-labelledby="([^"]*)"/g).flatMap((list) => list.split(' '))];
    expect(used.length).toBeGreaterThan(100);
    expect(used.filter((id) => !ids.includes(id))).toEqual([]);
  });

  test('texts of models stay texts', () => {
    expect(page.match(/<script/g)).toHaveLength(3); // data of two token views, and the page's own
    expect(page.match(/<\/script/g)).toHaveLength(3);
    expect(page).not.toContain('<!--');
    expect(page).not.toMatch(/<img|<b>/);
    expect(page).toContain('&lt;script&gt;alert(&quot;prompt&quot;)&lt;/script&gt;');
    expect(inBrackets(markup).filter((tag) => /^on|\son\w+=/i.test(tag))).toEqual([]);
  });

  test('token data come back from the page as they went in, made visible', () => {
    const [first, second] = all(page, /<script type="application\/json"[^>]*>([^]*?)<\/script>/g).map((json) => JSON.parse(json) as { scale: number; examples: { t: string[]; v: number[]; d: (number | null)[] }[] });
    const { datasets } = study();
    expect(first?.examples.map(({ v }) => v.length)).toEqual(datasets[0]?.examples.map(({ values }) => values.length));
    expect(second?.examples[0]?.t.slice(0, 5)).toEqual(['<script>alert(1)</script>', '·', '</script', '>', '<!--']);
    expect(second?.examples[0]?.t).toEqual(expect.arrayContaining(['↵\n', '⇥', '⟨?⟩', '⟨0x00⟩', '⟨U+202E⟩abc', '∅', '⟨0x0D⟩↵\n']));
    expect(second?.examples[0]?.d.at(-1)).toBeNull();
  });

  test('characters that reorder, hide or control text never reach the page', () => {
    expect(page).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufffd]/);
  });

  test('numbers that are not there are dashes', () => {
    expect(markup).not.toMatch(/NaN|undefined|Infinity|\[object/);
    expect(markup).toContain('No numbers at this place.');
    expect(markup).toContain('29 unknown');
  });

  test('headings go down one step at a time; every plot has a name, every table a caption and scopes', () => {
    const levels = all(markup, /<h([1-6])>/g).map(Number);
    expect(levels[0]).toBe(1);
    expect(levels.filter((level) => level === 1)).toHaveLength(1);
    levels.slice(1).forEach((level, i) => expect(level - (levels[i] ?? 0)).toBeLessThanOrEqual(1));
    const plots = markup.match(/<svg [^>]*>/g) ?? [];
    expect(plots).toHaveLength(2 * 13 + 9);
    plots.forEach((plot) => expect(plot).toMatch(/role="img" aria-labelledby="/));
    expect(markup.match(/<figure>/g)?.length).toBe(26);
    expect(markup.match(/<figure>[^]*?<details><summary>The same numbers as a table/g)?.length).toBe(26);
    const tables = markup.split('<table').slice(1);
    tables.forEach((text) => expect(text).toMatch(/^[^>]*><caption>[^]*?scope="/));
    expect(markup).toMatch(/<html lang="en">/);
  });

  test('colours of plots follow the scheme: no fixed ones but in heat maps', () => {
    const plots = markup.match(/<svg [^]*?<\/svg>/g) ?? [];
    const fixed = plots.filter((plot) => !plot.includes('linearGradient')).flatMap((plot) => all(plot, / (?:fill|stroke)="([^"]*)"/g));
    expect(fixed.length).toBeGreaterThan(1000);
    expect([...new Set(fixed)].filter((color) => !/^var\(--[a-z-]+\)$|^none$|^transparent$/.test(color))).toEqual([]);
    const names = [...new Set(all(page, /var\(--([a-z-]+)\)/g))].filter((name) => !['at', 'd', 'left', 'width'].includes(name));
    expect(names.filter((name) => !(name in COLORS))).toEqual([]);
  });

  test('its script is a program', () => {
    expect(() => new Script(SCRIPT)).not.toThrow();
    expect(page).toContain(`<script>${SCRIPT}</script>`);
    expect(SCRIPT).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write|eval/);
  });

  test('three data sets with 30 trajectories of 500 tokens stay below 5 MB', async () => {
    const large = study();
    const [first] = large.datasets as [Study['datasets'][number]];
    const [, long] = large.datasets[1]?.examples as [unknown, (typeof first.examples)[number]];
    const tokens = long.tokens.map((_, t) => ` word${t}`);
    const numbers = long.values.map((value) => -value);
    const examples = Array.from({ length: 30 }, () => ({ ...long, tokens, logProbabilities: numbers, entropies: numbers }));
    large.datasets = [1, 2, 3].map((i) => ({ ...first, name: `set-${i}`, examples }));
    const bytes = Buffer.byteLength(await renderReport(large));
    expect(bytes).toBeLessThan(5e6);
  });

  test('a study with next to nothing in it', async () => {
    const bare = study();
    const [dataset] = bare.datasets as [Study['datasets'][number]];
    const layer = { ...(dataset.layers[0] as (typeof dataset.layers)[number]), variants: {}, trainLoss: [], validationLoss: [], sinks: [] };
    bare.findings = [];
    bare.selfTest = { passed: false, seconds: 1, checks: [] };
    bare.datasets = [{ ...dataset, layers: [layer], bestLayer: 0, baselines: [], calibration: [], pruning: [], examples: [], ranking: { ...dataset.ranking, neurons: [] } }];
    const text = await renderReport(bare);
    expect(text).toContain('No example trajectories were stored.');
    expect(text).toContain('The probe of the best layer was not pruned.');
    expect(text).toContain('Do not trust the numbers below');
  });
});

/** Contrast by WCAG 2.2: (L1 + 0.05) / (L2 + 0.05). */
function contrast(a: readonly number[], b: readonly number[]): number {
  const luminance = (rgb: readonly number[]): number =>
    rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * ([0.2126, 0.7152, 0.0722][i] ?? 0), 0);
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

describe.each([['light', 0], ['dark', 1]] as const)('colours, %s', (_, mode) => {
  const rgb = (name: string): number[] => [1, 3, 5].map((at) => parseInt(COLORS[name]?.[mode].slice(at, at + 2) ?? '', 16));

  test.each(['fg', 'soft', 'link', 'good', 'bad'])('%s is readable on background and panels', (name) => {
    expect(contrast(rgb(name), rgb('bg'))).toBeGreaterThan(4.5);
    expect(contrast(rgb(name), rgb('panel'))).toBeGreaterThan(4.5);
  });

  test.each(['s-value', 's-linear', 's-null', 's-base', 's-refit', 'axis', 'focus'])('%s can be seen', (name) => {
    expect(contrast(rgb(name), rgb('bg'))).toBeGreaterThan(3);
  });

  test.each(['high', 'low'])('text on the strongest %s is readable', (name) => {
    const mixed = rgb(name).map((c, i) => (c * STRONGEST + (rgb('bg')[i] ?? 0) * (100 - STRONGEST)) / 100);
    expect(contrast(rgb('fg'), mixed)).toBeGreaterThan(4.5);
  });
});
