/** The page of a study: one HTML file that needs nothing else. */
import type { Html } from './html.js';
import { html } from './html.js';
import { renderPage } from './page.js';
import type { DatasetResult, Study } from './schema.js';
import { ablationSection, noAblation } from './sections/ablation.js';
import { comparisonSection } from './sections/calibration.js';
import { extraSections, shownSections } from './sections/extra.js';
import { layersSection } from './sections/layers.js';
import { neuronsSection } from './sections/neurons.js';
import { overviewSection, selfTestSection } from './sections/overview.js';
import { provenanceSection } from './sections/provenance.js';
import { pruningSection } from './sections/pruning.js';
import { rolloutSection } from './sections/rollout.js';
import { transferSection } from './sections/transfer.js';
import { tokensSection } from './sections/tokens.js';
import { visibleText } from './text.js';

async function datasetSection(dataset: DatasetResult, index: number): Promise<Html> {
  const id = `d${index}`;
  return html`<section id="${id}"><h2>Data set: ${visibleText(dataset.name)}</h2>
${rolloutSection(dataset, id)}
${await layersSection(dataset, id)}
${await pruningSection(dataset, id)}
${await comparisonSection(dataset, id)}
${neuronsSection(dataset, id)}
${dataset.ablation === null ? noAblation(id, dataset.ablationNotes) : await ablationSection(dataset.ablation, id, dataset.ablationNotes)}
${await extraSections(dataset.sections, id)}
${await tokensSection(dataset, id)}
</section>`;
}

function contents(study: Study): Html {
  const parts = [['rollout', 'rollout'], ['auc', 'layers'], ['sparse', 'pruning'], ['baselines', 'baselines'], ['calibration', 'calibration'], ['neurons', 'neurons'], ['ablation', 'ablation']] as const;
  const sets = study.datasets.map(
    ({ name, sections }, i) => {
      const own = [...parts, ...shownSections(sections).map((section) => [section, section] as const), ['tokens', 'tokens'] as const];
      return html`<ul><li><a href="#d${i}"><strong>${visibleText(name)}</strong></a></li>${own.map(([id, text]) => html`<li><a href="#d${i}-${id}">${text}</a></li>`)}</ul>`;
    },
  );
  return html`<nav aria-label="Contents"><ul><li><a href="#findings">Findings</a></li><li><a href="#self-test">Self-test</a></li>${study.transfer === null ? null : html`<li><a href="#transfer">Transfer</a></li>`}<li><a href="#provenance">Provenance</a></li></ul>${sets}</nav>`;
}

/**
 * The report as one HTML file: no network, no other files, texts of models escaped. The same study gives the same bytes. Cost: 10 to 40 ms
 * per plot: 13 plots per data set, two per setting of its sweep, one per example trajectory, and those of its other sections.
 */
export async function renderReport(study: Study): Promise<string> {
  const datasets = [];
  for (const [index, dataset] of study.datasets.entries()) {
    datasets.push(await datasetSection(dataset, index));
  }
  const body = html`${overviewSection(study)}
${selfTestSection(study)}
${datasets}
${study.transfer === null ? null : await transferSection(study.transfer)}
${provenanceSection(study)}`;
  return renderPage({ title: visibleText(study.title), kind: 'study', contents: contents(study), body });
}
