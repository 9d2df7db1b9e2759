/** Ablation sweeps: value neurons of a ranked rollout against matched controls, paired by item. */
import { join } from 'node:path';
import type { Arm, ArmPositions, AblationKind } from '../ablate/arms.js';
import { BASE_ARM, makeArm } from '../ablate/arms.js';
import type { LedgerRecord, SweepOptions, SweepResult } from '../ablate/sweep.js';
import { runSweep } from '../ablate/sweep.js';
import { toScoreItem } from '../dataset/scoreItem.js';
import type { Session } from '../model/session.js';
import type { Site } from '../model/sites.js';
import { buildInfo, native } from '../native/addon.js';
import { RewardLensError } from '../native/errors.js';
import { measureMoments, trajectoryData } from '../probe/data.js';
import type { ArmGroup, ArmStatistics } from '../rank/armSets.js';
import { armSets } from '../rank/armSets.js';
import type { RankingMethod } from '../rank/scores.js';
import { writeJson } from '../rollout/folder.js';
import { createManifest, hashFiles } from '../run/manifest.js';
import { rankPValue, standardisedEffect } from '../stats/controls.js';
import type { Estimate } from '../stats/estimate.js';
import { holm } from '../stats/multiple.js';
import { accuracyChange, discordantPairs, mcnemar, minimumDetectableEffect } from '../stats/paired.js';
import { proportion } from '../stats/proportion.js';
import { ActivationStore } from '../store/reader.js';
import type { ProbeStage } from './analyse.js';
import { ANALYSIS_FILES, sinksOf, splitOf } from './analyse.js';
import { loadProbes } from './probeFiles.js';
import { weightMethods } from './rank.js';
import type { Prepared, RolloutSettings } from './sample.js';
import { Judge } from './sample.js';
import { readStageResult } from './stage.js';

/** File of the result inside the sweep's folder. */
export const ABLATION_FILE = 'ablate.json';

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

/** What happened in one arm, over all items. */
export interface ArmOutcome extends Omit<Arm, 'interventions'> {
  readonly accuracy: Estimate;
  /** Accuracy minus the base's, on the same items. */
  readonly change: Estimate;
  /** Exact McNemar p against the base, and the same after Holm's correction over all arms that are no control draws. */
  readonly p: number;
  readonly pHolm: number | null;
  readonly unknown: number;
  readonly meanTokens: number;
  readonly ended: number;
  readonly edited: number;
  readonly expected: number;
}

/** A ranked set against the distribution of control draws of its size. */
export interface Comparison {
  readonly arm: string;
  readonly control: string;
  readonly draws: number;
  readonly change: number | null;
  readonly meanControl: number;
  /** One-sided: share of draws that cost at least as much. */
  readonly rankP: number;
  readonly effect: number | null;
}

