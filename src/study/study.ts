/** A whole study: self-test, then for every data set rollout, probes, ranking and ablation, then the report. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../dataset/types.js';
import type { LoadOptions, Model } from '../model/model.js';
import { loadModel } from '../model/model.js';
import type { SessionOptions } from '../model/session.js';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { parseEarlierStudy } from '../report/parse.js';
import { writePage } from '../report/page.js';
import { renderReport } from '../report/report.js';
import type { DatasetResult, Study } from '../report/schema.js';
import { STUDY_FORMAT, STUDY_VERSION } from '../report/schema.js';
import type { SectionName } from '../report/sectionsSchema.js';
import { readRolloutFile, writeJson } from '../rollout/folder.js';
import { FILES } from '../store/format.js';
import type { RolloutProgress } from '../rollout/rollout.js';
import { createManifest } from '../run/manifest.js';
import { parseJson } from '../util/json.js';
import { packageVersion } from '../util/version.js';
import type { RankStage } from './analyse.js';
import { ANALYSIS_FILES, probeStage, rankStage } from './analyse.js';
import { studyFindings } from './findings.js';
import type { SectionChoice } from './sectionChoice.js';
import { namesFor } from './sectionChoice.js';
import { readSections, sectionStages } from './sectionStage.js';
import type { ProbeSettings, RankSettings, WorkOptions } from './options.js';
import type { DatasetSource, Prepared, RolloutSettings } from './sample.js';
import { openDataset, openSession, prepareDataset, sampleStage } from './sample.js';
import type { SelfTest } from './selfTest.js';
import { runSelfTest, selfTestInputs } from './selfTest.js';
import type { Staged } from './stage.js';
import { STUDY_FILES } from './studyFiles.js';
import { readTransfer, transferStage } from './transferStage.js';
import type { Transfer } from '../report/transferSchema.js';
import { fileHash, runStage } from './stage.js';
import type { SweepChoice, SweptWork } from './sweepStage.js';
import { sweepResult, sweepStage } from './sweepStage.js';
import { makeFolder } from '../util/makeFolder.js';

const SELF_TEST_VERSION = 1;

/** Everything a study needs. */
export interface StudyOptions extends WorkOptions {
  readonly directory: string;
  readonly model: string;
  readonly load: LoadOptions;
  readonly session: SessionOptions;
  readonly sources: readonly DatasetSource[];
  readonly rollout: RolloutSettings;
  readonly probe: ProbeSettings;
  readonly rank: RankSettings;
  /** Undefined: no neurons are taken away. */
  readonly ablate: SweepChoice | undefined;
  /** What else there is beside probes, ranking and sweep. */
  readonly sections: SectionChoice;
  /** The command line, for the manifest. */
  readonly command: readonly string[];
  /** Told of every stage as it ends. */
  readonly onStage?: ((stage: Study['durations'][number], note: string) => void) | undefined;
}

/** One data set on its way. */
interface Work {
  source: DatasetSource;
  dataset: Dataset;
  directory: string;
}

function distinctNames(datasets: readonly Dataset[]): void {
  datasets.forEach(({ name, source }, i) => {
    const other = datasets.slice(0, i).find((dataset) => dataset.name === name);
    if (other !== undefined) {
      throw new RewardLensError('INVALID_ARGUMENT', `--dataset: '${other.source}' and '${source}' would both be called '${name}'; rename a file`, { details: { name } });
    }
  });
}

/** A name that no data set has would switch work off without a word. */
function requireNames(flag: string, wanted: readonly string[] | undefined, datasets: readonly Dataset[]): void {
  const names = datasets.map(({ name }) => name);
  const unknown = wanted?.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw invalidArgument(flag, `some of ${names.join(', ')}`, unknown);
  }
}

const SHOWN_EVERY_MS = 100;

/** Progress of a rollout as a share with a note, not more often than a person can read. */
function rolloutProgress(work: WorkOptions, name: string): (progress: RolloutProgress) => void {
  let shown = -Infinity;
  return ({ finished, total, run }) => {
    const now = performance.now();
    if (now - shown > SHOWN_EVERY_MS || finished === total) {
      shown = now;
      const speed = run === undefined || run.busyMs === 0 ? '' : `, ${Math.round((1000 * (run.promptTokens + run.completionTokens)) / run.busyMs)} tokens/s`;
      work.onProgress?.(`sampling ${name}`, finished / total, `${finished}/${total} trajectories${speed}`);
    }
  };
}

