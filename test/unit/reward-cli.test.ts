/** `rewardlens score`, up to what it prints. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, test } from '@jest/globals';
import { parseCommandLine } from '../../src/cli/app.js';
import type { Io } from '../../src/cli/command.js';
import { UsageError } from '../../src/cli/errors.js';
import { scoreCommand } from '../../src/cli/score.js';

const folder = mkdtempSync(join(tmpdir(), 'rewardlens-score-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Printed {
  lines: Record<string, unknown>[];
  summaries: string[];
  warnings: string[];
}

async function score(argv: readonly string[], json = false): Promise<Printed> {
  const printed: Printed = { lines: [], summaries: [], warnings: [] };
  const io = {
    json,
    signal: new AbortController().signal,
    line: (value: unknown) => printed.lines.push(value as Record<string, unknown>),
    summary: (text: string) => printed.summaries.push(text),
    warn: (text: string) => printed.warnings.push(text),
  } as unknown as Io;
  const invocation = await parseCommandLine(['score', ...argv], [scoreCommand]);
  if (invocation.kind !== 'run') {
    throw new Error(invocation.text);
  }
  await invocation.command.prepare(invocation.flags)(io);
  return printed;
}

function file(content: string): string {
  const path = join(folder, 'outputs.jsonl');
  writeFileSync(path, content);
  return path;
}

describe('rewardlens score', () => {
  const good = [{ id: 'a', gold: '8', text: '\\boxed{8}' }, { gold: 8, text: '\\boxed{9}' }, { id: 3, gold: '8', text: 'hm' }].map((record) => JSON.stringify(record));

  test('prints a verdict per record and the totals', async () => {
    const { lines, summaries } = await score(['--check', 'math', file(`${good.join('\n')}\n\n`)]);
    expect(lines).toEqual([
      { id: 'a', verdict: 'correct', extracted: '8', reason: 'the same text' },
      { verdict: 'wrong', extracted: '9', reason: 'expected 8' },
      { id: 3, verdict: 'unknown', extracted: null, reason: 'no \\boxed{…} and no "answer is"' },
    ]);
    expect(summaries).toEqual(['3 completions: 1 correct, 1 wrong, 1 unknown; 50.0 % of the decided ones correct']);
  });

  test('ends with a summary object with --json', async () => {
    const { lines } = await score(['--check', 'math', file(good.join('\n'))], true);
    expect(lines.length).toBe(4);
    expect(lines[3]).toMatchObject({ summary: { check: 'math', records: 3, correct: 1, wrong: 1, unknown: 1, accuracy: 0.5, skipped: 0 } });
  });

  test('gives other fields to a module, and a reward that is not 0 or 1', async () => {
    const module = join(folder, 'check.mjs');
    writeFileSync(module, 'export default ({ text, problem }) => (text === problem.hint ? 0.75 : false);');
    const { lines } = await score(['--check', module, file('{"gold": "", "text": "x", "hint": "x"}')]);
    expect(lines).toEqual([{ verdict: 'correct', extracted: 'x', reason: 'reward 0.75', reward: 0.75 }]);
  });

  test.each([
    ['{"gold": "1"', /outputs\.jsonl: not valid JSON: the text ends too early at line 2/],
    ['[]', /outputs\.jsonl:2: expected an object with gold and text, got an array of 0/],
    ['{"text": "1"}', /outputs\.jsonl:2: gold: expected a string or a number, got undefined/],
    ['{"gold": "1", "text": 1}', /outputs\.jsonl:2: text: expected a string, got 1/],
  ])('stops at the bad line %j, or reports and skips it', async (bad, message) => {
    const path = file([good[0], bad, good[1]].join('\n'));
    await expect(score(['--check', 'math', path])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) as unknown });
    const { lines, summaries, warnings } = await score(['--check', 'math', '--skip-bad', path]);
    expect(lines.length).toBe(2);
    expect(warnings).toEqual([expect.stringMatching(message)]);
    expect(summaries[0]).toMatch(/; 1 lines skipped$/);
  });

  test('reads - as stdin', async () => {
    const stdin = Object.getOwnPropertyDescriptor(process, 'stdin') as PropertyDescriptor;
    Object.defineProperty(process, 'stdin', { value: Readable.from(['{"gold": "é", "te', 'xt": "é"}']), configurable: true });
    try {
      expect((await score(['--check', 'exact', '-'])).lines).toEqual([{ verdict: 'correct', extracted: 'é', reason: 'the same text' }]);
    } finally {
      Object.defineProperty(process, 'stdin', stdin);
    }
  });

  test('refuses what cannot be', async () => {
    await expect(score(['--check', 'math'])).rejects.toThrow(new UsageError('expected a JSONL file, or - for stdin'));
    await expect(score([file('')])).rejects.toThrow('--check: expected one of gsm8k, math, choice, exact, regex, or a module, but it is missing');
    await expect(score(['--check', 'maths', file('')])).rejects.toThrow(/^--check: expected one of gsm8k, .*, got "maths"$/);
    await expect(score(['--check', 'math', '--ignore-case', file('')])).rejects.toThrow('--ignore-case: the check math has no use for it');
    await expect(score(['--check', 'math', join(folder, 'none.jsonl')])).rejects.toMatchObject({ code: 'IO' });
    await expect(score(['--check', 'math', folder])).rejects.toMatchObject({ code: 'IO' });
  });
});