/** Contents of ablate.json. */
export interface Ablation {
  readonly format: 'rewardlens.ablation';
  readonly version: 1;
  readonly manifest: object;
  readonly grid: ArmGrid;
  readonly items: number;
  readonly base: ArmOutcome;
  readonly arms: readonly ArmOutcome[];
  readonly comparisons: readonly Comparison[];
  /** Smallest change of accuracy that this many items show with 80 % power, at the discordance seen. */
  readonly detectable: number | null;
  readonly verdicts: readonly string[];
  readonly sweep: { readonly made: number; readonly found: number; readonly seconds: number };
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

/** What sampling in a sweep needs. */
export type SweepSettings = Pick<RolloutSettings, 'sampling' | 'maxTokens' | 'seed'>;

/** Runs the arms and compares them. Writes `ablate.json` and the ledger in `directory`. Errors: those of `runSweep`. */
export async function runAblation(
  session: Session,
  prepared: Prepared,
  plan: { arms: readonly Arm[]; grid: ArmGrid },
  settings: SweepSettings,
  options: Pick<SweepOptions, 'directory' | 'signal' | 'onProgress'>,
): Promise<Ablation> {
  await using judge = new Judge();
  const checks = await Promise.all([...new Set(prepared.problems.map(({ check }) => check))].map(async (check) => (await judge.scorer(check)).fingerprint));
  const sweep = await runSweep(session, {
    ...options,
    ...settings,
    arms: plan.arms,
    items: prepared.problems,
    prompt: prepared.prompt,
    judge: (problem, text) => judge.score(problem.check, toScoreItem(problem, text)),
    inputs: {
      model: await hashFiles(session.model.files, options.signal),
      llamaCpp: buildInfo().llamaRelease,
      devices: native().devices().map(({ name }) => name),
      template: prepared.template,
      checks,
    },
  });
  const manifest = await createManifest(session, { hashModel: false });
  const result = compare(plan, sweep, { manifest, items: prepared.problems.length });
  await writeJson(join(options.directory, ABLATION_FILE), result);
  return result;
}

const rewardsOf = (records: readonly LedgerRecord[]): number[] => records.map(({ reward }) => reward ?? 0);

function outcome(arm: Arm, records: readonly LedgerRecord[], base: readonly LedgerRecord[]): ArmOutcome {
  const { interventions: _interventions, ...facts } = arm;
  const rewards = rewardsOf(records);
  const pairs = discordantPairs(rewardsOf(base), rewards);
  const sum = (pick: (record: LedgerRecord) => number): number => records.reduce((total, record) => total + pick(record), 0);
  return {
    ...facts,
    accuracy: proportion(sum(({ reward }) => reward ?? 0), records.length),
    change: accuracyChange(rewardsOf(base), rewards),
    p: mcnemar(pairs.b, pairs.c),
    pHolm: null,
    unknown: records.filter(({ verdict }) => verdict === 'unknown').length,
    meanTokens: sum(({ tokens }) => tokens) / Math.max(1, records.length),
    ended: records.filter(({ finishReason }) => finishReason === 'eog').length,
    edited: sum(({ edited }) => edited),
    expected: sum(({ expected }) => expected),
  };
}

const isDrawn = (group: string): boolean => ['random', 'matched', 'spread'].includes(group);

/** Statistics of a finished sweep. Unparsable answers count as wrong here, in every arm alike; their number stands beside. */
function compare({ arms, grid }: { arms: readonly Arm[]; grid: ArmGrid }, sweep: SweepResult, facts: { manifest: object; items: number }): Ablation {
  const baseRecords = sweep.records[0] ?? [];
  const raw = arms.map((arm, i) => outcome(arm, sweep.records[i] ?? [], baseRecords));
  const tested = raw.slice(1).filter(({ group }) => !isDrawn(group));
  const adjusted = holm(tested.map(({ p }) => p));
  const outcomes = raw.map((arm) => ({ ...arm, pHolm: tested.includes(arm) ? (adjusted[tested.indexOf(arm)] ?? null) : null }));
  const [base, ...others] = outcomes as [ArmOutcome, ...ArmOutcome[]];
  const comparisons = others.filter(({ group }) => !isDrawn(group)).flatMap((arm) => controlsOf(arm, others));
  const discordance = Math.max(0.02, ...tested.map((arm) => discordanceOf(sweep.records[arms.findIndex(({ name }) => name === arm.name)] ?? [], baseRecords)));
  return {
    format: 'rewardlens.ablation',
    version: 1,
    manifest: facts.manifest,
    grid,
    items: facts.items,
    base,
    arms: others,
    comparisons,
    detectable: minimumDetectableEffect(facts.items, discordance),
    verdicts: others.filter(({ group }) => group === 'top').map((arm) => verdictOf(arm, comparisons)),
    sweep: { made: sweep.made, found: sweep.found, seconds: sweep.seconds },
  };
}

function discordanceOf(records: readonly LedgerRecord[], base: readonly LedgerRecord[]): number {
  const { b, c } = discordantPairs(rewardsOf(base), rewardsOf(records));
  return (b + c) / Math.max(1, base.length);
}

function controlsOf(arm: ArmOutcome, all: readonly ArmOutcome[]): Comparison[] {
  const sameCell = all.filter((other) => other.layer === arm.layer && other.share === arm.share && other.kind === arm.kind && other.positions === arm.positions);
  return ['random', 'matched', 'spread'].flatMap((control): Comparison[] => {
    const draws = sameCell.filter(({ group }) => group === control).map(({ change }) => change.value ?? 0);
    const observed = arm.change.value ?? 0;
    return draws.length === 0
      ? []
      : [{ arm: arm.name, control, draws: draws.length, change: arm.change.value, meanControl: draws.reduce((a, b) => a + b, 0) / draws.length, rankP: rankPValue(observed, draws, 'less'), effect: standardisedEffect(observed, draws) }];
  });
}

const points = (value: number | null): string => (value === null ? 'unknown' : `${value > 0 ? '+' : ''}${(100 * value).toFixed(1)} points`);

function verdictOf(arm: ArmOutcome, comparisons: readonly Comparison[]): string {
  const own = comparisons.filter((entry) => entry.arm === arm.name);
  const hardest = own.reduce<Comparison | undefined>((a, b) => (a === undefined || b.rankP > a.rankP ? b : a), undefined);
  const { change } = arm;
  const effect = `${arm.name}: accuracy ${points(change.value)} [${points(change.low)}, ${points(change.high)}], McNemar p ${arm.p.toPrecision(2)}${arm.pHolm === null ? '' : ` (Holm ${arm.pHolm.toPrecision(2)})`}`;
  if (hardest === undefined) {
    return `${effect}; no control was run, so nothing follows from it.`;
  }
  const beyond = hardest.rankP <= 0.05 && (arm.pHolm ?? 1) <= 0.05;
  const least = 1 / (hardest.draws + 1);
  return `${effect}; ${hardest.draws} ${hardest.control} sets: ${points(hardest.meanControl)} on average, rank p ${hardest.rankP.toPrecision(2)}${least > 0.05 ? ` (${hardest.draws} draws can give no less than ${least.toPrecision(2)})` : ''}: ${beyond ? 'an effect beyond the controls.' : 'no effect beyond the controls.'}`;
}
