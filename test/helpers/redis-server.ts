/** A real Redis server for a test: on a free port, its files in a folder of its own. */
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Debian's redis-server; a machine without it fails the test. */
export class RedisServer {
  readonly port: number;
  readonly #directory: string;
  readonly #persistent: boolean;
  #child: ChildProcess | undefined;

  private constructor(directory: string, port: number, persistent: boolean) {
    this.#directory = directory;
    this.port = port;
    this.#persistent = persistent;
  }

  /** `persistent`: with an append-only file, so that a restart finds what was there. */
  static async start(directory: string, options: { persistent: boolean }): Promise<RedisServer> {
    const server = new RedisServer(directory, await freePort(), options.persistent);
    await server.up();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it again after {@link down}. */
  async up(): Promise<void> {
    const aof = this.#persistent ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no'];
    this.#child = spawn('redis-server', ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#directory, '--save', '', '--loglevel', 'warning', ...aof], { stdio: 'ignore' });
    for (let attempt = 0; ; attempt++) {
      try {
        if (execFileSync('redis-cli', ['-p', String(this.port), 'ping'], { stdio: ['ignore', 'pipe', 'ignore'] }).toString().trim() === 'PONG') {
          return;
        }
      } catch (error) {
        if (attempt > 100) {
          throw new Error('redis-server does not start; it is needed for this test (Debian: apt-get install redis-server)', { cause: error });
        }
      }
      await sleep(50);
    }
  }

  /** Ends it at once, as a crash does. */
  async down(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
  }

  /** Output of redis-cli. */
  cli(...words: string[]): string {
    return execFileSync('redis-cli', ['-p', String(this.port), ...words]).toString().trim();
  }
}
