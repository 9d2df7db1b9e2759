/** The result of activation patching: every number of `patch.json` (docs/patching.md). Changes of meaning raise `version`. */
import { z } from 'zod';

export const PATCH_FORMAT = 'rewardlens.patch';
export const PATCH_VERSION = 1;

/** `logit-diff` is null without a wrong answer. `kl`: KL(clean ‖ run) of the next token, nats. */
const values = z.object({ 'logit-diff': z.number().nullable(), probability: z.number(), kl: z.number() });

const pair = z.object({
  id: z.string(),
  clean: z.string(),
  corrupted: z.string(),
  /** Number of tokens, of either prompt. */
  tokens: z.number().int(),
  /** First position at which the prompts differ. */
  firstDifference: z.number().int(),
  answer: z.object({ text: z.string(), token: z.number().int(), piece: z.string() }),
  wrong: z.object({ text: z.string(), token: z.number().int(), piece: z.string() }).nullable(),
  /** The unedited runs. */
  base: z.object({ clean: values, corrupted: values }),
  /** Id of the pair whose activations are its control. */
  control: z.string().nullable(),
});

/** One layer and column. All null where no pair has it. */
const cell = z.object({
  /** The metric itself: mean over the pairs. */
  raw: z.number().nullable(),
  /** Share of the way from the edited run to the run whose activations it got: mean over `n` pairs, 95 % bootstrap interval. */
  effect: z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: z.number().int() }),
  /** Of the mean effect being 0: sign flips of the pairs, adjusted for all cells of the map (max-T). Null for a single pair. */
  p: z.number().nullable(),
  /** Mean effect of another pair's activations. Null without a control. */
  control: z.number().nullable(),
});
export type PatchCell = z.infer<typeof cell>;

const metricMap = z.object({
  metric: z.enum(['logit-diff', 'probability', 'kl']),
  /** Means over the pairs of the unedited runs. */
  base: z.object({ clean: z.number().nullable(), corrupted: z.number().nullable() }),
  /** Pairs that effects are means over, and pairs left out because clean and corrupted differ by less than `leastGap`. */
  pairs: z.number().int(),
  leftOut: z.number().int(),
  leastGap: z.number(),
  /** The smallest p that this many pairs can give. Null for a single pair. */
  leastP: z.number().nullable(),
  /** [layers][columns] */
  cells: z.array(z.array(cell)),
});
export type PatchMetricMap = z.infer<typeof metricMap>;

const map = z.object({
  kind: z.enum(['positions', 'groups']),
  mode: z.enum(['denoising', 'noising']),
  site: z.string(),
  layers: z.array(z.number().int()),
  columns: z.array(
    z.object({
      /** Unique in the map. */
      name: z.string(),
      /** Position maps: from the start (≥ 0), or from the end (negative) where pairs have different lengths. */
      offset: z.number().int().nullable(),
      /** The token there, where all prompts have the same. */
      token: z.string().nullable(),
      /** Group maps: neurons by layer. */
      neurons: z.record(z.string(), z.array(z.number().int())).nullable(),
    }),
  ),
  /** Group maps: where the neurons are patched. */
  positions: z.enum(['all', 'last']).nullable(),
  metrics: z.array(metricMap),
});
export type PatchMapResult = z.infer<typeof map>;

export const patchSchema = z.object({
  format: z.literal(PATCH_FORMAT),
  version: z.literal(PATCH_VERSION),
  manifest: z.record(z.string(), z.unknown()),
  /** File of the pairs, or "command line". */
  source: z.string(),
  /** The metric of the summary. */
  metric: z.enum(['logit-diff', 'probability', 'kl']),
  pairs: z.array(pair),
  /** Lines that were left out, and why. */
  skipped: z.array(z.object({ line: z.number().int(), message: z.string() })),
  /** What is worth knowing about the pairs, in words. */
  notes: z.array(z.string()),
  maps: z.array(map),
  /** In words, the plain truth first. */
  findings: z.array(z.string()),
  /** Cells run now, found in the ledger, and known without a run; `run`: tokens and passes of this run, by the engine's names. */
  sweep: z.object({ made: z.number().int(), found: z.number().int(), copied: z.number().int(), seconds: z.number(), run: z.record(z.string(), z.number()) }),
});
/** Contents of `patch.json`. */
export type Patching = z.infer<typeof patchSchema>;
