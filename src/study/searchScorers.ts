/** What a guided search goes by. */
import type { Candidate, CandidateCapture, CandidateScorer } from '../apply/search.js';
import type { Site } from '../model/sites.js';
import type { TrainedProbe } from '../probe/train.js';
import type { ProbeTrainer } from '../probe/trainer.js';
import { trajectorySeed } from '../rollout/rollout.js';
import type { Zscore } from '../rpe/features.js';
import { poolSteps, zscored } from '../rpe/features.js';
import { mulberry32 } from '../util/random.js';
import { predictor } from './predict.js';

export const GUIDES = ['dopamine', 'value', 'logprob', 'random'] as const;
export type Guide = (typeof GUIDES)[number];

/** Mean natural-log probability of a candidate's tokens, from the beginning of the answer. */
export const byLogProbability: CandidateScorer = async (candidates) => candidates.map(({ logProbability, tokens }) => logProbability / Math.max(1, tokens.length));

/** A seeded number in 0..1 that depends on the item, the step and the candidate's number. */
export function byChance(seed: number, id: (item: number) => string): CandidateScorer {
  return async (candidates) => candidates.map(({ item, step, number }) => mulberry32(trajectorySeed(seed, `${id(item)}/${step}/chance`, number))());
}

/** V of the last state. The probe reads its own neurons only, so that is all that is captured. */
export class ValueScorer implements AsyncDisposable {
  /** What has to be captured. */
  readonly capture: CandidateCapture;
  readonly #trainer: ProbeTrainer;

  constructor(probe: TrainedProbe, site: string, threads: number) {
    const { neurons, ...own } = probe;
    this.capture = { site: site as Site, layers: [probe.layer], positions: 'last', ...(neurons === undefined ? {} : { neurons }) };
    this.#trainer = predictor({ width: probe.mean.length, layers: [probe.layer] }, [own], threads);
  }

  readonly score: CandidateScorer = async (candidates) => {
    const width = widthOf(candidates);
    const rows = new Float32Array(candidates.length * width);
    candidates.forEach(({ states }, i) => rows.set(states.subarray(-width), i * width));
    return candidates.length === 0 ? [] : this.#trainer.predict(rows, candidates.length);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#trainer.dispose();
  }
}

const widthOf = ([first]: readonly Candidate[]): number => (first === undefined ? 0 : first.states.length / first.rows);

/**
 * All states of a completion so far, [states, width]: those of its steps one after the other. The state that has read the last token of a step is
 * the first of the next one's.
 */
export function completionStates(candidate: Candidate): Float32Array {
  const width = candidate.states.length / candidate.rows;
  const begins = (own: Candidate): number => own.from?.tokens.length ?? 0;
  const out = new Float32Array((begins(candidate) + candidate.rows) * width);
  for (let own: Candidate | undefined = candidate; own !== undefined; own = own.from) {
    const next = own === candidate ? own.rows : Math.min(own.rows, own.tokens.length - begins(own));
    out.set(own.states.subarray(0, next * width), begins(own) * width);
  }
  return out;
}

/**
 * The sum of what a dopamine probe says of each step so far: by how much the answer's value has changed. Features are made as in training
 * (`poolSteps` of `zscored`), over the states there are: that of a step's last token is computed only when the answer goes on, so it is in no
 * feature unless steps end by their length. Cost: once over all states so far for every candidate.
 */
export class DopamineScorer implements AsyncDisposable {
  /** What has to be captured. */
  readonly capture: CandidateCapture;
  readonly #mode: Zscore;
  readonly #trainer: ProbeTrainer;
  readonly #sums = new WeakMap<Candidate, number>();

  constructor(probe: TrainedProbe, site: string, mode: Exclude<Zscore, 'response'>, threads: number) {
    this.capture = { site: site as Site, layers: [probe.layer], positions: 'response' };
    this.#mode = mode;
    this.#trainer = predictor({ width: probe.mean.length, layers: [probe.layer] }, [probe], threads);
  }

  readonly score: CandidateScorer = async (candidates) => {
    const width = widthOf(candidates);
    const features = new Float32Array(candidates.length * width);
    candidates.forEach((candidate, i) => {
      const step = { begin: candidate.from?.tokens.length ?? 0, end: candidate.tokens.length };
      features.set(poolSteps(zscored(completionStates(candidate), width, this.#mode), width, [step]), i * width);
    });
    const errors = candidates.length === 0 ? [] : await this.#trainer.predict(features, candidates.length);
    return candidates.map((candidate, i) => {
      const sum = (errors[i] as number) + (candidate.from === undefined ? 0 : (this.#sums.get(candidate.from) ?? 0));
      this.#sums.set(candidate, sum);
      return sum;
    });
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#trainer.dispose();
  }
}
