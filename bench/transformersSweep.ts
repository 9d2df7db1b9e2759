/** The sweep in Hugging Face transformers with forward hooks: bench/transformers_sweep.py, driven line by line. */
import { resolve } from 'node:path';
import { LineProcess } from './lineProcess.js';
import type { Contender, Sample } from './measure.js';
import type { Setup } from './setup.js';

const SCRIPT = resolve(import.meta.dirname, 'transformers_sweep.py');
const BATCHES = [1, 8, 32];
const DTYPES = ['float32', 'bfloat16'];

interface Answer {
  seconds: number;
  arms: number;
  versions: string;
}

interface Tried {
  dtype: string;
  batch: number;
  armsPerSecond: number;
}

/** Its best batch size and data type on this machine, found by trying; nothing at all without a Python that has both libraries. */
export class TransformersSweep {
  readonly tried: Tried[] = [];
  versions = '';
  #process: LineProcess<Answer> | undefined;
  #best: Tried | undefined;

  private constructor() {}

  /** Tries every combination once, which warms it up too. REWARDLENS_PYTHON names the Python. */
  static async start(setup: Setup): Promise<TransformersSweep> {
    const sweep = new TransformersSweep();
    const python = process.env['REWARDLENS_PYTHON'];
    if (python === undefined || python === '') {
      setup.report('sweep: transformers left out; set REWARDLENS_PYTHON to a Python with PyTorch and transformers to compare with');
      return sweep;
    }
    const { arms, prompt, completion, threads } = setup.settings;
    sweep.#process = new LineProcess(python, [SCRIPT, JSON.stringify({ ...setup.generated.shape, arms, prompt, completion, threads })]);
    for (const dtype of DTYPES) {
      for (const batch of new Set(BATCHES.map((size) => Math.min(size, arms)))) {
        const answer = await sweep.#process.ask(`${dtype} ${batch}`);
        sweep.versions = answer.versions;
        const one = { dtype, batch, armsPerSecond: answer.arms / answer.seconds };
        sweep.tried.push(one);
        sweep.#best = sweep.#best === undefined || one.armsPerSecond > sweep.#best.armsPerSecond ? one : sweep.#best;
        setup.report(`transformers, ${dtype}, batch ${batch}: ${one.armsPerSecond.toFixed(2)} arms/s`);
      }
    }
    return sweep;
  }

  get names(): string[] {
    return this.#best === undefined ? [] : [`transformers ${this.#best.dtype} ${this.#best.batch}`];
  }

  /** One batch of the best combination per sample, counted per arm. */
  contenders(): Contender[] {
    const { dtype, batch } = this.#best ?? {};
    const run = async (): Promise<Sample> => {
      const { seconds, arms } = (await this.#process?.ask(`${dtype} ${batch}`)) as Answer;
      return { seconds, busySeconds: seconds, units: arms };
    };
    return this.names.map((name) => ({ name, run, warm: async () => undefined }));
  }

  close(): void {
    this.#process?.close();
  }
}

/** What was compared with, and what else was tried. */
export function transformersNote({ names, tried, versions }: TransformersSweep): string {
  const list = tried.map(({ dtype, batch, armsPerSecond }) => `${dtype} × ${batch}: ${armsPerSecond.toFixed(2)}`).join(', ');
  return `Reference: ${names.join()} (${versions}), random weights of the same shape, the same arms, one batch timed. Tried once each, arms/s: ${list}.`;
}
