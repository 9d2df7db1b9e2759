/** HTML text that cannot be forgotten to escape. */

/** HTML as it goes into the page; everything else that a template gets is escaped. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What may stand in a template: text (escaped), HTML, lists of both; null and undefined leave nothing. */
export type Child = string | number | Html | null | undefined | readonly Child[];

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Text for an element's content or a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] as string);
}

function render(child: Child): string {
  if (child === null || child === undefined) {
    return '';
  }
  if (child instanceof Html) {
    return child.text;
  }
  return typeof child === 'string' || typeof child === 'number' ? escapeHtml(String(child)) : child.map(render).join('');
}

/** Template tag: html`<b title="${text}">${text}</b>`. Values belong into content or quoted attributes, nowhere else. */
export function html(parts: TemplateStringsArray, ...children: readonly Child[]): Html {
  return new Html(parts.reduce((out, part, i) => out + render(children[i - 1]) + part));
}

/** JSON for a `<script type="application/json">`: no character in it can end the element or open a comment. */
export function jsonScript(id: string, value: unknown): Html {
  const json = JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return new Html(`<script type="application/json" id="${escapeHtml(id)}">${json}</script>`);
}
