/** Does a value probe find better answers, step by step, than chance, log-probability, or more answers for the same tokens? */
import { join } from 'node:path';
import { z } from 'zod';
import type { Model } from '../model/model.js';
import { loadModel } from '../model/model.js';
import type { Session, SessionOptions } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import type { TrainedProbe } from '../probe/train.js';
import type { RankingMethod } from '../rank/scores.js';
import type { SearchResult } from '../report/searchSchema.js';
import { SEARCH_FORMAT, SEARCH_VERSION } from '../report/searchSchema.js';
import type { Splitter } from '../rpe/steps.js';
import { formatSplitter } from '../rpe/steps.js';
import { writeJson } from '../rollout/folder.js';
import { holdFolder } from '../rollout/lock.js';
import type { RunProgress } from '../run/engine.js';
import { createManifest } from '../run/manifest.js';
import type { ConfidenceModel } from './confidence.js';
import type { AskedRecord } from './confidenceModel.js';
import { requireModel, sampledHow, withPromptTokens } from './confidenceModel.js';
import { layerFor, rankedNeurons, recordsOf, refitProbes } from './confidenceScores.js';
import { DOPAMINE_FILE } from '../report/dopamineSchema.js';
import type { WorkOptions } from './options.js';
import { ANALYSIS_FILES } from './analyse.js';
import { fileHash } from './stage.js';
import { packageVersion } from '../util/version.js';
import type { ProbedFolder } from './probedFolder.js';
import { mainProbe, openProbed } from './probedFolder.js';
import { Judge } from './sample.js';
import { among, checkSettings, whole } from './settingsCheck.js';
import type { Guide } from './searchScorers.js';
import { DopamineScorer, GUIDES, ValueScorer } from './searchScorers.js';
import type { DopamineGuide } from './searchDopamine.js';
import { readGuide } from './searchDopamine.js';
import { Bench } from './searchBench.js';
import { searchOutcome } from './searchResult.js';
import { makeFolder } from '../util/makeFolder.js';

/** File of the result inside the rollout folder. */
export const SEARCH_FILE = 'search.json';
/** Finished pieces beside it: a run that was stopped goes on. */
export const SEARCH_FOLDER = 'search';

/** What to search, and how. */
export interface SearchSettings {
  /** What chooses; the first is compared with all others and sets the budget of whole answers. Empty: all that the folder allows. */
  readonly guides: readonly Guide[];
  readonly candidates: number;
  readonly beam: number;
  readonly step: Splitter;
  readonly seeds: number;
  /** Most held-out problems. */
  readonly limit: number;
  /** Number of value neurons, on which the probe is trained anew; undefined: the whole probe. */
  readonly neurons: number | undefined;
  readonly method: RankingMethod;
  /** Undefined: the layer whose probe is best at the middle on validation trajectories. */
  readonly layer: number | undefined;
}

export const SEARCH_DEFAULTS: SearchSettings = { guides: [], candidates: 4, beam: 1, step: { kind: 'line' }, seeds: 3, limit: 100, neurons: undefined, method: 'l1-zscore', layer: undefined };

const settingsSchema = z.object({
  guides: z.array(among(GUIDES)),
  candidates: whole(1),
  beam: whole(1),
  seeds: whole(1),
  limit: whole(1),
  neurons: whole(1).optional(),
});

/**
 * Answers held-out problems of a probed rollout by guided search and by whole answers at the same cost, with several seeds, and
 * writes `search.json` in the folder. The model must be the one of the rollout. Errors: BUSY when the folder is being written; those of reading and of the engine; INVALID_ARGUMENT for
 * another model, or a step that is not told by its end; ABORTED, after which finished searches are not run again. Cost: per seed and problem, `candidates` × `beam` answers for each guide, twice as many whole ones, and one training run of
 * the probe when it reads few neurons.
 */
