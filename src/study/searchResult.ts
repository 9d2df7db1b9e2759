/** From chosen answers to what is reported of a search. Pure. */
import type { TokenCost } from '../apply/search.js';
import type { SearchComparison, SearchMethod } from '../report/searchSchema.js';
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

/** Names of guided methods begin with this. */
export const GUIDED = 'guided by ';

/** Rewards of all seeds one after the other, and the problem of each. */
function flat(method: Pick<SearchMethod, 'rewards'>, problems: readonly string[]): { rewards: number[]; items: string[] } {
  return { rewards: method.rewards.flat(), items: method.rewards.flatMap(() => problems) };
}

/** Numbers of every method. `chosen`: by method, [seeds][problems]. */
export function searchMethods(chosen: ReadonlyMap<string, readonly (readonly Chosen[])[]>, problems: readonly string[]): SearchMethod[] {
  return [...chosen].map(([name, seeds]): SearchMethod => {
    const all = seeds.flat();
    const average = (pick: (own: Chosen) => number): number => mean(all.map(pick));
    const rewards = seeds.map((own) => own.map(({ reward }) => reward));
    const entries = flat({ rewards }, problems);
    const { value, low, high, n } = accuracyChange(entries.rewards.map(() => 0), entries.rewards, entries.items);
    return {
      name,
      kind: name.startsWith(GUIDED) ? 'guided' : 'answers',
      accuracy: { value, low: low === null ? null : Math.max(0, low), high, n }, // a change may be negative, an accuracy not
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
