/** Example trajectories token by token: value as colour, TD error as a bar. The script (script.ts) draws the one that is chosen. */
import { bestLayer } from '../facts.js';
import { NONE, significant } from '../format.js';
import type { Html } from '../html.js';
import { html, jsonScript } from '../html.js';
import { TRACE_AREA, traceSpec } from '../plots.js';
import type { DatasetResult, ExampleTrajectory } from '../schema.js';
import { renderSvg } from '../svg.js';
import { visibleText, visibleToken } from '../text.js';

const VERDICT: Readonly<Record<ExampleTrajectory['verdict'], string>> = { correct: '✓ correct', wrong: '✗ wrong', unknown: '? unknown' };

/** What the script gets of one trajectory; short names, rounded numbers: there may be tens of thousands of tokens. */
interface TokenData {
  /** Visible texts. */
  readonly t: readonly string[];
  /** Values, TD errors, log-probabilities, entropies. */
  readonly v: readonly number[];
  readonly d: readonly (number | null)[];
  readonly p: readonly (number | null)[];
  readonly h: readonly (number | null)[];
}

const rounded = <T extends number | null>(values: readonly T[]): T[] => values.map((value) => (value === null ? value : (Math.round(value * 1000) / 1000) as T));

function tokenData(example: ExampleTrajectory): TokenData {
  return { t: example.tokens.map(visibleToken), v: rounded(example.values), d: rounded(example.tdErrors), p: rounded(example.logProbabilities), h: rounded(example.entropies) };
}

/** |δ| that fills a bar: the 95th percentile over all examples, so that a few large errors leave the others visible. */
export function deltaScale(examples: readonly ExampleTrajectory[]): number {
  const sizes = examples.flatMap(({ tdErrors }) => tdErrors.filter((delta) => delta !== null).map(Math.abs)).sort((a, b) => a - b);
  return sizes[Math.min(sizes.length - 1, Math.floor(0.95 * sizes.length))] || 1;
}

async function trajectory(example: ExampleTrajectory, index: number, id: string): Promise<Html> {
  const own = `${id}-example-${index}`;
  const name = `${visibleText(example.problem)}, sample ${example.sample}`;
  const plot = await renderSvg(traceSpec(example.values, example.reward), {
    id: own,
    title: `Value along ${name}`,
    description: `V from ${significant(example.values[0])} at the start to ${significant(example.values.at(-1))} before the last token; reward ${significant(example.reward)}.`,
  });
  const area = `--left:${(100 * TRACE_AREA.left).toFixed(3)}%;--width:${(100 * TRACE_AREA.width).toFixed(3)}%`;
  return html`<article class="trajectory" data-example="${index}" data-name="${name}"${index === 0 ? null : html` hidden`}>
<p>Verdict: <strong>${VERDICT[example.verdict]}</strong>; reward ${example.reward === null ? NONE : significant(example.reward)}; right answer: <code>${visibleText(example.gold) || NONE}</code>; ${example.tokens.length} tokens.</p>
<p class="label">Prompt</p><pre class="prompt" tabindex="0" aria-label="Prompt">${visibleText(example.prompt)}</pre>
<div class="scroll"><div class="trace" style="${area}">${plot}</div></div>
<p class="label">Completion</p><div class="tokens" role="listbox" aria-orientation="horizontal" aria-label="Tokens of ${name}"></div>
<details class="token-numbers"><summary>The numbers of every token as a table</summary></details>
</article>`;
}

function legend(scale: number): Html {
  const swatches = [0, 0.25, 0.5, 0.75, 1].map((value) => html`<span class="t v${20 * value}">${value}</span>`);
  return html`<div class="legend"><span>Value V before the token: ${swatches}</span>
<span>δ, what the token changed: <span class="t up" style="--d:1">up</span> better than expected, <span class="t down" style="--d:1">down</span> worse; a full bar is |δ| ≥ ${significant(scale, 2)}</span>
<span>white space: · space, ⇥ tab, ↵ line break, ∅ empty; ⟨0xE2⟩ a byte that is no text by itself</span></div>`;
}

/** The section on example trajectories. */
export async function tokensSection(dataset: DatasetResult, id: string): Promise<Html> {
  const { examples } = dataset;
  if (examples.length === 0) {
    return html`<section id="${id}-tokens"><h3>Trajectories, token by token</h3><p>No example trajectories were stored.</p></section>`;
  }
  const articles = [];
  for (const [index, example] of examples.entries()) {
    articles.push(await trajectory(example, index, id));
  }
  const options = examples.map((example, i) => html`<option value="${i}">${visibleText(example.problem)}, sample ${example.sample}: ${VERDICT[example.verdict]}, ${example.tokens.length} tokens</option>`);
  const scale = deltaScale(examples);
  return html`<section id="${id}-tokens" class="token-view"><h3>Trajectories, token by token</h3>
<p>Held-out trajectories, chosen without regard to their values. The probe is that of layer ${bestLayer(dataset).layer}.</p>
<noscript><p class="bad">The token view is drawn by the script inside this file, which this browser does not run. Its numbers are in <code>study.json</code>.</p></noscript>
<p><label for="${id}-choose">Trajectory</label> <select id="${id}-choose">${options}</select></p>
${legend(scale)}
<p class="how"><strong>How to read this.</strong> Point at a token, or Tab to the completion and use the arrow keys (Home, End; Escape hides the note): V, δ, the token’s log-probability and the entropy of its distribution.
In the plot V is the line, ◆ the reward. A value that knows nothing keeps one colour from start to end, whatever the verdict; one that only counts tokens drifts the same way in right and wrong trajectories.</p>
${articles}
${jsonScript(`${id}-data`, { scale, examples: examples.map(tokenData) })}
</section>`;
}
