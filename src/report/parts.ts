/** Building blocks of the page: tables, figures, and panels to choose from. */
import type { Child } from './html.js';
import { Html, html } from './html.js';
import type { Place } from './schema.js';
import { PLACES } from './schema.js';

/** A cell: its content, and the number to sort by where the content is none. */
export interface Cell {
  readonly content: Child;
  readonly sort?: number | null | undefined;
}

/** A table; the first column names the rows. */
export interface Table {
  readonly caption: Child;
  readonly head: readonly Child[];
  readonly rows: readonly (readonly (Cell | string | number | Html)[])[];
  /** Columns from this one on are numbers and stand right, default 1. */
  readonly numbersFrom?: number;
  /** Buttons in the head sort the rows. */
  readonly sortable?: boolean;
}

const asCell = (cell: Cell | string | number | Html): Cell => (typeof cell === 'object' && 'content' in cell ? cell : { content: cell });

/** A table with caption and scopes, in a box that scrolls sideways when it must. */
export function table({ caption, head, rows, numbersFrom = 1, sortable = false }: Table): Html {
  const kind = (column: number): Html => new Html(column >= numbersFrom ? ' class="n"' : '');
  const body = rows.map((row) => {
    const cells = row.map((raw, column) => {
      const { content, sort } = asCell(raw);
      const key = new Html(sortable && sort !== undefined && sort !== null ? ` data-sort="${sort}"` : '');
      return column === 0 ? html`<th scope="row"${key}>${content}</th>` : html`<td${kind(column)}${key}>${content}</td>`;
    });
    return html`<tr>${cells}</tr>\n`;
  });
  const titles = head.map((title, column) => html`<th scope="col"${kind(column)}>${title}</th>`);
  return html`<div class="scroll"><table${new Html(sortable ? ' class="sortable"' : '')}><caption>${caption}</caption><thead><tr>${titles}</tr></thead><tbody>
${body}</tbody></table></div>`;
}

/** A table of names and values. */
export function pairs(caption: Child, rows: readonly (readonly [string, Child])[]): Html {
  const body = rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>\n`);
  return html`<div class="scroll"><table class="pairs"><caption>${caption}</caption><tbody>
${body}</tbody></table></div>`;
}

/** A plot with its caption: what is shown, a note or how to read it, and the same numbers as a table. `wide`: for plots of more than 520 pixels. */
export function figure(parts: { title: string; plot: Html; how?: Child; note?: Child; numbers: Html; wide?: boolean }): Html {
  return html`<figure>
<figcaption>${parts.title}</figcaption>
<div class="scroll plot${parts.wide === true ? ' wide' : ''}">${parts.plot}</div>
${parts.how === undefined ? null : html`<p class="how"><strong>How to read this.</strong> ${parts.how}</p>`}
${parts.note === undefined ? null : html`<p class="how">${parts.note}</p>`}
<details><summary>The same numbers as a table</summary>${parts.numbers}</details>
</figure>`;
}

/** Panels of which one is shown, chosen by radio buttons: works without scripts, by keyboard, and prints all. */
export function panels(id: string, legend: string, options: readonly { label: string; content: Html }[], chosen: number): Html {
  const inputs = options.map(
    ({ label }, i) => html`<input type="radio" name="${id}" id="${id}-${i}"${new Html(i === chosen ? ' checked' : '')}><label for="${id}-${i}">${label}</label><wbr>`,
  );
  return html`<fieldset class="panels"><legend>${legend}</legend>${inputs}
<div class="panes">${options.map(({ label, content }) => html`<div><p class="pane-name">${label}</p>${content}</div>\n`)}</div></fieldset>`;
}

const PLACE_LABELS: Readonly<Record<Place, string>> = { s0: 'before the first token (s₀)', middle: 'middle', last: 'last token' };

/** One panel per place; the middle is shown first. */
export async function placePanels(id: string, make: (place: Place, id: string) => Promise<Html>): Promise<Html> {
  const options = [];
  for (const place of PLACES) {
    options.push({ label: PLACE_LABELS[place], content: await make(place, `${id}-${place}`) });
  }
  return panels(id, 'Place in the trajectory', options, 1);
}
