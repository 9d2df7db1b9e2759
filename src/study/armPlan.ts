/** Which arms a sweep runs, and the sets of neurons behind them. */
import { join } from 'node:path';
import type { Arm, ArmPositions, AblationKind } from '../ablate/arms.js';
import { BASE_ARM, makeArm } from '../ablate/arms.js';
import type { Site } from '../model/sites.js';
import { RewardLensError } from '../native/errors.js';
import { measureMoments, trajectoryData } from '../probe/data.js';
import type { ArmGroup, ArmStatistics } from '../rank/armSets.js';
import { armSets } from '../rank/armSets.js';
import type { RankingMethod } from '../rank/scores.js';
import { ActivationStore } from '../store/reader.js';
import type { ProbeStage } from './analyse.js';
import { ANALYSIS_FILES, sinksOf, splitOf } from './analyse.js';
import { loadProbes } from './probeFiles.js';
import { weightMethods } from './rank.js';
import { readStageResult } from './stage.js';

/** Which arms to run. */
export interface ArmGrid {
  readonly layers: readonly number[];
  readonly shares: readonly number[];
  readonly kinds: readonly AblationKind[];
  readonly positions: readonly ArmPositions[];
  readonly groups: readonly ArmGroup[];
  /** Draws of every control. */
  readonly draws: number;
  readonly method: RankingMethod;
  readonly excludeSinks: boolean;
  readonly seed: number;
}

/** Builds the arms of a grid from a folder with probes (`rewardlens probe`). Errors: IO, INVALID_ARGUMENT. Cost: reads the training states once. */
export async function planArms(directory: string, grid: ArmGrid): Promise<Arm[]> {
  const stage = await readStageResult<ProbeStage>(join(directory, ANALYSIS_FILES.probe));
  if (stage === undefined) {
    throw new RewardLensError('IO', `'${directory}' has no probes; run \`rewardlens probe ${directory}\``, { details: { directory } });
  }
  await using store = await ActivationStore.open(directory);
  const data = trajectoryData(store, stage.settings.site);
  const moments = await measureMoments(data, splitOf(data, stage.settings).train);
  const sinks = await sinksOf(directory, data, moments);
  const probes = await loadProbes(join(directory, ANALYSIS_FILES.probes));
  const arms: Arm[] = [BASE_ARM];
  for (const layer of grid.layers) {
    const l = data.layers.indexOf(layer);
    const moment = moments[l];
    const scores = weightMethods(probes, layer).get(grid.method);
    if (moment === undefined || scores === undefined) {
      throw new RewardLensError('INVALID_ARGUMENT', `layer ${layer}: no ${grid.method} scores in '${directory}' (layers ${data.layers.join(', ')})`, { details: { layer, method: grid.method } });
    }
    const statistics: ArmStatistics = { scores, rms: moment.rms, std: moment.std };
    for (const share of grid.shares) {
      const count = Math.max(1, Math.round(share * data.width));
      const exclude = grid.excludeSinks ? (sinks[l] ?? []).map(({ neuron }) => neuron) : [];
      const sets = armSets(statistics, { groups: grid.groups, count, draws: grid.draws, seed: grid.seed + 1000 * layer + count, exclude });
      for (const kind of grid.kinds) {
        for (const positions of grid.positions) {
          sets.forEach((set) => arms.push(makeArm({ ...set, site: data.site as Site, layer, share, kind, positions }, moment.mean)));
        }
      }
    }
  }
  return arms;
}
