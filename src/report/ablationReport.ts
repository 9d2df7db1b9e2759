/** The page of one ablation sweep. */
import type { Ablation } from './ablationSchema.js';
import { html } from './html.js';
import { renderPage, writePage } from './page.js';
import { pairs } from './parts.js';
import { ablationSection } from './sections/ablation.js';
import { flatten } from './sections/provenance.js';
import { visibleText } from './text.js';

/** The report of a sweep as one HTML file: no network, no other files. Equal sweeps give equal bytes. Cost: 20 to 80 ms per setting. */
export async function renderAblationReport(ablation: Ablation): Promise<string> {
  const { dataset, models } = ablation;
  const section = await ablationSection(ablation, 'sweep', ablation.notes);
  const body = html`<section><h2>Data set: ${visibleText(dataset.name)}</h2>
${section}</section>
<section id="provenance"><h2>Provenance</h2>
<div class="pair">${pairs('Sweep', [['format', `${ablation.format}, version ${ablation.version}`], ['data set', visibleText(dataset.source)], ['SHA-256 of the problems', html`<code>${dataset.sha256}</code>`], ...flatten(ablation.grid, 'grid.')])}
${models.map((model) => pairs(`Manifest of ${visibleText(model.name)}`, flatten(model.manifest)))}</div>
<p>Every number of this page, and more, is in <code>ablate.json</code> beside it.</p></section>`;
  return renderPage({
    title: `Ablation of ${models.map(({ name }) => visibleText(name)).join(', ')} on ${visibleText(dataset.name)}`,
    kind: 'ablation',
    contents: html`<nav aria-label="Contents"><ul><li><a href="#sweep-ablation">Ablation</a></li><li><a href="#provenance">Provenance</a></li></ul></nav>`,
    body,
  });
}

/** Writes the page of a sweep to `path`. Errors: IO. */
export async function writeAblationReport(ablation: Ablation, path: string): Promise<void> {
  await writePage(path, await renderAblationReport(ablation));
}
