/** How well a right answer can be told from a wrong one, and what it costs to tell. */
import type { Confidence, ConfidenceScore } from '../confidenceSchema.js';
import { side } from '../facts.js';
import { NONE, fixed, percent, seconds, signed, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { figure, pairs, table } from '../parts.js';
import type { PlotPoint, Series } from '../plots.js';
import { lineSpec } from '../plots.js';
import { renderSvg } from '../svg.js';
import { visibleText } from '../text.js';

const two = (x: number | null): string => fixed(x, 2);

function mark(difference: ConfidenceScore['difference']): string {
  return difference === null ? NONE : `${withInterval(difference, (x) => signed(x, 2))}${{ above: ' ▲', below: ' ▼', over: '' }[side(difference, 0) ?? 'over']}`;
}

function scoreTable({ scores, main, errorRate, bestAurc }: Confidence): Html {
  return table({
    caption: `Held-out answers, 95 % intervals by problem; cost in mean tokens per answer. AURC (area under the risk-coverage curve; lower is better) is ${fixed(errorRate)} for a score that says nothing and ${fixed(bestAurc)} at best`,
    head: ['score', 'known before or after the answer', 'AUC', 'advantage of the main score', 'AURC', 'Brier', 'calibration error', 'tokens until known', 'of them extra'],
    rows: scores.map(({ name, known, auc, difference, aurc, brier, expectedError, cost }, i) => [
      i === main ? html`<strong>${visibleText(name)}</strong> <span class="mark">main</span>` : visibleText(name),
      known,
      withInterval(auc, two),
      mark(difference),
      withInterval(aurc, two),
      fixed(brier),
      fixed(expectedError),
      fixed(cost.tokens, 1),
      fixed(cost.extra, 1),
    ]),
    numbersFrom: 2,
  });
}

const LOOKS: readonly Omit<Series, 'name'>[] = [
  { color: 's-value', dash: [], shape: 'circle' },
  { color: 's-linear', dash: [6, 3], shape: 'square' },
  { color: 's-base', dash: [2, 2], shape: 'triangle-up' },
  { color: 's-refit', dash: [10, 3, 2, 3], shape: 'diamond' },
];

/** The main score, the best others by AUC that are known before the first word, and after the answer: what a plot has room for. */
function drawn({ scores, main }: Confidence): ConfidenceScore[] {
  const own = scores[main] as ConfidenceScore;
  const best = (known: ConfidenceScore['known'], count: number): ConfidenceScore[] =>
    scores.filter((score) => score !== own && score.known === known && !score.name.startsWith('V(')).sort((a, b) => (b.auc.value ?? 0) - (a.auc.value ?? 0)).slice(0, count);
  return [own, ...best('before', 1), ...best('after', 2)];
}

/** At most `most` points of a curve, its ends among them. */
function thinned<T>(points: readonly T[], most: number): T[] {
  const step = Math.max(1, (points.length - 1) / (most - 1));
  return points.length <= most ? [...points] : Array.from({ length: most }, (_, i) => points[Math.round(i * step)] as T);
}

const COVERAGES = [0.1, 0.25, 0.5, 0.75, 1] as const;

async function riskFigure(confidence: Confidence, id: string): Promise<Html> {
  const scores = drawn(confidence);
  const { errorRate } = confidence;
  const points = scores.flatMap(({ name, riskCoverage }) => thinned(riskCoverage, 60).map(({ coverage, risk }): PlotPoint => ({ series: name, x: coverage, y: risk })));
  const top = Math.min(1, Math.ceil(10 * Math.max(errorRate, ...points.filter(({ x }) => x >= 0.1).map(({ y }) => y ?? 0))) / 10);
  const spec = lineSpec({
    series: scores.map(({ name }, i) => ({ name, ...(LOOKS[i] as Omit<Series, 'name'>) })),
    points,
    bare: true,
    x: { title: 'coverage: share of the answers that is kept', domain: [0, 1], percent: true },
    y: { title: 'risk: share of them that is wrong', domain: [0, Math.max(0.1, top)] },
    references: [{ x: 0, y: errorRate, x2: 1, y2: errorRate, strong: true }],
  });
  const riskAt = ({ riskCoverage }: ConfidenceScore, share: number): number | undefined => riskCoverage.find(({ coverage }) => coverage >= share - 1e-9)?.risk;
  return figure({
    title: 'Answering only when confident: risk and coverage',
    plot: await renderSvg(spec, { id, title: 'Risk against coverage', description: `Error rate of all answers ${percent(errorRate)}. The numbers follow as a table.` }),
    how: html`The answers of the highest confidence are kept, from left to right ever more of them. The dotted line is the error rate of all answers: a score that says nothing runs along it, a good one starts far below. At the left few answers are behind a point.`,
    numbers: table({ caption: 'Share of wrong answers among the most confident', head: ['score', ...COVERAGES.map((share) => percent(share, 0))], rows: scores.map((score) => [visibleText(score.name), ...COVERAGES.map((share) => percent(riskAt(score, share)))]) }),
  });
}

async function calibrationFigure(confidence: Confidence, id: string): Promise<Html> {
  const scores = drawn(confidence);
  const known = (score: ConfidenceScore): ConfidenceScore['calibration'] => score.calibration.filter(({ meanPredicted }) => meanPredicted !== null);
  const spec = lineSpec({
    series: scores.map(({ name }, i) => ({ name, ...(LOOKS[i] as Omit<Series, 'name'>) })),
    points: scores.flatMap((score, i) => known(score).map(({ meanPredicted, observed }): PlotPoint => ({ series: score.name, x: meanPredicted as number, y: observed.value, ...(i === 0 ? { low: observed.low, high: observed.high } : {}) }))),
    x: { title: 'confidence as a probability', domain: [0, 1] },
    y: { title: 'observed share of right answers', domain: [0, 1] },
    references: [{ x: 0, y: 0, x2: 1, y2: 1, strong: true }],
  });
  return figure({
    title: 'Is confidence a probability: calibration',
    plot: await renderSvg(spec, { id, title: 'Calibration of confidence', description: scores.map(({ name, expectedError }) => `${name}: expected error ${fixed(expectedError)}`).join('; ') }),
    how: 'A perfect forecast lies on the dotted diagonal. Bars (95 %, Wilson) are drawn for the main score alone. Probe values, P(True) and shares are taken as they are; other scores went through a logistic curve fitted on training problems.',
    numbers: table({
      caption: 'Calibration; n answers',
      head: ['score', 'from – to', 'mean', 'observed', 'n'],
      rows: scores.flatMap((score) => known(score).map(({ low, high, meanPredicted, observed }) => [visibleText(score.name), `${two(low)} – ${two(high)}`, fixed(meanPredicted), withInterval(observed, two), String(observed.n)])),
    }),
  });
}

function factsTable({ heldOut, site, layer, ranking, pTrue, consistency, spent, scores, main }: Confidence): Html {
  const count = (tokens: number): string => tokens.toLocaleString('en-US');
  return pairs('What this rests on', [
    ['held-out answers', `${heldOut.trajectories} to ${heldOut.problems} problems, ${withInterval(heldOut.accuracy, (x) => percent(x))} right`],
    ['value neurons', `${site} of layer ${layer}, by ${visibleText(ranking)}: ${(scores[main]?.neurons ?? []).join(', ') || 'all'}`],
    ['P(True)', pTrue === null ? 'not asked' : `“${visibleText(pTrue.question.trim())}”; ${visibleText(pTrue.yes)} and ${visibleText(pTrue.no)} together had ${percent(pTrue.mass)} of the probability${pTrue.mass < 0.1 ? ': the model does not take it as a question' : ''}`],
    ['self-consistency', consistency === null ? 'no samples' : `${consistency.samples} answers per problem; ${consistency.unread} of ${consistency.total} held no answer`],
    ['put through the model', `${count(spent.promptTokens)} prompt tokens, ${count(spent.completionTokens)} sampled; ${count(spent.sharedTokens)} more came from a cache`],
    ['wall time', seconds(spent.seconds)],
  ]);
}

/** The section on confidence. Cost: two plots. */
export async function confidenceSection(confidence: Confidence, id: string, notes: readonly string[]): Promise<Html> {
  return html`<section id="${id}-confidence"><h3>Can a right answer be told beforehand: confidence</h3>
<ul class="findings">${confidence.findings.map((text) => html`<li>${visibleText(text)}</li>`)}</ul>
${notes.length === 0 ? null : html`<p>${notes.map(visibleText).join(' ')}</p>`}
${scoreTable(confidence)}
<p class="how"><strong>How to read this.</strong> ▲ the main score (the largest set of value neurons, trained anew) is better and the interval of the advantage excludes 0; ▼ it is worse; no mark: no difference was shown. What is known before the first word costs the prompt alone.</p>
<div class="pair">${await riskFigure(confidence, `${id}-risk`)}${await calibrationFigure(confidence, `${id}-confidence-calibration`)}</div>
${factsTable(confidence)}</section>`;
}
