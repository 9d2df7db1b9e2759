/** From chosen answers to what is reported of a search. Pure. */
import type { TokenCost } from '../apply/search.js';
import type { SearchComparison, SearchDiscrimination, SearchMethod, SearchResult } from '../report/searchSchema.js';
import { auc, aucEstimate } from '../stats/auc.js';
import type { Estimate } from '../stats/estimate.js';
import { mean } from '../stats/moments.js';
import { holm } from '../stats/multiple.js';
import { accuracyChange, signFlipPValue } from '../stats/paired.js';

/** The answer that a method chose for one problem with one seed. */
export interface Chosen {
  readonly reward: number;
  readonly unknown: boolean;
  /** Whole answers chosen from. */
  readonly answers: number;
  readonly length: number;
  readonly steps: number;
  readonly ended: boolean;
  readonly cost: TokenCost;
}

/** Whole answers with their scores, [problems][answers]. */
export interface DrawnAnswers {
  readonly rewards: readonly (readonly number[])[];
  readonly scores: Readonly<Record<SearchDiscrimination['score'], readonly (readonly number[])[]>>;
}

/** Names of guided methods begin with this. */
export const GUIDED = 'guided by ';

/** Rewards of all seeds one after the other, and the problem of each. */
function flat(method: Pick<SearchMethod, 'rewards'>, problems: readonly string[]): { rewards: number[]; items: string[] } {
  return { rewards: method.rewards.flat(), items: method.rewards.flatMap(() => problems) };
}

/** A change from 0 as what it came to: a change may be negative, an accuracy or AUC not. */
function shareOf({ value, low, high, n }: Estimate): Estimate {
  return { value, low: low === null ? null : Math.max(0, low), high, n };
}

/** Numbers of every method. `chosen`: by method, [seeds][problems]. */
export function searchMethods(chosen: ReadonlyMap<string, readonly (readonly Chosen[])[]>, problems: readonly string[]): SearchMethod[] {
  return [...chosen].map(([name, seeds]): SearchMethod => {
    const all = seeds.flat();
    const average = (pick: (own: Chosen) => number): number => mean(all.map(pick));
    const rewards = seeds.map((own) => own.map(({ reward }) => reward));
    const entries = flat({ rewards }, problems);
    return {
      name,
      kind: name.startsWith(GUIDED) ? 'guided' : 'answers',
      accuracy: shareOf(accuracyChange(entries.rewards.map(() => 0), entries.rewards, entries.items)),
      unknown: all.filter(({ unknown }) => unknown).length,
      answers: average(({ answers }) => answers),
      length: average(({ length }) => length),
      steps: average(({ steps }) => steps),
      ended: average(({ ended }) => Number(ended)),
      cost: { sampled: average(({ cost }) => cost.sampled), computed: average(({ cost }) => cost.computed), shared: average(({ cost }) => cost.shared) },
      rewards,
    };
  });
}

/** The search guided by `guide` against every other method, paired by problem. */
export function compareMethods(methods: readonly SearchMethod[], problems: readonly string[], guide: string): SearchComparison[] {
  const own = methods.find(({ name }) => name === `${GUIDED}${guide}`);
  if (own === undefined) {
    return [];
  }
  const { rewards, items } = flat(own, problems);
  const raw = methods.filter((method) => method !== own).map((method) => {
    const base = flat(method, problems).rewards;
    return { method: own.name, against: method.name, difference: accuracyChange(base, rewards, items), p: signFlipPValue(base, rewards, items) };
  });
  const adjusted = holm(raw.map(({ p }) => p));
  return raw.map((entry, i) => ({ ...entry, pHolm: adjusted[i] as number }));
}

/** Do scores tell right answers from wrong ones: any two, and two of the same problem? `seeds`: answers of every seed, of the same problems. Intervals: docs/metrics.md. */
export function discriminationOf(seeds: readonly DrawnAnswers[], problems: readonly string[]): SearchDiscrimination[] {
  const rewards = problems.map((_, i) => seeds.flatMap((own) => own.rewards[i] ?? []));
  return (['value', 'mean log-probability'] as const).map((score) => {
    const scores = problems.map((_, i) => seeds.flatMap((own) => own.scores[score][i] ?? []));
    const across = aucEstimate(scores.flat(), rewards.flat(), rewards.flatMap((own, i) => own.map(() => i)));
    const both = scores.flatMap((own, i) => {
      const value = auc(own, rewards[i] ?? []);
      return Number.isNaN(value) ? [] : [value];
    });
    const within = both.length === 0 ? { value: null, low: null, high: null, n: 0 } : shareOf(accuracyChange(both.map(() => 0), both));
    return { score, across, within };
  });
}

/** What discrimination says of a search. */
function discriminationFinding(all: readonly SearchDiscrimination[]): string[] {
  const number = (estimate: SearchDiscrimination['within']): string => (estimate.value === null ? 'not known' : `${estimate.value.toFixed(2)}${estimate.low === null || estimate.high === null ? '' : ` [${estimate.low.toFixed(2)}, ${estimate.high.toFixed(2)}]`}`);
  return all.map(({ score, across, within }) => `AUC of ${score} on whole answers: ${number(across)} over all problems, ${number(within)} among the answers of one problem, which is what a search needs.`);
}

const percent = (value: number | null): string => (value === null ? 'not known' : `${(100 * value).toFixed(1)} %`);
const points = (value: number | null): string => (value === null ? 'not known' : `${value > 0 ? '+' : ''}${(100 * value).toFixed(1)}`.replace('-', '−'));

/** What the numbers say. */
export function searchFindings(methods: readonly SearchMethod[], comparisons: readonly SearchComparison[]): string[] {
  return comparisons.map(({ method, against, difference, pHolm }) => {
    const [own, other] = [methods.find(({ name }) => name === method), methods.find(({ name }) => name === against)];
    const verdict = pHolm <= 0.05 ? ((difference.value ?? 0) > 0 ? 'better' : 'worse') : 'no difference can be told';
    return `${method} ${percent(own?.accuracy.value ?? null)} (${own?.cost.computed.toFixed(0)} tokens a problem), ${against} ${percent(other?.accuracy.value ?? null)} (${other?.cost.computed.toFixed(0)}): ${points(difference.value)} points [${points(difference.low)}, ${points(difference.high)}], p ${pHolm.toPrecision(2)} (Holm): ${verdict}.`;
  });
}

/** What came of a search: `guide` is compared with all others. */
export function searchOutcome(
  { chosen, drawn }: { chosen: ReadonlyMap<string, readonly (readonly Chosen[])[]>; drawn: readonly DrawnAnswers[] },
  problems: readonly string[],
  guide: string,
): Pick<SearchResult, 'methods' | 'comparisons' | 'discrimination' | 'findings'> {
  const methods = searchMethods(chosen, problems);
  const comparisons = compareMethods(methods, problems, guide);
  const discrimination = discriminationOf(drawn, problems);
  return { methods, comparisons, discrimination, findings: [...searchFindings(methods, comparisons), ...discriminationFinding(discrimination)] };
}
