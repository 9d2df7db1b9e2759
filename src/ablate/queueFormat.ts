/** What a coordinator and its workers tell each other through Redis (docs/sweeps.md). */
import type { Intervention } from '../intervene/types.js';
import type { Model } from '../model/model.js';
import type { Session, SessionOptions } from '../model/session.js';
import { buildInfo, native } from '../native/addon.js';
import { hashFiles } from '../run/manifest.js';
import { contentHash } from '../util/hash.js';
import type { Arm } from './arms.js';
import type { RawOutcome } from './ledger.js';
import type { RequestSettings } from './source.js';

/** Raised when a worker of another version would misread jobs or compute something else. */
export const PROTOCOL = 1;

/** How often a job is tried, if nothing is said. */
export const DEFAULT_TRIES = 3;

/** Prefix of every key in Redis; a sweep's queue is named by its id. */
export const PREFIX = 'rewardlens';
/** Hash of all announced sweeps: id → {@link SweepNotice} as JSON. */
export const NOTICES = `${PREFIX}:sweeps`;
/** Hash of a sweep's arms: index → interventions, see {@link packInterventions}. */
export const armsKey = (sweep: string): string => `${PREFIX}:arms:${sweep}`;

/** What a process must have in common with another for their outcomes to be of one sweep. */
export interface EngineFacts {
  readonly protocol: number;
  /** SHA-256 of the model's files. */
  readonly model: string;
  readonly llamaCpp: string;
  readonly devices: readonly string[];
  readonly gpuLayers: number;
}

/** An announced sweep. */
export interface SweepNotice {
  readonly id: string;
  /** Name of the model's file, for people. */
  readonly modelName: string;
  readonly facts: EngineFacts;
  /** Session that a worker makes. */
  readonly session: Session['numerics'] & Required<Pick<SessionOptions, 'contextLength'>>;
  readonly settings: RequestSettings;
  readonly arms: number;
  readonly pairsPerJob: number;
  /** How often a job is tried before it is parked. */
  readonly tries: number;
}

/** One item with some of its arms. */
export interface JobData {
  readonly item: string;
  readonly prompt: readonly number[];
  readonly maxTokens: number;
  readonly seed: number;
  readonly pairs: readonly (readonly [arm: number, key: string])[];
}

/** What a worker returns: outcomes in the order of the job's pairs. */
export type JobResult = readonly RawOutcome[];

/** Facts of this process with this model. Cost: reads the model's files once. Errors: IO, ABORTED. */
export async function engineFacts(model: Model, signal?: AbortSignal): Promise<EngineFacts> {
  return {
    protocol: PROTOCOL,
    model: await hashFiles(model.files, signal),
    llamaCpp: buildInfo().llamaRelease,
    devices: model.placement.devices.length > 0 ? model.placement.devices : native().devices().map(({ name }) => name),
    gpuLayers: model.placement.gpuLayers,
  };
}

/**
 * Names a sweep. Jobs name arms by their number in the list, so its order counts besides the keys of the pairs: a list with an arm that edits
 * as another one does has the same keys, and other numbers.
 */
export function sweepId(facts: EngineFacts, arms: readonly Pick<Arm, 'interventions'>[], keys: ReadonlySet<string>): string {
  return contentHash([facts, arms.map(({ interventions }) => contentHash(interventions)), [...keys]]);
}

/** In words, what of `own` is not as `wanted`; undefined when all is. */
export function differenceOf(own: EngineFacts, wanted: EngineFacts): string | undefined {
  const names: readonly (keyof EngineFacts)[] = ['protocol', 'model', 'llamaCpp', 'devices', 'gpuLayers'];
  const show = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 16) : JSON.stringify(value));
  const differing = names.filter((name) => JSON.stringify(own[name]) !== JSON.stringify(wanted[name]));
  return differing.length === 0 ? undefined : differing.map((name) => `${name} ${show(wanted[name])}, here ${show(own[name])}`).join('; ');
}

/** Interventions as JSON, float arrays bit for bit as base64. */
export function packInterventions(list: readonly Intervention[]): string {
  return JSON.stringify(list, (_, entry: unknown) => {
    if (entry instanceof Float32Array || entry instanceof Int32Array) {
      const bytes = Buffer.from(entry.buffer, entry.byteOffset, entry.byteLength).toString('base64');
      return entry instanceof Float32Array ? { $f32: bytes } : { $i32: bytes };
    }
    return entry;
  });
}

/** The reverse of {@link packInterventions}. */
export function unpackInterventions(text: string): Intervention[] {
  return JSON.parse(text, (_, entry: unknown) => {
    const packed = entry as { $f32?: string; $i32?: string } | null;
    const base64 = packed?.$f32 ?? packed?.$i32;
    if (typeof base64 !== 'string') {
      return entry;
    }
    const bytes = Uint8Array.from(Buffer.from(base64, 'base64')).buffer; // a buffer of its own, aligned
    return packed?.$f32 === undefined ? new Int32Array(bytes) : new Float32Array(bytes);
  }) as Intervention[];
}
