/** Ablation sweeps: value neurons of a ranked rollout against matched controls, paired by item. */
import { join } from 'node:path';
import type { Arm } from '../ablate/arms.js';
import type { LedgerRecord, SweepOptions, SweepResult } from '../ablate/sweep.js';
import { runSweep } from '../ablate/sweep.js';
import { toScoreItem } from '../dataset/scoreItem.js';
import type { Session } from '../model/session.js';
import { buildInfo, native } from '../native/addon.js';
import { writeJson } from '../rollout/folder.js';
import { createManifest, hashFiles } from '../run/manifest.js';
import { rankPValue, standardisedEffect } from '../stats/controls.js';
import type { Estimate } from '../stats/estimate.js';
import { holm } from '../stats/multiple.js';
import { accuracyChange, discordantPairs, mcnemar, minimumDetectableEffect } from '../stats/paired.js';
import { proportion } from '../stats/proportion.js';
import type { ArmGrid } from './armPlan.js';
import type { Prepared, RolloutSettings } from './sample.js';
import { Judge } from './sample.js';

/** File of the result inside the sweep's folder. */
export const ABLATION_FILE = 'ablate.json';

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
