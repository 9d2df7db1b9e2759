import { describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseCommandLine } from '../../src/cli/app.js';
import type { Io } from '../../src/cli/command.js';
import { datasetCommand } from '../../src/cli/dataset.js';
import { Progress } from '../../src/cli/progress.js';

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/dataset/${name}`, import.meta.url));

/** Runs `rewardlens dataset …` and returns what it prints. */
async function run(...argv: string[]): Promise<{ out: string; warnings: string[] }> {
  const invocation = await parseCommandLine(['dataset', ...argv], [datasetCommand]);
  if (invocation.kind === 'print') {
    return { out: invocation.text, warnings: [] };
  }
  const out: string[] = [];
  const warnings: string[] = [];
  const io: Io = {
    json: invocation.flags.on('json'),
    verbose: invocation.flags.on('verbose'),
    signal: new AbortController().signal,
    progress: new Progress(process.stderr, false),
    out: (text) => void out.push(text),
    line: (value) => void out.push(JSON.stringify(value)),
    summary: () => undefined,
    note: () => undefined,
    warn: (text) => void warnings.push(text),
  };
  await invocation.command.prepare(invocation.flags)(io);
  return { out: out.join('\n'), warnings };
}

describe('rewardlens dataset', () => {
  test('format, counts and prompts as they would be sent', async () => {
    const { out, warnings } = await run(fixture('arc.jsonl'), '--few-shot', '1', '--show', '1');
    expect(out).toMatch(/^name {7}arc\n.*format {5}arc\nproblems {3}2 problems, and 1 kept for examples\ncheck {6}choice\ntemplate {3}choice \(choice-[0-9a-f]{16}\)\nexamples {3}Made_1 of /s);
    expect(out).toMatch(/\n--- Made_2 \(right answer: C\)\nWhich of these is a planet\?\n\(A\) the Moon\n.*\nAnswer: \(B\)\n\nWhat does a plant take from the air\?\n.*\nAnswer:$/s);
    expect(warnings).toEqual([]);
  });

  test('bad lines are listed, and warned of', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rewardlens-cli-'));
    const path = join(folder, 'set.jsonl');
    await writeFile(path, `{"prompt": "1+1=", "answer": "2", "check": "gsm8k"}\n${'{\n'.repeat(30)}`);
    const { out, warnings } = await run(path);
    expect(out).toMatch(/bad lines {2}30\n {2}line 2: not valid JSON: .*\n {2}line 21: [^\n]*\n {2}and 10 more; --verbose lists all\n/s);
    expect(warnings).toEqual(['30 bad lines; other commands stop at them unless --skip-bad is given']);
    expect((await run(path, '--verbose')).out).toMatch(/\n {2}line 31: /);
    await rm(folder, { recursive: true });
  });

  test('JSON', async () => {
    const { out } = await run(fixture('plain.jsonl'), '--json', '--show', '1', '--limit', '2');
    expect(JSON.parse(out)).toMatchObject({
      name: 'plain',
      format: 'jsonl',
      problemCount: 2,
      template: 'raw',
      skipped: [],
      prompts: [{ id: 'a', answer: '4', check: 'gsm8k', text: '2+2=?\n', addSpecial: true }],
    });
  });

  test('a wrong command line', async () => {
    await expect(run()).rejects.toThrow(/SPEC: expected a data set file or hf:owner\/name, but it is missing/);
    await expect(run(fixture('arc.jsonl'), '--format', 'csv')).rejects.toThrow('--format: expected one of gsm8k, math, arc, mmlu, jsonl, got "csv"');
    await expect(run(fixture('arc.jsonl'), '--template', 'nope')).rejects.toThrow('template: expected one of chat, raw');
  });
});
