/** What a study does, with its defaults. */
import type { ProbeHead, ProbeTarget } from '../probe/trainer.js';
import type { TrainOptions } from '../probe/train.js';
import { TRAIN_DEFAULTS } from '../probe/train.js';
import type { RankingMethod } from '../rank/scores.js';

export const PROBE_VARIANTS = ['linear', 'inputs', 'shuffled'] as const;
export type ProbeVariant = (typeof PROBE_VARIANTS)[number];

/** How probes are trained and judged. */
export interface ProbeSettings extends Omit<TrainOptions, keyof WorkOptions> {
  readonly site: string;
  readonly hidden: number;
  readonly head: ProbeHead;
  /** Targets of value probes; the first is the main one, the others are trained beside it for comparison. */
  readonly targets: readonly ProbeTarget[];
  readonly lambda: number;
  /** Other ways to train the probe, for comparison: linear, on inputs of the other kind (raw or z-scored), on shuffled rewards. */
  readonly variants: readonly ProbeVariant[];
  readonly inputs: 'zscore' | 'raw';
  /** Shares of the problems. */
  readonly test: number;
  readonly validation: number;
  /** Of the split, the weights, the order of mini-batches, the draws of controls. */
  readonly seed: number;
}

/** How neurons are ranked. */
export interface RankSettings {
  readonly method: RankingMethod;
  readonly draws: number;
  readonly excludeSinks: boolean;
  readonly refit: boolean;
  /** Trajectories in the token view. */
  readonly examples: number;
}

export const PROBE_DEFAULTS: ProbeSettings = {
  ...TRAIN_DEFAULTS,
  site: 'residPost',
  hidden: 1024,
  head: 'sigmoid',
  targets: ['mc', 'td0'],
  lambda: 0.95,
  variants: PROBE_VARIANTS,
  inputs: 'zscore',
  test: 0.2,
  validation: 0.15,
  seed: 1,
};

export const RANK_DEFAULTS: RankSettings = { method: 'l1-zscore', draws: 20, excludeSinks: false, refit: false, examples: 12 };

/** What runs the work: nothing of it changes a result. */
export interface WorkOptions {
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
  /** What is being done, and which share of it is done. */
  readonly onProgress?: ((task: string, share: number, note: string) => void) | undefined;
}
