/** The reference: builds bench/native/stock.cpp on demand and drives it as a child process. */
import type { ChildProcessByStdio } from 'node:child_process';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import type { Interface } from 'node:readline';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { buildInfo, libraryDirectory } from '../src/native/addon.js';
import type { Sample } from './measure.js';

const root = resolve(import.meta.dirname, '..');

/**
 * Builds `rewardlens-stock` and returns its path. A build folder of its own when llama.cpp's libraries are prebuilt; the
 * addon's when they were built from source there, so that both sides always load the same files. Throws with the
 * compiler's output. Cost: seconds the first time.
 */
export function buildStock(): string {
  const folder = join(root, buildInfo().flavor === 'source' ? 'build' : 'build/bench');
  const own = folder.endsWith('bench') ? ['-DREWARDLENS_ADDON=OFF', '-DCMAKE_BUILD_TYPE=Release'] : [];
  cmake(['-S', root, '-B', folder, '-DREWARDLENS_BENCH=ON', ...own]);
  cmake(['--build', folder, '--target', 'rewardlens-stock', '--config', 'Release']);
  return join(folder, 'Release', process.platform === 'win32' ? 'rewardlens-stock.exe' : 'rewardlens-stock');
}

function cmake(args: string[]): void {
  const { status, stdout, stderr, error } = spawnSync('cmake', args, { encoding: 'utf8' });
  if (status !== 0) {
    throw new Error(`cmake ${args.join(' ')} failed: ${error?.message ?? `${stdout}\n${stderr}`}`, { cause: error });
  }
}

/** Settings of one context of the reference. */
export interface StockOptions {
  program: string;
  model: string;
  sequences: number;
  /** Tokens per sequence. */
  contextLength: number;
  ubatch: number;
  threads: number;
  /** Attach a persistent threadpool as the engine does; false: llama.cpp's own behaviour. */
  pool: boolean;
}

/** Sizes that llama.cpp reported for its buffers, bytes. */
export interface StockBuffers {
  kv: number;
  compute: number;
  output: number;
  model: number;
}

interface Ready {
  kvMiB: number;
  computeMiB: number;
  outputMiB: number;
  modelMiB: number;
}

interface Answer {
  seconds: number;
  busySeconds: number;
  tokens: number;
  hash: number;
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/** A running reference process with one model and one context. */
export class Stock {
  readonly buffers: StockBuffers;
  readonly #child: Child;
  readonly #lines: AsyncIterator<string>;
  readonly #log: () => string;

  private constructor(child: Child, lines: AsyncIterator<string>, log: () => string, ready: Ready) {
    this.#child = child;
    this.#lines = lines;
    this.#log = log;
    const bytes = (mebibytes: number): number => mebibytes * 2 ** 20;
    this.buffers = { kv: bytes(ready.kvMiB), compute: bytes(ready.computeMiB), output: bytes(ready.outputMiB), model: bytes(ready.modelMiB) };
  }

  /** Starts the process and waits until the model is loaded. */
  static async start(options: StockOptions): Promise<Stock> {
    const child = spawn(
      options.program,
      [
        ['--model', options.model],
        ['--backend-dir', libraryDirectory()],
        ['--sequences', options.sequences],
        ['--context', options.contextLength],
        ['--ubatch', options.ubatch],
        ['--threads', options.threads],
        ['--pool', options.pool ? 1 : 0],
      ].flatMap((pair) => pair.map(String)),
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-4096)));
    const reader: Interface = createInterface({ input: child.stdout });
    const lines = reader[Symbol.asyncIterator]();
    const ready = JSON.parse(await nextLine(lines, () => log)) as Ready;
    return new Stock(child, lines, () => log, ready);
  }

  async #command(line: string): Promise<Answer> {
    this.#child.stdin.write(`${line}\n`);
    return JSON.parse(await nextLine(this.#lines, this.#log)) as Answer;
  }

  /** Greedy decoding of all sequences side by side until each has sampled `steps` tokens, the first from its one-token prompt. */
  async decode(steps: number): Promise<Sample> {
    return toSample(await this.#command(`decode ${steps}`), 'tokens');
  }

  /** One sequence reads `tokens` prompt tokens. */
  async prefill(tokens: number): Promise<Sample> {
    return { ...toSample(await this.#command(`prefill ${tokens}`), 'tokens'), hash: undefined };
  }

  /** `count` arms one after the other; units are arms. `keepPrompt` reuses the prompt's KV cells between them. */
  async arms(count: number, prompt: number, completion: number, keepPrompt: boolean): Promise<Sample> {
    return toSample(await this.#command(`arms ${count} ${prompt} ${completion} ${keepPrompt ? 1 : 0}`), count);
  }

  /** Ends the process. */
  async close(): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      await once(this.#child, 'exit');
    }
  }
}

async function nextLine(lines: AsyncIterator<string>, log: () => string): Promise<string> {
  const next = await lines.next();
  if (next.done === true) {
    throw new Error(`the reference process ended early: ${log()}`);
  }
  return next.value;
}

function toSample(answer: Answer, units: 'tokens' | number): Sample {
  return {
    seconds: answer.seconds,
    busySeconds: answer.busySeconds,
    units: units === 'tokens' ? answer.tokens : units,
    hash: answer.hash,
  };
}
