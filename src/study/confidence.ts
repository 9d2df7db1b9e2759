/** How well one can tell beforehand, or afterwards, that an answer is right: value neurons against what is usual. */
import { join } from 'node:path';
import { z } from 'zod';
import type { Question } from '../apply/pTrue.js';
import type { LoadOptions, Model } from '../model/model.js';
import { loadModel } from '../model/model.js';
import type { Session, SessionOptions } from '../model/session.js';
import type { RankingMethod } from '../rank/scores.js';
import type { Confidence, ConfidenceScore } from '../report/confidenceSchema.js';
import { CONFIDENCE_FORMAT, CONFIDENCE_VERSION } from '../report/confidenceSchema.js';
import { writeJson } from '../rollout/folder.js';
import { holdFolder } from '../rollout/lock.js';
import type { RunProgress } from '../run/engine.js';
import { createManifest } from '../run/manifest.js';
import { aucDifference, aucEstimate } from '../stats/auc.js';
import { brier, calibrationCurve, expectedCalibrationError } from '../stats/calibration.js';
import { mean } from '../stats/moments.js';
import { proportion } from '../stats/proportion.js';
import { aurcEstimate, bestAurc, riskCoverageCurve } from '../stats/riskCoverage.js';
import type { AskedRecord, SampledHow } from './confidenceModel.js';
import { consistencyScores, pTrueScore, requireModel, sampledHow, withPromptTokens } from './confidenceModel.js';
import type { Score } from './confidenceScores.js';
import { layerFor, outsideScores, recordsOf, valueScores } from './confidenceScores.js';
import type { WorkOptions } from './options.js';
import type { ProbedFolder } from './probedFolder.js';
import { openProbed } from './probedFolder.js';
import { checkSettings, whole } from './settingsCheck.js';

/** File of the result inside the rollout folder. */
export const CONFIDENCE_FILE = 'confidence.json';

/** What to compare. */
export interface ConfidenceSettings {
  /** Numbers of neurons; empty: 1 % and 5 % of them. */
  readonly neurons: readonly number[];
  readonly method: RankingMethod;
  /** Undefined: the layer whose probe is best at s_0 on validation trajectories. */
  readonly layer: number | undefined;
  /** Answers sampled per held-out problem; 0: no self-consistency. */
  readonly samples: number;
  /** Undefined: no P(True). */
  readonly question: Question | undefined;
}

/** The model that sampled the trajectories, and how to run it. */
export interface ConfidenceModel {
  readonly model: string;
  readonly load: LoadOptions;
  readonly session: SessionOptions;
}

/** The shares of neurons that stand in for a list of numbers. */
const SHARES = [0.01, 0.05];

/** Room for the question of P(True), in tokens. */
const QUESTION_ROOM = 256;

/**
 * Scores the held-out trajectories of a probed rollout by every kind of confidence, judges the scores on the same trajectories
 * and writes `confidence.json` in the folder. The model must be the one of the rollout. Sampled answers are kept in the
 * folder, so that an interrupted run goes on. Errors: BUSY when the folder is being written; those of reading and of the engine; INVALID_ARGUMENT for another model; ABORTED.
 * Cost: one training run of small probes; `samples` answers and one question per held-out problem.
 */
export async function runConfidence(directory: string, settings: ConfidenceSettings, target: ConfidenceModel, work: WorkOptions): Promise<Confidence> {
  const started = performance.now();
  checkSettings(z.object({ neurons: z.array(whole(1)), samples: whole(0) }), settings);
  await using folder = await openProbed(directory);
  const how = sampledHow(folder);
  await using _lock = await holdFolder(directory);
  await using model = await loadModel(target.model, { ...target.load, ...(work.signal === undefined ? {} : { signal: work.signal }) });
  const records = withPromptTokens(model, await recordsOf(folder, folder.split.test));
  await using session = openFor(model, records, how, target.session);
  const manifest = await createManifest(session, { hashModel: true, signal: work.signal });
  requireModel(manifest, how.model, directory);
  const layer = settings.layer ?? (await layerFor(folder, 's0', work));
  const counts = settings.neurons.length > 0 ? settings.neurons : [...new Set(SHARES.map((share) => Math.max(1, Math.round(share * folder.data.width))))];
  const stored = [...(await valueScores(folder, layer, { counts, method: settings.method }, work)), ...(await outsideScores(folder))];
  const asked = await askAgain(session, folder, records, settings, how, work);
  const scores = [...stored, ...asked.scores];
  const main = counts.indexOf(Math.max(...counts));
  const judged = judgeScores(folder, scores, main);
  const runs = asked.runs.filter((run) => run !== undefined);
  const spent = (pick: (run: RunProgress) => number): number => runs.reduce((sum, run) => sum + pick(run), 0);
  const result: Confidence = {
    format: CONFIDENCE_FORMAT,
    version: CONFIDENCE_VERSION,
    manifest,
    directory,
    trajectoriesSha256: folder.trajectoriesSha256,
    site: folder.data.site,
    layer,
    ranking: settings.method,
    ...judged,
    main,
    pTrue: asked.pTrue,
    consistency: asked.consistency,
    spent: { promptTokens: spent((run) => run.promptTokens), sharedTokens: spent((run) => run.sharedTokens), completionTokens: spent((run) => run.completionTokens), seconds: (performance.now() - started) / 1000 },
    findings: confidenceFindings(judged.scores, main),
  };
  await writeJson(join(directory, CONFIDENCE_FILE), result);
  return result;
}

