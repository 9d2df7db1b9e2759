/** Whether guided search finds better answers than chance, or than more answers for the same tokens. */
import { searchSentence } from '../applyFacts.js';
import { fixed, percent, seconds, signed, significant, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { pairs, table } from '../parts.js';
import type { SearchResult } from '../searchSchema.js';
import { visibleText } from '../text.js';

function methodTable({ methods }: SearchResult): Html {
  return table({
    caption: 'Accuracy over problems and seeds with 95 % intervals; tokens are means per problem and seed',
    head: ['method', 'kind', 'accuracy', 'answers chosen from', 'tokens of the answer', 'ended by themselves', 'sampled', 'put through the model', 'from a cache', 'not judged'],
    rows: methods.map(({ name, kind, accuracy, answers, length, ended, cost, unknown }) => [
      visibleText(name),
      kind === 'guided' ? 'step by step' : 'whole answers',
      withInterval(accuracy, (x) => percent(x)),
      fixed(answers, 1),
      fixed(length, 1),
      percent(ended, 0),
      fixed(cost.sampled, 1),
      fixed(cost.computed, 1),
      fixed(cost.shared, 1),
      String(unknown),
    ]),
    numbersFrom: 2,
  });
}

function comparisonTable({ comparisons }: SearchResult): Html {
  return table({
    caption: 'Differences of accuracy in points, paired by problem (sign-flip test; Holm’s correction over all)',
    head: ['method', 'against', 'difference', 'p', 'p, corrected'],
    rows: comparisons.map(({ method, against, difference, p, pHolm }) => [visibleText(method), visibleText(against), withInterval(difference, (x) => signed(x === null ? null : 100 * x, 1)), significant(p, 2), significant(pHolm, 2)]),
    numbersFrom: 2,
  });
}

function discriminationTable({ discrimination }: SearchResult): Html {
  return table({
    caption: 'AUC of scores over whole answers, right against wrong, with 95 % intervals',
    head: ['score', 'over all problems', 'answers', 'among the answers of one problem', 'problems with right and wrong ones'],
    rows: discrimination.map(({ score, across, within }) => [score, withInterval(across, (x) => fixed(x, 2)), String(across.n), withInterval(within, (x) => fixed(x, 2)), String(within.n)]),
    numbersFrom: 1,
  });
}

/** The section on guided search. */
export function searchSection(search: SearchResult, id: string, notes: readonly string[]): Html {
  const { dopamine, spent } = search;
  const count = (tokens: number): string => tokens.toLocaleString('en-US');
  return html`<section id="${id}-search"><h3>Does it help to choose by value: guided search</h3>
<p><strong>${visibleText(searchSentence(search))}</strong></p>
${notes.length === 0 ? null : html`<p>${notes.map(visibleText).join(' ')}</p>`}
${methodTable(search)}
${comparisonTable(search)}
${discriminationTable(search)}
<p class="how"><strong>How to read this.</strong> At every step ${search.candidates} candidates are drawn and the best ${search.beam === 1 ? 'one stays' : `${search.beam} stay`}. Whole answers are chosen among as many as the tokens of the search by ${visibleText(search.budgetOf)} buy.
Compare with random choice and with majority at the same cost, not with one answer alone; an interval that contains 0 shows no difference. A score that tells problems apart (the first AUC) but not the answers to one (the second) is good for confidence and useless for a search.</p>
${pairs('What this rests on', [
    ['problems', `${search.problems.length} held out, ${search.seeds.length} ${search.seeds.length === 1 ? 'seed' : 'seeds'}`],
    ['steps', `cut by ${visibleText(search.step)}; at most ${search.maxTokens} tokens in all`],
    ['value probe', `${search.site} of layer ${search.layer}, ${search.neurons === null ? 'all neurons' : `${search.neurons.length} neurons`}`],
    ['dopamine probe', dopamine === null ? 'none' : `layer ${dopamine.layer}, z-scores ${visibleText(dopamine.zscore)}, errors ${visibleText(dopamine.errors)}`],
    ['put through the model', `${count(spent.promptTokens)} prompt tokens, ${count(spent.completionTokens)} sampled; ${count(spent.sharedTokens)} more came from a cache`],
    ['wall time', seconds(spent.seconds)],
  ])}</section>`;
}
