/** Comparison of a study's data sets with each other, as `rewardlens transfer` makes it of their folders. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseResult } from '../report/parse.js';
import type { Transfer } from '../report/transferSchema.js';
import { TRANSFER_FORMAT, TRANSFER_VERSION, transferSchema } from '../report/transferSchema.js';
import { writeJson } from '../rollout/folder.js';
import { FILES } from '../store/format.js';
import { parseJson } from '../util/json.js';
import { packageVersion } from '../util/version.js';
import type { WorkOptions } from './options.js';
import type { Staged } from './stage.js';
import { fileHash, hashOf, runStage } from './stage.js';
import { STUDY_FILES } from './studyFiles.js';
import type { SweptWork } from './sweepStage.js';
import { TRANSFER_DEFAULTS, runTransfer } from './transfer.js';

/** Raised when the meaning of the stage's result changes. */
const STAGE_VERSION = 1;

/** Compares the data sets of a study, unless that was done with equal probes: `transfer.json` in its folder. Errors: those of `runTransfer`. */
export async function transferStage(directory: string, works: readonly Pick<SweptWork, 'directory' | 'probe'>[], options: WorkOptions): Promise<Staged<{ sha256: string }>> {
  const path = join(directory, STUDY_FILES.transfer);
  const inputs = { stage: 'transfer', version: [STAGE_VERSION, TRANSFER_VERSION], rewardlens: packageVersion(), settings: TRANSFER_DEFAULTS, probes: works.map(({ directory: folder, probe }) => [folder, hashOf(probe)]) };
  const make = async (): Promise<{ sha256: string }> => {
    await writeJson(path, await runTransfer(works.map((work) => work.directory), TRANSFER_DEFAULTS, options));
    return { sha256: await fileHash(path) };
  };
  return runStage(join(directory, STUDY_FILES.transferStage), inputs, make, async ({ sha256 }) => sha256 === (await fileHash(path)));
}

/** The comparison in a study's folder; null without one, or when it is of other trajectories than its folders hold now. Errors: INVALID_ARGUMENT for a file that is none. */
export async function readTransfer(directory: string): Promise<Transfer | null> {
  const path = join(directory, STUDY_FILES.transfer);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) {
    return null;
  }
  const transfer = parseResult(transferSchema, parseJson(text, path), path, { format: TRANSFER_FORMAT, version: TRANSFER_VERSION, again: 'run `rewardlens transfer` again' });
  const current = await Promise.all(transfer.folders.map(async (folder) => (await fileHash(join(folder.directory, FILES.trajectories))) === folder.trajectoriesSha256));
  return current.every(Boolean) ? transfer : null;
}
