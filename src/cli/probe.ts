/** `rewardlens probe`, `rank` and `report`: the stages after the rollout, each on a folder. */
import { join } from 'node:path';
import { renderSummary } from '../report/summary.js';
import { ANALYSIS_FILES, probeStage, rankStage } from '../study/analyse.js';
import type { ProbeStage } from '../study/analyse.js';
import { readStageResult } from '../study/stage.js';
import { reportStage } from '../study/study.js';
import { STUDY_FILES } from '../study/studyFiles.js';
import { RewardLensError } from '../native/errors.js';
import type { Command } from './command.js';
import type { Flags } from './flags.js';
import { PROBE_OPTIONS, RANK_OPTIONS, THREAD_OPTIONS, readProbeSettings, readRankSettings, workOptions } from './studyFlags.js';

const STORE = [{ name: 'dir', describe: 'folder of `rewardlens rollout`, or a store of another program (docs/store-format.md)' }];

/** Trains value probes. */
export const probeCommand: Command = {
  name: 'probe',
  describe: 'Train value probes of all layers on an activation store.',
  positionals: STORE,
  options: { ...PROBE_OPTIONS, ...THREAD_OPTIONS },
  examples: [['rewardlens probe gsm8k --targets mc,td0 --hidden 1024', 'Monte-Carlo and TD(0) targets side by side']],
  prepare(flags: Flags) {
    const directory = flags.required('dir', 'the folder of an activation store');
    const settings = readProbeSettings(flags);
    const threads = flags.integer('threads', 1, 1024);
    return async (io) => {
      const { result, seconds, reused } = await probeStage(directory, settings, workOptions({ threads }, io));
      io.progress.stop();
      const path = join(directory, ANALYSIS_FILES.probes);
      if (io.json) {
        io.line({ summary: { path, sha256: result.probesSha256, seconds, reused } });
      } else {
        io.out(`${path}: ${reused ? 'made before from the same trajectories and settings' : `trained in ${seconds.toFixed(1)} s`}`);
      }
    };
  },
};

/** Judges probes and ranks neurons. */
export const rankCommand: Command = {
  name: 'rank',
  describe: 'Judge the probes on held-out trajectories, rank neurons, prune with controls.',
  positionals: STORE,
  options: { ...RANK_OPTIONS, ...THREAD_OPTIONS },
  examples: [['rewardlens rank gsm8k --ranking l1-raw --draws 100', "the literal recipe's ranking, with more control draws"]],
  prepare(flags: Flags) {
    const directory = flags.required('dir', 'the folder of an activation store');
    const settings = readRankSettings(flags);
    const threads = flags.integer('threads', 1, 1024);
    return async (io) => {
      const probe = await readStageResult<ProbeStage>(join(directory, ANALYSIS_FILES.probe));
      if (probe === undefined) {
        throw new RewardLensError('IO', `'${directory}' has no probes yet; run \`rewardlens probe ${directory}\``, { details: { directory } });
      }
      const { result, seconds, reused } = await rankStage(directory, probe, settings, workOptions({ threads }, io));
      io.progress.stop();
      const path = join(directory, ANALYSIS_FILES.rank);
      if (io.json) {
        io.line({ summary: { path, bestLayer: result.layers[result.bestLayer]?.layer, auc: result.layers[result.bestLayer]?.auc, seconds, reused } });
      } else {
        const { layer, auc } = result.layers[result.bestLayer] ?? { layer: '?', auc: undefined };
        io.out(`${path}: best layer ${layer}, AUC at the middle ${auc?.middle.value?.toFixed(3) ?? 'not known'}; top neurons ${result.ranking.neurons.slice(0, 10).map(({ neuron }) => neuron).join(', ')}`);
      }
    };
  },
};

/** Makes the report. */
export const reportCommand: Command = {
  name: 'report',
  describe: 'Make study.json and report.html of a study, or of one ranked rollout folder.',
  positionals: [{ name: 'dir', describe: 'folder of `rewardlens study`, or of a rollout that has been ranked' }],
  options: { ...THREAD_OPTIONS },
  examples: [['rewardlens report gsm8k', 'after rollout, probe and rank']],
  prepare(flags: Flags) {
    const directory = flags.required('dir', 'the folder of a study or of a ranked rollout');
    const threads = flags.integer('threads', 1, 1024);
    return async (io) => {
      const study = await reportStage(directory, workOptions({ threads }, io));
      io.progress.stop();
      if (io.json) {
        io.line({ summary: { study: join(directory, STUDY_FILES.study), report: join(directory, STUDY_FILES.report) } });
      } else {
        io.out(`${renderSummary(study)}\n\nreport  ${join(directory, STUDY_FILES.report)}`);
      }
    };
  },
};