function openFor(model: Model, records: readonly AskedRecord[], how: SampledHow, given: SessionOptions): Session {
  const longest = records.reduce((most, { promptTokens, tokens }) => Math.max(most, promptTokens.length + Math.max(how.maxTokens, tokens.length)), 1);
  return model.createSession({ ...given, contextLength: given.contextLength ?? longest + QUESTION_ROOM, parallel: given.parallel ?? 32 });
}

interface Asked {
  scores: Score[];
  runs: (RunProgress | undefined)[];
  pTrue: Confidence['pTrue'];
  consistency: Confidence['consistency'];
}

async function askAgain(session: Session, folder: ProbedFolder, records: readonly AskedRecord[], settings: ConfidenceSettings, how: SampledHow, work: WorkOptions): Promise<Asked> {
  const out: Asked = { scores: [], runs: [], pTrue: null, consistency: null };
  const { question, samples } = settings;
  if (question !== undefined) {
    const { score, text, mass, run } = await pTrueScore(session, records, { question, chat: how.chat }, work);
    out.scores.push(score);
    out.runs.push(run);
    out.pTrue = { question: text, yes: question.yes, no: question.no, chat: how.chat, mass };
  }
  if (samples > 0) {
    // greedy answers are all alike: they say nothing of consistency
    const sampling = how.sampling.temperature === 0 ? { ...how.sampling, temperature: 1 } : how.sampling;
    const { scores, run, unread, total } = await consistencyScores(session, folder, records, { ...how, sampling, samples }, work);
    out.scores.push(...scores);
    out.runs.push(run);
    out.consistency = { samples, sampling: { ...sampling }, maxTokens: how.maxTokens, unread, total };
  }
  return out;
}

/** Judges scores on the held-out trajectories. Pure but for the folder's rewards. */
export function judgeScores({ data, split }: Pick<ProbedFolder, 'data' | 'split'>, scores: readonly Score[], main: number): Pick<Confidence, 'scores' | 'heldOut' | 'errorRate' | 'bestAurc'> {
  const rewards = Float64Array.from(split.test, (i) => data.rewards[i] as number);
  const problems = split.test.map((i) => data.problems[i] as string);
  const own = (scores[main] as Score).values;
  return {
    heldOut: { trajectories: rewards.length, problems: new Set(problems).size, accuracy: proportion(rewards.reduce((a, b) => a + b, 0), rewards.length) },
    errorRate: 1 - mean(rewards),
    bestAurc: bestAurc(rewards),
    scores: scores.map(({ values, name, known, probability, neurons, cost }, i): ConfidenceScore => {
      const bins = calibrationCurve(values, rewards);
      return {
        name,
        known,
        probability,
        ...(neurons === undefined ? {} : { neurons: [...neurons] }),
        auc: aucEstimate(values, rewards, problems),
        difference: i === main ? null : aucDifference(own, values, rewards, problems),
        aurc: aurcEstimate(values, rewards, problems),
        riskCoverage: riskCoverageCurve(values, rewards),
        brier: brier(values, rewards),
        expectedError: expectedCalibrationError(bins),
        calibration: bins,
        cost: { ...cost },
      };
    }),
  };
}

const figure = (value: number | null): string => (value === null ? 'not known' : value.toFixed(3).replace('-', '−'));
const span = ({ low, high }: ConfidenceScore['auc']): string => `[${figure(low)}, ${figure(high)}]`;

/** What the numbers say, the plain truth first: against the best of what is known before the first word, and after it. */
export function confidenceFindings(scores: readonly ConfidenceScore[], main: number): string[] {
  const own = scores[main] as ConfidenceScore;
  const above = (own.auc.low ?? 0) > 0.5;
  const out = [`${own.name}: AUC ${figure(own.auc.value)} ${span(own.auc)} before the first word${above ? '' : ', which is not above chance'}.`];
  for (const known of ['before', 'after'] as const) {
    const others = scores.filter((score) => score.known === known && score !== own && !score.name.startsWith('V('));
    const best = others.reduce<ConfidenceScore | undefined>((a, b) => (a === undefined || (b.auc.value ?? 0) > (a.auc.value ?? 0) ? b : a), undefined);
    if (best?.difference === undefined || best.difference === null || best.difference.value === null) {
      continue;
    }
    const { value, low, high } = best.difference;
    const verdict = (low ?? -1) > 0 ? 'the neurons are better' : (high ?? 1) < 0 ? 'the neurons are worse' : 'no difference can be told';
    const cost = best.cost.extra > 0 ? `, at ${best.cost.extra.toFixed(1)} extra tokens an answer` : '';
    out.push(`Best of the others ${known === 'before' ? 'before the first word' : 'after the answer'}: ${best.name}, AUC ${figure(best.auc.value)} ${span(best.auc)}${cost}; difference ${value > 0 ? '+' : ''}${figure(value)} ${span(best.difference)}: ${verdict}.`);
  }
  return out;
}
