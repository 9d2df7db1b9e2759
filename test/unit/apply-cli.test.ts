/** The command lines of confidence, transfer, search and quantize up to the point where work would begin. */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseCommandLine, runCommandLine } from '../../src/cli/app.js';
import { UsageError } from '../../src/cli/errors.js';
import * as library from '../../src/index.js';

/** Message of the usage error of a command line that goes as far as `prepare`. */
async function refusal(line: string): Promise<string> {
  try {
    const invocation = await parseCommandLine(line.split(' '));
    if (invocation.kind === 'run') {
      invocation.command.prepare(invocation.flags);
    }
  } catch (error) {
    return error instanceof UsageError ? error.message : `not a usage error: ${String(error)}`;
  }
  return 'accepted';
}

describe('usage', () => {
  test.each([
    ['confidence', 'DIR: expected the folder of a rollout with probes, but it is missing'],
    ['confidence x', '--model: expected a GGUF file (-m FILE), but it is missing'],
    ['confidence x -m m.gguf --neurons 4,0', '--neurons: expected numbers of neurons such as 4,16, got "4,0"'],
    ['confidence x -m m.gguf --samples -1', '--samples: expected an integer in 0..10000, got "-1"'],
    ['confidence x -m m.gguf --neurons 4,16 --no-ask --samples 0', 'accepted'],
    ['transfer', 'DIRS: expected folders of rollouts with probes, but they are missing'],
    ['transfer a b --shares 0.01,2', '--shares: expected numbers above 0 and up to 1, got "0.01,2"'],
    ['transfer a b --place end', '--place: expected one of s0, middle, last, got "end"'],
    ['transfer a b c --place s0 --exclude-sinks', 'accepted'],
    ['search x -m m.gguf --step sentence', '--step: expected line, blank-line or tokens:N, got "sentence"'],
    ['search x -m m.gguf --step foo', '--step: expected blank-line, line, sentence, regex:PATTERN or tokens:N, got "foo"'],
    ['search x -m m.gguf --ranking permutation', '--ranking: expected one of l1-zscore, l1-raw, linear, got "permutation"'],
    ['confidence x -m m.gguf --ranking univariate', '--ranking: expected one of l1-zscore, l1-raw, linear, got "univariate"'],
    ['search x -m m.gguf --guides value,luck', '--guides: expected some of dopamine, value, logprob, random, got "luck"'],
    ['search x -m m.gguf -K 0', '--candidates: expected an integer in 1..128, got "0"'],
    ['search x -m m.gguf -K 8 --beam 2 --step tokens:16 --guides random', 'accepted'],
    ['quantize -m m.gguf -o x.gguf', expect.stringMatching(/^--type: expected one of F32, F16, .*, but it is missing$/)],
    ['quantize -m m.gguf -o x.gguf --type Q9', expect.stringMatching(/^--type: expected one of .*, got "Q9"$/)],
    ['quantize -m m.gguf --type Q8_0', '--output: expected a file (-o FILE), but it is missing'],
    ['quantize -m m.gguf --type Q2_K -o x.gguf --allow-requantize --force', 'accepted'],
    ['quantize -m m.gguf --type q4_k_m -o x.gguf', 'accepted'],
  ])('%s', async (line, expected) => {
    expect(await refusal(line)).toEqual(expected);
  });
});

/** Exit code and stderr of a command line that is run. */
async function failure(...words: string[]): Promise<{ code: number; text: string }> {
  const silent = process.stderr.write.bind(process.stderr);
  let text = '';
  process.stderr.write = (chunk) => ((text += String(chunk)), true);
  try {
    return { code: await runCommandLine(words), text };
  } finally {
    process.stderr.write = silent;
  }
}

describe('folders', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'rewardlens-apply-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const MODEL = ['-m', 'models/planted.gguf'];
  test.each([
    ['values', MODEL],
    ['dopamine', []],
    ['interplay', MODEL],
    ['confidence', MODEL],
    ['search', MODEL],
    ['transfer', ['elsewhere']],
  ])('%s says whether a folder is there at all', async (command, rest) => {
    expect(await failure(command, 'nowhere', ...rest)).toEqual({ code: 1, text: `rewardlens ${command}: expected a folder, but 'nowhere' does not exist\n` });
    expect(await failure(command, 'package.json', ...rest)).toEqual({ code: 1, text: `rewardlens ${command}: expected a folder, but 'package.json' is none\n` });
  });

  test.each([
    ['confidence', MODEL],
    ['search', MODEL],
    ['transfer', ['src', '-o', 'transfer-of-nothing.json']],
  ])('%s of a folder without probes says what to run first', async (command, rest) => {
    const { code, text } = await failure(command, folder, ...rest);
    expect(code).toBe(1);
    expect(text).toContain(`'${folder}' has no probes; run \`rewardlens probe ${folder}\``);
  });

  test('transfer of one folder under two names is refused', async () => {
    const other = join(folder, 'again');
    symlinkSync(folder, other);
    expect((await failure('transfer', folder, other, '-o', join(folder, 'x.json'))).text).toContain('was given twice');
  });

  test('transfer replaces no file but an earlier comparison, and says so before it reads anything', async () => {
    const notes = join(folder, 'notes.json');
    writeFileSync(notes, '{"format": "mine"}');
    expect(await failure('transfer', folder, 'src', '-o', notes)).toEqual({ code: 1, text: `rewardlens transfer: cannot write '${notes}': it exists, and is no comparison of folders\n` });
    writeFileSync(notes, '{"format": "rewardlens.transfer"}');
    expect((await failure('transfer', folder, 'src', '-o', notes)).text).toContain('has no probes');
    expect((await failure('transfer', folder, 'src', '-o', join(folder, 'gone/x.json'))).text).toContain("gone' does not exist");
  });
});

test.each([
  ['values', ['prepareValues', 'openValuesSession', 'runValues', 'readValues', 'parseSplitter', 'splitSteps', 'stepErrors']],
  ['dopamine', ['runDopamine', 'readDopamine']],
  ['interplay', ['prepareInterplay', 'openInterplaySession', 'runInterplay']],
  ['confidence', ['runConfidence']],
  ['search', ['runSearch', 'guidedSearch']],
  ['transfer', ['runTransfer']],
  ['quantize', ['quantizeModel']],
])('what the command %s does, programs can do', (_, names) => {
  expect(names.filter((name) => typeof library[name as keyof typeof library] !== 'function')).toEqual([]);
});
