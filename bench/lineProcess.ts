/** A child process that answers every line it is sent with one line of JSON: how the Python references are driven. */
import type { ChildProcessByStdio } from 'node:child_process';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export class LineProcess<Answer> {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  readonly #name: string;

  /** Starts `command`; what it prints on standard error passes through. */
  constructor(command: string, args: readonly string[]) {
    this.#name = command;
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.on('error', (error) => process.stderr.write(`${command}: ${error.message}\n`));
    this.#child.stdin.on('error', () => undefined); // it ended early: ask() says so
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Sends one line and waits for the answer. Throws when the process has ended; its own message is on standard error. */
  async ask(line: string): Promise<Answer> {
    this.#child.stdin.write(`${line}\n`);
    const answer = await this.#lines.next();
    if (answer.done === true) {
      throw new Error(`the process ${this.#name} ended; its message is above`);
    }
    return JSON.parse(answer.value) as Answer;
  }

  /** Lets the process end. */
  close(): void {
    this.#child.stdin.end();
  }
}
