/** Progress on a terminal; silent when stderr is not one. */
import { SingleBar } from 'cli-progress';

/** Least time between two drawings, ms. */
const REDRAW_MS = 100;

/** One bar at a time, below whatever has been printed. */
export class Progress {
  readonly #stream: NodeJS.WriteStream;
  readonly #enabled: boolean;
  #bar: SingleBar | undefined;
  #total = 0;
  #value = 0;
  #payload = { task: '', note: '' };

  constructor(stream: NodeJS.WriteStream, enabled: boolean) {
    this.#stream = stream;
    this.#enabled = enabled;
  }

  /** Shows a bar for `task`, 0..total; replaces the one before. */
  start(task: string, total: number): void {
    this.stop();
    this.#total = Math.max(total, 1);
    this.#value = 0;
    this.#payload = { task, note: '' };
    this.#draw();
  }

  /** Moves the bar; `note` stands behind it. */
  update(value: number, note = ''): void {
    this.#value = Math.min(value, this.#total);
    this.#payload = { ...this.#payload, note };
    this.#bar?.update(this.#value, this.#payload);
  }

  /** Runs `print` with the bar out of the way. */
  aside(print: () => void): void {
    const shown = this.#bar !== undefined;
    this.#clear();
    print();
    if (shown) {
      this.#draw();
    }
  }

  /** Removes the bar. */
  stop(): void {
    this.#clear();
  }

  #draw(): void {
    if (!this.#enabled) {
      return;
    }
    this.#bar = new SingleBar({
      stream: this.#stream,
      format: '{task} [{bar}] {percentage}% {note}',
      barsize: 24,
      barCompleteChar: '#',
      barIncompleteChar: '.',
      clearOnComplete: true,
      hideCursor: true,
      linewrap: false,
      fps: 1000 / REDRAW_MS,
      gracefulExit: false, // Ctrl-C is handled in interrupt.ts
      emptyOnZero: true,
    });
    this.#bar.start(this.#total, this.#value, this.#payload);
  }

  #clear(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
