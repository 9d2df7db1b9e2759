/** The same data sets on quantized copies of a model: sampled, probed, and compared with the original. */
import { basename, join } from 'node:path';
import { loadModel } from '../model/model.js';
import type { QuantizationType, Quantized } from '../model/quantize.js';
import { quantizeModel } from '../model/quantize.js';
import { buildInfo } from '../native/addon.js';
import type { Transfer } from '../report/transferSchema.js';
import { writeJson } from '../rollout/folder.js';
import { probeStage } from './analyse.js';
import type { Prepared } from './sample.js';
import { openDataset, openSession, prepareDataset, sampleStage } from './sample.js';
import type { Staged } from './stage.js';
import { fileHash, runStage } from './stage.js';
import type { StudyOptions } from './study.js';
import { STUDY_FILES } from './studyFiles.js';
import { TRANSFER_DEFAULTS, runTransfer } from './transfer.js';
import { makeFolder } from '../util/makeFolder.js';

/** Folder of the copies inside a study's. */
export const QUANTIZED_FOLDER = 'quantized';

/** What of a study a copy goes through as well. */
export type CopiedStudy = Pick<StudyOptions, 'directory' | 'model' | 'load' | 'session' | 'sources' | 'rollout' | 'probe' | 'threads' | 'signal' | 'onProgress' | 'onStage'>;

/** Types to make copies of, and whether the model may be quantized already. */
export interface QuantizeSettings {
  readonly types: readonly QuantizationType[];
  readonly allowRequantize: boolean;
}

/**
 * Makes a copy of the model for every type, samples and probes the study's data sets with it as the study did (`quantized/<type>/<data set>`), and
 * compares all folders, the study's own included: `transfer.json` in the study's folder. Needs a study in `directory`. What is done is not done
 * again. Errors: those of the stages. Cost: per type, the study without ranking and ablation.
 */
export async function runQuantized(options: CopiedStudy, settings: QuantizeSettings): Promise<Transfer> {
  await makeCopies(options, settings);
  const folders: string[] = [options.directory];
  for (const type of settings.types) {
    folders.push(...(await sampleCopy(options, type)));
  }
  const transfer = await runTransfer(folders, TRANSFER_DEFAULTS, options);
  await writeJson(join(options.directory, STUDY_FILES.transfer), transfer);
  return transfer;
}

/** Makes the copies alone, unless they are there already. Errors: those of `quantizeModel`. */
export async function makeCopies(options: CopiedStudy, { types, allowRequantize }: QuantizeSettings): Promise<void> {
  for (const type of types) {
    const { result, seconds, reused } = await copyStage(options, type, allowRequantize);
    options.onStage?.({ stage: `quantize ${type}`, dataset: null, seconds: reused ? 0 : seconds, reused }, `${((100 * result.outputBytes) / result.inputBytes).toFixed(0)} % of the size`);
  }
}

const folderOf = ({ directory }: CopiedStudy, type: QuantizationType): string => join(directory, QUANTIZED_FOLDER, type);
const fileOf = (options: CopiedStudy, type: QuantizationType): string => join(folderOf(options, type), `${basename(options.model, '.gguf')}-${type}.gguf`);

/** The quantized file, unless it is there already and whole. */
async function copyStage(options: CopiedStudy, type: QuantizationType, allowRequantize: boolean): Promise<Staged<Quantized & { sha256: string }>> {
  await makeFolder(folderOf(options, type));
  const path = fileOf(options, type);
  const inputs = { stage: 'quantize', version: 1, model: await fileHash(options.model), llamaCpp: buildInfo().llamaRelease, type, allowRequantize };
  return runStage(
    join(folderOf(options, type), 'quantize.json'),
    inputs,
    async () => {
      const onProgress = (done: number, total: number): void => options.onProgress?.(`quantizing to ${type}`, done / total, `${done}/${total} tensors`);
      const result = await quantizeModel(options.model, path, { type, allowRequantize, threads: options.threads, signal: options.signal, onProgress });
      return { ...result, sha256: await fileHash(path) };
    },
    async ({ sha256 }) => (await fileHash(path)) === sha256,
  );
}

/** Samples and probes every data set with a copy. Returns their folders. */
async function sampleCopy(options: CopiedStudy, type: QuantizationType): Promise<string[]> {
  const folders: string[] = [];
  await using model = await loadModel(fileOf(options, type), { ...options.load, ...(options.signal === undefined ? {} : { signal: options.signal }) });
  const prepared: Prepared[] = [];
  for (const source of options.sources) {
    prepared.push(await prepareDataset(model, await openDataset(source, options.signal), source));
  }
  await using session = openSession(model, prepared, options.rollout, options.session);
  for (const entry of prepared) {
    const { name } = entry.dataset;
    const directory = join(folderOf(options, type), name);
    const task = `sampling ${name} with ${type}`;
    const totals = await sampleStage(session, entry, options.rollout, { directory, signal: options.signal, onProgress: ({ finished, total }) => options.onProgress?.(task, finished / total, `${finished}/${total} trajectories`) });
    options.onStage?.({ stage: `rollout ${type}`, dataset: name, seconds: totals.seconds, reused: totals.made === 0 }, `${totals.made} trajectories made, ${totals.found} found`);
    folders.push(directory);
  }
  await session.dispose(); // its memory is better used by the probes
  for (const directory of folders) {
    const { seconds, reused } = await probeStage(directory, options.probe, options);
    options.onStage?.({ stage: `probe ${type}`, dataset: basename(directory), seconds: reused ? 0 : seconds, reused }, options.probe.targets.join(', '));
  }
  return folders;
}
