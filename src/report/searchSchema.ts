/** The result of `rewardlens search`: every number of `search.json` (docs/search.md). Changes of meaning raise `version`. */
import { z } from 'zod';

export const SEARCH_FORMAT = 'rewardlens.search';
export const SEARCH_VERSION = 2;

/** An estimate with its 95 % interval; null where none can be given. `n`: problems. */
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: z.number().int() });

/** Tokens, mean per problem and seed: sampled; put through the model; taken from a cache instead. */
const tokenCost = z.object({ sampled: z.number(), computed: z.number(), shared: z.number() });

const searchMethod = z.object({
  name: z.string(),
  /** `guided`: chosen step by step. `answers`: chosen among whole answers. */
  kind: z.enum(['guided', 'answers']),
  accuracy: estimate,
  /** Answers that could not be judged; they count as wrong. */
  unknown: z.number().int(),
  /** Mean number of whole answers chosen from (1 of a guided search). */
  answers: z.number(),
  /** Mean tokens and steps of the chosen answer, and the share that ended by themselves. */
  length: z.number(),
  steps: z.number(),
  ended: z.number(),
  cost: tokenCost,
  /** [seeds][problems], in the order of `problems`. */
  rewards: z.array(z.array(z.number())),
});
export type SearchMethod = z.infer<typeof searchMethod>;

const searchComparison = z.object({
  method: z.string(),
  against: z.string(),
  /** Accuracy of `method` minus that of `against`, paired by problem, over all seeds. */
  difference: estimate,
  /** Sign-flip test over problems, and after Holm's correction over all comparisons. */
  p: z.number(),
  pHolm: z.number(),
});
export type SearchComparison = z.infer<typeof searchComparison>;

const searchDiscrimination = z.object({
  /** What the whole answers were scored by. */
  score: z.enum(['value', 'mean log-probability']),
  /** Of a right answer against a wrong one: any two, clustered by problem (`n`: answers); and of one problem, as the mean over problems with both kinds (`n`: such problems). */
  across: estimate,
  within: estimate,
});
export type SearchDiscrimination = z.infer<typeof searchDiscrimination>;

export const searchSchema = z.object({
  format: z.literal(SEARCH_FORMAT),
  version: z.literal(SEARCH_VERSION),
  manifest: z.record(z.string(), z.unknown()),
  directory: z.string(),
  trajectoriesSha256: z.string(),
  site: z.string(),
  layer: z.number().int(),
  /** Neurons that the value probe reads; null for all. */
  neurons: z.array(z.number().int()).nullable(),
  /** How steps end, "line", "blank-line", "tokens:N"; candidates per kept completion, and completions kept. */
  step: z.string(),
  candidates: z.number().int(),
  beam: z.number().int(),
  sampling: z.record(z.string(), z.unknown()),
  maxTokens: z.number().int(),
  seeds: z.array(z.number().int()),
  /** Held-out problems, in the order of `rewards`. */
  problems: z.array(z.string()),
  /** What whole answers may cost: the tokens that this guided search puts through the model by rule (docs/search.md), problem by problem. */
  budgetOf: z.string(),
  /** The dopamine probe: its layer, its z-scores, where its errors come from; null when none guided. */
  dopamine: z.object({ layer: z.number().int(), zscore: z.string(), errors: z.string() }).nullable(),
  methods: z.array(searchMethod),
  comparisons: z.array(searchComparison),
  /** AUC of scores over the whole answers that were drawn, those too that no budget bought: a search needs the one within problems. */
  discrimination: z.array(searchDiscrimination),
  /** What this run put through the model in all, as the engine counted it, and seconds. */
  spent: z.object({ promptTokens: z.number().int(), sharedTokens: z.number().int(), completionTokens: z.number().int(), seconds: z.number() }),
  findings: z.array(z.string()),
});
/** Contents of `search.json`. */
export type SearchResult = z.infer<typeof searchSchema>;