/**
 * Runs or resumes a study in `directory`. Stages whose inputs have not changed are taken from there. Writes `study.json` and
 * `report.html` and returns the study. Errors: those of the stages; ABORTED leaves what is done for the next run.
 */
export async function runStudy(options: StudyOptions): Promise<Study> {
  const { directory, signal } = options;
  await makeFolder(directory);
  const durations: Study['durations'] = [];
  const note = (stage: string, dataset: string | null, seconds: number, reused: boolean, text: string): void => {
    durations.push({ stage, dataset, seconds: reused ? 0 : seconds, reused });
    options.onStage?.(durations.at(-1) as Study['durations'][number], text);
  };
  if (!existsSync(options.model)) {
    throw new RewardLensError('MODEL_LOAD', `'${options.model}' does not exist`, { details: { path: options.model } });
  }
  const datasets = await Promise.all(options.sources.map((source) => openDataset(source, signal)));
  distinctNames(datasets);
  requireNames('--sections-datasets', options.sections.datasets, datasets);
  requireNames('--ablate-datasets', options.ablate?.datasets, datasets);
  const works = datasets.map((dataset, i): Work => ({ source: options.sources[i] as DatasetSource, dataset, directory: join(directory, dataset.name) }));

  options.onProgress?.('self-test', 0, '');
  const test = await selfTestStage(directory, options);
  note('self-test', null, test.seconds, test.reused, test.result.passed ? `${test.result.checks.length} checks passed` : 'FAILED');

  const manifest = await sampleAll(options, works, note);
  const ranked: SweptWork[] = [];
  for (const work of works) {
    const probe = await probeStage(work.directory, options.probe, options);
    note('probe', work.dataset.name, probe.seconds, probe.reused, `${options.probe.targets.join(', ')}`);
    const rank = await rankStage(work.directory, probe.result, options.rank, options);
    note('rank', work.dataset.name, rank.seconds, rank.reused, `by ${options.rank.method}`);
    ranked.push({ ...work, probe: probe.result, rank: rank.result });
  }
  await withModel(options, async (model) => {
    await ablateAll(options, ranked, { manifest, model, note });
    await sectionsOfAll(options, ranked, { manifest, model, note });
  });
  const compared = options.sections.transfer && ranked.length > 1;
  if (compared) {
    const { seconds, reused } = await transferStage(directory, ranked, options);
    note('transfer', null, seconds, reused, `${ranked.length} data sets`);
  }
  return composeStudy(directory, works.map((work) => work.dataset.name), { manifest, command: options.command, selfTest: test.result, durations }, { noSweep: (name) => whyNoSweep(options, name), transfer: compared, sections: (name) => namesFor(options.sections, name) });
}

/** Why a data set of this study has no sweep; undefined when it has one. */
function whyNoSweep({ ablate }: StudyOptions, name: string): string | undefined {
  if (ablate === undefined) {
    return 'The sweep was switched off (--no-ablate).';
  }
  return ablate.datasets?.includes(name) === false ? `It is not among --ablate-datasets (${ablate.datasets.join(', ')}).` : undefined;
}

type Note = (stage: string, dataset: string, seconds: number, reused: boolean, text: string) => void;

/** What stages after the ranking share. */
interface Later {
  readonly manifest: Study['manifest'];
  /** Opens the model when it is first needed. */
  readonly model: () => Promise<Model>;
  readonly note: Note;
}

/** Runs `body` with a way to open the model, which is closed in the end. */
async function withModel({ model: path, load, signal }: StudyOptions, body: (open: () => Promise<Model>) => Promise<void>): Promise<void> {
  let model: Model | undefined;
  try {
    await body(async () => (model ??= await loadModel(path, { ...load, ...(signal === undefined ? {} : { signal }) })));
  } finally {
    await model?.[Symbol.asyncDispose]();
  }
}

