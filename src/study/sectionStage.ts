/** Sections of a study that are switched on by name: the work of the commands of these names, each a stage per data set. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { RewardLensError } from '../native/errors.js';
import { parseResult } from '../report/parse.js';
import { CONFIDENCE_VERSION, confidenceSchema } from '../report/confidenceSchema.js';
import { DOPAMINE_FILE, DOPAMINE_VERSION, dopamineSchema } from '../report/dopamineSchema.js';
import { INTERPLAY_FILE, INTERPLAY_VERSION, interplaySchema } from '../report/interplaySchema.js';
import { SEARCH_VERSION, searchSchema } from '../report/searchSchema.js';
import type { SectionName, Sections } from '../report/sectionsSchema.js';
import { NO_SECTIONS, SECTIONS } from '../report/sectionsSchema.js';
import { VALUES_VERSION, valuesSchema } from '../report/valuesSchema.js';
import { FILES } from '../store/format.js';
import { parseJson } from '../util/json.js';
import { packageVersion } from '../util/version.js';
import { CONFIDENCE_FILE } from './confidence.js';
import type { WorkOptions } from './options.js';
import { SEARCH_FILE } from './search.js';
import { namesFor, needsOf, withNeeds } from './sectionChoice.js';
import type { SectionContext } from './sectionWork.js';
import { makeSection, settingsOf } from './sectionWork.js';
import type { Staged } from './stage.js';
import { fileHash, hashOf, readStageResult, runStage } from './stage.js';
import type { SweptWork } from './sweepStage.js';
import { VALUES_FILES } from './valuesFormat.js';

/** The file of each section, the schema of what is in it, and its version. */
const RESULTS = {
  values: { file: VALUES_FILES.summary, schema: valuesSchema, version: VALUES_VERSION },
  dopamine: { file: DOPAMINE_FILE, schema: dopamineSchema, version: DOPAMINE_VERSION },
  interplay: { file: INTERPLAY_FILE, schema: interplaySchema, version: INTERPLAY_VERSION },
  confidence: { file: CONFIDENCE_FILE, schema: confidenceSchema, version: CONFIDENCE_VERSION },
  search: { file: SEARCH_FILE, schema: searchSchema, version: SEARCH_VERSION },
} as const satisfies Record<SectionName, { file: string; schema: z.ZodType; version: number }>;

/** Raised when the meaning of a stage's result changes. */
const SECTION_VERSION = 1;

/** What a stage says of itself. */
interface SectionStage {
  /** Of the result's file; '' when the section could not be made. */
  readonly sha256: string;
  /** Of the trajectories that it is about. */
  readonly trajectoriesSha256: string;
  /** What was left out, or why nothing could be made: sentences. */
  readonly notes: readonly string[];
}

const stagePath = (directory: string, name: SectionName): string => join(directory, `${name}-stage.json`);
const resultPath = (directory: string, name: SectionName): string => join(directory, RESULTS[name].file);

/** Said of every section as it ends. */
export type SectionNote = (name: SectionName, staged: Staged<SectionStage>) => void;

/**
 * Makes the chosen sections of one data set, and those they are made from, unless that was done with equal inputs. A section whose data do not allow it (INVALID_ARGUMENT, such as too few
 * steps with large errors) is left out with the reason as its note, and so is what is made from it. Errors: all others of the commands.
 */
export async function sectionStages(work: SweptWork, context: SectionContext, options: WorkOptions, said: SectionNote): Promise<void> {
  const made = new Map<SectionName, SectionStage>();
  for (const name of withNeeds(namesFor(context.choice, work.dataset.name))) {
    const staged = await sectionStage(name, work, { context, made, options });
    made.set(name, staged.result);
    said(name, staged);
  }
}

