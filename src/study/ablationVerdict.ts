/** What a sweep says about a value set, in plain words. */
import type { ArmResult, Comparison, Verdict, VerdictKind } from '../report/ablationSchema.js';
import { scoreInterval } from '../stats/paired.js';

/** Level of every decision. */
export const ALPHA = 0.05;
/** A set without a significant change has "no effect" only when falls larger than this, or half the base's accuracy, are excluded. */
const LARGE_FALL = 0.1;
/** Changes of termination that are worth a warning when their interval excludes 0. */
const LARGE_CHANGE = { ended: 0.1, unparsable: 0.05, length: 0.2 } as const;
/** Gains and losses that cancel are worth a warning when they are this share of the outcomes more than any draw changes, and this many each. */
const LARGE_TRADE = 0.1;
const LEAST_TRADED = 5;
/** Ratio of perplexities on a neutral text from which an edit is said to harm language as such. */
const LARGE_PERPLEXITY = 1.5;

const points = (value: number | null): string => (value === null ? 'unknown' : `${signed(value)} points`);
const signed = (value: number | null): string => (value === null ? '–' : `${value > 0 ? '+' : ''}${(100 * value).toFixed(1)}`);
const percent = (value: number | null): string => (value === null ? 'unknown' : `${(100 * value).toFixed(1)} %`);
const fall = (low: number): string => `${(-100 * low).toFixed(1)} points`;
/** A p-value with two digits. */
export const pText = (p: number): string => (p < 1e-4 ? p.toExponential(1) : String(Number(p.toPrecision(2))));

/** Outcomes that differ from the base's, in either direction. */
export const changedShare = ({ discordant, items }: ArmResult): number => (items === 0 ? 0 : (discordant.b + discordant.c) / items);

/** What a verdict rests on besides the set's own numbers. */
export interface Evidence {
  readonly base: ArmResult;
  /** Of this set. */
  readonly comparisons: readonly Comparison[];
  /** {@link changedShare} of the draws of its decisive controls. */
  readonly changedByDraws: readonly number[];
  /** Its accuracy differs significantly from the base's, all sets of the sweep considered. */
  readonly differs: boolean;
  /** Perplexities on the neutral text mean nothing. */
  readonly foreign: boolean;
}

interface Value {
  readonly value: number | null;
}
/** The base's value over the arm's own items, which may be fewer than the base has; absolute, as a difference may be rounded to just below 0. */
const before = (now: Value, change: Value | null): number | null => (now.value === null || change === null || change.value === null ? null : Math.abs(now.value - change.value));

/** The verdict on one value set. */
export function verdictOf(arm: ArmResult, evidence: Evidence): Verdict {
  const { base, comparisons, foreign } = evidence;
  const { kind, reason } = decide(arm, evidence);
  const [low, high] = [arm.change?.low ?? null, arm.change?.high ?? null];
  const facts = `accuracy ${percent(before(arm.accuracy, arm.change))} → ${percent(arm.accuracy.value)}, ${points(arm.change?.value ?? null)} [${signed(low)}, ${signed(high)}], McNemar p ${pText(arm.p ?? 1)}${arm.pHolm === null ? '' : `, ${pText(arm.pHolm)} after Holm`}${arm.status === 'decided' ? `, decided early after ${arm.items} items` : ''}`;
  const controls = comparisons.map(
    ({ control, draws, spread, rankP, rankPHolm }) => `${draws} ${control} ${draws === 1 ? 'set' : 'sets'}: ${points(spread.mean)} on average, rank p ${pText(rankP)}${rankPHolm === null || rankPHolm === rankP ? '' : `, ${pText(rankPHolm)} after Holm`}`,
  );
  return { arm: arm.name, kind, text: `${arm.name}: ${reason} (${[facts, ...controls].join('; ')}.)`, warnings: [...tradeOf(arm, kind, evidence.changedByDraws), ...warningsOf(arm, base, foreign)] };
}

interface Decision {
  readonly kind: VerdictKind;
  /** One or two sentences. */
  readonly reason: string;
}

function decide(arm: ArmResult, { base, comparisons, differs }: Evidence): Decision {
  const decisive = comparisons.filter((entry) => entry.decisive);
  const change = arm.change?.value ?? null;
  if (change === null) {
    return { kind: 'cannotTell', reason: 'cannot tell: no item has both the base and this arm.' };
  }
  if (decisive.length === 0) {
    return { kind: 'noControls', reason: 'no control was run, so nothing about this set follows from it.' };
  }
  if (differs && change > 0) {
    return { kind: 'raised', reason: 'accuracy rises. Controls are not compared in this direction.' };
  }
  // the control that the set stands out least from
  const hardest = decisive.reduce((a, b) => ((b.rankPHolm ?? b.rankP) > (a.rankPHolm ?? a.rankP) ? b : a));
  const controls = decisive.map(({ control }) => control).join(' and ');
  return differs ? decideFall(hardest, controls) : decideNone(arm, base, hardest, controls);
}

