/** The sections of a data set that are switched on by name, in their order; those that could not be made say why. */
import type { Html } from '../html.js';
import { html } from '../html.js';
import type { SectionName, Sections } from '../sectionsSchema.js';
import { SECTIONS } from '../sectionsSchema.js';
import { visibleText } from '../text.js';
import { confidenceSection } from './confidence.js';
import { dopamineSection } from './dopamine.js';
import { interplaySection } from './interplay.js';
import { searchSection } from './search.js';
import { valuesSection } from './values.js';

/** Names of sections that a data set has, or has a reason not to have. */
export function shownSections(sections: Sections): SectionName[] {
  return SECTIONS.filter((name) => sections[name] !== null || sections.notes[name] !== undefined);
}

async function sectionOf(name: SectionName, sections: Sections, id: string): Promise<Html> {
  const notes = sections.notes[name] ?? [];
  const { values, dopamine, interplay, confidence, search } = sections;
  if (name === 'values' && values !== null) {
    return valuesSection(values, id, notes);
  }
  if (name === 'dopamine' && dopamine !== null) {
    return dopamineSection(dopamine, id, notes);
  }
  if (name === 'interplay' && interplay !== null) {
    return interplaySection(interplay, id, notes);
  }
  if (name === 'confidence' && confidence !== null) {
    return confidenceSection(confidence, id, notes);
  }
  if (name === 'search' && search !== null) {
    return searchSection(search, id, notes);
  }
  return html`<section id="${id}-${name}"><h3>${name.replace(/^./, (letter) => letter.toUpperCase())}: left out</h3>
<p>${notes.map(visibleText).join(' ')}</p></section>`;
}

/** All of them. Cost: that of their plots. */
export async function extraSections(sections: Sections, id: string): Promise<Html[]> {
  const out = [];
  for (const name of shownSections(sections)) {
    out.push(await sectionOf(name, sections, id));
  }
  return out;
}
