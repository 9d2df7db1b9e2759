/** What is needed to make the numbers again. */
import { seconds } from '../format.js';
import type { Child, Html } from '../html.js';
import { html } from '../html.js';
import { pairs, table } from '../parts.js';
import type { Study } from '../schema.js';
import { visibleText } from '../text.js';
import { valueText } from './rollout.js';

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Nested records as rows of dotted names. */
export function flatten(record: Readonly<Record<string, unknown>>, prefix = ''): [string, Child][] {
  return Object.entries(record).flatMap(([key, value]): [string, Child][] => {
    const name = prefix + visibleText(key);
    return isRecord(value) ? flatten(value, `${name}.`) : [[name, html`<code>${valueText(value)}</code>`]];
  });
}

/** An argument as a POSIX shell wants it. */
export function shellQuote(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}

/** Command, manifest and times. */
export function provenanceSection(study: Study): Html {
  const total = study.durations.reduce((sum, { seconds: own }) => sum + own, 0);
  return html`<section id="provenance"><h2>Provenance</h2>
<p>The command that made this page:</p>
<pre class="scroll"><code>${visibleText(study.command.map(shellQuote).join(' '))}</code></pre>
<div class="pair">
${pairs('Manifest', [['format', `${study.format}, version ${study.version}`], ...flatten(study.manifest), ...study.datasets.map((dataset): [string, Child] => [`SHA-256 of ${visibleText(dataset.name)}`, html`<code>${dataset.sha256}</code>`])])}
${table({
  caption: 'Wall time per stage',
  head: ['stage', 'data set', 'time'],
  rows: [
    ...study.durations.map(({ stage, dataset, seconds: own, reused }) => [visibleText(stage), dataset === null ? '' : visibleText(dataset), reused ? 'taken from an earlier run' : seconds(own)]),
    [html`<strong>together</strong>`, '', seconds(total)],
  ],
  numbersFrom: 2,
})}
</div>
<p>Every number of this page, and more, is in <code>study.json</code> beside it.</p></section>`;
}
