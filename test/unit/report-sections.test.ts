import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { searchSentence, shownLayer, transferSentence } from '../../src/report/applyFacts.js';
import { dopaminePruningSentence, dopamineRivals, dopamineSentence, fewNeurons, interplaySentence, surpriseSentence, valuesSentence } from '../../src/report/dopamineFacts.js';
import type { Dopamine } from '../../src/report/dopamineSchema.js';
import type { Interplay } from '../../src/report/interplaySchema.js';
import { parseStudy } from '../../src/report/parse.js';
import { lineSpec } from '../../src/report/plots.js';
import { renderReport } from '../../src/report/report.js';
import type { Study } from '../../src/report/schema.js';
import type { SearchResult } from '../../src/report/searchSchema.js';
import type { Sections } from '../../src/report/sectionsSchema.js';
import { NO_SECTIONS, SECTIONS } from '../../src/report/sectionsSchema.js';
import { shownSections } from '../../src/report/sections/extra.js';
import { renderSvg } from '../../src/report/svg.js';
import { renderSummary } from '../../src/report/summary.js';
import { studyFindings } from '../../src/study/findings.js';
import { withNeeds } from '../../src/study/sectionChoice.js';
import { SECTIONS_EXAMPLE, TRANSFER_EXAMPLE } from '../helpers/sections-example.js';

const { dopamine, interplay, search, values } = SECTIONS_EXAMPLE as { [name in keyof Sections]: NonNullable<Sections[name]> };
const all = (page: string, pattern: RegExp): string[] => [...page.matchAll(pattern)].map((match) => match[1] ?? '');

/** The example study with these sections in its first data set, through its schema. */
function studyWith(sections: Sections): Study {
  const own = JSON.parse(readFileSync(new URL('../fixtures/report/study.json', import.meta.url), 'utf8')) as { datasets: object[] };
  return parseStudy({ ...own, datasets: own.datasets.map((dataset, i) => (i === 0 ? { ...dataset, sections: JSON.parse(JSON.stringify(sections)) as object } : dataset)) }, 'study.json');
}

