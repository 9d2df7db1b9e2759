import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LoadOptions } from '../../src/dataset/load.js';
import { loadDataset } from '../../src/dataset/load.js';
import { nameOfFile, nameOfHub } from '../../src/dataset/name.js';
import { toScoreItem } from '../../src/dataset/scoreItem.js';
import type { Dataset, Problem } from '../../src/dataset/types.js';
import { createScorer } from '../../src/reward/scorer.js';

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/dataset/${name}`, import.meta.url));
const bundled = (name: string): string => fileURLToPath(new URL(`../../data/${name}`, import.meta.url));

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rewardlens-dataset-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Loads a file of this text. */
async function load(text: string | Buffer, options: LoadOptions = {}, name = 'set.jsonl'): Promise<Dataset> {
  await writeFile(join(folder, name), text);
  return loadDataset(join(folder, name), options);
}

const line = (value: unknown): string => `${JSON.stringify(value)}\n`;
const sum = (n: number, more: object = {}): object => ({ prompt: `${n}+1=`, answer: String(n + 1), check: 'gsm8k', ...more });
const facts = (problems: readonly Problem[]): unknown[] => problems.map(({ id, answer, check }) => [id, answer, check]);

describe('formats', () => {
  test('gsm8k: the number after the marker', async () => {
    const dataset = await loadDataset(fixture('gsm8k.jsonl'));
    expect(dataset).toMatchObject({ name: 'gsm8k', format: 'gsm8k', source: fixture('gsm8k.jsonl'), skipped: [] });
    expect(facts(dataset.problems)).toEqual([
      ['gsm8k-1', '36', 'gsm8k'],
      ['gsm8k-2', '1350', 'gsm8k'],
      ['gsm8k-3', '-5', 'gsm8k'],
      ['gsm8k-4', '7.50', 'gsm8k'],
    ]);
    expect(dataset.problems[2]?.question).toBe('The temperature was 4 degrees and fell by 9. What is it now?');
    expect(dataset.problems[0]?.source['answer']).toContain('<<12*2=24>>');
  });

  test('math: the answer, or the last box of the solution', async () => {
    expect(facts((await loadDataset(fixture('math500.jsonl'))).problems)).toEqual([
      ['test/precalculus/1.json', String.raw`\left( 3, \frac{\pi}{2} \right)`, 'math'],
      ['test/prealgebra/2.json', '49', 'math'],
    ]);
    expect(facts((await loadDataset(fixture('math.jsonl'))).problems)).toEqual([
      ['math-1', String.raw`\frac{3}{4}`, 'math'],
      ['math-2', String.raw`\sqrt{2}`, 'math'],
    ]);
    const others = line({ problem: 'p', answer: 42 }) + line({ problem: 'q', answer: null, solution: '$\\boxed{1}$' }) + line({ problem: 'r', answer: 'So \\boxed{2}.' });
    expect((await load(others)).problems.map(({ answer }) => answer)).toEqual(['42', '1', '2']);
  });

  test('arc: options by position, numbers or letters', async () => {
    const { problems, format } = await loadDataset(fixture('arc.jsonl'));
    expect(format).toBe('arc');
    expect(facts(problems)).toEqual([['Made_1', 'B', 'choice'], ['Made_2', 'C', 'choice'], ['Made_3', 'A', 'choice']]);
    expect(problems[1]?.choices).toEqual([
      { label: 'A', text: 'iron' },
      { label: 'B', text: 'sand' },
      { label: 'C', text: 'carbon dioxide' },
      { label: 'D', text: 'glass' },
    ]);
  });

  test('arc: an answer in the labels that the model saw is judged, whatever labels the record has', async () => {
    const [, numbered] = (await loadDataset(fixture('arc.jsonl'))).problems;
    await using scorer = await createScorer('choice');
    expect(await scorer.score(toScoreItem(numbered as Problem, 'The answer is (C).'))).toMatchObject({ verdict: 'correct' });
    expect(await scorer.score(toScoreItem(numbered as Problem, 'The answer is (B).'))).toMatchObject({ verdict: 'wrong' });
  });

  test('mmlu: an index or a letter', async () => {
    const { problems, format } = await loadDataset(fixture('mmlu.jsonl'));
    expect(format).toBe('mmlu');
    expect(facts(problems)).toEqual([['mmlu-1', 'D', 'choice'], ['mmlu-2', 'B', 'choice']]);
    expect(problems[1]?.choices?.[1]).toEqual({ label: 'B', text: 'tibia' });
  });

  test('jsonl: the exact prompt, the check of the record', async () => {
    const { problems, format } = await loadDataset(fixture('plain.jsonl'));
    expect(format).toBe('jsonl');
    expect(facts(problems)).toEqual([['a', '4', 'gsm8k'], ['7', 'hello', 'exact'], ['plain-3', '[aeiou]', './my-check.ts']]);
    expect(problems[0]?.question).toBe('2+2=?\n');
  });

  test.each(['chained-sums', 'feedback-search', 'multiple-choice'])('the bundled set %s', async (name) => {
    const { problems, ...dataset } = await loadDataset(bundled(`${name}/test.jsonl`));
    expect(dataset).toMatchObject({ name: `${name}-test`, format: 'jsonl', skipped: [] });
    expect(problems[0]?.id).toBe(`${name}-test-0000`);
  });

  test.each(['gsm8k', 'mmlu', 'arc'])('%s as Parquet holds the same problems', async (name) => {
    const [text, parquet] = [await loadDataset(fixture(`${name}.jsonl`)), await loadDataset(fixture(`${name}.parquet`))];
    expect(parquet.problems.map(({ source: _, ...problem }) => problem)).toEqual(text.problems.map(({ source: _, ...problem }) => problem));
    expect(parquet.sha256).toBe(text.sha256);
    // Only numbers, texts and lists are left: sources go into JSON files.
    expect(() => JSON.stringify(parquet.problems)).not.toThrow();
  });

  test('a JSON array; a .json file of lines', async () => {
    const records = [sum(1), sum(2)];
    expect(facts((await load(`\ufeff ${JSON.stringify(records, null, 2)}\n`, {}, 'set.json')).problems)).toEqual([['set-1', '2', 'gsm8k'], ['set-2', '3', 'gsm8k']]);
    expect((await load(records.map(line).join(''), {}, 'set.json')).problems).toHaveLength(2);
    await expect(load('[{"prompt": 1},\n 2,\n', {}, 'set.json')).rejects.toThrow(/set\.json: not valid JSON: the text ends too early at line 3, column 1/);
    await expect(load(JSON.stringify([sum(1), 7]), {}, 'set.json')).rejects.toThrow('record 2: expected an object with fields, got 7');
  });
});

describe('detection', () => {
  test('records of several formats', async () => {
    const text = line(sum(1)) + line({ question: 'q', answer: '#### 1' }) + line(sum(2));
    await expect(load(text)).rejects.toThrow(
      /set\.jsonl: records of several formats: jsonl \(first at 1\), gsm8k \(first at 2\); fields found: prompt, answer, check, question; formats known:\n {2}jsonl {2}prompt, answer, check\n.*Give one as format/s,
    );
    const dataset = await load(text, { format: 'gsm8k', skipBad: true });
    expect(facts(dataset.problems)).toEqual([['set-2', '1', 'gsm8k']]);
    expect(dataset.skipped).toEqual([1, 3].map((n) => ({ line: n, message: 'question: expected a text, got nothing' })));
  });

  test('records of no format', async () => {
    await expect(load(line({ instruction: 'x', output: 'y' }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/the format is not known; fields found: instruction, output; formats known:\n.*arc {4}question, choices \{text, label\}, answerKey/s),
    });
  });

  test('a given format wins, and must be known', async () => {
    await expect(load(line(sum(1)), { format: 'math' })).rejects.toThrow('line 1: problem: expected a text, got nothing');
    await expect(load(line(sum(1)), { format: 'csv' as 'math' })).rejects.toThrow('format: expected one of jsonl, arc, mmlu, math, gsm8k, got "csv"');
  });

  test('a check for all problems', async () => {
    const { problems } = await load(line({ question: 'q', answer: 'so #### 7' }), { check: 'exact' });
    expect(facts(problems)).toEqual([['set-1', '7', 'exact']]);
    expect((await load(line({ prompt: 'p', answer: 'a' }), { check: './x.mjs' })).problems[0]?.check).toBe('./x.mjs');
    await expect(load(line(sum(1)), { check: 'gsm9k' })).rejects.toThrow('check: expected one of gsm8k, math, choice, exact, regex, or the path of a JS/TS module, got "gsm9k"');
  });
});

describe('lines', () => {
  test('CRLF, a byte order mark, empty lines, and line separators inside texts', async () => {
    const separators = 'one\u2028two\u2029three\u0085four';
    const text = `\ufeff${[sum(1), sum(2, { prompt: separators })].map((value) => JSON.stringify(value)).join('\r\n\r\n')}\r\n\r\n  \n\n`;
    const { problems } = await load(text);
    expect(problems.map(({ id, question }) => [id, question])).toEqual([['set-1', '1+1='], ['set-3', separators]]);
  });

  test('a last line without a line break, and a huge line', async () => {
    const long = 'x'.repeat(5_000_000);
    const { problems } = await load(line(sum(1)) + JSON.stringify(sum(2, { prompt: long })));
    expect(problems.map(({ question }) => question.length)).toEqual([4, 5_000_000]);
  });

  test('every bad line is told, with its number', async () => {
    const text = Buffer.concat([
      Buffer.from(line(sum(1)) + '{"prompt": "x", \n' + '[1]\n' + line(sum(2, { answer: 3 })) + line(sum(3, { check: 'sum' })) + line({ prompt: 'p' })),
      Buffer.from([0x7b, 0xff, 0xfe, 0x0a]),
      Buffer.from(line(sum(4, { prompt: ' \n' })) + line(sum(5, { id: {} })) + line(sum(6))),
    ]);
    const expected = [
      [2, 'not valid JSON: the text ends too early at column 17'],
      [3, 'expected an object with fields, got an array'],
      [4, 'answer: expected a text, got 3'],
      [5, 'check: expected one of gsm8k, math, choice, exact, regex, or the path of a module, got "sum"'],
      [6, 'answer: expected a text, got nothing'],
      [7, 'not UTF-8 text'],
      [8, 'prompt: expected a text, got " \\n"'],
      [9, 'id: expected a text or an integer, got {}'],
    ].map(([n, message]) => ({ line: n, message }));
    const error = await load(text).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', details: { bad: expected } });
    expect((error as Error).message).toMatch(/set\.jsonl: 8 bad lines; skipBad \(--skip-bad\) leaves them out:\n {2}line 2: not valid/);
    const dataset = await load(text, { skipBad: true });
    expect(dataset.skipped).toEqual(expected);
    expect(facts(dataset.problems)).toEqual([['set-1', '2', 'gsm8k'], ['set-10', '7', 'gsm8k']]);
  });

  test('the message lists twenty and counts the rest', async () => {
    const error = (await load(line(sum(1)) + '{\n'.repeat(25)).catch((thrown: unknown) => thrown)) as Error;
    expect(error.message.split('\n')).toHaveLength(22);
    expect(error.message).toMatch(/line 21: .*\n {2}and 5 more$/);
  });

  test.each<[string, object, string]>([
    ['gsm8k without marker', { question: 'q', answer: '42' }, 'answer: expected a solution that ends with "#### " and a number, got "42"'],
    ['gsm8k with a list', { question: ['q'], answer: '#### 1' }, 'question: expected a text, got ["q"]'],
    ['math without box', { problem: 'p', solution: 'It is 4.' }, 'solution: expected a text with \\boxed{}, got "It is 4."'],
    ['math with a broken box', { problem: 'p', answer: '\\boxed{4' }, 'answer: expected a text with \\boxed{}, got "\\\\boxed{4"'],
    ['arc with an answer that is no label', { question: 'q', choices: { text: ['a', 'b'], label: ['A', 'B'] }, answerKey: 'C' }, 'answerKey: expected one of A, B, got "C"'],
    ['arc with too few labels', { question: 'q', choices: { text: ['a', 'b'], label: ['A'] }, answerKey: 'A' }, 'choices.label: expected 2 different labels, got ["A"]'],
    ['arc with equal labels', { question: 'q', choices: { text: ['a', 'b'], label: ['A', 'A'] }, answerKey: 'A' }, 'choices.label: expected 2 different labels, got ["A","A"]'],
    ['arc without options', { question: 'q', choices: null, answerKey: 'A' }, 'choices: expected an object with text and label, got null'],
    ['mmlu with an index too high', { question: 'q', choices: ['a', 'b'], answer: 2 }, 'answer: expected an index 0..1 or a letter A..B, got 2'],
    ['mmlu with half an index', { question: 'q', choices: ['a', 'b'], answer: 0.5 }, 'answer: expected an index 0..1 or a letter A..B, got 0.5'],
    ['mmlu with a digit as text', { question: 'q', choices: ['a', 'b'], answer: '1' }, 'answer: expected an index 0..1 or a letter A..B, got "1"'],
    ['mmlu with one option', { question: 'q', choices: ['a'], answer: 0 }, 'choices: expected 2 to 26 options, got ["a"]'],
    ['mmlu with a number as option', { question: 'q', choices: ['a', 1], answer: 0 }, 'choices[1]: expected a text, got 1'],
    ['jsonl without check', { prompt: 'p', answer: 'a' }, 'check: expected one of gsm8k, math, choice, exact, regex, or the path of a module, got nothing'],
  ])('%s', async (_, record, message) => {
    await expect(load(line(record))).rejects.toMatchObject({ details: { bad: [{ line: 1, message }] } });
  });

  test('equal ids name both lines', async () => {
    const text = line(sum(1, { id: 'a' })) + line(sum(2, { id: 'b' })) + '\n' + line(sum(3, { id: 'a' })) + line(sum(4, { id: 'set-6' })) + line(sum(5));
    await expect(load(text)).rejects.toThrow(/line 4: id: "a" is the id of line 1 too\n {2}line 6: id: "set-6" is the id of line 5 too$/);
    expect((await load(text, { skipBad: true })).problems.map(({ id }) => id)).toEqual(['a', 'b', 'set-6']);
  });

  test('nothing to load is an error', async () => {
    for (const [text, name] of [['', 'set.jsonl'], ['\n \r\n', 'set.jsonl'], ['[]', 'set.json']] as const) {
      await expect(load(text, { skipBad: true }, name)).rejects.toThrow(/: the data set is empty$/);
    }
    await expect(load('{\n', { skipBad: true })).rejects.toThrow(/1 bad line; no problem is left:\n {2}line 1: /);
  });

  test('limit counts problems; what is behind is not read', async () => {
    const text = '{\n' + line(sum(1)) + line(sum(2)) + line(sum(3)) + '{\n';
    const dataset = await load(text, { limit: 2, skipBad: true });
    expect(dataset.problems.map(({ id }) => id)).toEqual(['set-2', 'set-3']);
    expect(dataset.skipped).toHaveLength(1);
    expect((await load(line(sum(1)) + '{\n', { limit: 1 })).problems).toHaveLength(1);
    await expect(load(text, { limit: 0 })).rejects.toThrow('limit: expected an integer ≥ 1, got 0');
  });
});

describe('files', () => {
  test('what cannot be read', async () => {
    await expect(loadDataset(join(folder, 'missing.jsonl'))).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('missing.jsonl') });
    await expect(loadDataset('set.csv')).rejects.toThrow("'set.csv': expected a data set file (.jsonl, .ndjson, .json, .parquet) or hf:owner/name, got .csv");
    await expect(loadDataset('gsm8k')).rejects.toThrow('got no extension');
    await expect(load('PAR1', {}, 'set.parquet')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('not a Parquet file') });
    await expect(load(line(sum(1)), { split: 'test' })).rejects.toThrow(/split: expected none, because '.*set.jsonl' is a file, got "test"/);
    await expect(load(line(sum(1)), { signal: AbortSignal.abort(new Error('enough')) })).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test('names say what the file name does not', async () => {
    expect(nameOfFile('data/chained-sums/test.jsonl')).toBe('chained-sums-test');
    expect(nameOfFile('/x/gsm8k/data/test-00000-of-00001.parquet')).toBe('gsm8k-test-00000-of-00001');
    expect(nameOfFile('/x/gsm8k.jsonl')).toBe('gsm8k');
    expect(nameOfFile('/x/my set (v2)é.jsonl')).toBe('my-set-v2');
    expect(nameOfFile('/test.jsonl')).toBe('test');
    expect(nameOfHub('openai/gsm8k', 'main', 'test')).toBe('gsm8k-test');
    expect(nameOfHub('cais/mmlu', 'anatomy', 'dev')).toBe('mmlu-anatomy-dev');
    await mkdir(join(folder, 'left'));
    expect((await load(line(sum(1)), {}, 'left/test.jsonl')).name).toBe('left-test');
  });

  test('the hash covers what is asked and what is right, and nothing else', async () => {
    const hash = async (more: object, name?: string): Promise<string> => (await load(line(sum(1, { id: 'a', ...more })), {}, name)).sha256;
    const first = await hash({});
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(await hash({ difficulty: 3 }, 'other.jsonl')).toBe(first);
    for (const more of [{ prompt: 'p' }, { answer: '3' }, { check: 'math' }, { id: 'b' }]) {
      expect(await hash(more)).not.toBe(first);
    }
  });
});
