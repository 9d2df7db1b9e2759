/** `rewardlens study`: everything, from a model and data sets to a report. */
import { join } from 'node:path';
import { renderSummary } from '../report/summary.js';
import type { Study } from '../report/schema.js';
import type { StudyOptions } from '../study/study.js';
import { STUDY_FILES, runStudy } from '../study/study.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, readModelFlags, readSessionFlags } from './options.js';
import { DATASET_OPTIONS, ROLLOUT_OPTIONS, readRolloutSettings, readSources } from './rolloutFlags.js';
import { PROBE_OPTIONS, RANK_OPTIONS, checkRanking, readProbeSettings, readRankSettings, workOptions } from './studyFlags.js';
import { SWEEP_OPTIONS, readSweepChoice } from './sweepFlags.js';

/** Rollout, probes, ranking, ablation, report. */
export const studyCommand: Command = {
  name: 'study',
  describe: 'Find value neurons: rollout, probes, ranking, pruning, ablation and report, for one or several data sets. Resumes.',
  options: {
    ...DATASET_OPTIONS,
    ...ROLLOUT_OPTIONS,
    ...PROBE_OPTIONS,
    ...RANK_OPTIONS,
    ...SWEEP_OPTIONS,
    output: { alias: 'o', type: 'string', group: 'Output:', describe: 'folder; stages that are done with the same inputs are not run again' },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [['rewardlens study -m model.gguf --dataset hf:openai/gsm8k --dataset problems.jsonl -o study', 'two data sets, one report']],
  prepare(flags: Flags) {
    const model = readModelFlags(flags);
    const session = readSessionFlags(flags);
    const probe = readProbeSettings(flags);
    const rank = readRankSettings(flags);
    const rollout = readRolloutSettings(flags);
    checkRanking(probe, rank);
    if (rollout.capture === undefined) {
      throw new UsageError('--no-activations: a study needs activations; `rewardlens rollout` can do without');
    }
    const sites = [rollout.capture.site ?? 'residPost'].flat();
    if (!sites.some((site) => site === probe.site)) {
      throw new UsageError(`--probe-site: expected one of the stored sites (${sites.join(', ')}), got ${JSON.stringify(probe.site)}`);
    }
    const parsed: Omit<StudyOptions, 'threads' | 'command'> = {
      directory: flags.required('output', 'a folder (-o DIR)'),
      model: model.path,
      load: model.load,
      session,
      sources: readSources(flags),
      rollout,
      probe,
      rank,
      ablate: readSweepChoice(flags),
    };
    return (io) => run({ ...parsed, ...workOptions({ threads: session.threads }, io), command: ['rewardlens', ...process.argv.slice(2)] }, io);
  },
};

function stageLine({ stage, dataset, seconds, reused }: Study['durations'][number], note: string): string {
  return `${`${stage} ${dataset ?? ''}`.padEnd(34)} ${reused ? '  found' : `${seconds.toFixed(1).padStart(6)} s`}  ${note}`;
}

async function run(options: StudyOptions, io: Io): Promise<void> {
  const study = await runStudy({ ...options, onStage: (stage, note) => (io.json ? io.line({ stage: { ...stage, note } }) : io.summary(stageLine(stage, note))) });
  io.progress.stop();
  const paths = { study: join(options.directory, STUDY_FILES.study), report: join(options.directory, STUDY_FILES.report) };
  if (io.json) {
    io.line({ summary: { ...paths, findings: study.findings } });
  } else {
    io.out(`\n${renderSummary(study)}\n\nresults  ${paths.study}\nreport   ${paths.report}`);
  }
}
