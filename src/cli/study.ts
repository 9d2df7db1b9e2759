/** `rewardlens study`: everything, from a model and data sets to a report. */
import { join } from 'node:path';
import { QUANTIZATION_TYPES } from '../model/quantize.js';
import { renderSummary } from '../report/summary.js';
import type { Study } from '../report/schema.js';
import type { StudyOptions } from '../study/study.js';
import { addTransfer, runStudy } from '../study/study.js';
import { STUDY_FILES } from '../study/studyFiles.js';
import type { QuantizeSettings } from '../study/transferQuantized.js';
import { makeCopies, runQuantized } from '../study/transferQuantized.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, readModelFlags, readSessionFlags } from './options.js';
import { DATASET_OPTIONS, ROLLOUT_OPTIONS, readRolloutSettings, readSources } from './rolloutFlags.js';
import { PROBE_OPTIONS, RANK_OPTIONS, checkRanking, readNames, readProbeSettings, readRankSettings, workOptions } from './studyFlags.js';
import { SECTION_OPTIONS, readSectionChoice } from './sectionFlags.js';
import { SWEEP_OPTIONS, readSweepChoice } from './sweepFlags.js';
import { transferTables } from './transfer.js';

/** Rollout, probes, ranking, ablation, report. */
export const studyCommand: Command = {
  name: 'study',
  resumes: true,
  describe: 'Find value neurons: rollout, probes, ranking, pruning, ablation and report, for one or several data sets.',
  options: {
    ...DATASET_OPTIONS,
    ...ROLLOUT_OPTIONS,
    ...PROBE_OPTIONS,
    ...RANK_OPTIONS,
    ...SWEEP_OPTIONS,
    ...SECTION_OPTIONS,
    quantize: { type: 'string', group: 'Quantized copies:', describe: 'such as Q8_0,Q4_K_M: the same data sets on copies of the model, and how value neurons and probes carry over; default none' },
    'allow-requantize': { type: 'boolean', group: 'Quantized copies:', describe: 'also when the model is quantized already' },
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
    const quantize = { types: readNames(flags, 'quantize', QUANTIZATION_TYPES, { upperCase: true }) ?? [], allowRequantize: flags.on('allow-requantize') };
    const sources = readSources(flags);
    const sections = readSectionChoice(flags);
    if (sections.transfer && flags.text('sections') !== 'all' && sources.length === 1 && quantize.types.length === 0) {
      throw new UsageError('--sections: transfer compares data sets: expected several --dataset, or --quantize, got one data set');
    }
    const parsed: Omit<StudyOptions, 'threads' | 'command'> = {
      directory: flags.required('output', 'a folder (-o DIR)'),
      model: model.path,
      load: model.load,
      session,
      sources,
      rollout,
      probe,
      rank,
      ablate: readSweepChoice(flags),
      sections,
    };
    return (io) => run({ ...parsed, ...workOptions({ threads: session.threads }, io), command: ['rewardlens', ...process.argv.slice(2)] }, quantize, io);
  },
};

function stageLine({ stage, dataset, seconds, reused }: Study['durations'][number], note: string): string {
  return `${`${stage} ${dataset ?? ''}`.padEnd(34)} ${reused ? '  found' : `${seconds.toFixed(1).padStart(6)} s`}  ${note}`;
}

async function run(given: StudyOptions, quantize: QuantizeSettings, io: Io): Promise<void> {
  const options: StudyOptions = { ...given, onStage: (stage, note) => (io.json ? io.line({ stage: { ...stage, note } }) : io.summary(stageLine(stage, note))) };
  await makeCopies(options, quantize); // first: a model that cannot be quantized is known before anything takes time
  const copies = quantize.types.length > 0; // they are compared with the data sets after the study
  const alone = await runStudy(copies ? { ...options, sections: { ...options.sections, transfer: false } } : options);
  const study = copies ? await addTransfer(options.directory, alone, await runQuantized(options, quantize)) : alone;
  const { transfer } = study;
  io.progress.stop();
  const paths = { study: join(options.directory, STUDY_FILES.study), report: join(options.directory, STUDY_FILES.report) };
  if (io.json) {
    io.line({ summary: { ...paths, findings: study.findings, ...(transfer === null ? {} : { transfer: transfer.findings }) } });
  } else {
    io.out(`\n${renderSummary(study)}\n\nresults  ${paths.study}\nreport   ${paths.report}`);
    if (transfer !== null) {
      io.out(`${transferTables(transfer).join('\n')}\n\n${join(options.directory, STUDY_FILES.transfer)}`);
    }
  }
}