/** Accuracy falls significantly: is it this set, or would any have done? */
function decideFall(hardest: Comparison, controls: string): Decision {
  const { rankP, rankPHolm, draws, control, leastP, drawsNeeded } = hardest;
  if ((rankPHolm ?? rankP) <= ALPHA) {
    return { kind: 'beyond', reason: `an effect beyond the ${controls} controls.` };
  }
  if (rankP <= ALPHA) {
    const needs = leastP > ALPHA ? ` ${draws} draws can give no less than ${pText(leastP)}; ${drawsNeeded} are needed.` : '';
    return { kind: 'beyondAlone', reason: `an effect beyond the ${controls} controls of its own cell, but not after correction for all value sets of the sweep.${needs}` };
  }
  if (1 / (draws + 1) > ALPHA && rankP <= 1 / (draws + 1) + 1e-12) {
    return { kind: 'cannotTell', reason: `accuracy falls, but cannot tell whether more than with ${control} controls: ${draws} ${draws === 1 ? 'draw is' : 'draws are'} too few; ${drawsNeeded} are needed.` };
  }
  const asCostly = Math.round(rankP * (draws + 1)) - 1;
  return { kind: 'controlsCostAsMuch', reason: `an effect, but ${control} controls cost as much: ${asCostly} of ${draws} ${draws === 1 ? 'draw' : 'draws'}.` };
}

/** No significant change: is there none, or could it not be seen? */
function decideNone(arm: ArmResult, base: ArmResult, hardest: Comparison, controls: string): Decision {
  // a bootstrap of few changes knows nothing of losses that were not seen
  const low = Math.min(arm.change?.low ?? -1, scoreInterval(arm.discordant.b, arm.discordant.c, arm.items).low);
  const tolerated = Math.min(LARGE_FALL, (base.accuracy.value ?? 0) / 2);
  if ((arm.p ?? 1) <= ALPHA && (arm.change?.value ?? 0) < 0) {
    return { kind: 'cannotTell', reason: 'cannot tell: the fall is significant alone but not after correction for all sets of the sweep; more items would show whether it is one.' };
  }
  if (-low > tolerated) {
    return { kind: 'cannotTell', reason: `cannot tell: ${arm.items} ${arm.items === 1 ? 'item is' : 'items are'} too few; no significant change, but a fall of ${fall(low)} is not excluded.` };
  }
  if ((hardest.rankPHolm ?? hardest.rankP) <= ALPHA) {
    return { kind: 'cannotTell', reason: `cannot tell: it costs more than ${controls} controls do, but ${arm.items} items do not show that accuracy falls at all; more would tell.` };
  }
  return { kind: 'noEffect', reason: `no effect beyond ${controls} controls: accuracy does not change significantly, and a fall of more than ${fall(low)} is excluded.` };
}

/** Gains and losses that cancel out: a set may decide which items are right, and not how many. */
function tradeOf(arm: ArmResult, kind: VerdictKind, byDraws: readonly number[]): string[] {
  const { b, c } = arm.discordant;
  const [cancelled, most] = [Math.min(b, c), Math.max(0, ...byDraws)];
  return (kind === 'noEffect' || kind === 'cannotTell') && byDraws.length > 0 && cancelled >= LEAST_TRADED && (2 * cancelled) / arm.items - most >= LARGE_TRADE
    ? [`${percent(changedShare(arm))} of the outcomes change, ${b} for the worse and ${c} for the better, at most ${percent(most)} with any of ${byDraws.length} control draws: the set matters for which items are right, even where accuracy stays the same.`]
    : [];
}

/** Signs that accuracy falls for another reason than worse answers. */
function warningsOf(arm: ArmResult, base: ArmResult, foreign: boolean): string[] {
  if ((arm.change?.value ?? 0) >= 0) {
    return [];
  }
  const warnings: string[] = [];
  const { ended, tokens, unparsable, withoutUnparsable, neutral } = arm;
  const moved = (change: { value: number | null; low: number | null; high: number | null } | null, least: number): boolean =>
    change !== null && Math.abs(change.value ?? 0) >= least && (change.low === null || change.high === null || change.low > 0 || change.high < 0);
  if (moved(ended.change, LARGE_CHANGE.ended)) {
    warnings.push(`${percent(before(ended.share, ended.change))} of the completions ended by themselves without the edit, ${percent(ended.share.value)} with it: the loss may be one of stopping, not of answering.`);
  }
  if (moved(tokens.change, LARGE_CHANGE.length * (base.tokens.mean ?? 0)) && tokens.mean !== null) {
    warnings.push(`completions have ${tokens.mean.toFixed(1)} tokens on average, ${(before({ value: tokens.mean }, tokens.change) ?? 0).toFixed(1)} without the edit.`);
  }
  if (moved(unparsable.change, LARGE_CHANGE.unparsable) && (unparsable.change?.value ?? 0) > 0) {
    const rest = withoutUnparsable === null ? '' : `: without them the change is ${points(withoutUnparsable.change.value)} (p ${pText(withoutUnparsable.p)}, ${withoutUnparsable.items} items)`;
    warnings.push(`${percent(unparsable.share.value)} of the answers could not be judged, ${percent(before(unparsable.share, unparsable.change))} without the edit${rest}.`);
  }
  if (!foreign && neutral !== null && base.neutral !== null && neutral.perplexity >= LARGE_PERPLEXITY * base.neutral.perplexity) {
    warnings.push(`perplexity on the neutral text goes from ${base.neutral.perplexity.toPrecision(3)} to ${neutral.perplexity.toPrecision(3)}: the edit harms language as such.`);
  }
  return warnings;
}
