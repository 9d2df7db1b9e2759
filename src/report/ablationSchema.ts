/** The result of an ablation sweep: every number of `ablate.json` (docs/metrics.md, "Sweeps"). Changes of meaning raise `version`. */
import { z } from 'zod';

export const ABLATION_FORMAT = 'rewardlens.ablation';
export const ABLATION_VERSION = 1;

/** An estimate with its 95 % interval; null where none can be given. `n`: items behind it. */
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: z.number().int() });

/** `base`: nothing is edited. `set`: chosen by a ranking or a list, one of it. `control`: one of several seeded draws. */
export const ARM_ROLES = ['base', 'set', 'control'] as const;

const neutralArm = z.object({
  /** Mean over the text's positions of KL(base ‖ arm) of the next token, in nats. 0 for the base. */
  kl: z.number(),
  /** exp of the mean negative log-probability of the text's next tokens. */
  perplexity: z.number(),
});

const armResult = z.object({
  /** Unique within the model. */
  name: z.string(),
  role: z.enum(ARM_ROLES),
  /** "base", "top", "bottom", "random", "matched", … */
  group: z.string(),
  /** Number of the draw from 0; 0 for sets. */
  draw: z.number().int(),
  site: z.string(),
  /** −1 for the base. */
  layer: z.number().int(),
  /** Share of the layer's neurons, 0..1. */
  share: z.number(),
  /** "zero", "mean", … */
  kind: z.string(),
  /** "all", "prompt", "completion". */
  positions: z.string(),
  neurons: z.array(z.number().int()),
  /** `decided`: an early decision ended it, or its set, before its last item. `incomplete`: items are missing (parked). */
  status: z.enum(['complete', 'decided', 'incomplete']),
  /** Items of this arm; every number of the arm is over these, paired with the base on the same ones. */
  items: z.number().int(),
  /** Mean reward, unparsable answers counting as wrong, with Wilson's interval. */
  accuracy: estimate,
  /** Mean reward minus the base's on the same items, with the bootstrap interval. Null for the base. */
  change: estimate.nullable(),
  /** Items that only the base (b) or only the arm (c) gets right. */
  discordant: z.object({ b: z.number().int(), c: z.number().int() }),
  /** Exact McNemar, two-sided, against the base. Null for the base. */
  p: z.number().nullable(),
  /** The same after Holm over all sets of this model. Null for the base, for control draws, and for value sets under an early rule, which has its own levels. */
  pHolm: z.number().nullable(),
  /** Answers that could not be judged: their number, share (Wilson), and the change of the share against the base. This and the other changes below have no interval in control draws. */
  unparsable: z.object({ count: z.number().int(), share: estimate, change: estimate.nullable() }),
  /** The comparison without the items where the base's or the arm's answer could not be judged. Null for the base. */
  withoutUnparsable: z.object({ items: z.number().int(), change: estimate, p: z.number() }).nullable(),
  /** Sampled tokens per completion: mean, and change against the base, paired by item. */
  tokens: z.object({ mean: z.number().nullable(), change: estimate.nullable() }),
  /** Completions by finish reason: "eog", "stop", "length", "context". */
  finishReasons: z.record(z.string(), z.number().int()),
  /** Share of completions that ended by themselves (eog or stop string), and its change against the base. */
  ended: z.object({ share: estimate, change: estimate.nullable() }),
  /** Values that the arm's edits wrote, and the number that its definition demands; equal in a sound sweep. */
  edits: z.object({ edited: z.number().int(), expected: z.number().int() }),
  /** Null when no neutral text was run. */
  neutral: neutralArm.nullable(),
});
export type ArmResult = z.infer<typeof armResult>;

/** A set against the distribution of the draws of one control in the same cell (site, layer, share, kind, positions). */
const comparison = z.object({
  /** Name of the set. */
  arm: z.string(),
  /** Group of the draws. */
  control: z.string(),
  /** The verdict rests on this one: matched controls where any were run, else all. */
  decisive: z.boolean(),
  draws: z.number().int(),
  /** Items that the set and all its draws have. */
  items: z.number().int(),
  /** Change of the set on these items. */
  change: z.number(),
  /** Change of every draw on these items, in the order of the draws. */
  changes: z.array(z.number()),
  /** Mean, 2.5 and 97.5 percentiles of `changes`. */
  spread: z.object({ mean: z.number(), low: z.number(), high: z.number() }),
  /** One-sided: (1 + draws that cost at least as much) / (1 + draws). */
  rankP: z.number(),
  /** The same after Holm over the value sets of this model against the same control. Null for other sets. */
  rankPHolm: z.number().nullable(),
  /** The least that `rankPHolm` (or `rankP`, where that is null) could have been with so many draws. */
  leastP: z.number(),
  /** Draws with which it could reach 0.05. */
  drawsNeeded: z.number().int(),
  /** (change − mean of the draws) / their standard deviation. Null when the draws do not differ. */
  effect: z.number().nullable(),
});
export type Comparison = z.infer<typeof comparison>;

