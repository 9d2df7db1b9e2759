/** What a guided search says in one sentence, for findings and terminal. */
import { percent } from './format.js';
import type { SearchResult } from './searchSchema.js';

/** Accuracy of the first guide, and from which other methods it can be told apart after correction. */
export function searchSentence({ methods, comparisons, problems }: SearchResult): string {
  const [first] = methods;
  if (first === undefined) {
    return 'Guided search: nothing was searched.';
  }
  const own = comparisons.filter(({ method }) => method === first.name);
  const told = (better: boolean): string => own.filter(({ difference: { value }, pHolm }) => pHolm < 0.05 && (value ?? 0) > 0 === better).map(({ against }) => against).join(', ');
  const [better, worse] = [told(true), told(false)];
  const verdict = better === '' && worse === '' ? `no difference to any of ${own.length} other ways can be told` : [better === '' ? '' : `better than ${better}`, worse === '' ? '' : `worse than ${worse}`].filter((text) => text !== '').join(', ');
  return `Search ${first.name}: ${percent(first.accuracy.value)} of ${problems.length} held-out problems, ${Math.round(first.cost.computed)} tokens each; ${verdict} (p < 0.05 after Holm’s correction).`;
}
