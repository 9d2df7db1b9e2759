/** Statistics of a finished sweep of one model: a pure function of its records. */
import type { ArmResult, Comparison, ModelResult } from '../report/ablationSchema.js';
import { rankPValue, standardisedEffect } from '../stats/controls.js';
import { mean, median, quantile } from '../stats/moments.js';
import { holm } from '../stats/multiple.js';
import { detectableFall, drawsForRank } from '../stats/power.js';
import type { ArmOutcomes, CompareOptions, Outcome } from './ablationArms.js';
import { armResult, isValueSet, rewardOf } from './ablationArms.js';
import { ALPHA, changedShare, verdictOf } from './ablationVerdict.js';

/** What {@link compareArms} gives. */
export type ComparedArms = Pick<ModelResult, 'base' | 'arms' | 'comparisons' | 'verdicts' | 'detectable'>;

/** Controls drawn to look like the value set: the verdict rests on them where any were run, and other sets are not compared with them. */
const MATCHED_CONTROLS: readonly string[] = ['matched', 'spread'];
/** Below this discordance a detectable effect would say more of the arms seen than of the number of items. */
const LEAST_DISCORDANCE = 0.02;
const POWER = 0.8;

/**
 * Compares every arm with the base, and every set with the control draws of its cell. `arms[0]` is the base. Families of
 * Holm's correction: McNemar over all sets (arms that are no control draws); rank p-values over the value sets, for each
 * control on its own. Under an early rule value sets are decided by that rule instead of Holm. Answers that could not be judged count as wrong, in base and arms alike. O(arms × items × resamples).
 */
export function compareArms(arms: readonly ArmOutcomes[], options: CompareOptions): ComparedArms {
  const judged = judgeArms(arms, options);
  return { ...judged, detectable: detectableChange(judged.arms, options.items) };
}

/** {@link compareArms} without the change that could have been seen, which takes longer than the rest in a small sweep. */
export function judgeArms(arms: readonly ArmOutcomes[], options: CompareOptions): Omit<ComparedArms, 'detectable'> {
  const baseOutcomes = arms[0]?.outcomes ?? [];
  const raw = arms.map((arm) => armResult(arm, baseOutcomes, options));
  const sequential = (arm: ArmResult): boolean => options.early !== undefined && isValueSet(arm);
  const sets = raw.filter((arm) => arm.role === 'set' && !sequential(arm));
  const adjusted = holm(sets.map(({ p }) => p ?? 1));
  const results = raw.map((arm): ArmResult => (sets.includes(arm) ? { ...arm, pHolm: adjusted[sets.indexOf(arm)] ?? null } : arm));
  const [base, ...others] = results as [ArmResult, ...ArmResult[]];
  const comparisons = withHolm(compareWithControls(others, arms), others);
  const differs = (arm: ArmResult): boolean =>
    sequential(arm) ? arm.status === 'decided' || (arm.items === options.items && (arm.p ?? 1) <= (options.early?.level ?? 0)) : (arm.pHolm ?? 1) <= ALPHA;
  return {
    base,
    arms: others,
    comparisons,
    verdicts: others.filter(isValueSet).map((arm) => {
      const own = comparisons.filter((entry) => entry.arm === arm.name);
      const changedByDraws = others.filter((other) => other.role === 'control' && cellOf(other) === cellOf(arm) && own.some(({ control, decisive }) => decisive && control === other.group)).map(changedShare);
      return verdictOf(arm, { base, comparisons: own, changedByDraws, differs: differs(arm), foreign: options.foreign ?? false });
    }),
  };
}

/** The smallest change that a sweep of `items` items could have shown, given how many outcomes its sets changed: they are tested, not the draws, which may change none. */
export function detectableChange(arms: readonly ArmResult[], items: number): ModelResult['detectable'] {
  const tested = arms.filter(({ role }) => role === 'set');
  const sets = tested.length;
  const seen = tested.filter((arm) => arm.items > 0).map(changedShare);
  const discordance = Math.min(0.99, Math.max(LEAST_DISCORDANCE, seen.length === 0 ? 0 : median(seen)));
  const find = (alpha: number): number | null => detectableFall(items, (fall) => Math.max(discordance, fall), { alpha, power: POWER });
  return { items, discordance, power: POWER, alone: find(ALPHA), sets, holm: find(ALPHA / Math.max(1, sets)) };
}

