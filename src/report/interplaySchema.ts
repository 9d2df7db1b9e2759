/** interplay.json: what is left of dopamine neurons when value neurons of earlier layers are taken away (docs/dopamine.md). */
import { z } from 'zod';

export const INTERPLAY_FORMAT = 'rewardlens.interplay';
export const INTERPLAY_VERSION = 2;
/** File inside a rollout folder. */
export const INTERPLAY_FILE = 'interplay.json';

const count = z.int().min(0);
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: count });

/** The three measures of an arm. */
export const INTERPLAY_MEASURES = ['score', 'agreement', 'trace'] as const;
export type InterplayMeasure = (typeof INTERPLAY_MEASURES)[number];

const arm = z.object({
  name: z.string(),
  group: z.string(),
  role: z.enum(['base', 'set', 'control']),
  draw: count,
  /** Those edited at once; none in the base arm. */
  layers: z.array(z.int()),
  share: z.number(),
  kind: z.string(),
  /** Of each of these layers. */
  neurons: z.array(z.array(count)),
  /** Spearman of what the dopamine probe says with δ, on held-out steps above the threshold. */
  score: estimate,
  /** Pearson of what it says with what it says in the base arm, on all held-out steps. */
  agreement: estimate,
  /** Pearson of the dopamine neurons' z-scores with those in the base arm, token by token, mean over neurons. */
  trace: z.number().nullable(),
  /** Values that the edits wrote; the engine insists on the number their definition demands. */
  edited: count,
});
export type InterplayArm = z.infer<typeof arm>;

const comparison = z.object({
  arm: z.string(),
  control: z.string(),
  measure: z.enum(INTERPLAY_MEASURES),
  draws: count,
  observed: z.number(),
  meanControl: z.number(),
  /** One-sided: share of draws that leave as little. */
  p: z.number(),
});
export type InterplayComparison = z.infer<typeof comparison>;

/** Contents of interplay.json. */
export const interplaySchema = z.object({
  format: z.literal(INTERPLAY_FORMAT),
  version: z.literal(INTERPLAY_VERSION),
  manifest: z.record(z.string(), z.unknown()),
  trajectoriesSha256: z.string(),
  probesSha256: z.string(),
  grid: z.record(z.string(), z.unknown()),
  notes: z.array(z.string()),
  /** Of the dopamine probe. */
  layer: z.int(),
  dopamineNeurons: z.array(count),
  trajectories: count,
  steps: z.object({ all: count, large: count }),
  base: arm,
  arms: z.array(arm),
  comparisons: z.array(comparison),
  seconds: z.number(),
});
export type Interplay = z.infer<typeof interplaySchema>;
