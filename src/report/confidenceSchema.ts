/** The result of `rewardlens confidence`: every number of `confidence.json` (docs/confidence.md). Changes of meaning raise `version`. */
import { z } from 'zod';

export const CONFIDENCE_FORMAT = 'rewardlens.confidence';
export const CONFIDENCE_VERSION = 1;

/** An estimate with its 95 % interval; null where none can be given. `n`: held-out trajectories. */
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: z.number().int() });

const confidenceScore = z.object({
  name: z.string(),
  /** Is it known before the first word is sampled, or only after the answer? */
  known: z.enum(['before', 'after']),
  /** `own`: the score is a probability as it is. `fitted`: made one by a logistic curve fitted on training trajectories, which also gives its sign. */
  probability: z.enum(['own', 'fitted']),
  /** Neurons it reads, best first; absent where it is not made of neurons or of all. */
  neurons: z.array(z.number().int()).optional(),
  auc: estimate,
  /** AUC of the main score minus this one's, paired on the same trajectories; null for the main score itself. */
  difference: estimate.nullable(),
  /** Area under the risk-coverage curve: lower is better. */
  aurc: estimate,
  riskCoverage: z.array(z.object({ coverage: z.number(), risk: z.number() })),
  brier: z.number(),
  expectedError: z.number().nullable(),
  calibration: z.array(z.object({ low: z.number(), high: z.number(), meanPredicted: z.number().nullable(), observed: estimate })),
  /** Mean tokens through the model until the score is known, and of those the ones that answering itself does not need. */
  cost: z.object({ tokens: z.number(), extra: z.number() }),
});
export type ConfidenceScore = z.infer<typeof confidenceScore>;

export const confidenceSchema = z.object({
  format: z.literal(CONFIDENCE_FORMAT),
  version: z.literal(CONFIDENCE_VERSION),
  manifest: z.record(z.string(), z.unknown()),
  directory: z.string(),
  trajectoriesSha256: z.string(),
  site: z.string(),
  layer: z.number().int(),
  /** Ranking that the neurons come from. */
  ranking: z.string(),
  heldOut: z.object({ trajectories: z.number().int(), problems: z.number().int(), accuracy: estimate }),
  /** Error rate (the area of a score that says nothing) and the least area that these outcomes allow. */
  errorRate: z.number(),
  bestAurc: z.number(),
  /** Index into `scores` of the one that others are compared with: the largest set of neurons, trained anew. */
  main: z.number().int(),
  scores: z.array(confidenceScore),
  /** What was asked for P(True), and the mean P(yes) + P(no); null when not asked. */
  pTrue: z.object({ question: z.string(), yes: z.string(), no: z.string(), chat: z.boolean(), mass: z.number() }).nullable(),
  /** How answers were sampled; `unread`: samples without an answer. Null when none were. */
  consistency: z.object({ samples: z.number().int(), sampling: z.record(z.string(), z.unknown()), maxTokens: z.number().int(), unread: z.number().int(), total: z.number().int() }).nullable(),
  /** Rows that this run put through the model, and seconds. */
  spent: z.object({ promptTokens: z.number().int(), sharedTokens: z.number().int(), completionTokens: z.number().int(), seconds: z.number() }),
  findings: z.array(z.string()),
});
/** Contents of `confidence.json`. */
export type Confidence = z.infer<typeof confidenceSchema>;
