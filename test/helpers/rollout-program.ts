/** The program in child processes, and rollout folders read with plain file functions: nothing of src/store is used. */
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const program = join(root, 'bin/rewardlens.js');
export const bundledModel = join(root, 'models/reasoner-base.gguf');
export const chainedSums = join(root, 'data/chained-sums/train.jsonl');

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Started {
  child: ChildProcess;
  outcome: Promise<Outcome>;
}

/** Starts `command`, node by default, with the program's arguments. */
export function start(args: readonly string[], options: { cwd?: string; nodeFlags?: readonly string[]; shell?: string; timeout?: number } = {}): Started {
  const words = [process.execPath, ...(options.nodeFlags ?? []), program, ...args];
  const [command, ...rest] = options.shell === undefined ? words : ['sh', '-c', `${options.shell}; exec "$@"`, 'sh', ...words];
  const child = spawn(command as string, rest, { cwd: options.cwd ?? root, stdio: ['ignore', 'pipe', 'pipe'], timeout: options.timeout ?? 200_000, killSignal: 'SIGKILL', env: { ...process.env, NODE_OPTIONS: '' } });
  const outcome = new Promise<Outcome>((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return { child, outcome };
}

export const run = (args: readonly string[], options?: Parameters<typeof start>[1]): Promise<Outcome> => start(args, options).outcome;

/** Options that make every run the same and quick: CPU, one thread, no trial load. */
export const SMALL = ['-t', '1', '-ngl', '0', '--no-isolate'] as const;

/** A small rollout of the bundled model; later options replace earlier ones. */
export function rolloutArgs(directory: string, options: Readonly<Record<string, string>> = {}, ...more: readonly string[]): string[] {
  const all = { '-m': bundledModel, '--dataset': chainedSums, '--limit': '40', '-n': '96', '-o': directory, ...options };
  return ['rollout', ...SMALL, ...Object.entries(all).flat(), ...more];
}

/** The summary object that a command prints last with --json. */
export function summaryOf(stdout: string): Record<string, unknown> {
  return (JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { summary: Record<string, unknown> }).summary;
}

/**
 * The program runs from dist/: compiles when a source is newer, so that never an old program is tested. One at a time, as
 * test files run side by side.
 */
export async function buildIfStale(): Promise<void> {
  const lock = join(root, 'build/.dist-lock');
  mkdirSync(join(root, 'build'), { recursive: true });
  for (const until = Date.now() + 60_000; ; await sleep(200)) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (Date.now() > until) {
        throw new Error(`'${lock}' is left from a build that was cut off; remove it`, { cause: error });
      }
    }
  }
  try {
    const main = join(root, 'dist/cli/main.js');
    const built = existsSync(main) ? statSync(main).mtimeMs : 0;
    const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    if (sources.some((name) => statSync(join(root, 'src', name)).mtimeMs > built)) {
      execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'], { cwd: root });
    }
  } finally {
    rmdirSync(lock);
  }
}

/** A record of trajectories.jsonl. */
export interface Line {
  problem: string;
  sample: number;
  seed: number;
  prompt: string;
  promptLength: number;
  verdict: string;
  reward: number | null;
  finishReason: string;
  tokens: number[];
  logProbabilities: number[];
  rows: [shard: number, begin: number, end: number][];
  rowsCrc32: string;
  crc32: string;
}

const hex = (value: number): string => value.toString(16).padStart(8, '0');

/** Bytes of trajectories.jsonl up to the last line break; none without the file. */
export function wholeLines(directory: string): Buffer {
  const path = join(directory, 'trajectories.jsonl');
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  return bytes.subarray(0, bytes.lastIndexOf(0x0a) + 1);
}

export const lineCount = (directory: string): number => wholeLines(directory).filter((byte) => byte === 0x0a).length;

/** Records of the folder; throws when a line is torn or its checksum differs. */
export function readFolder(directory: string): Line[] {
  const text = readFileSync(join(directory, 'trajectories.jsonl'), 'utf8');
  if (text !== '' && !text.endsWith('\n')) {
    throw new Error('the last line is torn');
  }
  return text.split('\n').slice(0, -1).map((line, i) => {
    const record = JSON.parse(line) as Line;
    const body = line.replace(/,"crc32":"[0-9a-f]{8}"\}$/, '}');
    if (body === line || hex(crc32(body)) !== record.crc32) {
      throw new Error(`line ${i + 1}: the checksum differs`);
    }
    return record;
  });
}

/** Keys of records whose rows do not match their checksum. For stores with one site. */
export function damagedRows(directory: string, lines: readonly Line[]): string[] {
  const { sites, dtype } = JSON.parse(readFileSync(join(directory, 'store.json'), 'utf8')) as { sites: { site: string; layers: number[]; width: number }[]; dtype: string };
  const [{ site, layers, width }] = sites as [(typeof sites)[number]];
  const rowBytes = layers.length * width * (dtype === 'f16' ? 2 : 4);
  const shards = new Map<number, { bytes: Buffer; start: number }>();
  const shard = (n: number): { bytes: Buffer; start: number } => {
    const known = shards.get(n);
    const bytes = known?.bytes ?? readFileSync(join(directory, 'activations', `${site}-${String(n).padStart(5, '0')}.safetensors`));
    const found = known ?? { bytes, start: 8 + Number(bytes.readBigUInt64LE()) };
    shards.set(n, found);
    return found;
  };
  return lines.flatMap(({ problem, sample, rows, rowsCrc32 }) => {
    const sum = rows.reduce((crc, [n, begin, end]) => {
      const { bytes, start: from } = shard(n);
      return crc32(bytes.subarray(from + begin * rowBytes, from + end * rowBytes), crc);
    }, 0);
    return hex(sum) === rowsCrc32 ? [] : [`${sample}/${problem}`];
  });
}

/** What must not depend on how often a rollout was interrupted: every record without its place in the store, ordered. */
export function contents(lines: readonly Line[]): Omit<Line, 'rows' | 'crc32'>[] {
  return lines
    .map(({ rows: _rows, crc32: _seal, ...rest }) => rest)
    .sort((a, b) => a.sample - b.sample || (a.problem < b.problem ? -1 : 1));
}
