/** Checks that save a person from waiting for an error. */
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { compileInterventions, siteTable } from '../intervene/compile.js';
import type { Intervention } from '../intervene/types.js';
import type { Session } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';

/** Refuses an output that exists or has no directory, before anything takes time. Errors: IO. */
export async function checkOutput(path: string, force: boolean): Promise<void> {
  const refuse = (reason: string): RewardLensError => new RewardLensError('IO', `cannot write '${path}': ${reason}`, { details: { path } });
  const directory = await stat(dirname(path)).catch(() => undefined);
  if (directory?.isDirectory() !== true) {
    throw refuse(`the directory '${dirname(path)}' does not exist`);
  }
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory() === true) {
    throw refuse('it is a directory');
  }
  if (existing !== undefined && !force) {
    throw refuse('it exists; --force replaces it');
  }
}

/** Compiles the list against the model once, so that errors name the file. Errors: as `compileInterventions`. */
export async function checkInterventions(session: Session, interventions: readonly Intervention[], file: string | undefined): Promise<void> {
  if (interventions.length > 0) {
    const table = siteTable(await session.sites(), session.model.info.layerCount);
    compileInterventions(interventions, table, `${basename(file ?? '')}: interventions`);
  }
}
