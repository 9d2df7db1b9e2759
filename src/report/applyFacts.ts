/** What a guided search and a comparison of folders say in one sentence each, for findings and terminal. */
import { percent, withInterval } from './format.js';
import type { SearchResult } from './searchSchema.js';
import type { CrossAuc, Transfer } from './transferSchema.js';

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
  const accuracyOf = (name: string): string => methods.filter((method) => method !== first && method.name === name).map(({ accuracy }) => `${name} ${withInterval(accuracy, (x) => percent(x))}`).join('');
  const beside = ['guided by random', 'majority of n'].map(accuracyOf).filter((text) => text !== '').join(', ');
  return `Search ${first.name}: ${withInterval(first.accuracy, (x) => percent(x))} of ${problems.length} held-out problems at ${Math.round(first.cost.computed)} tokens each${beside === '' ? '' : `; beside it at about that cost ${beside}`}: ${verdict} (Holm-corrected p < 0.05).`;
}

/** The layer that a cross-AUC is shown for: the one where the probe's own folder is best, as far as both have it. */
export function shownLayer({ folders }: Pick<Transfer, 'folders'>, { from, layers }: CrossAuc): CrossAuc['layers'][number] | undefined {
  return layers.find(({ layer }) => layer === folders[from]?.bestLayer) ?? layers[0];
}

/** How many sets are shared beyond chance, and how many probes say something elsewhere. */
export function transferSentence(transfer: Transfer): string {
  const { overlaps, auc, place, folders } = transfer;
  const beyond = overlaps.filter(({ pMatched }) => pMatched <= 0.05).length;
  const chance = overlaps.filter(({ p, pMatched }) => p <= 0.05 && pMatched > 0.05).length;
  const others = auc.filter(({ from, to }) => from !== to);
  const above = others.filter((entry) => (shownLayer(transfer, entry)?.auc[place].low ?? 0) > 0.5).length;
  const worse = others.filter((entry) => (shownLayer(transfer, entry)?.difference?.[place].low ?? -1) > 0).length;
  return `Transfer between ${folders.length} folders: in ${beyond} of ${overlaps.length} comparisons (pairs × shares) value neurons are shared beyond chance and beyond their magnitudes, in ${chance} more beyond chance alone; ${above} of ${others.length} probes are above chance on another folder’s held-out problems, ${worse} worse than that folder’s own.`;
}
