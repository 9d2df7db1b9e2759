/** Neurons that follow the prediction error: scores beside their rivals, pruning, averages around events, surprise groups, trajectories. */
import { dopaminePruningSentence, dopamineScores, dopamineSentence, surpriseSentence } from '../dopamineFacts.js';
import type { Dopamine, DopamineEvents, DopamineExample, DopamineScore } from '../dopamineSchema.js';
import { NOISY_BASELINE } from '../dopamineSchema.js';
import { NONE, fixed, seconds, shareText, significant, signed, withDraws, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { figure, pairs, panels, table } from '../parts.js';
import type { PlotPoint, Series } from '../plots.js';
import { lineSpec } from '../plots.js';
import { renderSvg } from '../svg.js';
import { visibleText, visibleToken } from '../text.js';

const two = (x: number | null): string => fixed(x, 2);

function scoreTable(dopamine: Dopamine): Html {
  const row = (kind: string) => ({ name, all, large }: DopamineScore): (string | Html)[] => [
    visibleText(name),
    name === NOISY_BASELINE ? 'not a fair rival' : kind,
    ...[all.spearman, large.spearman, large.pearson, large.auc].map((estimate) => withInterval(estimate, two)),
  ];
  return table({
    caption: `Held-out δ of steps: correlations and the AUC of its sign, layer ${dopamine.bestLayer}, with 95 % intervals by problem; large: |δ| > ${dopamine.settings.threshold}`,
    head: ['score', 'kind', 'Spearman, all steps', 'Spearman, large', 'Pearson, large', 'AUC of the sign, large'],
    rows: [...dopamineScores(dopamine).map((score) => row(score.name === 'shuffled errors' ? 'null' : 'probe')(score)), ...dopamine.baselines.map(row('baseline'))],
    numbersFrom: 2,
  });
}

const CURVES = {
  top: { name: 'best-ranked neurons', color: 's-value', dash: [], shape: 'circle' },
  random: { name: 'random sets', color: 's-linear', dash: [2, 2], shape: 'square', band: true },
  matched: { name: 'sets of matched magnitude', color: 's-base', dash: [6, 3], shape: 'triangle-up', band: true },
} satisfies Record<string, Series>;

/** An axis that holds all numbers, in steps of 0.25, 0 always in it. */
function domainOf(numbers: readonly (number | null)[], step = 0.25): [number, number] {
  const known = [0, ...numbers.filter((x) => x !== null)];
  return [Math.floor(Math.min(...known) / step) * step, Math.max(step, Math.ceil(Math.max(...known) / step) * step)];
}

async function pruningFigure({ pruning, bestLayer }: Dopamine, id: string): Promise<Html> {
  const points = pruning.flatMap(({ share, top, random, matched }): PlotPoint[] => [
    { series: CURVES.random.name, x: share, y: random.mean, low: random.low, high: random.high },
    { series: CURVES.matched.name, x: share, y: matched.mean, low: matched.low, high: matched.high },
    { series: CURVES.top.name, x: share, y: top.value, low: top.low, high: top.high },
  ]);
  const ticks = pruning.map(({ share }) => share);
  const domain: [number, number] = [Math.min(...ticks, 1) / 1.15, 1.15];
  const spec = lineSpec({
    series: Object.values(CURVES),
    points,
    x: { title: 'share of the neurons that is kept (logarithmic)', domain, log: true, ticks, percent: true },
    y: { title: 'Spearman with δ', domain: domainOf(points.flatMap(({ y, low, high }) => [y, low ?? null, high ?? null])) },
    references: [{ x: domain[0], y: 0, x2: domain[1], y2: 0, strong: true }],
  });
  return figure({
    title: `Pruning the dopamine probe of layer ${bestLayer}`,
    plot: await renderSvg(spec, { id, title: 'Spearman with δ against the share of neurons kept', description: 'The numbers follow as a table.' }),
    how: 'Steps with a large δ, held out. From right to left ever fewer neurons are kept. Bands: 95 % of the draws of controls; bars: intervals by problem. Few neurons carry the signal where the blue curve stays flat above both bands.',
    numbers: table({
      caption: 'Spearman of the pruned probe with large held-out δ; controls: mean and 2.5 to 97.5 percentiles of the draws',
      head: ['neurons kept', 'share', 'best-ranked', 'random', 'matched magnitude', 'draws'],
      rows: pruning.map(({ kept, share, top, random, matched }) => [String(kept), shareText(share), withInterval(top, two), withDraws(random, 2), withDraws(matched, 2), `${random.draws}, ${matched.draws}`]),
    }),
  });
}

const EVENTS = {
  positive: { name: 'better than expected', color: 's-value', dash: [], shape: 'circle', band: true },
  negative: { name: 'worse than expected', color: 's-linear', dash: [6, 3], shape: 'square', band: true },
  random: { name: 'random states', color: 's-null', dash: [2, 2], shape: 'cross', band: true },
} satisfies Record<string, Series>;
const KINDS = ['positive', 'negative', 'random'] as const;
/** Neurons whose averages are drawn; the others are in the file. */
const DRAWN = 4;

async function eventFigure(events: DopamineEvents, radius: number, id: string): Promise<Html> {
  const points = KINDS.flatMap((kind) => events[kind].offsets.map((x, i): PlotPoint => ({ series: EVENTS[kind].name, x, y: events[kind].mean[i] ?? null, low: events[kind].low[i], high: events[kind].high[i] })));
  const y = domainOf(points.flatMap((point) => [point.y, point.low ?? null, point.high ?? null]), 0.5);
  const spec = lineSpec({
    series: KINDS.map((kind) => EVENTS[kind]),
    points,
    bare: true,
    x: { title: 'tokens from the first state that has read the step', domain: [-radius, Math.max(1, radius)] },
    y: { title: 'mean z-score', domain: y },
    references: [{ x: 0, y: y[0], x2: 0, y2: y[1] }, { x: -radius, y: 0, x2: Math.max(1, radius), y2: 0 }],
  });
  const shown = events.positive.offsets.filter((offset) => offset % 5 === 0);
  const at = (kind: (typeof KINDS)[number], offset: number): string => {
    const { offsets, mean, low, high } = events[kind];
    const i = offsets.indexOf(offset);
    return withInterval({ value: mean[i] ?? null, low: low[i] ?? null, high: high[i] ?? null }, two);
  };
  return figure({
    title: `Neuron ${events.neuron} around steps with a large δ`,
    plot: await renderSvg(spec, { id, title: `Neuron ${events.neuron} around events`, description: `${events.positive.events} steps better and ${events.negative.events} worse than expected. At the event: ${at('positive', 0)} and ${at('negative', 0)}. Some of the numbers follow as a table.` }),
    how: `Means over ${events.positive.events} held-out steps that went better than expected, ${events.negative.events} that went worse, and states drawn at random in the same trajectories, with 95 % bands over problems. A neuron that follows the error leaves the band of random states at 0, to opposite sides.`,
    numbers: table({ caption: 'Mean z-score with 95 % band, at every fifth token', head: ['offset', ...KINDS.map((kind) => EVENTS[kind].name)], rows: shown.map((offset) => [signed(offset, 0), ...KINDS.map((kind) => at(kind, offset))]) }),
  });
}

async function eventFigures({ events, settings }: Dopamine, id: string): Promise<Html> {
  const options = [];
  for (const [i, entry] of events.slice(0, DRAWN).entries()) {
    options.push({ label: `neuron ${entry.neuron}`, content: await eventFigure(entry, settings.radius, `${id}-event-${i}`) });
  }
  return options.length === 0 ? html`<p>No averages around events were asked for.</p>` : panels(`${id}-events`, 'Averages around events of the best neurons', options, 0);
}

const CONTRASTS = { surprise: 'positive against negative surprise', positive: 'positive surprise against expected success', negative: 'negative surprise against expected failure', low: 'low V(s₀): success against failure', high: 'high V(s₀): success against failure' } as const;
const POSITIONS = { middle: 'middle state', last: 'last state', mean: 'mean over the response' } as const;

function surpriseTable({ surprise }: Dopamine): Html {
  const { groups } = surprise;
  return table({
    caption: `Neurons that differ between groups of trajectories (largest standardised differences first; permutation test over all neurons). Of the trajectories with low V(s₀) ${groups.positive} succeeded (positive surprise) and ${groups.expectedFailure} failed; with high V(s₀) ${groups.expectedSuccess} succeeded and ${groups.negative} failed (negative surprise)`,
    head: ['contrast', 'where', 'problems in each group', 'neurons with adjusted p < 0.05', 'largest: neuron (difference, p)'],
    rows: surprise.cells.map(({ position, contrast, units, significant: count, top }) => [
      CONTRASTS[contrast],
      POSITIONS[position],
      units === null ? 'too few' : units.join(', '),
      count === null ? NONE : String(count),
      top.slice(0, 5).map(({ neuron, difference, p }) => `${neuron} (${signed(difference, 2)}, ${significant(p, 2)})`).join('; ') || NONE,
    ]),
    numbersFrom: 9,
  });
}

/** Trajectories that are shown. */
const SHOWN = 4;
/** |δ| and |z| that have the full colour. */
const FULL = { delta: 0.5, z: 3 } as const;

const levelOf = (value: number | null, full: number): number => Math.round(10 + 10 * Math.max(-1, Math.min(1, (value ?? 0) / full)));

/** Never by colour alone: the sign is a triangle too, unless it rounds to nothing. */
function deltaCell(delta: number | null): Html {
  const text = signed(delta, 2);
  return html`<span class="v${levelOf(delta, FULL.delta)}">${text.startsWith('+') ? '▲ ' : text.startsWith('−') ? '▼ ' : ''}${text}</span>`;
}

/** A step's tokens, each coloured by the neuron's z-score at the state that has read it; the number shows under the pointer. */
function tracedText({ tokens, trace }: DopamineExample, { begin, end }: { begin: number; end: number }): Html {
  const spans = tokens.slice(begin, end).map((token, t) => {
    const z = trace[begin + t] ?? null;
    return token === '' ? null : html`<span class="v${levelOf(z, FULL.z)}" title="z ${signed(z, 1)}">${visibleToken(token).trimEnd()}</span>`;
  });
  return html`<code>${spans}</code>`;
}

async function exampleContent(example: DopamineExample, neuron: number | undefined, id: string): Promise<Html> {
  const { tokens, trace, steps, reward, problem, sample } = example;
  const name = `neuron ${neuron ?? ''}`.trim();
  const points = trace.map((y, t): PlotPoint => ({ series: name, x: t + 1, y }));
  const y = domainOf(trace, 1);
  const borders = steps.slice(1).map(({ begin }) => ({ x: begin + 0.5, y: y[0], x2: begin + 0.5, y2: y[1] }));
  const end = Math.max(2, tokens.length);
  const spec = lineSpec({ series: [{ name, color: 's-value', dash: [], shape: 'circle' }], points, bare: true, size: { width: 560, height: 170 }, x: { title: 'token (dotted: steps)', domain: [1, end] }, y: { title: 'z-score', domain: y }, references: [...borders, { x: 1, y: 0, x2: end, y2: 0, strong: true }] });
  return html`<p>Reward ${reward === null ? NONE : significant(reward)}.</p>
${table({
    caption: `${visibleText(problem)}, sample ${sample}. Tokens: z-score of ${name}, orange low, blue high, full colour at ${FULL.z} (the plot below has the numbers). δ of every step, by continuation and as the dopamine probe says it: orange and ▼ worse, blue and ▲ better than expected`,
    head: ['step', 'text', 'δ', 'the probe’s δ'],
    rows: steps.map(({ begin, end: stop, error, predicted }, i) => [String(i + 1), tracedText(example, { begin, end: stop }), deltaCell(error), deltaCell(predicted)]),
    numbersFrom: 2,
  })}
<div class="scroll plot">${await renderSvg(spec, { id, title: `z-score of ${name} along ${visibleText(problem)}, sample ${sample}`, description: `${tokens.length} tokens in ${steps.length} steps. The numbers are in study.json.` })}</div>`;
}

async function exampleFigures({ examples, ranking }: Dopamine, id: string): Promise<Html | null> {
  const options = [];
  for (const [i, example] of examples.slice(0, SHOWN).entries()) {
    options.push({ label: `${visibleText(example.problem)}: ${example.reward === null ? 'unknown' : example.reward > 0.5 ? '✓ correct' : '✗ wrong'}`, content: await exampleContent(example, ranking[0]?.neuron, `${id}-steps-${i}`) });
  }
  return options.length === 0 ? null : html`<h4>Trajectories, step by step</h4>
<p>Held-out trajectories, right and wrong ones in turn, with the trace of the best neuron (${ranking[0]?.neuron ?? NONE}).</p>
${panels(`${id}-steps`, 'Trajectory', options, 0)}`;
}

function factsTable({ settings, steps, selfTest, overlaps, seconds: took }: Dopamine): Html {
  const parts = ({ train, validation, test }: Dopamine['steps']['all']): string => `${train} train, ${validation} validation, ${test} held out`;
  return pairs('What this rests on', [
    ['self-test', `${selfTest.passed ? '✓ passed' : '✗ FAILED'}: ${selfTest.checks.length} checks on planted and on shuffled errors`],
    ['steps', `${parts(steps.all)} (${steps.testProblems} problems)`],
    [`steps with |δ| > ${settings.threshold}`, parts(steps.large)],
    ['δ', settings.error === 'mc' ? 'by continuation' : 'of the value probe'],
    ['z-scores', { running: 'over the states so far (causal)', response: 'over the whole response (looks ahead)', none: 'none' }[settings.zscore]],
    ...overlaps.map(({ a, b, size, shared, iou, p }) => [`first ${size} of ${a} and ${b}`, `${shared} shared, IoU ${fixed(iou, 2)}, p ${significant(p, 2)} by chance`] as const),
    ['wall time', seconds(took)],
  ]);
}

/** The section on dopamine neurons. Cost: a plot for pruning, one per neuron and one per trajectory. */
export async function dopamineSection(dopamine: Dopamine, id: string, notes: readonly string[]): Promise<Html> {
  const { ranking } = dopamine;
  const sentences = [dopamineSentence(dopamine), dopaminePruningSentence(dopamine), surpriseSentence(dopamine)].filter((text) => text !== undefined);
  const rows = ranking.slice(0, 20).map(({ neuron, rank, scores, ranks, spearman }) => [String(neuron), String(rank), fixed(scores['l1-zscore']), String(ranks.linear ?? NONE), String(ranks.univariate ?? NONE), withInterval(spearman, two)]);
  return html`<section id="${id}-dopamine"><h3>Better or worse than expected: dopamine neurons</h3>
<ul class="findings">${sentences.map((text) => html`<li>${visibleText(text)}</li>`)}</ul>
${notes.length === 0 ? null : html`<p>${notes.map(visibleText).join(' ')}</p>`}
${scoreTable(dopamine)}
<p class="how"><strong>How to read this.</strong> A correlation whose interval contains 0 shows nothing. The null is the same probe, trained and judged on errors that were dealt out anew. V before the step by continuation is no fair rival: its own noise is in δ with a minus sign.
A correlation is no proof that the model uses the neurons.</p>
<div class="pair">${await pruningFigure(dopamine, `${id}-dopamine-pruning`)}<div>${await eventFigures(dopamine, `${id}-dopamine`)}</div></div>
${table({ caption: 'The 20 best neurons by the weights of the probe; Spearman of the neuron alone with large held-out δ: its sign says which way it goes', head: ['neuron', 'rank', 'score', 'rank by the linear probe', 'rank alone', 'Spearman alone'], rows })}
${surpriseTable(dopamine)}
${await exampleFigures(dopamine, `${id}-dopamine`)}
${factsTable(dopamine)}</section>`;
}
