import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { renderAblationReport, writeAblationReport } from '../../src/report/ablationReport.js';
import type { Ablation, ModelResult, Verdict, VerdictKind } from '../../src/report/ablationSchema.js';
import { parseAblation, parseStudy } from '../../src/report/parse.js';
import { renderReport } from '../../src/report/report.js';
import type { Study } from '../../src/report/schema.js';
import { renderSvg } from '../../src/report/svg.js';
import { renderSummary } from '../../src/report/summary.js';
import { drawnCells, pText, points, settingsOf, sweepSentence } from '../../src/report/sweepFacts.js';
import { accuracySpec, forestSpec } from '../../src/report/sweepPlots.js';
import { studyFindings } from '../../src/study/findings.js';
import { sweptLayers } from '../../src/study/sweepStage.js';
import { EXAMPLE, simulatedAblation } from '../helpers/ablation-example.js';

const all = (page: string, pattern: RegExp): string[] => [...page.matchAll(pattern)].map((match) => match[1] ?? '');
const model = (ablation: Ablation): ModelResult => ablation.models[0] as ModelResult;

let example: Ablation;
beforeAll(() => {
  example = simulatedAblation();
});

test('the example is a sweep as the schema has it', () => {
  expect(parseAblation(JSON.parse(JSON.stringify(example)), 'a.json')).toEqual(example);
  expect(() => parseAblation({ ...example, version: 0 }, 'a.json')).toThrow(/a\.json: version: expected 1, got 0: it was written by an older rewardlens; run `rewardlens ablate` again/);
  expect(() => parseAblation({ ...example, items: 'all' }, 'a.json')).toThrow('a.json: items: expected a number, got "all"');
});

