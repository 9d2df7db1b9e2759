/** What a guided search goes by. */
import type { Candidate, CandidateScorer } from '../apply/search.js';
import type { CapturePlan } from '../capture/plan.js';
import type { Site } from '../model/sites.js';
import type { TrainedProbe } from '../probe/train.js';
import type { ProbeTrainer } from '../probe/trainer.js';
import { trajectorySeed } from '../rollout/rollout.js';
import { mulberry32 } from '../util/random.js';
import { predictor } from './predict.js';

export const GUIDES = ['value', 'logprob', 'random'] as const;
export type Guide = (typeof GUIDES)[number];

/** Mean natural-log probability of a candidate's tokens, from the beginning of the answer. */
export const byLogProbability: CandidateScorer = async (candidates) => candidates.map(({ logProbability, tokens }) => logProbability / Math.max(1, tokens.length));

/** A seeded number in 0..1 that depends on the item, the step and the candidate's number. */
export function byChance(seed: number, id: (item: number) => string): CandidateScorer {
  return async (candidates) => candidates.map(({ item, step, number }) => mulberry32(trajectorySeed(seed, `${id(item)}/${step}/chance`, number))());
}

/** V of the captured state. The probe reads its own neurons only, so that is all that is captured. */
export class ValueScorer implements AsyncDisposable {
  /** What has to be captured. */
  readonly capture: Omit<CapturePlan, 'positions'>;
  readonly #trainer: ProbeTrainer;

  constructor(probe: TrainedProbe, site: string, threads: number) {
    const { neurons, ...own } = probe;
    this.capture = { site: site as Site, layers: [probe.layer], ...(neurons === undefined ? {} : { neurons }) };
    this.#trainer = predictor({ width: probe.mean.length, layers: [probe.layer] }, [own], threads);
  }

  readonly score: CandidateScorer = async (candidates) => {
    const width = candidates[0]?.state?.length ?? 0;
    const rows = new Float32Array(candidates.length * width);
    candidates.forEach(({ state }: Candidate, i) => rows.set(state as Float32Array, i * width));
    return candidates.length === 0 ? [] : this.#trainer.predict(rows, candidates.length);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#trainer.dispose();
  }
}