describe('the page', () => {
  let page = '';
  let markup = '';
  beforeAll(async () => {
    page = await renderReport(studyWith(SECTIONS_EXAMPLE));
    markup = page.replace(/<(script|style)[^>]*>[^]*?<\/\1>/g, '');
  });

  test('has every section once, in the contents too; other data sets have none', () => {
    for (const name of SECTIONS) {
      expect(all(markup, new RegExp(`<section id="(d\\d-${name})">`, 'g'))).toEqual([`d0-${name}`]);
      expect(markup).toContain(`href="#d0-${name}"`);
    }
  });

  test('loads nothing; ids are unique, links lead somewhere, texts stay texts, numbers that are not there are dashes', () => {
    expect(page.replaceAll('xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(/https?:/i);
    const ids = all(markup, / id="([^"]*)"/g);
    expect(ids.length).toBe(new Set(ids).size);
    const used = [...all(markup, /href="#([^"]*)"/g), ...all(markup, / for="([^"]*)"/g), ...all(markup, /aria-labelledby="([^"]*)"/g).flatMap((list) => list.split(' '))];
    expect(used.filter((id) => !ids.includes(id))).toEqual([]);
    expect(markup).toContain('regex:&lt;b&gt;');
    expect(markup).toContain('mean &lt;token&gt; log-probability');
    expect(markup).not.toMatch(/<b>|<token>|NaN|undefined|Infinity|\[object/);
  });

  test('plots have colours of the scheme alone', () => {
    const own = SECTIONS.map((name) => new RegExp(`<section id="d0-${name}">[^]*?</section>`).exec(markup)?.[0] ?? '').join('');
    const plots = own.match(/<svg [^]*?<\/svg>/g) ?? [];
    expect(plots).toHaveLength(1 + 2 + 2 + 2); // pruning, two neurons, two trajectories, risk and calibration
    plots.forEach((plot) => all(plot, /(?:fill|stroke)="([^"]*)"/g).forEach((value) => expect(value).toMatch(/^(none|transparent|var\(--[a-z-]+\))$/)));
  });

  test('δ of a step is a colour, a triangle and a number', () => {
    expect(markup).toContain('<span class="v20">▲ +0.50</span>');
    expect(markup).toContain('<span class="v5">▼ −0.25</span>');
    expect(markup).toContain('<span class="v10">0.00</span>'); // −0.004: no triangle that the number does not show
    expect(markup).toMatch(/<code><span class="v\d+" title="z [^"]*">a<\/span>/); // token by token, in the colour of its z-score
    expect(markup.match(/<code>(?:<span class="v\d+" title="z [^"]*">[^<]+<\/span>)+<\/code>/g)?.map((code) => code.replace(/<[^>]*>/g, ''))).toContain('a·&lt;b&gt;↵');
    expect(markup).toContain('<span class="v10">–</span>');
  });

  test('says what was left out, that the model takes no questions, and how the main score stands', () => {
    expect(markup).toMatch(/<section id="d0-values">[^]*Of 1000 trajectories the steps of the first 120 were valued\./);
    expect(markup).toMatch(/together had 1\.0 % of the probability: the model does not take it as a question/);
    expect(markup).toMatch(/prompt length<\/th><td[^>]*>before<[^]*?\+0\.20 \[\+0\.15, \+0\.25\] ▲/);
    expect(markup).toMatch(/log-probability<\/th><td[^>]*>after<[^]*?−0\.10 \[−0\.15, −0\.05\] ▼/);
    expect(markup).toMatch(/not a fair rival/);
  });
});

test('a section that could not be made says why, on the page and in the terminal; one that was not asked for is not there', async () => {
  const study = studyWith({ ...NO_SECTIONS, notes: { dopamine: ['It could not be made: too few <steps>.'], interplay: ['It is made from dopamine, which could not be made.'] } });
  expect(shownSections((study.datasets[0] as Study['datasets'][number]).sections)).toEqual(['dopamine', 'interplay']);
  const page = await renderReport(study);
  expect(page).toMatch(/<section id="d0-dopamine"><h3>Dopamine: left out<\/h3>\s*<p>It could not be made: too few &lt;steps&gt;\./);
  expect(page).not.toContain('id="d0-values"');
  expect(renderSummary(study)).toContain('left out: dopamine, interplay (the report says why)');
});

describe('words', () => {
  const withMain = (change: (score: Dopamine['baselines'][number]) => void): Dopamine => {
    const own = structuredClone(dopamine);
    change(own.layers[1]?.scores[0] as Dopamine['baselines'][number]);
    return own;
  };

  test('prediction errors: the effect, the null, the best fair baseline, the noise', () => {
    expect(dopamineSentence(dopamine)).toBe(
      'Prediction errors: on 40 held-out steps that changed the value by more than 0.3, the dopamine probe of layer 2 has a Spearman of 0.41 [0.31, 0.51] with the error: it follows them. Over all 96 held-out steps: 0.20 [0.10, 0.30]. The same probe on errors dealt out anew: −0.02 [−0.12, 0.08]. Best without a look inside or by the value probe: number of the step, 0.12 [0.02, 0.22]. 47 % of the variance of the errors is noise of the continuations.',
    );
    expect(dopamineRivals(dopamine).best?.name).toBe('number of the step'); // not the one that carries the noise
    expect(dopamineSentence(withMain(({ large }) => Object.assign(large.spearman, { low: -0.1 })))).toContain('that is not distinguishable from 0');
    expect(dopamineSentence(withMain(({ large }) => Object.assign(large.spearman, { value: -0.4, low: -0.5, high: -0.3 })))).toContain('it goes against them');
    expect(dopamineSentence(withMain(({ large }) => Object.assign(large.spearman, { value: null, low: null, high: null })))).toContain('no correlation can be given');
  });

  test('pruning: the smallest set from a twentieth on, and only where there is an effect', () => {
    expect(fewNeurons(dopamine)?.kept).toBe(10);
    expect(dopaminePruningSentence(dopamine)).toBe('Its best 10 neurons alone have a Spearman of 0.36 [0.26, 0.46]; random sets of that size 0.11, magnitude-matched ones 0.08 (means of 20 and 20 draws).');
    expect(dopaminePruningSentence(withMain(({ large }) => Object.assign(large.spearman, { low: -0.1 })))).toBeUndefined();
  });

  test('surprise and values', () => {
    expect(surpriseSentence(dopamine)).toBe('Surprise groups (25 trajectories with positive and 14 with negative surprise): 3 neurons differ in positive against negative surprise, 1 neuron differs in positive surprise against expected success (adjusted p < 0.05). Surprise sets low against high V(s₀), which a value neuron tells apart too: 1 neuron differs by value and by outcome, each at equal values of the other, as surprise would.');
    expect(surpriseSentence({ ...dopamine, surprise: { ...dopamine.surprise, cells: [] } })).toContain('too few to compare');
    expect(valuesSentence(values)).toContain('104,000 sampled tokens; of the prefixes 80 % came from a cache');
    expect(valuesSentence({ ...values, exhausted: true })).toContain('the budget ended it');
  });

  test('interplay: the control that leaves most doubt decides', () => {
    expect(interplaySentence(interplay)).toContain('without the best 20 % of the value neurons of layer 1 it agrees with itself by 0.70 [0.69, 0.71] (matched sets 0.90, p 0.25 of 19 draws: no more is taken away than by controls)');
    const p = (value: number, draws: number): Interplay => ({ ...interplay, comparisons: interplay.comparisons.map((entry) => ({ ...entry, p: value, draws })) });
    expect(interplaySentence(p(0.05, 19))).toContain('more is taken away than by controls');
    expect(interplaySentence(p(0.2, 4))).toContain('so few draws can show no difference');
  });

  test('search: what differs after correction, in both directions', () => {
    expect(searchSentence(search)).toBe('Search guided by value: 80.0 % [70.0 %, 90.0 %] of 2 held-out problems at 190 tokens each; beside it at about that cost guided by random 60.0 % [50.0 %, 70.0 %], majority of n 90.0 % [80.0 %, 100.0 %]: better than guided by random, worse than majority of n (Holm-corrected p < 0.05).');
    const none: SearchResult = { ...search, comparisons: search.comparisons.map((entry) => ({ ...entry, pHolm: 1 })) };
    expect(searchSentence(none)).toContain('no difference to any of 3 other ways can be told');
  });

  test('findings and terminal name all of them, in lines that fit', () => {
    const { selfTest, datasets } = studyWith(SECTIONS_EXAMPLE);
    const texts = studyFindings(selfTest, datasets.slice(0, 1)).map(({ text }) => text);
    [valuesSentence(values), dopamineSentence(dopamine), surpriseSentence(dopamine), interplaySentence(interplay), 'Confidence: The neurons say <something>.', searchSentence(search)].forEach((text) => expect(texts).toContain(text));
    const lines = renderSummary(studyWith(SECTIONS_EXAMPLE)).split('\n');
    ['steps: 480 states', 'dopamine: layer 2, Spearman with large δ 0.41', 'interplay: top-20%-L1-zero-all: agreement 0.70 [0.69, 0.71]; matched controls 0.90', 'confidence: V(s_0) of 10 neurons', 'search: guided by value 80 % [70 %, 90 %]'].forEach((text) => expect(lines.filter((line) => line.includes(text))).toHaveLength(1));
    expect(lines.filter((line) => [...line].length > 100)).toEqual([]);
  });
});

describe('transfer between data sets', () => {
  const study = (): Study => parseStudy({ ...(JSON.parse(readFileSync(new URL('../fixtures/report/study.json', import.meta.url), 'utf8')) as object), transfer: TRANSFER_EXAMPLE }, 'study.json');

  test('one section with two heat maps, numbers as tables, folders by number', async () => {
    const page = await renderReport(study());
    const section = /<section id="transfer">[^]*?<\/section>/.exec(page)?.[0] ?? '';
    expect(page).toContain('href="#transfer"');
    expect(section.match(/<svg /g)).toHaveLength(2);
    expect(section).toContain('[1] a&lt;1&gt;');
    expect(section).toMatch(/a&lt;1&gt; and b<\/th><td[^>]*>10<\/td><td[^>]*>0\.310<\/td><td[^>]*>0\.027<\/td><td[^>]*>0\.01<\/td><td[^>]*>0\.2</);
    expect(section).toMatch(/0\.85 \[0\.75, 0\.95\]<\/td><td[^>]*>\+0\.05 \[−0\.05, \+0\.15\]/); // at the layer where the row is best
    expect(section).not.toMatch(/NaN|undefined|<m>/);
    expect(await renderReport({ ...study(), transfer: null })).not.toContain('id="transfer"');
  });

  test('in words: the sentence leads the findings of the study and ends the terminal’s, in lines that fit', () => {
    const sentence = 'Transfer between 2 folders: in 0 of 1 comparisons (pairs × shares) value neurons are shared beyond chance and beyond their magnitudes, in 1 more beyond chance alone; 1 of 2 probes are above chance on another folder’s held-out problems, 1 worse than that folder’s own.';
    expect(transferSentence(TRANSFER_EXAMPLE)).toBe(sentence);
    const { selfTest, datasets, transfer } = study();
    expect(studyFindings(selfTest, datasets, transfer)[1]).toEqual({ dataset: null, text: sentence });
    const lines = renderSummary(study()).split('\n');
    expect(lines.slice(-3).join(' ').replace(/ +/g, ' ')).toBe(sentence);
    expect(lines.filter((line) => [...line].length > 100)).toEqual([]);
  });

  test('a probe is shown where its own folder is best, or at the first layer that both have', () => {
    const [own] = TRANSFER_EXAMPLE.auc as [(typeof TRANSFER_EXAMPLE)['auc'][number]];
    expect(shownLayer(TRANSFER_EXAMPLE, own)?.layer).toBe(1);
    expect(shownLayer(TRANSFER_EXAMPLE, { ...own, layers: own.layers.slice(0, 1) })?.layer).toBe(0);
  });
});

test('sections bring those that they are made from, in order', () => {
  expect(withNeeds([])).toEqual([]);
  expect(withNeeds(['confidence', 'dopamine'])).toEqual(['values', 'dopamine', 'confidence']);
  expect(withNeeds(['search', 'interplay'])).toEqual(['values', 'dopamine', 'interplay', 'search']);
});

test('lines without points: the legend shows lines, nothing is drawn at the points', async () => {
  const series = ['a', 'b'].map((name) => ({ name, color: 's-value', dash: name === 'a' ? [] : [2, 2], shape: 'circle' as const }));
  const points = series.flatMap(({ name }) => [0, 1, 2].map((x) => ({ series: name, x, y: x })));
  const axes = { x: { title: 'x', domain: [0, 2] as const }, y: { title: 'y', domain: [0, 2] as const } };
  const svg = async (bare: boolean): Promise<string> => (await renderSvg(lineSpec({ series, points, ...axes, bare }), { id: 'p', title: 't', description: 'd' })).text;
  const dots = (text: string): number => (text.match(/<path [^>]*A3\.|<path [^>]*A4\./g) ?? []).length;
  expect(dots(await svg(true))).toBe(0);
  expect(dots(await svg(false))).toBeGreaterThan(0);
  expect(await svg(true)).toContain('stroke-dasharray="2,2"');
});
