/** The dopamine probe of a folder, as a guide for search. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import type { TrainedProbe } from '../probe/train.js';
import type { Zscore } from '../rpe/features.js';
import { parseJson } from '../util/json.js';
import { dopamineData, itemsOf } from './dopamineData.js';
import { DOPAMINE_FILE, dopamineSchema } from '../report/dopamineSchema.js';
import { fitDopamine } from './dopamineProbe.js';
import type { WorkOptions } from './options.js';
import type { ProbedFolder } from './probedFolder.js';

/** A probe of prediction errors that looks at the past alone. */
export interface FittedGuide {
  readonly probe: TrainedProbe;
  readonly mode: Exclude<Zscore, 'response'>;
  /** Where its errors come from. */
  readonly errors: string;
  /** Problems it was trained on, or stopped by. */
  readonly trainedOn: readonly string[];
}

/**
 * The best layer's dopamine probe, trained as `rewardlens dopamine` did: same steps, same seed. Undefined when the folder has none, an IO error if it is
 * `required`. Errors: INVALID_ARGUMENT when its z-scores look ahead, or its trajectories or site are others than the value probe's. Cost: training it.
 */
export async function fitGuide({ directory, store, data, trajectoriesSha256 }: ProbedFolder, required: boolean, work: WorkOptions): Promise<FittedGuide | undefined> {
  const path = join(directory, DOPAMINE_FILE);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) {
    if (required) {
      throw new RewardLensError('IO', `'${directory}' has no dopamine probe; run \`rewardlens values ${directory}\` and \`rewardlens dopamine ${directory}\``, { details: { path } });
    }
    return undefined;
  }
  const parsed = dopamineSchema.safeParse(parseJson(text, path));
  if (!parsed.success) {
    throw invalidArgument(`${path}: ${parsed.error.issues[0]?.path.join('.') ?? ''}`, parsed.error.issues[0]?.message ?? 'a result of dopamine', text.slice(0, 80));
  }
  const { settings, trajectoriesSha256: own } = parsed.data;
  const mode = settings.zscore;
  if (mode === 'response') {
    throw new RewardLensError('INVALID_ARGUMENT', `the dopamine probe of '${directory}' reads z-scores over the whole response, which are not known during a search; run \`rewardlens dopamine ${directory} --zscore running\``, { details: { path } });
  }
  if (own !== trajectoriesSha256 || settings.site !== data.site) {
    throw new RewardLensError('INVALID_ARGUMENT', `the dopamine probe of '${directory}' is of other trajectories or of another site than the value probe; run \`rewardlens values\` and \`rewardlens dopamine\` again`, { details: { path } });
  }
  const { data: steps } = await dopamineData(store, settings.site, settings.error);
  const { best } = await fitDopamine(steps, itemsOf(steps), {
    mode,
    threshold: settings.threshold,
    hidden: settings.hidden,
    seed: settings.seed,
    threads: work.threads,
    signal: work.signal,
    onProgress: (share, note) => work.onProgress?.('training the dopamine probe', share, note),
  });
  return { probe: best.main, mode, errors: settings.error, trainedOn: steps.trajectories.filter(({ part }) => part !== 'test').map(({ group }) => group) };
}
