/** The program as a person runs it: bin/rewardlens.js in a child process. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { SafetensorsReader, captureActivations, loadModel, readInterventions } from '../../src/index.js';
import { oraclePath, relativeL2 } from '../helpers/oracle.js';
import { buildIfStale, program } from '../helpers/rollout-program.js';
import { writeTinyGguf } from '../helpers/tiny-gguf.mjs';

const TOKENS = [
  [1, 5, 9, 22],
  [1, 7, 33, 2, 8, 60],
];

let directory: string;
let spm: string;
const noTokenizer = oraclePath('llama.gguf');
const path = (name: string): string => join(directory, name);

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

function start(args: readonly string[], onStart: (child: ChildProcess) => void = () => undefined): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    onStart(child);
  });
}

/** What the edit counts of a JSON line are about. */
interface Counts {
  tokens: number[];
  logProbabilities: number[];
  edits: unknown[];
  promptTokens: number;
  sharedPrefix: number;
}

/** One thread and no GPU: tests share the machine. */
const run = (command: string, ...args: string[]): Promise<Outcome> => start([command, '-t', '1', '-ngl', '0', ...args]);
const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

beforeAll(async () => {
  await buildIfStale();
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-cli-'));
  spm = path('spm.gguf');
  writeTinyGguf(spm, { vocabSize: 320, chatTemplate: '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}' });
  writeFileSync(path('tokens.json'), JSON.stringify(TOKENS));
  writeFileSync(path('edits.json'), JSON.stringify([{ kind: 'zero', site: 'mlpPost', layers: [0], neurons: [0, 5] }]));
}, 180_000);
afterAll(() => rmSync(directory, { recursive: true }));

describe('info', () => {
  test('a table', async () => {
    const { code, stdout, stderr } = await run('info', '-m', spm);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^architecture +llama$/m);
    expect(stdout).toMatch(/^chat template +yes$/m);
    expect(stdout).toMatch(/^mlpPost +64 +all$/m);
  });

  test('JSON', async () => {
    const { code, stdout } = await run('info', '-m', noTokenizer, '--json');
    const [facts, ...more] = jsonLines(stdout);
    expect({ code, more }).toEqual({ code: 0, more: [] });
    expect(facts).toMatchObject({ model: { architecture: 'llama', tokenizer: 'none', hasChatTemplate: false }, sitesError: null, metadata: { 'general.architecture': 'llama' } });
    expect((facts?.sites as { found: boolean }[]).every((site) => site.found)).toBe(true);
  });
});

describe('capture', () => {
  test('the file holds what captureActivations returns, with interventions and a choice of neurons', async () => {
    const args = ['-m', noTokenizer, '--tokens', 'tokens.json', '--site', 'residPost,mlpPost', '--layers', '0,-1', '--neurons', '3,10-12', '--positions', '0,-1'];
    const { code, stdout, stderr } = await run('capture', ...args, '--intervene', 'edits.json', '-fa', 'off', '-o', 'acts.safetensors');
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'acts.safetensors\n' });
    expect(stderr).toMatch(/^4 rows × 4 tensors \(f32\), .*\nmodel sha256 [0-9a-f]{64}, llama\.cpp .*\n$/);

    await using model = await loadModel(noTokenizer, { gpuLayers: 0 });
    const session = model.createSession({ threads: 1, parallel: 2, contextLength: 256, flashAttention: false });
    const expected = await captureActivations(
      session,
      TOKENS,
      { site: ['residPost', 'mlpPost'], layers: [0, -1], neurons: [3, 10, 11, 12], positions: [0, -1] },
      { interventions: await readInterventions(path('edits.json')) },
    );
    await using reader = await SafetensorsReader.open(path('acts.safetensors'));
    expect([...reader.header.tensors.keys()].sort()).toEqual([...expected.blocks.map((block) => block.name), 'tokens', 'sequence', 'position'].sort());
    for (const block of expected.blocks) {
      const stored = await reader.read(block.name);
      expect(stored.shape).toEqual([4, 4]);
      // f32 products round differently by the number of rows in a pass, which the two sessions need not share.
      expect(relativeL2(stored.data as Float32Array, expected.get(block.site, block.layer).data)).toBeLessThan(1e-5);
    }
    expect((await reader.read('sequence')).data).toEqual(Int32Array.of(0, 0, 1, 1));
    expect((await reader.read('position')).data).toEqual(Int32Array.of(0, 3, 0, 5));
    expect((await reader.read('tokens')).data).toEqual(Int32Array.of(1, 22, 1, 60));
    expect(JSON.parse(reader.header.metadata.rewardlens ?? '')).toMatchObject({ kind: 'capture', rowCount: 4, sequenceCount: 2, interventions: 1 });
  });

  test('--json prints the manifest; texts are tokenized; f16', async () => {
    const { code, stdout, stderr } = await run('capture', '-m', spm, '-p', 'a\\nb', '-p', 'c', '--dtype', 'f16', '--no-hash', '-o', 'half.safetensors', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(jsonLines(stdout)).toMatchObject([{ path: 'half.safetensors', kind: 'capture', dtype: 'f16', sequenceCount: 2, model: { sha256: null } }]);
    await using reader = await SafetensorsReader.open(path('half.safetensors'));
    expect([...(await reader.read('tokens')).data]).toContain(3); // the newline that \n became
  });

  test('an existing file is kept unless --force', async () => {
    writeFileSync(path('kept.safetensors'), 'precious');
    const args = ['-m', noTokenizer, '--tokens', 'tokens.json', '-o', 'kept.safetensors'];
    const refused = await run('capture', ...args);
    expect(refused).toEqual({ code: 1, stdout: '', stderr: "rewardlens capture: cannot write 'kept.safetensors': it exists; --force replaces it\n" });
    expect(readFileSync(path('kept.safetensors'), 'utf8')).toBe('precious');
    expect((await run('capture', ...args, '--force')).code).toBe(0);
    expect(readFileSync(path('kept.safetensors'), 'utf8')).not.toBe('precious');
  });
});

