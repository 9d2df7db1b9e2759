/** Flags of `values`, `dopamine` and `interplay`: what they mean, and what is refused before anything runs. */
import { describe, expect, test } from '@jest/globals';
import { parseCommandLine } from '../../src/cli/app.js';
import type { Io } from '../../src/cli/command.js';
import { printTrace, readDopamineSettings } from '../../src/cli/dopamine.js';
import { UsageError } from '../../src/cli/errors.js';
import { readValuesSettings } from '../../src/cli/values.js';
import { DOPAMINE_DEFAULTS } from '../../src/study/dopamine.js';
import { VALUES_DEFAULTS } from '../../src/study/values.js';

async function parse(line: string): Promise<Extract<Awaited<ReturnType<typeof parseCommandLine>>, { kind: 'run' }>> {
  const invocation = await parseCommandLine(line.split(' '));
  if (invocation.kind !== 'run') {
    throw new Error('printed');
  }
  return invocation;
}

describe('values', () => {
  test('defaults and flags', async () => {
    expect(readValuesSettings((await parse('values out -m x')).flags)).toEqual(VALUES_DEFAULTS);
    expect(readValuesSettings((await parse('values out -m x --steps regex:(?=Step) -k 40 --max-tokens-total 5000 --limit 3 --gamma 0.9 -s 7 --probe-layer 2')).flags)).toEqual({
      splitter: { kind: 'regex', pattern: '(?=Step)' },
      counts: { min: 40, max: 40, width: VALUES_DEFAULTS.counts.width },
      budget: 5000,
      limit: 3,
      gamma: 0.9,
      seed: 7,
      layer: 2,
    });
  });

  test.each([
    ['values out -m x --steps paragraphs', '--steps: expected blank-line, line, sentence, regex:PATTERN or tokens:N, got "paragraphs"'],
    ['values out -m x --steps regex:(', '--steps: expected a regular expression'],
    ['values out -m x -k 8 --max-continuations 4', '--max-continuations'],
    ['values out -m x --budget 0', '--budget'],
    ['values out', '--model'],
    ['values -m x', 'DIR'],
    ['dopamine out --zscore causal', '--zscore'],
    ['dopamine out --errors td', '--errors'],
    ['interplay out -m x --shares 2', '--shares'],
    ['interplay out', '--model'],
  ])('%s is refused and says %s', async (line, part) => {
    const { command, flags } = await parse(line);
    expect(() => command.prepare(flags)).toThrow(UsageError);
    expect(() => command.prepare(flags)).toThrow(part);
  });
});

test('dopamine: defaults and flags', async () => {
  expect(readDopamineSettings((await parse('dopamine out')).flags)).toEqual(DOPAMINE_DEFAULTS);
  expect(readDopamineSettings((await parse('dopamine out --zscore response --errors probe --threshold 0.1 --radius 5')).flags)).toEqual({ ...DOPAMINE_DEFAULTS, zscore: 'response', error: 'probe', threshold: 0.1, radius: 5 });
});

test('a trace shows what a model wrote, and sends none of it to the terminal', () => {
  const lines: string[] = [];
  const example = { problem: 'p\u001b]0;x\u0007', sample: 0, reward: 1, tokens: ['a', '\u001b[2J', '\n'], trace: [1, -2, null], steps: [{ begin: 0, end: 3, error: 0.25, predicted: null }] };
  printTrace(example, { out: (text: string) => void lines.push(text) } as unknown as Io);
  expect(lines).toEqual(['\np⟨0x1B⟩]0;x⟨0x07⟩, sample 0, reward 1', '  δ +0.25  probe     –  a⟨0x1B⟩[2J⏎']);
});
