import { readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from '@jest/globals';
import { bestBaseline, neededInputs, orderedFindings, side } from '../../src/report/facts.js';
import { aligned, fixed, percent, seconds, shareText, signed, significant, withInterval } from '../../src/report/format.js';
import { escapeHtml, html, jsonScript } from '../../src/report/html.js';
import { parseEarlierStudy, parseStudy } from '../../src/report/parse.js';
import { cellSpec } from '../../src/report/plots.js';
import type { DatasetResult, PruningPoint, Study } from '../../src/report/schema.js';
import { NO_SECTIONS } from '../../src/report/sectionsSchema.js';
import { shellQuote } from '../../src/report/sections/provenance.js';
import { deltaScale } from '../../src/report/sections/tokens.js';
import { renderSummary } from '../../src/report/summary.js';
import { visibleText, visibleToken } from '../../src/report/text.js';

type Json = Record<string, unknown>;
const example = (): Json => JSON.parse(readFileSync(new URL('../fixtures/report/study.json', import.meta.url), 'utf8')) as Json;
const study = (): Study => parseStudy(example(), 'study.json');

describe('parseStudy', () => {
  test('takes the example as it is; a file without sections is of a study that had none', () => {
    const own = example();
    expect(study()).toEqual({ ...own, transfer: null, datasets: (own.datasets as Json[]).map((dataset) => ({ ...dataset, sections: NO_SECTIONS })) });
  });

  const at = (path: readonly (string | number)[], value: unknown): Json => {
    const json = example();
    const parent = path.slice(0, -1).reduce<Json>((here, key) => here[key] as Json, json);
    if (value === undefined) {
      delete parent[path.at(-1) as string];
    } else {
      parent[path.at(-1) as string] = value;
    }
    return json;
  };

  test.each([
    [['version'], 3, 's.json: version: expected 2, got 3: it was written by a newer rewardlens'],
    [['version'], 1, 's.json: version: expected 2, got 1: it was written by an older rewardlens; run `rewardlens study` again with the same arguments, stages that are done are kept'],
    [['version'], '2', 's.json: version: expected 2, got "2"'],
    [['datasets', 1, 'ablation'], {}, 's.json: datasets[1].ablation.format: expected "rewardlens.ablation", got undefined'],
    [['datasets', 0, 'ablationNotes'], undefined, 's.json: datasets[0].ablationNotes: expected an array, got undefined'],
    [['format'], 'else', 's.json: format: expected "rewardlens.study", got "else"'],
    [['title'], undefined, 's.json: title: expected a string, got undefined'],
    [['datasets', 0, 'layers', 2, 'auc', 'middle', 'value'], 'high', 's.json: datasets[0].layers[2].auc.middle.value: expected a number, got "high"'],
    [['datasets', 1, 'examples', 0, 'verdict'], 'right', 's.json: datasets[1].examples[0].verdict: expected one of "correct", "wrong", "unknown", got "right"'],
    [['datasets', 0, 'rollout', 'problems'], 1.5, 's.json: datasets[0].rollout.problems: expected an integer, got 1.5'],
    [['datasets'], [], 's.json: datasets: expected at least one data set, got none'],
    [['datasets', 0, 'bestLayer'], 6, 's.json: datasets[0].bestLayer: expected an index into 6 layers, got 6'],
    [['datasets', 0, 'layers', 1, 'deciles'], [], 's.json: datasets[0].layers[1].deciles: expected ten estimates, got an array of 0'],
    [['datasets', 0, 'examples', 3, 'values'], [0.5], 's.json: datasets[0].examples[3].values: expected 57 entries, one per token, got an array of 1'],
  ] as const)('%j = %j', (path, value, message) => {
    expect(() => parseStudy(at(path, value), 's.json')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message }));
  });

  const oldSection = (): Json => at(['datasets', 0, 'sections'], { ...NO_SECTIONS, values: { format: 'rewardlens.values', version: 0 } });

  test('a section of another version says what to run', () => {
    expect(() => parseStudy(oldSection(), 's.json')).toThrow(/^s\.json: datasets\[0\]\.sections\.values\.version: expected \d+, got 0: it was written by an older rewardlens; run `rewardlens study` again/);
  });

  test('what is read again from the files of other commands stops no report and no comparison', () => {
    expect(parseEarlierStudy(oldSection(), 's.json')).toEqual(parseStudy(example(), 's.json'));
    expect(parseEarlierStudy({ ...oldSection(), transfer: { version: 0 } }, 's.json')).toEqual(parseStudy(example(), 's.json'));
    expect(() => parseEarlierStudy(at(['title'], undefined), 's.json')).toThrow('s.json: title: expected a string, got undefined');
    expect(() => parseEarlierStudy(null, 's.json')).toThrow('s.json: expected an object, got null');
    expect(() => parseEarlierStudy(at(['datasets', 0], 7), 's.json')).toThrow('s.json: datasets[0]: expected an object, got 7');
  });

  test('no object at all', () => {
    expect(() => parseStudy(null, 's.json')).toThrow('s.json: expected an object, got null');
  });
});