describe('generate', () => {
  test('one text: stdout is the completion, stderr the totals', async () => {
    const { code, stdout, stderr } = await run('generate', '-m', spm, '-p', 'hello', '--temp', '0', '-n', '20', '--grammar', 'root ::= "abc"');
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'abc\n' });
    expect(stderr).toMatch(/^\d+ tokens sampled.*; 6 prompt tokens read; seed \d+\n$/);
  });

  test('JSON lines: one per sequence and a summary; edits counted; a seed repeats; -o gets the same lines', async () => {
    writeFileSync(path('p.jsonl'), '"hello"\n{"id": "chat", "messages": [{"role": "user", "content": "yo"}]}\n{"id": 3, "tokens": [1, 9]}\n');
    const args = ['-m', spm, '--prompts', 'p.jsonl', '-n', '4', '--samples', '2', '--seed', '7', '--intervene', 'edits.json', '--ignore-eos', '--logprobs', '--json', '-fa', 'on', '-np', '3'];
    const first = await run('generate', ...args, '-o', 'lines.jsonl');
    expect({ code: first.code, stderr: first.stderr }).toEqual({ code: 0, stderr: '' });
    expect(readFileSync(path('lines.jsonl'), 'utf8')).toBe(first.stdout);
    const lines = jsonLines(first.stdout);
    const sequences = lines.slice(0, -1).sort((a, b) => (a.index as number) - (b.index as number));
    expect(sequences.map(({ index, id, sample, seed, prompt }) => [index, id, sample, seed, prompt])).toEqual([
      [0, null, 0, 7, 'hello'],
      [1, null, 1, 8, 'hello'],
      [2, 'chat', 0, 9, 'user: yo\n'],
      [3, 'chat', 1, 10, 'user: yo\n'],
      [4, 3, 0, 11, null],
      [5, 3, 1, 12, null],
    ]);
    for (const { tokens, logProbabilities, edits, promptTokens, sharedPrefix } of sequences as unknown as Counts[]) {
      expect(tokens).toHaveLength(4);
      expect(logProbabilities).toHaveLength(4);
      // 2 neurons at every position that was computed: the prompt and all sampled tokens but the last.
      const changed = 2 * (promptTokens - sharedPrefix + 3);
      expect(edits).toEqual([{ kind: 'zero', changed, expected: changed, shared: 2 * sharedPrefix }]);
    }
    expect(lines.at(-1)).toMatchObject({ summary: { sequences: 6, completionTokens: 24, seed: 7, manifest: { model: { architecture: 'llama' } } } });

    const second = jsonLines((await run('generate', ...args)).stdout).slice(0, -1);
    const texts = (list: Record<string, unknown>[]): unknown[] => [...list].sort((a, b) => (a.index as number) - (b.index as number)).map((line) => line.tokens);
    expect(texts(second)).toEqual(texts(sequences));
  });
});

