/** The dopamine probe of a folder, as a guide for search. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { RewardLensError } from '../native/errors.js';
import type { TrainedProbe } from '../probe/train.js';
import { DOPAMINE_FILE } from '../report/dopamineSchema.js';
import type { Zscore } from '../rpe/features.js';
import { dopamineData } from './dopamineData.js';
import { readDopamine } from './dopamineFolder.js';
import type { ProbedFolder } from './probedFolder.js';

/** A probe of prediction errors that looks at the past alone. */
export interface DopamineGuide {
  readonly probe: TrainedProbe;
  readonly mode: Exclude<Zscore, 'response'>;
  /** Where its errors come from. */
  readonly errors: string;
  /** Problems it was trained on, or stopped by. */
  readonly trainedOn: readonly string[];
}

/**
 * The probe that `rewardlens dopamine` left in the folder. Undefined when there is none, an IO error if it is `required`. Errors: those of
 * {@link readDopamine}; INVALID_ARGUMENT when its z-scores look ahead, or its site is another than the value probe's.
 */
export async function readGuide({ directory, store, data }: ProbedFolder, required: boolean): Promise<DopamineGuide | undefined> {
  if (!required && !existsSync(join(directory, DOPAMINE_FILE))) {
    return undefined;
  }
  const { result, probe } = await readDopamine(directory);
  const { zscore: mode, site, error } = result.settings;
  if (mode === 'response') {
    throw new RewardLensError('INVALID_ARGUMENT', `the dopamine probe of '${directory}' reads z-scores over the whole response, which are not known during a search; run \`rewardlens dopamine ${directory} --zscore running\``, { details: { directory } });
  }
  if (site !== data.site) {
    throw new RewardLensError('INVALID_ARGUMENT', `the dopamine probe of '${directory}' is of site ${site}, the value probe of ${data.site}; run \`rewardlens values\` and \`rewardlens dopamine\` again`, { details: { directory, site } });
  }
  const { data: steps } = await dopamineData(store, site, error);
  return { probe, mode, errors: error, trainedOn: steps.trajectories.filter(({ part }) => part !== 'test').map(({ group }) => group) };
}