async function ablateAll(options: StudyOptions, works: readonly SweptWork[], { manifest, model, note }: Later): Promise<void> {
  const { ablate } = options;
  for (const work of works.filter(({ dataset }) => whyNoSweep(options, dataset.name) === undefined)) {
    const { seconds, reused, arms, items } = await sweepStage(work, { choice: ablate as SweepChoice, rollout: options.rollout, session: options.session, manifest, model }, options);
    note('ablate', work.dataset.name, seconds, reused, `${arms} arms × ${items} held-out problems`);
  }
}

async function sectionsOfAll(options: StudyOptions, works: readonly SweptWork[], { manifest, model, note }: Later): Promise<void> {
  const { sections: choice, session, load } = options;
  for (const work of works) {
    await sectionStages(work, { choice, session, manifest, target: { model: options.model, load, session }, model }, options, (name, { result, seconds, reused }) =>
      note(name, work.dataset.name, seconds, reused, result.sha256 === '' ? `LEFT OUT: ${result.notes.join(' ')}` : result.notes.join(' ')),
    );
  }
}

async function selfTestStage(directory: string, options: WorkOptions): Promise<Staged<SelfTest>> {
  const inputs = { stage: 'self-test', version: SELF_TEST_VERSION, rewardlens: packageVersion(), files: await selfTestInputs() };
  return runStage(join(directory, STUDY_FILES.selfTest), inputs, () => runSelfTest(options));
}

async function sampleAll(options: StudyOptions, works: readonly Work[], note: Note): Promise<Study['manifest']> {
  await using model = await loadModel(options.model, { ...options.load, ...(options.signal === undefined ? {} : { signal: options.signal }) });
  const prepared: Prepared[] = [];
  for (const { dataset, source } of works) {
    prepared.push(await prepareDataset(model, dataset, source));
  }
  await using session = openSession(model, prepared, options.rollout, options.session);
  for (const [i, { dataset, directory }] of works.entries()) {
    const totals = await sampleStage(session, prepared[i] as Prepared, options.rollout, { directory, signal: options.signal, onProgress: rolloutProgress(options, dataset.name) });
    note('rollout', dataset.name, totals.seconds, totals.made === 0, `${totals.made} trajectories made, ${totals.found} found${totals.beyond > 0 ? `; ${totals.beyond} more from earlier runs are analysed too` : ''}`);
  }
  return await createManifest(session, { hashModel: true, signal: options.signal });
}

/** Puts a study together from the folders of its data sets, and writes `study.json` and `report.html`. */
async function composeStudy(directory: string, names: readonly string[], parts: Pick<Study, 'manifest' | 'selfTest' | 'durations'> & { command: readonly string[] }, shown: { noSweep: (name: string) => string | undefined; transfer: boolean; sections: (name: string) => readonly SectionName[] }): Promise<Study> {
  const datasets: DatasetResult[] = [];
  for (const name of names) {
    datasets.push(await datasetResult(join(directory, name), name, { noSweep: shown.noSweep(name), sections: shown.sections(name) }));
  }
  const transfer = shown.transfer ? await readTransfer(directory) : null;
  const study: Study = {
    format: STUDY_FORMAT,
    version: STUDY_VERSION,
    title: `${String((parts.manifest.model as { path?: string } | undefined)?.path ?? 'model').replace(/^.*[\\/]/, '')} on ${names.join(', ')}`,
    manifest: parts.manifest,
    command: [...parts.command],
    selfTest: parts.selfTest,
    datasets,
    transfer,
    findings: studyFindings(parts.selfTest, datasets, transfer),
    durations: parts.durations,
  };
  await writeJson(join(directory, STUDY_FILES.study), study);
  await writeReport(directory, study);
  return study;
}