describe('exit codes and messages', () => {
  test.each<[number, string, string[]]>([
    [2, "rewardlens: unknown command \"nope\": expected one of info, capture, generate, dataset, rollout, score, rescore, probe, rank, report, study, ablate, merge, worker, patch, values, dopamine, interplay, confidence, search, transfer, quantize\nTry 'rewardlens --help'.\n", ['nope']],
    [2, "rewardlens generate: --top-k: expected an integer ≥ 0, got \"x\"\nTry 'rewardlens generate --help'.\n", ['generate', '-m', 'm', '-p', 'a', '--top-k', 'x']],
    [1, "rewardlens info: 'none.gguf' does not exist\n", ['info', '-m', 'none.gguf']],
    [1, "rewardlens capture: cannot write 'no/where': the directory 'no' does not exist\n", ['capture', '-m', 'none.gguf', '-p', 'a', '-o', 'no/where']],
  ])('%i: %j', async (code, stderr, args) => {
    expect(await start(args)).toEqual({ code, stdout: '', stderr });
  });

  test('a model without tokenizer takes no text', async () => {
    const { code, stderr } = await run('generate', '-m', noTokenizer, '-p', 'hello');
    expect(code).toBe(1);
    expect(stderr).toMatch(/^rewardlens generate: -p: .*no tokenizer/);
  });

  test('--verbose adds the stack, --json an error line', async () => {
    expect((await start(['info', '-m', 'none.gguf', '-v'])).stderr).toMatch(/does not exist\n.*\n +at /);
    const { code, stdout } = await start(['info', '-m', 'none.gguf', '--json']);
    expect({ code, lines: jsonLines(stdout) }).toMatchObject({ code: 1, lines: [{ error: { code: 'MODEL_LOAD' } }] });
  });

  test('an intervention that does not fit the model names the file', async () => {
    writeFileSync(path('wide.json'), JSON.stringify([{ kind: 'zero', layers: [0], neurons: [4096] }]));
    const { code, stderr } = await run('generate', '-m', spm, '-p', 'a', '--intervene', 'wide.json');
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'rewardlens generate: wide.json: interventions[0].neurons[0]: expected an integer in 0..31, got 4096\n' });
  });
});

describe('Ctrl-C', () => {
  /** Interrupts the program as soon as `file` is there. */
  const interruptWhen = (file: string) => (child: ChildProcess) => {
    const timer = setInterval(() => {
      if (existsSync(path(file)) || child.exitCode !== null) {
        clearInterval(timer);
        child.kill('SIGINT');
      }
    }, 2);
  };

  test('capture stops, removes the partial file, exits 130', async () => {
    const long = Array.from({ length: 400 }, (_, i) => Array.from({ length: 240 }, (__, k) => 1 + ((i * 7 + k * 13) % 300)));
    writeFileSync(path('long.json'), JSON.stringify(long));
    const args = ['capture', '-t', '1', '-ngl', '0', '-m', spm, '--tokens', 'long.json', '--site', 'mlpPost', '-ub', '16', '-o', 'stopped.safetensors'];
    const { code, stderr } = await start(args, interruptWhen('stopped.safetensors.partial'));
    expect({ code, stderr }).toEqual({ code: 130, stderr: 'rewardlens: stopping; Ctrl-C again leaves at once\nrewardlens capture: the run was aborted\n' });
    expect(readdirSync(directory).filter((name) => name.startsWith('stopped'))).toEqual([]);
  });

  test('generate keeps the lines it has written', async () => {
    const args = ['generate', '-t', '1', '-ngl', '0', '-m', spm, '-p', 'hello', '--samples', '5000', '-n', '200', '-np', '2', '--ignore-eos', '-o', 'some.jsonl', '--json'];
    const { code, stdout } = await start(args, (child) => child.stdout?.once('data', () => child.kill('SIGINT')));
    expect(code).toBe(130);
    const lines = jsonLines(stdout);
    expect(lines.at(-1)).toMatchObject({ error: { code: 'ABORTED' } });
    expect(jsonLines(readFileSync(path('some.jsonl'), 'utf8'))).toEqual(lines.slice(0, -1));
    expect(lines.length).toBeGreaterThan(1);
  });
});
