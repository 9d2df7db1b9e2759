/** The command lines of confidence, transfer, search and quantize up to the point where work would begin. */
import { describe, expect, test } from '@jest/globals';
import { parseCommandLine, runCommandLine } from '../../src/cli/app.js';
import { UsageError } from '../../src/cli/errors.js';

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
    ['search x -m m.gguf --guides value,luck', '--guides: expected some of dopamine, value, logprob, random, got "luck"'],
    ['search x -m m.gguf -K 0', '--candidates: expected an integer in 1..128, got "0"'],
    ['search x -m m.gguf -K 8 --beam 2 --step tokens:16 --guides random', 'accepted'],
    ['quantize -m m.gguf -o x.gguf', expect.stringMatching(/^--type: expected one of F32, F16, .*, but it is missing$/)],
    ['quantize -m m.gguf -o x.gguf --type Q9', expect.stringMatching(/^--type: expected one of .*, got "Q9"$/)],
    ['quantize -m m.gguf --type Q8_0', '--output: expected a file (-o FILE), but it is missing'],
    ['quantize -m m.gguf --type Q2_K -o x.gguf --allow-requantize --force', 'accepted'],
  ])('%s', async (line, expected) => {
    expect(await refusal(line)).toEqual(expected);
  });
});

test.each([
  ['confidence', '-m models/planted.gguf'],
  ['search', '-m models/planted.gguf'],
  ['transfer', 'elsewhere'],
])('%s of a folder without probes says what to run first', async (command, rest) => {
  const silent = process.stderr.write.bind(process.stderr);
  let text = '';
  process.stderr.write = (chunk) => ((text += String(chunk)), true);
  try {
    expect(await runCommandLine([command, 'nowhere', ...rest.split(' ')])).toBe(1);
  } finally {
    process.stderr.write = silent;
  }
  expect(text).toContain("'nowhere' has no probes; run `rewardlens probe nowhere`");
});
