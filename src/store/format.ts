/** The rollout folder on disk (docs/store-format.md): trajectories as JSON lines, their activations in safetensors shards. */
import { join } from 'node:path';
import { z } from 'zod';

export const STORE_FORMAT = 'rewardlens.store';
export const STORE_VERSION = 1;
/** File names inside a rollout folder. */
export const FILES = { store: 'store.json', trajectories: 'trajectories.jsonl', rollout: 'rollout.json', shards: 'activations' } as const;

/** Rows [begin, end) of one shard. The same rows hold every site of the store. */
export type Segment = readonly [shard: number, begin: number, end: number];

const siteBlock = z.object({
  site: z.string('a site name').min(1, 'a site name'),
  layers: z.array(z.int('a layer number').min(0, 'a layer number ≥ 0'), 'a list of layers').min(1, 'at least one layer'),
  width: z.int('a number of floats').min(1, 'a width ≥ 1'),
});

/** Contents of store.json: what a row is. */
export const storeSchema = z.object({
  format: z.literal(STORE_FORMAT, `"${STORE_FORMAT}"`),
  version: z.literal(STORE_VERSION, `version ${STORE_VERSION}`),
  dtype: z.enum(['f16', 'f32'], 'f16 or f32'),
  sites: z.array(siteBlock, 'a list of sites').min(1, 'at least one site'),
  /** Which positions of a sequence have rows: s_0 and the completion, s_0 alone, or prompt and completion. */
  positions: z.enum(['response', 's0', 'all'], 'response, s0 or all'),
});
export type StoreInfo = z.infer<typeof storeSchema>;

const segment = z.tuple([z.int().min(0), z.int().min(0), z.int().min(0)], 'a triple [shard, begin, end]');

/** What a line of trajectories.jsonl must have for probes. Everything else (texts, tokens, …) may be there. */
export const lineSchema = z.looseObject({
  problem: z.string('a problem id'),
  sample: z.int('a sample number').min(0, 'a sample number ≥ 0').optional(),
  /** null: unknown; such trajectories are left out of training. */
  reward: z.number('a number in 0..1 or null').min(0, 'a number in 0..1 or null').max(1, 'a number in 0..1 or null').nullable(),
  rows: z.array(segment, 'a list of [shard, begin, end]').optional(),
  /** Needed with positions "all": s_0 is row promptLength − 1. */
  promptLength: z.int('a number of tokens').min(1, 'at least one token').optional(),
});

/** One finished trajectory as `rewardlens rollout` records it. */
export interface TrajectoryRecord {
  /** Problem id and which of its samples, from 0. */
  readonly problem: string;
  readonly sample: number;
  readonly seed: number;
  readonly prompt: string;
  /** Tokens of the prompt. */
  readonly promptLength: number;
  readonly text: string;
  /** Sampled tokens, the end-of-generation token included. */
  readonly tokens: readonly number[];
  /** Text of every token; bytes that are no text by themselves as ⟨0xE2⟩. */
  readonly pieces: readonly string[];
  /** Natural-log probability of every sampled token, and entropy (nats) of the distribution it came from. */
  readonly logProbabilities: readonly number[];
  readonly entropies: readonly number[];
  readonly finishReason: string;
  readonly gold: string;
  /** Options of the problem as the reward function saw them, for judging again; absent when it has none. */
  readonly choices?: unknown;
  /** Name of the reward function that judged it. */
  readonly check: string;
  /** What determined its verdict besides name and texts (`Scorer.fingerprint`); absent when the judge had none. */
  readonly checkFingerprint?: string;
  readonly verdict: 'correct' | 'wrong' | 'unknown';
  readonly extracted: string | null;
  readonly reason: string;
  readonly reward: number | null;
  /** Where its activations are; empty when none were stored. */
  readonly rows: readonly Segment[];
  /** CRC-32 of the rows' bytes: segment by segment, within a segment site by site. Hex. */
  readonly rowsCrc32?: string;
}

/** Path of a shard: `activations/<site>-00000.safetensors`. */
export function shardPath(directory: string, site: string, shard: number): string {
  return join(directory, FILES.shards, `${site}-${String(shard).padStart(5, '0')}.safetensors`);
}

/** Bytes of one row of one site: all its layers. */
export function siteRowBytes(info: Pick<StoreInfo, 'dtype'>, block: { layers: readonly number[]; width: number }): number {
  return (info.dtype === 'f16' ? 2 : 4) * block.layers.length * block.width;
}

/** Bytes of one row over all sites. */
export function rowBytes(info: Pick<StoreInfo, 'dtype' | 'sites'>): number {
  return info.sites.reduce((sum, block) => sum + siteRowBytes(info, block), 0);
}
