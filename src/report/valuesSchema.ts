/** The result of `rewardlens values`: every number of `values.json` (docs/dopamine.md). Changes of meaning raise `version`. */
import { z } from 'zod';

export const VALUES_FORMAT = 'rewardlens.values';
export const VALUES_VERSION = 2;

const count = z.int().min(0);
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: count });

/** Contents of values.json. */
export const valuesSchema = z.object({
  format: z.literal(VALUES_FORMAT),
  version: z.literal(VALUES_VERSION),
  manifest: z.record(z.string(), z.unknown()),
  settings: z.object({
    /** "line", "regex:…": how completions were cut. */
    steps: z.string(),
    counts: z.object({ min: count, max: count, width: z.number() }),
    budget: count.nullable(),
    limit: count.nullable(),
    gamma: z.number(),
    seed: count,
    maxTokens: count,
    sampling: z.record(z.string(), z.unknown()),
    stop: z.array(z.string()),
  }),
  /** SHA-256 of trajectories.jsonl as it was. */
  trajectoriesSha256: z.string(),
  /** Of values.jsonl, and of probes.safetensors, whose V and split are in it ('' without probes). */
  linesSha256: z.string(),
  probesSha256: z.string(),
  counts: z.object({
    trajectories: count,
    steps: count,
    /** States in front of steps; those that differ, as trajectories of one problem share some. */
    states: count,
    distinctStates: count,
    /** States without any judged continuation. */
    withoutValue: count,
    continuations: z.object({ made: count, found: count, unknown: count }),
  }),
  tokens: z.object({
    /** Of all continuations that count, those found included. */
    sampled: count,
    /** Prompt tokens of the continuations made by this run: read by the model, and taken from a cache instead. */
    computed: count,
    shared: count,
  }),
  /** The budget ended it. */
  exhausted: z.boolean(),
  /** Mean width of the states' 95 % intervals. */
  meanWidth: z.number().nullable(),
  tdErrors: z.object({
    known: count,
    mean: z.number().nullable(),
    deviation: z.number().nullable(),
    /** Share of δ above 0.3 in size. */
    large: z.number().nullable(),
    /** Share of the variance of δ that is noise of the continuations: nothing can be correlated with δ beyond √(1 − this). */
    noise: z.number().nullable(),
    /** Largest |Σ γ^k δ_k − (γ^T r − V(s_0))| over trajectories: rounding. */
    telescopeGap: z.number().nullable(),
  }),
  /** The probe against the continuations, on held-out trajectories. */
  probe: z.object({ layer: z.int(), states: count, spearman: estimate, pearson: estimate }).nullable(),
  seconds: z.number(),
});
export type Values = z.infer<typeof valuesSchema>;