describe('renderAblationReport', () => {
  let page = '';
  let markup = '';
  beforeAll(async () => {
    page = await renderAblationReport(example);
    markup = page.replace(/<(script|style)[^>]*>[^]*?<\/\1>/g, '');
  });

  test('is one file that loads nothing, the same for the same sweep', async () => {
    expect(page.replaceAll('xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(/https?:/i);
    expect(page).not.toMatch(/\s(?:src|srcset|data|action|poster|background)\s*=\s*["'](?!#)/i);
    expect(page).not.toMatch(/@import|@font-face|url\((?!#)/i);
    expect(page).toContain("default-src &#39;none&#39;");
    expect(await renderAblationReport(example)).toBe(page);
    const folder = mkdtempSync(join(tmpdir(), 'rewardlens-page-'));
    await writeAblationReport(example, join(folder, 'report.html'));
    expect(readFileSync(join(folder, 'report.html'), 'utf8')).toBe(page);
    await expect(writeAblationReport(example, join(folder, 'gone', 'report.html'))).rejects.toMatchObject({ code: 'IO', message: expect.stringMatching(/cannot write '.*gone/) });
    rmSync(folder, { recursive: true });
  });

  test('links lead somewhere, ids are unique, texts stay texts, numbers that are not there are dashes', () => {
    const ids = all(markup, / id="([^"]*)"/g);
    expect(ids.length).toBe(new Set(ids).size);
    const used = [...all(markup, /href="#([^"]*)"/g), ...all(markup, /url\(#([^)]*)\)/g), ...all(markup, / for="([^"]*)"/g), ...all(markup, /aria-labelledby="([^"]*)"/g).flatMap((list) => list.split(' '))];
    expect(used.filter((id) => !ids.includes(id))).toEqual([]);
    expect(markup).toContain('sums &lt;b&gt;');
    expect(markup).not.toMatch(/<b>|NaN|undefined|Infinity|\[object/);
    markup.split('<table').slice(1).forEach((text) => expect(text).toMatch(/^[^>]*><caption>[^]*?scope="/));
    const levels = all(markup, /<h([1-6])>/g).map(Number);
    levels.slice(1).forEach((level, i) => expect(level - (levels[i] ?? 0)).toBeLessThanOrEqual(1));
  });

  test('says every verdict before any number, with its warnings; every set is in the table, every draw in the other', () => {
    const { verdicts, arms } = model(example);
    expect(verdicts.map(({ kind }) => kind)).toEqual(['controlsCostAsMuch', 'controlsCostAsMuch', 'beyondAlone', 'beyondAlone']); // 39 draws are too few for four sets
    const first = markup.indexOf('<figure>');
    verdicts.forEach(({ text }) => expect(markup.slice(0, first)).toContain(text.replaceAll("'", '&#39;')));
    expect(markup.slice(0, first)).toContain('No effect beyond matched controls: they cost as much');
    expect(markup.slice(0, first)).toMatch(/⚠ Warning:<\/span> perplexity/);
    const rows = all(markup, /<th scope="row"[^>]*>([^<]*)<\/th>/g);
    arms.forEach(({ name }) => expect(rows.filter((row) => row === name)).toHaveLength(1));
    expect(markup).toContain('every arm with the same seed');
    expect(markup).toMatch(/39; a rank p-value cannot be below/);
  });

  test('two plots per setting, with the numbers of their description, colours of the scheme alone', () => {
    const plots = markup.match(/<svg [^]*?<\/svg>/g) ?? [];
    expect(plots).toHaveLength(4);
    plots.forEach((plot) => expect(plot).toMatch(/role="img" aria-labelledby="/));
    expect(markup.match(/<figure>[^]*?<details><summary>The same numbers as a table/g)).toHaveLength(4);
    const colors = plots.flatMap((plot) => all(plot, / (?:fill|stroke)="([^"]*)"/g));
    expect([...new Set(colors)].filter((color) => !/^var\(--[a-z-]+\)$|^none$|^transparent$/.test(color))).toEqual([]);
  });

  test('an edit count that is wrong cannot be overlooked', async () => {
    const [own] = example.models as [ModelResult];
    const wrong = { ...own, base: { ...own.base, edits: { edited: 1, expected: 2 } } };
    expect(markup).not.toContain('THESE DIFFER');
    expect(await renderAblationReport({ ...example, models: [wrong] })).toContain('THESE DIFFER');
  });

  test('what was given up, ended early or not measured is said', async () => {
    const own = model(example);
    const parked = Array.from({ length: 7 }, (_, i) => ({ arm: 'top', item: `p${i}`, reason: 'crash <i>' }));
    const early = { looks: [50, 100], alpha: 0.05, comparisons: 4, levels: [0.001, 0.02], spending: "O'Brien-Fleming" };
    const text = await renderAblationReport({ ...example, models: [{ ...own, parked, early, neutral: null, neutralSkipped: 'no room' }] });
    expect(text).toMatch(/7 pairs of arm and item failed again and again and are in no number: top on p0 \(crash &lt;i&gt;\);.*; …/);
    expect(text).toMatch(/a set ends when its p is at most 0\.001, 0\.02 after 50, 100 items \(O&#39;Brien-Fleming, α 0\.05 over 4 sets\)/);
    expect(text).toContain('no room');
    expect(await renderAblationReport({ ...example, notes: ['matched: no more different draws than 50 (L1 1%).', '<b>'] })).toContain('<p>matched: no more different draws than 50 (L1 1%). &lt;b&gt;</p>');
    expect(markup).not.toMatch(/given up|early decision/);
  });

  test('nothing but a base, several models, more settings than panes', async () => {
    const own = model(example);
    const bare = { ...own, arms: [], comparisons: [], verdicts: [], neutral: null, base: { ...own.base, neutral: null, accuracy: { value: null, low: null, high: null, n: 0 } } };
    const text = await renderAblationReport({ ...example, models: [bare, { ...own, name: 'other<i>.gguf' }] });
    expect(text).toContain('No value set was taken away');
    expect(text).toContain('<h4>other&lt;i&gt;.gguf</h4>');
    const [set] = own.arms as [ModelResult['arms'][number]];
    const many = Array.from({ length: 30 }, (_, i) => ({ ...set, name: `a${i}`, share: (i + 1) / 100 }));
    expect(await renderAblationReport({ ...example, models: [{ ...own, arms: many, comparisons: [], verdicts: [] }] })).toContain('6 more settings are in the table alone');
  });
});

describe('plots', () => {
  interface Layer { data: { values: { series?: string; value: number; at: number; low?: number; high?: number }[] }; mark: { type: string; strokeWidth?: number } }
  const layersOf = (spec: unknown): Layer[] => (spec as { layer: Layer[] }).layer;

  test.each([['accuracy', accuracySpec], ['forest', forestSpec]] as const)('%s: every draw is a dot inside its band, every set has its interval', (kind, make) => {
    const own = model(example);
    const [setting] = settingsOf(own) as [ReturnType<typeof settingsOf>[number]];
    const layers = layersOf(make(own, setting));
    const cells = drawnCells(own, setting);
    expect(cells.map(({ layer, group, arms }) => [layer, group, arms.length])).toEqual([[1, 'random', 39], [1, 'matched', 39], [3, 'random', 39], [3, 'matched', 39]]);
    const [bands, dots, , intervals] = layers.slice(kind === 'accuracy' ? 2 : 1) as [Layer, Layer, Layer, Layer];
    expect(dots.data.values).toHaveLength(4 * 39);
    const pick = (arm: ModelResult['arms'][number]): number => (kind === 'accuracy' ? arm.accuracy.value : arm.change?.value) ?? NaN;
    cells.forEach(({ arms }, i) => {
      const values = arms.map(pick);
      expect([bands.data.values[i]?.low, bands.data.values[i]?.high]).toEqual([Math.min(...values), Math.max(...values)]);
    });
    const sets = own.arms.filter(({ role, share }) => role === 'set' && share === setting.share);
    expect(intervals.data.values.map(({ value, low, high }) => [value, low, high])).toEqual(sets.map(({ accuracy, change }) => (kind === 'accuracy' ? [accuracy.value, accuracy.low, accuracy.high] : [change?.value, change?.low, change?.high])));
  });

  test('many groups stay beside their own layer', () => {
    const own = model(example);
    const [setting] = settingsOf(own) as [ReturnType<typeof settingsOf>[number]];
    const crowded = { ...own, arms: own.arms.flatMap((arm) => (arm.role === 'set' ? Array.from({ length: 11 }, (_, g) => ({ ...arm, group: `g${g}` })) : [])) };
    const spec = accuracySpec(crowded, setting) as unknown as { layer: { data: { values: { at?: number }[] } }[] };
    const places = spec.layer.flatMap(({ data }) => data.values.flatMap(({ at }) => (at === undefined ? [] : [at])));
    expect(places.length).toBeGreaterThan(22);
    expect(places.every((at) => Math.abs(at - 1) < 0.5 || Math.abs(at - 3) < 0.5)).toBe(true);
  });

  test('rows of the forest have the names of layer and set; names in a file cannot become expressions', async () => {
    const own = model(example);
    const [setting] = settingsOf(own) as [ReturnType<typeof settingsOf>[number]];
    const odd = { ...own, arms: own.arms.map((arm) => ({ ...arm, group: arm.group === 'random' ? '"+(1)+"<b>' : arm.group })) };
    const { text } = await renderSvg(forestSpec(odd, setting), { id: 'f', title: 't', description: 'd' });
    expect(text).toContain('>L1 best-ranked<');
    expect(text).toContain('>L3 matched magnitude<');
    expect(text).toContain('>L3 "+(1)+"&lt;b&gt;<');
  });
});

describe('in words', () => {
  const withKinds = (...kinds: VerdictKind[]): ModelResult => {
    const own = model(example);
    const names = own.arms.filter(({ role }) => role === 'set').map(({ name }) => name);
    return { ...own, verdicts: kinds.map((kind, i): Verdict => ({ arm: names[i % names.length] as string, kind, text: '', warnings: i === 0 ? ['odd'] : [] })) };
  };

  test.each([
    [['noEffect'], /^No effect beyond matched controls in the one value set \(2 best-ranked of layer 1 \(zero\): −25\.0 points .*\); 100 items show a fall of .* points with probability 80 %, after correction for .*\. Read the warning beside it\.$/],
    [['noEffect', 'controlsCostAsMuch'], /^No effect beyond matched controls in any of 2 value sets \(most: .* of 39 draws\); 1 cost accuracy, but so did the controls; 100 items .*\. Read the warning beside 1 of them\.$/],
    [['noEffect', 'beyond', 'cannotTell'], /^Taking away value neurons costs accuracy beyond the controls in 1 of 3 value sets \(most: .*rank p .* of 39 draws\)\.$/],
    [['beyond', 'beyond'], /in 2 of 2 value sets .*\. 1 of them show signs of completions that no longer end/],
    [['beyondAlone', 'noEffect'], /^In 1 of 2 value sets accuracy falls more than with the controls .* but not after correction/],
    [['cannotTell', 'noEffect', 'raised'], /^No effect beyond the controls was shown in any of 3 value sets \(1: accuracy rises; 1: no effect beyond matched controls; 1: cannot tell\)/],
    [[], /^No value set was taken away/],
  ] as const)('%j', (kinds, sentence) => {
    expect(sweepSentence(withKinds(...kinds))).toMatch(sentence);
  });

  test('numbers', () => {
    expect([pText(0.05), pText(1e-9), pText(null), points(0.125), points(-0.5), points(null)]).toEqual(['0.05', '< 0.0001', '–', '+12.5', '−50.0', '–']);
  });
});

describe('in a study', () => {
  const study = (ablation: Ablation | null): Study => {
    const own = parseStudy(JSON.parse(readFileSync(new URL('../fixtures/report/study.json', import.meta.url), 'utf8')), 'study.json');
    own.datasets = own.datasets.slice(0, 1).map((dataset) => ({ ...dataset, ablation, ablationNotes: ['Layers not swept: <0>.'] }));
    return own;
  };

  test('report, findings and terminal say what happened', async () => {
    const own = study(example);
    const page = await renderReport(own);
    expect(page).toContain('href="#d0-ablation"');
    expect(page).toMatch(/<section id="d0-ablation">[^]*Layers not swept: &lt;0&gt;\.[^]*In 2 of 4 value sets accuracy falls more/);
    expect(studyFindings(own.selfTest, own.datasets).map(({ text }) => text)).toContain(sweepSentence(model(example)));
    const lines = renderSummary(own).split('\n');
    expect(lines.join('\n')).toMatch(/taken away: 316 sets, 100 held-out problems each\n {2}top-1%-L3-zero-all: accuracy −\d+\.\d points .*39 matched draws .*rank p 0\.025\n {4}Beyond its own controls, .*\(the strongest of 4 verdicts\)\n {4}⚠ /);
    expect(lines.filter((line) => [...line].length > 100)).toEqual([]);
  });

  test('without a sweep they say why, and that the question is open', async () => {
    const own = study(null);
    expect(await renderReport(own)).toMatch(/<section id="d0-ablation">[^]*No neurons were taken away here\. Layers not swept: &lt;0&gt;\. Whether the model uses what the probe reads is open\./);
    expect(studyFindings(own.selfTest, own.datasets).filter(({ text }) => /away/.test(text))).toEqual([]);
    expect(renderSummary(own)).toContain('taken away: nothing. Layers not swept');
  });

  test('layers to sweep', () => {
    const layers = [0, 1, 2, 3, 4, 5];
    expect(sweptLayers(layers, 3, 'spread')).toEqual([1, 3, 5]);
    expect(sweptLayers(layers, 1, 'spread')).toEqual([1, 5]);
    expect(sweptLayers([7], 7, 'spread')).toEqual([7]);
    expect(sweptLayers(layers, 3, 'best')).toEqual([3]);
    expect(sweptLayers(layers, 3, [2, 0])).toEqual([2, 0]);
  });
});

test('termination artefacts are named where the sets stop stopping', async () => {
  const ablation = simulatedAblation({ ...EXAMPLE, layers: [3], shares: [0.01], draws: 19, endless: true });
  expect(model(ablation).verdicts[0]?.kind).toBe('beyond');
  expect(sweepSentence(model(ablation))).toMatch(/It shows signs of completions that no longer end or parse/);
  expect(await renderAblationReport(ablation)).toMatch(/⚠ Warning:<\/span> 100\.0 % of the completions ended by themselves without the edit/);
});
