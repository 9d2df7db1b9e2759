/** dopamine.json and dopamine.safetensors: the result and its probes, kept and read together. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RewardLensError } from '../native/errors.js';
import { parseResult } from '../report/parse.js';
import type { TrainedProbe } from '../probe/train.js';
import { writeJson } from '../rollout/folder.js';
import { FILES } from '../store/format.js';
import { parseJson } from '../util/json.js';
import type { Dopamine } from '../report/dopamineSchema.js';
import { DOPAMINE_FILE, DOPAMINE_FORMAT, DOPAMINE_VERSION, dopamineSchema } from '../report/dopamineSchema.js';
import { DOPAMINE_PROBES } from './dopamineProbe.js';
import { loadProbes, saveProbes } from './probeFiles.js';
import { fileHash } from './stage.js';
import { VALUES_FILES } from './valuesFormat.js';

/** The best layer's dopamine probe and linear probe (docs/probe.md says what the tensors are). */
export const DOPAMINE_PROBES_FILE = 'dopamine.safetensors';

/** Writes both files, the result last: it names the probes by their hash. Errors: IO. */
export async function saveDopamine(directory: string, result: Omit<Dopamine, 'probesSha256'>, probes: readonly TrainedProbe[]): Promise<Dopamine> {
  const path = join(directory, DOPAMINE_PROBES_FILE);
  await saveProbes(path, probes, { settings: result.settings, site: result.settings.site, trajectories: result.trajectoriesSha256 });
  const whole = { ...result, probesSha256: await fileHash(path) };
  await writeJson(join(directory, DOPAMINE_FILE), whole);
  return whole;
}

/**
 * The result of `rewardlens dopamine` and its probe at the best layer. Errors: IO without one; INVALID_ARGUMENT for another version, or when
 * trajectories, values or probes have changed since.
 */
export async function readDopamine(directory: string): Promise<{ result: Dopamine; probe: TrainedProbe }> {
  const path = join(directory, DOPAMINE_FILE);
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new RewardLensError('IO', `'${directory}' has no dopamine neurons; run \`rewardlens dopamine ${directory}\``, { cause, details: { directory } });
  });
  const result = parseResult(dopamineSchema, parseJson(text, path), path, { format: DOPAMINE_FORMAT, version: DOPAMINE_VERSION, again: `run \`rewardlens dopamine ${directory}\` again` });
  const [trajectories, probes] = [await fileHash(join(directory, FILES.trajectories)), join(directory, DOPAMINE_PROBES_FILE)];
  if (trajectories !== result.trajectoriesSha256 || (await fileHash(probes)) !== result.probesSha256) {
    throw new RewardLensError('INVALID_ARGUMENT', `the trajectories or dopamine probes in '${directory}' are not those of '${DOPAMINE_FILE}'; run \`rewardlens dopamine ${directory}\` again`, { details: { directory } });
  }
  if (result.valuesSha256 !== (await fileHash(join(directory, VALUES_FILES.trajectories)))) {
    throw new RewardLensError('INVALID_ARGUMENT', `the values in '${directory}' are not those that '${DOPAMINE_FILE}' was made from; run \`rewardlens dopamine ${directory}\` again`, { details: { directory } });
  }
  const probe = (await loadProbes(probes)).find(({ name }) => name === DOPAMINE_PROBES.main);
  return { result, probe: probe as TrainedProbe };
}