export async function runSearch(directory: string, settings: SearchSettings, target: ConfidenceModel, work: WorkOptions): Promise<SearchResult> {
  const started = performance.now();
  checkSettings(settingsSchema, settings);
  await using folder = await openProbed(directory);
  const how = sampledHow(folder);
  await using _lock = await holdFolder(directory);
  const steps = stepEnd(settings.step);
  const guide = settings.guides.length === 0 || settings.guides.includes('dopamine') ? await readGuide(folder, settings.guides.length > 0) : undefined;
  const guides = settings.guides.length > 0 ? settings.guides : GUIDES.filter((name) => name !== 'dopamine' || guide !== undefined);
  await using model = await loadModel(target.model, { ...target.load, ...(work.signal === undefined ? {} : { signal: work.signal }) });
  const records = withPromptTokens(model, await heldOut(folder, settings.limit, guide));
  await using session = openFor(model, records, how.maxTokens, settings, target.session);
  const manifest = await createManifest(session, { hashModel: true, signal: work.signal });
  requireModel(manifest, how.model, directory);
  const layer = settings.layer ?? (await layerFor(folder, 'middle', work));
  const probe = await probeFor(folder, layer, settings, work);
  await using value = new ValueScorer(probe, folder.data.site, work.threads);
  await using dopamine = guide === undefined ? undefined : new DopamineScorer(guide.probe, folder.data.site, guide.mode, work.threads);
  await using judge = new Judge();
  const sampling = how.sampling.temperature === 0 ? { ...how.sampling, temperature: 1 } : how.sampling; // equal candidates leave nothing to choose
  await makeFolder(join(directory, SEARCH_FOLDER));
  const inputs = {
    stage: 'search',
    version: 3,
    rewardlens: packageVersion(),
    llamaCpp: manifest.llamaCpp,
    how: { ...how, sampling },
    step: formatSplitter(settings.step),
    candidates: settings.candidates,
    beam: settings.beam,
    probes: await fileHash(join(directory, ANALYSIS_FILES.probes)),
    probe: [layer, settings.neurons ?? 'all', settings.method],
    dopamine: guide === undefined ? '' : await fileHash(join(directory, DOPAMINE_FILE)),
    problems: records.map(({ problem, prompt, gold, check }) => [problem, prompt, gold, check]),
    checks: await Promise.all([...new Set(records.map(({ check }) => check))].map(async (check) => (await judge.scorer(check)).fingerprint)),
  };
  const bench = new Bench(session, records, { settings: { ...settings, guides }, steps, how: { ...how, sampling }, value, dopamine, judge, work, folder: join(directory, SEARCH_FOLDER), inputs });
  for (let seed = 0; seed < settings.seeds; seed++) {
    await bench.runSeed(how.seed + 2 + seed); // other samples than the rollout's and those of self-consistency
  }
  const problems = records.map(({ problem }) => problem);
  const spent = (pick: (run: RunProgress) => number): number => [...bench.runs.values()].reduce((sum, run) => sum + pick(run), 0);
  const result: SearchResult = {
    format: SEARCH_FORMAT,
    version: SEARCH_VERSION,
    manifest,
    directory,
    trajectoriesSha256: folder.trajectoriesSha256,
    site: folder.data.site,
    layer,
    neurons: probe.neurons === undefined ? null : [...probe.neurons],
    step: formatSplitter(settings.step),
    candidates: settings.candidates,
    beam: settings.beam,
    sampling: { ...sampling },
    maxTokens: how.maxTokens,
    seeds: Array.from({ length: settings.seeds }, (_, i) => how.seed + 2 + i),
    problems,
    budgetOf: guides[0] as Guide,
    dopamine: guide === undefined ? null : { layer: guide.probe.layer, zscore: guide.mode, errors: guide.errors },
    ...searchOutcome(bench, problems, guides[0] as Guide),
    spent: { promptTokens: spent((run) => run.promptTokens), sharedTokens: spent((run) => run.sharedTokens), completionTokens: spent((run) => run.completionTokens), seconds: (performance.now() - started) / 1000 },
  };
  await writeJson(join(directory, SEARCH_FILE), result);
  return result;
}

/** A session with twice as many sequences as one item draws, at least. */
function openFor(model: Model, records: readonly AskedRecord[], maxTokens: number, { candidates, beam }: SearchSettings, given: SessionOptions): Session {
  const longest = records.reduce((most, { promptTokens }) => Math.max(most, promptTokens.length), 1);
  return model.createSession({ ...given, contextLength: given.contextLength ?? longest + maxTokens, parallel: given.parallel ?? Math.min(256, Math.max(64, 2 * candidates * beam)) });
}

/** No limit but the answer's own. */
const MAX_STEP = 1 << 30;

/** Where a step ends while it is sampled. Errors: INVALID_ARGUMENT for splitters that need the text behind it. */
function stepEnd(step: Splitter): { stop: string[]; maxTokens: number } {
  switch (step.kind) {
    case 'line':
      return { stop: ['\n'], maxTokens: MAX_STEP };
    case 'blank-line':
      return { stop: ['\n\n'], maxTokens: MAX_STEP };
    case 'tokens':
      return { stop: [], maxTokens: step.count };
    default:
      throw new RewardLensError('INVALID_ARGUMENT', `step: expected line, blank-line or tokens:N, whose end is known when it comes, got ${formatSplitter(step)}`);
  }
}

/** Held-out records with different prompts, on which no dopamine probe was trained either. */
async function heldOut(folder: ProbedFolder, limit: number, guide: DopamineGuide | undefined): Promise<Partial<AskedRecord>[]> {
  const { data, split } = folder;
  const seen = new Set(guide?.trainedOn);
  const first = split.test.filter((i) => !seen.has(data.problems[i] as string) && seen.add(data.problems[i] as string));
  return recordsOf(folder, first.slice(0, limit));
}

async function probeFor(folder: ProbedFolder, layer: number, { neurons, method }: SearchSettings, work: WorkOptions): Promise<TrainedProbe> {
  if (neurons === undefined) {
    return mainProbe(folder, layer);
  }
  const [probe] = await refitProbes(folder, layer, [rankedNeurons(folder, layer, method, neurons)], work);
  return probe as TrainedProbe;
}
