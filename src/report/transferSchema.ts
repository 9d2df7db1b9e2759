/** The result of `rewardlens transfer`: every number of `transfer.json` (docs/transfer.md). Changes of meaning raise `version`. */
import { z } from 'zod';

export const TRANSFER_FORMAT = 'rewardlens.transfer';
export const TRANSFER_VERSION = 1;

/** An estimate with its 95 % interval; null where none can be given. `n`: held-out trajectories. */
const estimate = z.object({ value: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable(), n: z.number().int() });
const byPlace = z.object({ s0: estimate, middle: estimate, last: estimate });

const transferFolder = z.object({
  directory: z.string(),
  /** Short and unique: what matrices are labelled with. */
  name: z.string(),
  dataset: z.string(),
  model: z.string(),
  modelSha256: z.string(),
  quantization: z.string(),
  /** Of the rollout's sampling. */
  seed: z.number().int().nullable(),
  site: z.string(),
  layers: z.array(z.number().int()),
  width: z.number().int(),
  trajectories: z.number().int(),
  heldOut: z.number().int(),
  /** Highest validation AUC at the place of the matrices. */
  bestLayer: z.number().int(),
  trajectoriesSha256: z.string(),
});
export type TransferFolder = z.infer<typeof transferFolder>;

const layerOverlap = z.object({
  layer: z.number().int(),
  shared: z.number().int(),
  iou: z.number(),
  /** Mean shared neurons of random sets, and P(at least as many). */
  expected: z.number(),
  p: z.number(),
  /** The same when one set is drawn anew among neurons of like RMS. */
  matchedExpected: z.number(),
  pMatched: z.number(),
  /** The least that `pMatched` can be for sets of these sizes and magnitudes. */
  leastMatched: z.number(),
});
export type LayerOverlap = z.infer<typeof layerOverlap>;

const pairOverlap = z.object({
  /** Indices into `folders`, a < b. */
  a: z.number().int(),
  b: z.number().int(),
  share: z.number(),
  /** Neurons in each set. */
  count: z.number().int(),
  layers: z.array(layerOverlap),
  /** Mean over layers. */
  iou: z.number(),
  expectedIou: z.number(),
  /** Smallest p over layers after Bonferroni's correction for their number. */
  p: z.number(),
  pMatched: z.number(),
  leastMatched: z.number(),
});
export type PairOverlap = z.infer<typeof pairOverlap>;

const crossAuc = z.object({
  /** The probe of folder `from` on the held-out states of folder `to`. */
  from: z.number().int(),
  to: z.number().int(),
  trajectories: z.number().int(),
  problems: z.number().int(),
  /** Held-out trajectories of `to` left out because `from` was trained on their problems. */
  excluded: z.number().int(),
  layers: z.array(z.object({
    layer: z.number().int(),
    auc: byPlace,
    /** AUC of `to`'s own probe minus this one's, on the same trajectories; null where from = to. */
    difference: byPlace.nullable(),
  })),
});
export type CrossAuc = z.infer<typeof crossAuc>;

export const transferSchema = z.object({
  format: z.literal(TRANSFER_FORMAT),
  version: z.literal(TRANSFER_VERSION),
  rewardlens: z.string(),
  ranking: z.string(),
  excludeSinks: z.boolean(),
  place: z.enum(['s0', 'middle', 'last']),
  folders: z.array(transferFolder),
  overlaps: z.array(pairOverlap),
  auc: z.array(crossAuc),
  /** Pairs that share no layer of one site and width, and why. */
  incompatible: z.array(z.object({ a: z.number().int(), b: z.number().int(), reason: z.string() })),
  findings: z.array(z.string()),
});
/** Contents of `transfer.json`. */
export type Transfer = z.infer<typeof transferSchema>;