const cellOf = ({ site, layer, share, kind, positions }: ArmResult): string => JSON.stringify([site, layer, share, kind, positions]);

/** Every set against every control of its cell; the corrected p-values are still missing. */
function compareWithControls(results: readonly ArmResult[], arms: readonly ArmOutcomes[]): Comparison[] {
  const rewards = new Map(arms.map(({ arm, outcomes }) => [arm.name, rewardsByItem(outcomes)]));
  const base = rewardsByItem(arms[0]?.outcomes ?? []);
  const draws = new Map<string, Map<string, string[]>>();
  for (const arm of results.filter(({ role }) => role === 'control')) {
    const groups = draws.get(cellOf(arm)) ?? new Map<string, string[]>();
    draws.set(cellOf(arm), groups.set(arm.group, [...(groups.get(arm.group) ?? []), arm.name]));
  }
  return results.filter(({ role }) => role === 'set').flatMap((arm) => {
    const groups = draws.get(cellOf(arm)) ?? new Map<string, string[]>();
    const usable = [...groups].filter(([control]) => isValueSet(arm) || !MATCHED_CONTROLS.includes(control));
    const matched = usable.some(([control]) => MATCHED_CONTROLS.includes(control));
    return usable.flatMap(([control, names]): Comparison[] => {
      const entry = compareWithDraws(base, rewards.get(arm.name), names.map((name) => rewards.get(name)));
      return entry === undefined ? [] : [{ arm: arm.name, control, decisive: !matched || MATCHED_CONTROLS.includes(control), ...entry }];
    });
  });
}

type Rewards = ReadonlyMap<string, number>;
const rewardsByItem = (outcomes: readonly Outcome[]): Rewards => new Map(outcomes.map((outcome) => [outcome.item, rewardOf(outcome)]));

/** Over the items that base, set and every draw have; undefined when there are none. */
function compareWithDraws(base: Rewards, set: Rewards | undefined, draws: readonly (Rewards | undefined)[]): Omit<Comparison, 'arm' | 'control' | 'decisive'> | undefined {
  const items = [...base.keys()].filter((item) => set?.has(item) === true && draws.every((draw) => draw?.has(item) === true));
  if (items.length === 0) {
    return undefined;
  }
  const changeOf = (rewards: Rewards | undefined): number => mean(items.map((item) => (rewards?.get(item) as number) - (base.get(item) as number)));
  const [change, changes] = [changeOf(set), draws.map(changeOf)];
  return {
    draws: changes.length,
    items: items.length,
    change,
    changes,
    spread: { mean: mean(changes), low: quantile(changes, 0.025), high: quantile(changes, 0.975) },
    rankP: rankPValue(change, changes, 'less'),
    rankPHolm: null,
    leastP: 1 / (changes.length + 1),
    drawsNeeded: drawsForRank(1),
    effect: standardisedEffect(change, changes),
  };
}

function withHolm(comparisons: readonly Comparison[], arms: readonly ArmResult[]): Comparison[] {
  const values = new Set(arms.filter(isValueSet).map(({ name }) => name));
  const family = (control: string): Comparison[] => comparisons.filter((entry) => entry.control === control && values.has(entry.arm));
  const adjusted = new Map<Comparison, number>();
  for (const control of new Set(comparisons.map((entry) => entry.control))) {
    const own = family(control);
    holm(own.map(({ rankP }) => rankP)).forEach((p, i) => adjusted.set(own[i] as Comparison, p));
  }
  return comparisons.map((entry) => {
    const rankPHolm = adjusted.get(entry);
    const sets = family(entry.control).length;
    return rankPHolm === undefined ? entry : { ...entry, rankPHolm, leastP: Math.min(1, sets * entry.leastP), drawsNeeded: drawsForRank(sets) };
  });
}