describe('html', () => {
  test('escapes what is put in, keeps what is HTML', () => {
    expect(html`<p title="${`"'<>&`}">${['a<', html`<b>${1}</b>`, null]}</p>`.text).toBe('<p title="&quot;&#39;&lt;&gt;&amp;">a&lt;<b>1</b></p>');
    expect(escapeHtml('&amp;')).toBe('&amp;amp;');
  });

  test('JSON in a script cannot end it, and comes back', () => {
    const value = ['</script>', '<!--', '\u2028&'];
    const { text } = jsonScript('x', value);
    const inner = text.slice(text.indexOf('>') + 1, text.lastIndexOf('<'));
    expect(inner).not.toMatch(/[<>&\u2028]/);
    expect(JSON.parse(inner)).toEqual(value);
  });
});

describe('visible texts', () => {
  test.each([
    [' a  b', '·a··b'],
    ['\n', '↵\n'],
    ['\r\n\t', '⟨0x0D⟩↵\n⇥'],
    ['', '∅'],
    ['\u0000\u001b[0m\u007f\u0085', '⟨0x00⟩⟨0x1B⟩[0m⟨0x7F⟩⟨0x85⟩'],
    ['a\ufffdb', 'a⟨?⟩b'],
    ['\ud83d\ude00 \ud83d', '😀·⟨0xD83D⟩'],
    ['\u202eabc\u2066\u200d\ufeff', '⟨U+202E⟩abc⟨U+2066⟩⟨U+200D⟩⟨U+FEFF⟩'],
    ['\u{e0041}', '⟨U+E0041⟩'],
    ['\u00a0変数é', '⍽変数é'],
  ])('%j → %j', (token, shown) => {
    expect(visibleToken(token)).toBe(shown);
  });

  test('white space of prompts stays', () => {
    expect(visibleText('a b\n\tc\u0007')).toBe('a b\n\tc⟨0x07⟩');
  });
});

test('numbers for people', () => {
  expect([fixed(0.12345), fixed(-0.5, 1), fixed(-0.0001), fixed(null)]).toEqual(['0.123', '−0.5', '0.000', '–']);
  expect([signed(0.25, 2), signed(-0.25, 2), signed(0.001, 2), signed(null)]).toEqual(['+0.25', '−0.25', '0.00', '–']);
  expect([percent(0.731), percent(null)]).toEqual(['73.1 %', '–']);
  expect([significant(0.0012345), significant(412.7), significant(1), significant(-2e-7), significant(0)]).toEqual(['0.00123', '413', '1', '−2.00e−7', '0']);
  expect([aligned(412.7), aligned(96.14), aligned(-1), aligned(0.5), aligned(0.00123), aligned(0)]).toEqual(['413', '96.1', '−1.00', '0.500', '0.00123', '0.00']);
  expect([seconds(4.21), seconds(61.3), seconds(3725)]).toEqual(['4.2 s', '1 min 1 s', '1 h 2 min']);
  expect([shareText(1), shareText(0.05), shareText(1 / 192)]).toEqual(['100 %', '5 %', '0.52 %']);
  expect(withInterval({ value: 0.5, low: 0.4, high: 0.6 })).toBe('0.500 [0.400, 0.600]');
  expect(withInterval({ value: 0.5, low: null, high: null })).toBe('0.500');
  expect([shellQuote('a/b-c.d'), shellQuote("it's $x"), shellQuote('')]).toEqual(['a/b-c.d', "'it'\\''s $x'", "''"]);
});

describe('facts', () => {
  const point = (kept: number, middle: number | null): PruningPoint => ({ share: kept / 100, kept, top: { middle: { value: middle, low: middle === null ? null : middle - 0.05, high: middle === null ? null : middle + 0.05 } } } as unknown as PruningPoint);

  test('neurons needed: the smallest set that is good enough, as every larger one is', () => {
    const needed = (...values: (number | null)[]): number | undefined => neededInputs([100, 50, 20, 10, 1].map((kept, i) => point(kept, values[i] ?? null)), 'middle')?.kept;
    expect(needed(0.9, 0.9, 0.88, 0.86, 0.6)).toBe(20);
    expect(needed(0.9, 0.8, 0.9, 0.9, 0.9)).toBe(100); // what falls and comes back does not count
    expect(needed(0.9, 0.9, 0.9, 0.9, 0.89)).toBe(1);
    expect(needed(0.9, null, 0.9, 0.9, 0.9)).toBe(100);
    expect(needed(null, 0.9)).toBeUndefined();
    expect(needed(0.54, 0.54, 0.54)).toBeUndefined(); // nothing to keep: chance is inside the interval of all inputs
    expect(neededInputs([1, 50, 100].map((kept) => point(kept, 0.9)), 'middle')?.kept).toBe(1); // in any order
  });

  test('the best baseline: neither the null nor other ways to train the same probe', () => {
    const [dataset] = study().datasets as [DatasetResult];
    const set = (name: string, value: number): void => {
      for (const baseline of dataset.baselines.filter((one) => one.name === name)) {
        baseline.auc.middle.value = value;
      }
    };
    set('shuffled rewards', 0.99);
    set('raw inputs', 0.98);
    set('linear probe', 0.97);
    expect(bestBaseline(dataset, 'middle')?.name).toBe('linear probe');
    expect(bestBaseline(dataset, 'middle', { outsideOnly: true })?.name).toBe('prompt length (shorter is better)');
    dataset.baselines = [];
    expect(bestBaseline(dataset, 'middle')).toBeUndefined();
  });

  test('sides of an interval', () => {
    expect([[0.51, 0.6], [0.4, 0.6], [0.3, 0.49], [null, null]].map(([low = null, high = null]) => side({ low, high }, 0.5))).toEqual(['above', 'over', 'below', undefined]);
  });

  test('findings: of the whole study first, then by data set', () => {
    const own = study();
    own.findings = ['odd-cases', 'gone', 'feedback-search', null].map((dataset) => ({ dataset, text: '' }));
    expect(orderedFindings(own).map(({ dataset }) => dataset)).toEqual([null, 'feedback-search', 'odd-cases', 'gone']);
  });

  test('bars of δ are scaled by the 95th percentile', () => {
    const errors = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? i : -i) / 100);
    expect(deltaScale([{ tdErrors: [...errors, null] }] as never)).toBe(0.95);
    expect(deltaScale([{ tdErrors: [0, null] }] as never)).toBe(1);
  });
});

describe('renderSummary', () => {
  const text = renderSummary(study());

  test('the headline numbers', () => {
    const [dataset] = study().datasets as [DatasetResult];
    const auc = dataset.layers[dataset.bestLayer]?.auc.middle;
    expect(text).toContain('Self-test passed: 2 of 2 checks, 4.2 s');
    expect(text).toContain('feedback-search: accuracy 73.0 % [69.9 %, 76.1 %] of 800 trajectories');
    expect(text).toContain(`${fixed(auc?.value, 2)} [${fixed(auc?.low, 2)}, ${fixed(auc?.high, 2)}]`);
    expect(text).toMatch(/neurons needed +\d+ of 192 \(/);
    expect(text).toContain('29 unknown');
  });

  test('plain lines of at most 100 columns, whatever the names', () => {
    const own = study();
    own.selfTest.passed = false;
    own.selfTest.checks.push({ name: 'long '.repeat(40), passed: false, expected: 'x', observed: 'y\u001b[31m' });
    own.datasets.forEach((dataset) => (dataset.name = 'n\u001b[31m'.repeat(30)));
    const lines = renderSummary(own).split('\n');
    expect(lines[0]).toBe('Self-test FAILED: 2 of 3 checks, 4.2 s');
    expect(lines[1]).toMatch(/^ *failed: long long/);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(lines.join('')).not.toMatch(/[\u0000-\u001f]/);
  });
});

describe('heat maps', () => {
  interface Cells { data: { values: { row: string; column: string; value: number | null }[] }; encoding: { color?: { scale?: object; condition?: { test: string } }; y: { scale: { domain: string[] } } } }
  const layersOf = (plot: Parameters<typeof cellSpec>[0]): [Cells, Cells, Cells] => (cellSpec(plot) as unknown as { layer: [Cells, Cells, Cells] }).layer;
  const rows = [{ label: 'low', values: [0.1, null] }, { label: 'high', values: [-2, 3] }];

  test('rows from the bottom up; a cell without a number is a dash, not a colour', () => {
    const [cells, numbers, dashes] = layersOf({ columnTitle: 'c', columns: ['a', 'b'], rows });
    expect(cells.encoding.y.scale.domain).toEqual(['high', 'low']);
    expect(cells.data.values).toEqual([{ row: 'low', column: 'a', value: 0.1 }, { row: 'high', column: 'a', value: -2 }, { row: 'high', column: 'b', value: 3 }]);
    expect(numbers.data.values).toEqual(cells.data.values);
    expect(dashes.data.values).toEqual([{ row: 'low', column: 'b', value: null }]);
  });

  test('a scale with a middle is white there, and its numbers are dark near it and light at both ends, however far each is', () => {
    const [cells, numbers] = layersOf({ columnTitle: 'c', columns: ['a', 'b'], rows, scale: { title: 't', domain: [-1, 3], middle: 0 } });
    expect(cells.encoding.color?.scale).toMatchObject({ domain: [-1, 3], domainMid: 0, clamp: true });
    const dark = (value: number): boolean => runInNewContext(numbers.encoding.color?.condition?.test ?? '', { datum: { value } }) as boolean;
    expect([-0.9, -0.5, 0, 2, 2.9].map(dark)).toEqual([false, true, true, true, false]);
  });

  test('more columns than numbers have room for: the numbers go, the cells stay', () => {
    const columns = Array.from({ length: 15 }, (_, i) => `t${i}`);
    const [cells, numbers] = layersOf({ columnTitle: 'token', columns, rows: [{ label: 0, values: columns.map((_, i) => i) }] });
    expect(cells.data.values).toHaveLength(15);
    expect(numbers.data.values).toEqual([]);
  });
});
