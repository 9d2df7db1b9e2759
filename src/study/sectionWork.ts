/** What a study asks of the commands behind its sections: small settings, and words for what they leave out. */
import type { Model } from '../model/model.js';
import type { SessionOptions } from '../model/session.js';
import type { SectionName } from '../report/sectionsSchema.js';
import type { Study } from '../report/schema.js';
import { formatSplitter } from '../rpe/steps.js';
import type { ArmGrid } from './armPlan.js';
import { planArms } from './armPlan.js';
import type { ConfidenceModel, ConfidenceSettings } from './confidence.js';
import { runConfidence } from './confidence.js';
import { DOPAMINE_DEFAULTS, runDopamine } from './dopamine.js';
import { openInterplaySession, prepareInterplay, runInterplay } from './interplay.js';
import { earlierLayers, interplayArms } from './interplayArms.js';
import type { WorkOptions } from './options.js';
import type { SearchSettings } from './search.js';
import { SEARCH_DEFAULTS, runSearch } from './search.js';
import { GUIDES } from './searchScorers.js';
import type { SectionChoice } from './sectionChoice.js';
import type { SweptWork } from './sweepStage.js';
import type { ValuesSettings } from './values.js';
import { VALUES_DEFAULTS, openValuesSession, prepareValues, runValues } from './values.js';
import { readRecords } from './valuesInput.js';

/** What sections of a study share. */
export interface SectionContext {
  readonly choice: SectionChoice;
  readonly session: SessionOptions;
  /** Of the rollout. */
  readonly manifest: Study['manifest'];
  /** For commands that open the model themselves. */
  readonly target: ConfidenceModel;
  /** Opens the model when it is first needed. */
  readonly model: () => Promise<Model>;
}

/** Facts about earlier sections that settings depend on. */
interface Earlier {
  /** Are there dopamine neurons? */
  readonly dopamine: boolean;
}

const INTERPLAY_SHARES = [0.2];

const valuesSettings = ({ steps, trajectories, continuations }: SectionChoice): ValuesSettings => ({ ...VALUES_DEFAULTS, splitter: steps, limit: trajectories, counts: { ...VALUES_DEFAULTS.counts, min: continuations, max: continuations } });

const confidenceSettings = ({ samples }: SectionChoice): ConfidenceSettings => ({ neurons: [], method: 'l1-zscore', layer: undefined, samples, question: { text: undefined, yes: 'Yes', no: 'No' } });

const searchSettings = ({ steps, problems, seeds }: SectionChoice, { dopamine }: Earlier): SearchSettings => ({ ...SEARCH_DEFAULTS, guides: GUIDES.filter((guide) => dopamine || guide !== 'dopamine'), step: steps, limit: problems, seeds });

/** Everything that decides a section's numbers but the folder and the model; plain data. */
export function settingsOf(name: SectionName, choice: SectionChoice, earlier: Earlier): unknown {
  switch (name) {
    case 'values':
      return { ...valuesSettings(choice), splitter: formatSplitter(choice.steps) };
    case 'dopamine':
      return DOPAMINE_DEFAULTS;
    case 'interplay':
      return { shares: INTERPLAY_SHARES, draws: choice.draws };
    case 'confidence':
      return confidenceSettings(choice);
    case 'search':
      return { ...searchSettings(choice, earlier), step: formatSplitter(choice.steps) };
  }
}

/** Runs the section's command on the data set's folder; returns sentences on what was left out. Errors: those of the command. */
export async function makeSection(name: SectionName, work: SweptWork, context: SectionContext, options: WorkOptions & Earlier): Promise<string[]> {
  const { choice, target } = context;
  const { directory } = work;
  switch (name) {
    case 'values':
      return makeValues(work, context, options);
    case 'dopamine':
      await runDopamine(directory, { ...DOPAMINE_DEFAULTS, site: work.probe.settings.site, seed: work.probe.settings.seed }, options);
      return [];
    case 'interplay':
      return makeInterplay(work, context, options);
    case 'confidence':
      await runConfidence(directory, confidenceSettings(choice), target, options);
      return [];
    case 'search': {
      const { problems } = await runSearch(directory, searchSettings(choice, options), target, options);
      return [`${problems.length} held-out problems, ${choice.seeds} ${choice.seeds === 1 ? 'seed' : 'seeds'}.`];
    }
  }
}

async function makeValues(work: SweptWork, { choice, session: given, model: open }: SectionContext, options: WorkOptions): Promise<string[]> {
  const model = await open();
  const settings = valuesSettings(choice);
  const prepared = await prepareValues(model, work.directory, settings, options.signal);
  await using session = openValuesSession(model, prepared, given);
  await runValues(session, prepared, settings, {
    signal: options.signal,
    threads: options.threads,
    onProgress: ({ finished, total }) => options.onProgress?.(`continuing ${work.dataset.name}`, finished / Math.max(1, total), `${finished}/${total} continuations`),
  });
  const [used, all] = [prepared.trajectories.length, (await readRecords(work.directory)).length];
  return used < all ? [`Of ${all} trajectories the steps of the first ${used} were valued, by ${choice.continuations} continuations each.`] : [];
}

async function makeInterplay({ directory, dataset, probe }: SweptWork, { choice, session: given, model: open }: SectionContext, options: WorkOptions): Promise<string[]> {
  const model = await open();
  const prepared = await prepareInterplay(model, directory, options.signal);
  const grid: ArmGrid & { layers: readonly number[] } = {
    layers: earlierLayers({ layers: 'all' }, prepared),
    shares: INTERPLAY_SHARES,
    kinds: ['zero'],
    positions: ['all'],
    groups: ['top', 'random', 'matched'],
    draws: choice.draws,
    method: probe.settings.inputs === 'raw' ? 'l1-raw' : 'l1-zscore',
    excludeSinks: false,
    seed: probe.settings.seed,
  };
  const plan = await planArms(directory, grid, { files: model.files, ...model.info }, options);
  await using session = openInterplaySession(model, prepared, given);
  await runInterplay(session, prepared, { ...plan, arms: interplayArms(plan.arms, { alone: false }) }, {
    signal: options.signal,
    threads: options.threads,
    onProgress: (finished, total) => options.onProgress?.(`reading ${dataset.name}`, finished / total, `${finished}/${total} readings of trajectories`),
  });
  return [];
}
