/** Interleaved repetitions, medians and spreads: what makes a ratio hold on a noisy machine. */
import { setTimeout as sleep } from 'node:timers/promises';

/** One timed piece of work. */
export interface Sample {
  /** Wall seconds. */
  seconds: number;
  /** Seconds of them inside llama_decode. */
  busySeconds: number;
  /** Units of work done (tokens, arms). */
  units: number;
  /** FNV-1a hash of the sampled tokens; undefined where nothing comparable is sampled. */
  hash?: number | undefined;
}

/** A named thing to measure. */
export interface Contender {
  name: string;
  run(): Promise<Sample>;
  /** Touches everything once, untimed (context, caches, pages of the model file); default: one run. */
  warm?(): Promise<unknown>;
}

/** All samples of the contenders, by name, in the order of the repetitions. */
export type Samples = Map<string, Sample[]>;

/**
 * Pause between two pieces of work, milliseconds. ggml's idle threads spin on before they sleep (a fifth of a second or
 * so), and would take a core from whoever comes next.
 */
const SETTLE_MS = 600;

/** Warms every contender up, then runs `repetitions` rounds of all of them, every other round backwards (A B, B A, …). */
export async function interleave(contenders: readonly Contender[], repetitions: number, onRound: (round: number) => void): Promise<Samples> {
  const samples: Samples = new Map(contenders.map(({ name }) => [name, []]));
  for (const contender of contenders) {
    await (contender.warm?.() ?? contender.run());
  }
  for (let round = 0; round < repetitions; round++) {
    onRound(round);
    for (const contender of round % 2 === 0 ? contenders : [...contenders].reverse()) {
      await sleep(SETTLE_MS);
      samples.get(contender.name)?.push(await contender.run());
    }
  }
  return samples;
}

/** Middle value (mean of the two middle ones for an even count). NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}

/** Work per second of a sample. */
export const rate = (sample: Sample): number => sample.units / sample.seconds;

/** Ours against a reference. */
export interface Comparison {
  /** Median rates, units per second. */
  ours: number;
  reference: number;
  /** Ratio of the medians. */
  ratio: number;
  /** Smallest and largest ratio of two samples of the same round. */
  spread: [number, number];
  /** Ratio counting only the time inside llama_decode: what the hook costs, without sampling and events. */
  busyRatio: number;
  /** Did both sample the same tokens? Undefined where they are not meant to. */
  sameTokens: boolean | undefined;
}

/** Compares two contenders of one interleaved measurement. */
export function compare(samples: Samples, oursName: string, referenceName: string): Comparison {
  const ours = samples.get(oursName) ?? [];
  const reference = samples.get(referenceName) ?? [];
  const paired = ours.map((sample, round) => rate(sample) / rate(reference[round] ?? sample));
  const busy = (list: readonly Sample[]): number => median(list.map((sample) => sample.units / sample.busySeconds));
  const hashes = [...ours, ...reference].map((sample) => sample.hash);
  return {
    ours: median(ours.map(rate)),
    reference: median(reference.map(rate)),
    ratio: median(ours.map(rate)) / median(reference.map(rate)),
    spread: [Math.min(...paired), Math.max(...paired)],
    busyRatio: busy(ours) / busy(reference),
    sameTokens: hashes.includes(undefined) ? undefined : new Set(hashes).size === 1,
  };
}