/**
 * `beyond`: significant and beyond the controls, both after Holm. `beyondAlone`: beyond the controls of its own cell, not
 * after correction for the number of value sets. `controlsCostAsMuch`: accuracy falls, and with matched controls too.
 * `noEffect`: no significant fall, and a large one is excluded. `raised`: accuracy rises significantly. `cannotTell`: too few draws or items.
 * `noControls`: nothing to compare with.
 */
export const VERDICT_KINDS = ['beyond', 'beyondAlone', 'controlsCostAsMuch', 'noEffect', 'raised', 'cannotTell', 'noControls'] as const;
export type VerdictKind = (typeof VERDICT_KINDS)[number];

const verdict = z.object({
  /** Name of the value set. */
  arm: z.string(),
  kind: z.enum(VERDICT_KINDS),
  /** One or two sentences with the numbers they rest on. */
  text: z.string(),
  /** Signs that the loss of accuracy is one of termination or format: one sentence each. */
  warnings: z.array(z.string()),
});
export type Verdict = z.infer<typeof verdict>;

const modelResult = z.object({
  /** Unique in the sweep: the file's name, or as given. */
  name: z.string(),
  /** What is needed to reproduce: model hash, llama.cpp release, backend, session. */
  manifest: z.record(z.string(), z.unknown()),
  base: armResult,
  /** Without the base, in the order of the plan. */
  arms: z.array(armResult),
  comparisons: z.array(comparison),
  /**
   * Smallest fall of accuracy that this many items show with probability `power`, when a share `discordance` of them (the
   * median over all arms, at least 0.02), or as many as fall, change outcome: alone, and at Holm's first step over `sets`
   * sets. Null when not even a fall to 0 is.
   */
  detectable: z.object({
    items: z.number().int(),
    discordance: z.number(),
    power: z.number(),
    alone: z.number().nullable(),
    sets: z.number().int(),
    holm: z.number().nullable(),
  }),
  /** One per value set. */
  verdicts: z.array(verdict),
  /** The text behind every arm's `neutral`. Null when none was run. */
  neutral: z
    .object({
      /** "bundled English passage", or the file's name. */
      source: z.string(),
      sha256: z.string(),
      /** Tokens that went through the model; the text is cut to this many. */
      tokens: z.number().int(),
      /** Next tokens that perplexity is over, and positions that KL is over. */
      predicted: z.number().int(),
      /** Whether the text's end was cut off. */
      cut: z.boolean(),
      /** The base predicts the text worse than by guessing: perplexities on it mean nothing, KL still says how much an edit changes. */
      foreign: z.boolean().optional(),
    })
    .nullable(),
  /** Why the neutral text was not run, when it should have been. */
  neutralSkipped: z.string().optional(),
  /** The group-sequential rule that value sets were compared under; null when all items were run. */
  early: z
    .object({
      /** Items seen at each look. */
      looks: z.array(z.number().int()),
      /** Chance that any set without a difference is ended, over the sweep; divided evenly over `comparisons`. */
      alpha: z.number(),
      comparisons: z.number().int(),
      /** A set stops when its exact McNemar p-value is at most this, look by look. */
      levels: z.array(z.number()),
      spending: z.string(),
    })
    .nullish(),
  /** Pairs that were given up after several failures: none of them is in any number. */
  parked: z.array(z.object({ arm: z.string(), item: z.string(), reason: z.string() })).optional(),
  /** (arm, item) pairs made by this run, and found in the ledger; wall seconds of this run. */
  sweep: z.object({ made: z.number().int(), found: z.number().int(), seconds: z.number() }),
});
export type ModelResult = z.infer<typeof modelResult>;

export const ablationSchema = z.object({
  format: z.literal(ABLATION_FORMAT),
  version: z.literal(ABLATION_VERSION),
  dataset: z.object({ name: z.string(), source: z.string(), sha256: z.string() }),
  /** Layers, shares, kinds, positions, groups, draws, ranking, seed as asked for. */
  grid: z.record(z.string(), z.unknown()),
  /** Items planned per arm. */
  items: z.number().int(),
  maxTokens: z.number().int(),
  sampling: z.record(z.string(), z.unknown()),
  seed: z.number().int(),
  /** What qualifies the sets: fewer draws than asked for, overlaps, bad matches, problems that chose the neurons. Sentences. */
  notes: z.array(z.string()).optional(),
  models: z.array(modelResult),
});
/** Contents of `ablate.json`. */
export type Ablation = z.infer<typeof ablationSchema>;
