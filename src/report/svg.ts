/** Renders Vega-Lite specifications to SVG text for the page, in Node, without a browser. */
import type { TopLevelSpec } from 'vega-lite';
import { Html, escapeHtml } from './html.js';

/** Attributes that say nothing inside a `role="img"`, or would meet the page's styles. */
const NOISE = / (?:class|role|aria-[a-z]+|pointer-events|xmlns:xlink|version)="[^"]*"/g;
/** Groups' outlines and labels that are drawn invisibly. */
const INVISIBLE = /<path(?: [a-z-]+="[^"]*")* display="none"(?: [a-z-]+="[^"]*")*\/>|<path d="M0,0h0v0h0Z"[^>]*\/>|<text(?: [a-z-]+="[^"]*")* opacity="0"[^>]*>[^<]*<\/text>/g;

function tidyTag(tag: string): string {
  return tag.replace(NOISE, '').replace(/ (?:stroke-)?opacity="1"/g, '').replace(/-?\d+\.\d\d+/g, (number) => String(Number(Number(number).toFixed(1))));
}

/** Vega numbers clip paths and gradients over the whole process; here they count from 0 in each plot, so that bytes repeat and ids are unique. */
function renameIds(svg: string, id: string): string {
  const names = new Map<string, string>();
  for (const [, name] of svg.matchAll(/<[a-zA-Z]+ id="([^"]+)"/g)) {
    names.set(name as string, `${id}-${names.size}`);
  }
  return svg.replace(/id="([^"]+)"|url\(#([^)]+)\)/g, (whole, defined?: string, used?: string) =>
    defined === undefined ? `url(#${names.get(used ?? '') ?? used ?? ''})` : whole.replace(defined, names.get(defined) ?? defined),
  );
}

/** Gives the rectangles of a heat map their texts, which browsers show under the pointer; there are as many, in the order of the data. */
function addHover(svg: string, texts: readonly string[]): string {
  return svg.replace(/(<g class="mark-rect role-mark[^>]*>)((?:<path [^>]*\/>)+)/, (_, open: string, paths: string) => {
    let next = 0;
    return open + paths.replace(/<path ([^>]*)\/>/g, (__, attributes: string) => `<path ${attributes}><title>${escapeHtml(texts[next++] ?? '')}</title></path>`);
  });
}

/**
 * One plot as inline SVG with `role="img"`, a title and a description. `id` must be unique in the page; `hover`: texts
 * of the cells of a heat map, in the order of its data. The same
 * specification gives the same bytes. Cost: 10 to 40 ms.
 */
export async function renderSvg(spec: TopLevelSpec, labels: { id: string; title: string; description: string; hover?: readonly string[] }): Promise<Html> {
  // Loaded here: the packages are large, and most commands draw nothing.
  const vega = await import('vega');
  const { compile } = await import('vega-lite');
  const logger = vega.logger(vega.Error); // advice about specifications is for whoever writes them
  const view = new vega.View(vega.parse(compile(spec, { logger }).spec), { renderer: 'none', logger });
  const drawn = await view.toSVG();
  const raw = labels.hover === undefined ? drawn : addHover(drawn, labels.hover);
  view.finalize();
  const { id, title, description } = labels;
  const body = renameIds(raw.replace(/<[^>]+>/g, tidyTag).replace(INVISIBLE, '').replace(/<g[^>]*><\/g>/g, ''), id);
  const head = `<title id="${id}-title">${escapeHtml(title)}</title><desc id="${id}-desc">${escapeHtml(description)}</desc>`;
  return new Html(
    body.replace(/^<svg([^>]*)>/, (_, attributes: string) => {
      const viewBox = /viewBox="[^"]*"/.exec(attributes)?.[0] ?? '';
      return `<svg ${viewBox} role="img" aria-labelledby="${id}-title ${id}-desc">${head}`;
    }),
  );
}