/** Result of one data set, from its folder; `noSweep` says why its sweep is none of the study's, `sections` which are (undefined: all there are). Errors: IO when a stage is missing. */
async function datasetResult(directory: string, name: string, { noSweep, sections }: { noSweep: string | undefined; sections?: readonly SectionName[] }): Promise<DatasetResult> {
  const path = join(directory, ANALYSIS_FILES.rank);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new RewardLensError('IO', `'${directory}' has not been ranked: cannot read '${path}'; run \`rewardlens rank ${directory}\``, { cause: error, details: { path } });
  }
  const { result } = parseJson(text, path) as { result: RankStage };
  if (result.probe.trajectoriesSha256 !== (await fileHash(join(directory, FILES.trajectories)))) {
    throw new RewardLensError('INVALID_ARGUMENT', `the ranking in '${directory}' is of other trajectories than it holds now; run \`rewardlens probe ${directory}\` and \`rewardlens rank ${directory}\` again`, {
      details: { directory },
    });
  }
  const about = (await readRolloutFile(directory))?.about as { dataset?: Partial<Dataset> } | undefined;
  return {
    name,
    source: about?.dataset?.source ?? directory,
    format: about?.dataset?.format ?? 'unknown',
    sha256: about?.dataset?.sha256 ?? '',
    ...result,
    ...(noSweep === undefined ? await sweepResult(directory) : { ablation: null, ablationNotes: [noSweep] }),
    sections: await readSections(directory, sections),
  };
}

/** Why a data set of an earlier study had no sweep; undefined when it had one. */
function whyBefore(before: Study | undefined, name: string): string | undefined {
  const dataset = before?.datasets.find((one) => one.name === name);
  return dataset === undefined ? 'A sweep is run by `rewardlens study`, or by `rewardlens ablate` with a report of its own.' : dataset.ablation === null ? dataset.ablationNotes.join(' ') : undefined;
}

/** The one data set of a rollout folder. */
async function onlyDataset(directory: string): Promise<{ name: string; folder: string }> {
  const about = (await readRolloutFile(directory))?.about.dataset as Partial<Dataset> | undefined;
  return { name: about?.name ?? 'store', folder: directory };
}

/** The study with a comparison of its folders that was made after it; writes `study.json` and `report.html` anew. Errors: IO. */
export async function addTransfer(directory: string, study: Study, transfer: Transfer): Promise<Study> {
  const whole = { ...study, transfer, findings: studyFindings(study.selfTest, study.datasets, transfer) };
  await writeJson(join(directory, STUDY_FILES.study), whole);
  await writeReport(directory, whole);
  return whole;
}

/** Writes `report.html`. Errors: IO. */
export async function writeReport(directory: string, study: Study): Promise<string> {
  const path = join(directory, STUDY_FILES.report);
  await writePage(path, await renderReport(study));
  return path;
}

/**
 * Makes `study.json` and the report anew from the `rank.json` of every data set; the folder of one rollout becomes a study, with a
 * self-test of its own.
 * Errors: IO, INVALID_ARGUMENT naming the field of a `study.json` that does not fit.
 */
export async function reportStage(directory: string, options: WorkOptions): Promise<Study> {
  const path = join(directory, STUDY_FILES.study);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  const before = text === undefined ? undefined : parseEarlierStudy(parseJson(text, path), path);
  const folders = before?.datasets.map(({ name }) => ({ name, folder: existsSync(join(directory, name, ANALYSIS_FILES.rank)) ? join(directory, name) : directory })) ?? [await onlyDataset(directory)];
  const datasets: DatasetResult[] = [];
  for (const { name, folder } of folders) {
    datasets.push(await datasetResult(folder, name, { noSweep: whyBefore(before, name) })); // from the stages: they may have been run again since
  }
  const transfer = await readTransfer(directory);
  const selfTest = before?.selfTest ?? (await selfTestStage(directory, options)).result;
  const study: Study = {
    format: STUDY_FORMAT,
    version: STUDY_VERSION,
    title: before?.title ?? datasets[0]?.name ?? '',
    manifest: before?.manifest ?? ((await readRolloutFile(directory))?.about.manifest as Study['manifest'] | undefined) ?? {},
    command: before?.command ?? ['rewardlens', 'report', directory],
    selfTest,
    datasets,
    transfer,
    findings: studyFindings(selfTest, datasets, transfer),
    durations: before?.durations ?? [],
  };
  await writeJson(path, study);
  await writeReport(directory, study);
  return study;
}
