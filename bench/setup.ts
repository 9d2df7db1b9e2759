/** What every group of rows needs: the model on both sides and the settings. */
import type { Model } from '../src/model/model.js';
import type { Session } from '../src/model/session.js';
import type { Hardware } from './hardware.js';
import type { GeneratedModel } from './shape.js';
import { Stock } from './stock.js';

/** Sizes of the measurement; see bench/README.md. */
export interface Settings {
  shape: string;
  type: string;
  threads: number;
  /** Sequences side by side. */
  parallel: number;
  ubatch: number;
  /** Interleaved rounds; rows that compare a few per cent use twice as many. */
  repetitions: number;
  /** Tokens per timed piece of decoding, at one sequence and at `parallel`. */
  stepsAtOne: number;
  stepsAtMany: number;
  prefillTokens: number;
  /** The sweep: arms, prompt and completion tokens; the loop times only `loopArms` of them and is counted per arm. */
  arms: number;
  loopArms: number;
  prompt: number;
  completion: number;
}

/** Both sides, ready. */
export interface Setup {
  settings: Settings;
  hardware: Hardware;
  generated: GeneratedModel;
  model: Model;
  stockProgram: string;
  /** Says on the terminal what is being measured. */
  report(text: string): void;
}

/** A session of ours and its reference in the same shape. */
export function openSession({ model, settings }: Setup, parallel: number, contextLength: number): Session {
  return model.createSession({ parallel, contextLength, ubatch: settings.ubatch, threads: settings.threads });
}

/** The reference in the same shape; `pool` as in {@link StockOptions}. */
export async function openStock(setup: Setup, sequences: number, contextLength: number, pool = true): Promise<Stock> {
  const { settings, stockProgram, generated } = setup;
  const granule = 256; // llama.cpp and the engine round up to this
  return Stock.start({
    program: stockProgram,
    model: generated.path,
    sequences,
    contextLength: Math.ceil(contextLength / granule) * granule,
    ubatch: settings.ubatch,
    threads: settings.threads,
    pool,
  });
}