async function sectionStage(name: SectionName, work: SweptWork, { context, made, options }: { context: SectionContext; made: ReadonlyMap<SectionName, SectionStage>; options: WorkOptions }): Promise<Staged<SectionStage>> {
  const { directory, probe } = work;
  const { trajectoriesSha256 } = probe;
  const { manifest } = context;
  const dopamine = (made.get('dopamine')?.sha256 ?? '') !== '';
  const inputs = {
    stage: name,
    version: [SECTION_VERSION, RESULTS[name].version],
    rewardlens: packageVersion(),
    model: [(manifest.model as { sha256: string }).sha256, manifest.llamaCpp, manifest.devices],
    probe: hashOf(probe),
    bestLayer: work.rank.bestLayer,
    settings: settingsOf(name, context.choice, { dopamine }),
    from: [...made].filter(([other]) => needsOf(name).includes(other) || name === 'search').map(([other, { sha256 }]) => [other, sha256]),
  };
  const missing = needsOf(name).find((other) => made.get(other)?.sha256 === '');
  const make = async (): Promise<SectionStage> => {
    if (missing !== undefined) {
      return { sha256: '', trajectoriesSha256, notes: [`It is made from ${missing}, which could not be made.`] };
    }
    try {
      const notes = await makeSection(name, work, context, { ...options, dopamine });
      return { sha256: await fileHash(resultPath(directory, name)), trajectoriesSha256, notes };
    } catch (error) {
      if (!(error instanceof RewardLensError) || error.code !== 'INVALID_ARGUMENT') {
        throw error;
      }
      return { sha256: '', trajectoriesSha256, notes: [`It could not be made: ${error.message}.`] };
    }
  };
  const intact = async ({ sha256 }: SectionStage): Promise<boolean> => sha256 === '' || sha256 === (await fileHash(resultPath(directory, name)));
  return runStage(stagePath(directory, name), inputs, make, intact);
}

async function readResult(directory: string, name: SectionName): Promise<unknown> {
  const path = resultPath(directory, name);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) {
    return undefined;
  }
  const { schema, version } = RESULTS[name];
  return parseResult<unknown>(schema, parseJson(text, path), path, { format: `rewardlens.${name}`, version, again: `run \`rewardlens ${name}\` again` });
}

/**
 * Sections for the report of a folder: the chosen ones, or without a choice all that there are, from the stages of a study or from commands. A result of other trajectories than the folder
 * holds now is none, nor is one that is made from values or dopamine neurons that were made anew since. Errors: INVALID_ARGUMENT for a file that is no such result.
 */
export async function readSections(directory: string, names: readonly SectionName[] = SECTIONS): Promise<Sections> {
  const trajectories = await fileHash(join(directory, FILES.trajectories));
  const sections: Record<string, unknown> = {};
  const notes: Sections['notes'] = {};
  for (const name of withNeeds(names)) {
    const stage = await readStageResult<SectionStage>(stagePath(directory, name));
    const current = stage?.trajectoriesSha256 === trajectories ? stage : undefined;
    const result = (await readResult(directory, name)) as { trajectoriesSha256: string } | undefined;
    const ours = current !== undefined && current.sha256 === (await fileHash(resultPath(directory, name)));
    if (result?.trajectoriesSha256 === trajectories && (current?.sha256 !== '' || ours)) {
      sections[name] = result;
    }
    if (current !== undefined && (ours || current.sha256 === '')) {
      notes[name] = [...current.notes];
    }
  }
  return chained({ ...NO_SECTIONS, ...sections, notes });
}

/** Without what is made from a result that was replaced since; a note says so. */
function chained(sections: Sections): Sections {
  const { values, dopamine, interplay, notes } = sections;
  const stale = values !== null && dopamine !== null && dopamine.valuesSha256 !== values.linesSha256;
  const left = interplay !== null && (stale || dopamine?.probesSha256 !== interplay.probesSha256);
  const note = (name: SectionName, from: string): Sections['notes'] => ({ [name]: [`It was made from ${from} that are no longer there: \`rewardlens ${name}\` makes it anew.`] });
  return {
    ...sections,
    dopamine: stale ? null : dopamine,
    interplay: left ? null : interplay,
    notes: { ...notes, ...(stale ? note('dopamine', 'values') : {}), ...(left ? note('interplay', 'dopamine neurons') : {}) },
  };
}
