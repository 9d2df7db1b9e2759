/** The command line up to the point where work would begin. */
import { describe, expect, test } from '@jest/globals';
import { parseCommandLine } from '../../src/cli/app.js';
import { normalizeArgv } from '../../src/cli/argv.js';
import type { OptionTable } from '../../src/cli/argv.js';
import { UsageError, errorToJson, errorToText } from '../../src/cli/errors.js';
import { readModelFlags, readSessionFlags } from '../../src/cli/options.js';
import { RewardLensError } from '../../src/index.js';

const TABLE: OptionTable = {
  'gpu-layers': { alias: 'n-gpu-layers' },
  predict: { alias: ['n', 'n-predict'] },
  prompt: { alias: 'p', array: true },
  parallel: {},
  json: { type: 'boolean' },
};

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

describe('normalizeArgv', () => {
  test.each<[string[], string[]]>([
    [['-ngl', '99'], ['--gpu-layers=99']],
    [['--n-gpu-layers', '99'], ['--gpu-layers=99']],
    [['-n', '-1'], ['--predict=-1']],
    [['-n=5'], ['--predict=5']],
    [['-np', '4', '-n', '2'], ['--parallel=4', '--predict=2']],
    [['-p', '- a list', '-p', '-5+3='], ['--prompt=- a list', '--prompt=-5+3=']],
    [['-p', ''], ['--prompt=']],
    [['-p=--json'], ['--prompt=--json']],
    [['-n', '1', '--json', '-n', '2'], ['--predict=2', '--json']],
    [['generate', '--json', '--', '-x'], ['generate', '--json', '--', '-x']],
  ])('%j', (argv, expected) => {
    expect(normalizeArgv(argv, TABLE)).toEqual(expected);
  });

  test.each<[string[], string]>([
    [['-n'], '-n: expected a value'],
    [['-n', '--json'], '-n: expected a value, got the flag --json'],
    [['--json=1'], '--json: takes no value'],
    [['--fo'], 'unknown flag --fo'],
    [['-ngx', '3'], 'unknown flag -ngx'],
  ])('refuses %j', (argv, message) => {
    expect(() => normalizeArgv(argv, TABLE)).toThrow(message);
  });
});

describe('llama.cpp flags reach the library', () => {
  test('model and session', async () => {
    const line = 'generate -m x.gguf -p a -ngl 99 -dev CUDA0,CPU --no-mmap --mlock -c 512 -ub 16 -t 3 -fa on -ctk f32 -ctv q8_0 -np 4';
    const invocation = await parseCommandLine(line.split(' '));
    if (invocation.kind !== 'run') {
      throw new Error('expected a command');
    }
    expect(readModelFlags(invocation.flags)).toEqual({
      path: 'x.gguf',
      load: { gpuLayers: 99, devices: ['CUDA0', 'CPU'], mmap: false, mlock: true, checkTensors: false, isolate: true },
    });
    expect(readSessionFlags(invocation.flags)).toEqual({
      contextLength: 512,
      ubatch: 16,
      threads: 3,
      flashAttention: true,
      cacheTypeK: 'f32',
      cacheTypeV: 'q8_0',
      parallel: 4,
    });
  });

  test('what is not given is left to the library', async () => {
    const invocation = await parseCommandLine(['info', '-m', 'x.gguf']);
    expect(invocation.kind === 'run' ? readModelFlags(invocation.flags).load : {}).not.toHaveProperty('gpuLayers');
    expect(invocation.kind === 'run' ? readSessionFlags(invocation.flags) : undefined).toEqual({});
  });

  test('texts keep quotes, dashes and line breaks', async () => {
    const invocation = await parseCommandLine(['generate', '-m', '"x"', '-p', '"quoted"', '-p', "'", '-p', '-1', '-p', 'a\nb', '-p', '007']);
    expect(invocation.kind === 'run' ? invocation.flags.text('model') : '').toBe('"x"');
    expect(invocation.kind === 'run' ? invocation.flags.list('prompt') : []).toEqual(['"quoted"', "'", '-1', 'a\nb', '007']);
  });
});

