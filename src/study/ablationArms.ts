/** One arm of a sweep against the base, paired by item. */
import type { Arm } from '../ablate/arms.js';
import type { LedgerRecord } from '../ablate/sweep.js';
import type { ArmResult } from '../report/ablationSchema.js';
import type { Estimate } from '../stats/estimate.js';
import { mean } from '../stats/moments.js';
import { accuracyChange, discordantPairs, mcnemar, meanChange, RESAMPLES } from '../stats/paired.js';
import { proportion } from '../stats/proportion.js';

/** What is known of an arm without its edits. */
export type ArmFacts = Omit<Arm, 'interventions'>;

/** What the statistics look at in a record. */
export type Outcome = Pick<LedgerRecord, 'item' | 'verdict' | 'reward' | 'tokens' | 'finishReason' | 'edited' | 'expected'>;

/** An arm with its outcomes, in any order; an item that is missing was not run. */
export interface ArmOutcomes {
  readonly arm: ArmFacts;
  readonly outcomes: readonly Outcome[];
  /** An early decision ended the arm, or the set of its cell. */
  readonly decided?: boolean;
  readonly neutral?: ArmResult['neutral'];
}

/** How the statistics are made. */
export interface CompareOptions {
  /** Items planned per arm. */
  readonly items: number;
  /** Bootstrap resamples of every interval. Default 4000. */
  readonly resamples?: number;
  /** The neutral text is foreign to the model: nothing is said of perplexities. */
  readonly foreign?: boolean | undefined;
  /** Value sets were compared under a group-sequential rule: the level of its last look. */
  readonly early?: { readonly level: number } | undefined;
}

/** Sets that are put to the test; other sets (bottom, largest) only stand beside. */
const VALUE_GROUPS: readonly string[] = ['top', 'list'];

/** Whether a verdict is given on arms of this group. */
export const isValueSet = ({ group }: { readonly group: string }): boolean => VALUE_GROUPS.includes(group);

/** The reward, with 0 for an answer that could not be judged. */
export const rewardOf = ({ reward }: Outcome): number => reward ?? 0;
const isUnparsable = ({ verdict }: Outcome): number => (verdict === 'unknown' ? 1 : 0);
const hasEnded = ({ finishReason }: Outcome): number => (finishReason === 'eog' || finishReason === 'stop' ? 1 : 0);

/** Base and arm on the items that both have, in the base's order. */
export function pairByItem(base: readonly Outcome[], arm: readonly Outcome[]): [base: Outcome[], arm: Outcome[]] {
  const own = new Map(arm.map((outcome) => [outcome.item, outcome]));
  const before = base.filter(({ item }) => own.has(item));
  return [before, before.map(({ item }) => own.get(item) as Outcome)];
}

const sumOf = (outcomes: readonly Outcome[], pick: (outcome: Outcome) => number): number => outcomes.reduce((sum, outcome) => sum + pick(outcome), 0);
const share = (outcomes: readonly Outcome[], pick: (outcome: Outcome) => number): Estimate => proportion(sumOf(outcomes, pick), outcomes.length);

function countBy(outcomes: readonly Outcome[]): Record<string, number> {
  const counts: Record<string, number> = {};
  outcomes.forEach(({ finishReason }) => (counts[finishReason] = (counts[finishReason] ?? 0) + 1));
  return counts;
}

function tested(base: readonly Outcome[], arm: readonly Outcome[], options: { resamples: number }): { change: Estimate; discordant: { b: number; c: number }; p: number } {
  const [before, after] = [base.map(rewardOf), arm.map(rewardOf)];
  const discordant = discordantPairs(before, after);
  return { change: accuracyChange(before, after, undefined, options), discordant, p: mcnemar(discordant.b, discordant.c) };
}

/** Change of a share or a length, by `estimate`. Control draws have no intervals of these: there are many, and their spread says more. */
function secondary(role: ArmFacts['role'], base: readonly number[], arm: readonly number[], estimate: (base: readonly number[], arm: readonly number[]) => Estimate): Estimate {
  return role === 'control' ? { value: base.length === 0 ? null : mean(arm) - mean(base), low: null, high: null, n: base.length } : estimate(base, arm);
}

/** Without unparsable answers: what the change is if they say nothing, instead of being wrong. */
function withoutUnparsable(base: readonly Outcome[], arm: readonly Outcome[], options: { resamples: number }): ArmResult['withoutUnparsable'] {
  const judged = arm.map((outcome, i) => isUnparsable(outcome) + isUnparsable(base[i] as Outcome) === 0);
  const { change, p } = tested(base.filter((_, i) => judged[i]), arm.filter((_, i) => judged[i]), options);
  return { items: change.n, change, p };
}

/** Statistics of one arm; `pHolm` is left null. Every number is over the items that base and arm both have. */
export function armResult({ arm, outcomes, decided, neutral }: ArmOutcomes, base: readonly Outcome[], { items, resamples = RESAMPLES }: CompareOptions): ArmResult {
  const { name, role, group, draw, site, layer, share: part, kind, positions, neurons } = arm;
  const [before, after] = pairByItem(base, outcomes);
  const options = { resamples };
  const compared = role === 'base' ? undefined : tested(before, after, options);
  const ofShares = (a: readonly number[], b: readonly number[]): Estimate => accuracyChange(a, b, undefined, options);
  const changeOf = (pick: (outcome: Outcome) => number, estimate = ofShares): Estimate | null => (compared === undefined ? null : secondary(role, before.map(pick), after.map(pick), estimate));
  const unparsable = sumOf(after, isUnparsable);
  const lengths = after.map(({ tokens }) => tokens);
  return {
    name,
    role,
    group,
    draw,
    site,
    layer,
    share: part,
    kind,
    positions,
    neurons: [...neurons],
    status: decided === true ? 'decided' : after.length >= items ? 'complete' : 'incomplete',
    items: after.length,
    accuracy: share(after, rewardOf),
    change: compared?.change ?? null,
    discordant: compared?.discordant ?? { b: 0, c: 0 },
    p: compared?.p ?? null,
    pHolm: null,
    unparsable: { count: unparsable, share: share(after, isUnparsable), change: changeOf(isUnparsable) },
    withoutUnparsable: compared === undefined ? null : unparsable + sumOf(before, isUnparsable) === 0 ? { items: after.length, change: compared.change, p: compared.p } : withoutUnparsable(before, after, options),
    tokens: {
      mean: lengths.length === 0 ? null : mean(lengths),
      change: changeOf(({ tokens }) => tokens, (a, b) => meanChange(a, b, options)),
    },
    finishReasons: countBy(after),
    ended: { share: share(after, hasEnded), change: changeOf(hasEnded) },
    edits: { edited: sumOf(after, ({ edited }) => edited), expected: sumOf(after, ({ expected }) => expected) },
    neutral: neutral ?? null,
  };
}
