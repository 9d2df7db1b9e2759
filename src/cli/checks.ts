/** Checks that save a person from waiting for an error. */
import { access, constants, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { compileInterventions, siteTable } from '../intervene/compile.js';
import type { Intervention } from '../intervene/types.js';
import type { Session } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';

/** Refuses a folder that does not exist, or is none. Errors: IO. */
export async function requireFolder(directory: string): Promise<void> {
  const found = await stat(directory).catch(() => undefined);
  if (found?.isDirectory() !== true) {
    throw new RewardLensError('IO', `expected a folder, but '${directory}' ${found === undefined ? 'does not exist' : 'is none'}`, { details: { directory } });
  }
}

/** Refuses an output that exists or whose directory does not or may not be written to, before anything takes time. `reason`: what is said of one that exists. Errors: IO. */
export async function checkOutput(path: string, force: boolean, reason = 'it exists; --force replaces it'): Promise<void> {
  const refuse = (reason: string): RewardLensError => new RewardLensError('IO', `cannot write '${path}': ${reason}`, { details: { path } });
  const directory = await stat(dirname(path)).catch(() => undefined);
  if (directory?.isDirectory() !== true) {
    throw refuse(`the directory '${dirname(path)}' does not exist`);
  }
  await access(dirname(path), constants.W_OK).catch(() => {
    throw refuse(`nothing may be written to the directory '${dirname(path)}'`);
  });
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory() === true) {
    throw refuse('it is a directory');
  }
  if (existing !== undefined && !force) {
    throw refuse(reason);
  }
}

/** Compiles the list against the model once, so that errors name the file. Errors: as `compileInterventions`. */
export async function checkInterventions(session: Session, interventions: readonly Intervention[], file: string | undefined): Promise<void> {
  if (interventions.length > 0) {
    const table = siteTable(await session.sites(), session.model.info.layerCount);
    compileInterventions(interventions, table, `${basename(file ?? '')}: interventions`);
  }
}