describe('usage errors', () => {
  test.each([
    ['generate -p a', '--model: expected a GGUF file (-m FILE), but it is missing'],
    ['generate -m x', 'no input: expected one of -p TEXT, -f FILE, --prompts FILE.jsonl, --tokens FILE.json'],
    ['generate -m x -p a -f b', 'expected one kind of input, got --prompt and --file'],
    ['generate -m x --tokens a --chat', '--chat: token ids have no text to put into a chat template'],
    ['generate -m x -p a --temp -1', '--temp: expected a number in 0..1000000, got "-1"'],
    ['generate -m x -p a --temp 0x1', '--temp: expected a number in 0..1000000, got "0x1"'],
    ['generate -m x -p a --top-k 1.5', '--top-k: expected an integer ≥ 0, got "1.5"'],
    ['generate -m x -p a -n -2', '--predict: expected an integer ≥ -1, got "-2"'],
    ['generate -m x -p a -s 4294967296', '--seed: expected an integer in -1..4294967294, got "4294967296"'],
    ['generate -m x -p a -fa maybe', '--flash-attn: expected one of on, off, auto, 1, 0, got "maybe"'],
    ['generate -m x -p a -np 300', '--parallel: expected an integer in 1..256, got "300"'],
    ['capture -m x -p a', '--output: expected a file to write (-o FILE), but it is missing'],
    ['capture -m x -p a -o y --site nope', '--site: expected one of residPre, attnOut, residMid, mlpPost, mlpOut, residPost, logits, got "nope"'],
    ['capture -m x -p a -o y --layers 5-3', '--layers: expected ranges that go upwards, got "5-3"'],
    ['capture -m x -p a -o y --positions completion', '--positions: capture reads prompts and samples nothing'],
    ['capture -m x -p a -o y --positions 1,x', '--positions: expected all, prompt, s0, last or a list such as 0,5,-1, got "1,x"'],
    ['capture -m x -p a -o y --neurons all', '--neurons: expected numbers and ranges such as "0,3-5", got "all"'],
    ['info -m x extra', 'unexpected: extra'],
    ['infos', 'unknown command "infos": expected one of info, capture, generate, dataset, rollout, score, rescore, probe, rank, report, study, ablate'],
    ['--json', 'expected a command: info, capture, generate, dataset, rollout, score, rescore, probe, rank, report, study, ablate'],
    ['capture -m x -p a -o y --temp 3', 'unknown flag --temp'],
  ])('%s', async (line, expected) => {
    expect(await refusal(line)).toContain(expected);
  });

  test.each(['generate -m x -p a --temp 0 -n -1', 'capture -m x -p a -o y --layers -1 --positions -1,0', 'info -m x'])('accepted: %s', async (line) => {
    expect(await refusal(line)).toBe('accepted');
  });
});

describe('help', () => {
  test.each(['--help', 'generate --help', 'capture -h', 'info --help'])('%s prints and runs nothing', async (line) => {
    const invocation = await parseCommandLine(line.split(' '));
    expect(invocation).toMatchObject({ kind: 'print' });
    expect(invocation.kind === 'print' ? invocation.text : '').toContain('--verbose');
  });
});

describe('errors in print', () => {
  const error = new RewardLensError('MODEL_LOAD', 'no such file', { details: { path: 'x' }, cause: new Error('inner') });

  test('one line; the stack only when asked for', () => {
    expect(errorToText(error, { command: 'info', verbose: false })).toBe('rewardlens info: no such file');
    const stopped = new RewardLensError('ABORTED', 'the run was aborted');
    expect(errorToText(stopped, { command: 'study', verbose: false, resumes: true })).toBe('rewardlens study: the run was aborted\nThe same command goes on where it stopped.');
    expect(errorToText(stopped, { command: 'capture', verbose: false })).toBe('rewardlens capture: the run was aborted');
    expect(errorToText(error, { command: 'study', verbose: false, resumes: true })).toBe('rewardlens study: no such file');
    const verbose = errorToText(error, { command: undefined, verbose: true });
    expect(verbose).toMatch(/^rewardlens: no such file\n.*at /s);
    expect(verbose).toContain('caused by Error: inner');
    expect(verbose).toContain('[MODEL_LOAD]');
  });

  test('JSON', () => {
    expect(errorToJson(error)).toEqual({ error: { code: 'MODEL_LOAD', message: 'no such file', details: { path: 'x' } } });
    expect(errorToJson(new UsageError('u'))).toEqual({ error: { code: 'USAGE', message: 'u' } });
    expect(errorToJson(new TypeError('t'))).toEqual({ error: { code: 'INTERNAL', message: 't' } });
  });
});
