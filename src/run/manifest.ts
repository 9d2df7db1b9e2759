/** What a stored result needs to be reproduced. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { cpus } from 'node:os';
import type { Session } from '../model/session.js';
import { buildInfo, native } from '../native/addon.js';
import { RewardLensError, aborted } from '../native/errors.js';
import { packageVersion } from '../util/version.js';

/** Facts that every result carries; results add their own. */
export interface Manifest {
  readonly rewardlens: string;
  readonly llamaCpp: string;
  readonly ggmlCommit: string;
  readonly flavor: string;
  readonly model: {
    readonly path: string;
    /** Of the file, or of all parts of a split model one after the other; null when it was not asked for. */
    readonly sha256: string | null;
    readonly architecture: string;
    readonly quantization: string;
    readonly parameterCount: number;
    readonly layerCount: number;
    readonly dModel: number;
  };
  readonly session: { readonly contextLength: number; readonly parallel: number; readonly ubatch: number; readonly threads: number };
  readonly devices: readonly string[];
  readonly hardware: string;
  readonly createdAt: string;
  readonly [key: string]: unknown;
}

/** SHA-256 of files one after the other, in hex. Cost: one sequential read. Errors: IO, ABORTED. */
export async function hashFiles(paths: readonly string[], signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for (const path of paths) {
    try {
      for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, ...(signal === undefined ? {} : { signal }) })) {
        hash.update(chunk as Buffer);
      }
    } catch (error) {
      throw signal?.aborted === true
        ? aborted(`hashing '${path}'`, signal)
        : new RewardLensError('IO', `cannot read '${path}': ${(error as Error).message}`, { cause: error });
    }
  }
  return hash.digest('hex');
}

/** Collects the manifest of a session. With `hashModel` the model file is read once; otherwise its hash is null. */
export async function createManifest(session: Session, options: { hashModel: boolean; signal?: AbortSignal | undefined }): Promise<Manifest> {
  const { info } = session.model;
  const { llamaRelease, flavor } = buildInfo();
  return {
    rewardlens: packageVersion(),
    llamaCpp: llamaRelease,
    ggmlCommit: native().ggmlCommit,
    flavor,
    model: {
      path: info.path,
      sha256: options.hashModel ? await hashFiles(session.model.files, options.signal) : null,
      architecture: info.architecture,
      quantization: info.quantization,
      parameterCount: info.parameterCount,
      layerCount: info.layerCount,
      dModel: info.dModel,
    },
    session: session.info,
    devices: native().devices().map((device) => `${device.name}: ${device.description}`),
    hardware: `${cpus()[0]?.model ?? process.arch} × ${cpus().length}`,
    createdAt: new Date().toISOString(),
  };
}
