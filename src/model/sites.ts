/** The site catalogue: places in a transformer block that can be read and edited, and where a model has them. */
import type { NativeSite, NativeSiteName } from '../native/addon.js';
import { invalidArgument } from '../native/errors.js';

/** A place in a transformer block, named as in TransformerLens. */
export type Site = NativeSiteName;

/** All sites in the order in which a block computes them, with what they hold. */
export const SITES: Readonly<Record<Site, string>> = {
  residPre: 'residual stream entering the block [dModel]',
  attnOut: 'what attention adds to the stream [dModel]',
  residMid: 'stream after attention, before the MLP [dModel]',
  mlpPost: 'MLP hidden units after the activation, the input of the down projection [dFf]',
  mlpOut: 'what the MLP adds to the stream [dModel]',
  residPost: 'residual stream leaving the block, before any final norm [dModel]',
  logits: "the model's output, after any soft cap; belongs to the last layer [vocabulary]",
};

/** Names of all sites. */
export const SITE_NAMES = Object.keys(SITES) as Site[];

/** One site of one layer of a model. */
export type SiteInfo = NativeSite;

/** The addon's list, layer by layer and within a layer in the order in which a block computes its sites. */
export function inComputationOrder(sites: readonly NativeSite[]): SiteInfo[] {
  const place = (site: NativeSite): number => site.layer * SITE_NAMES.length + SITE_NAMES.indexOf(site.site);
  return [...sites].sort((a, b) => place(a) - place(b));
}

/** Checks a site name; throws INVALID_ARGUMENT naming `parameter`. */
export function asSite(value: unknown, parameter = 'site'): Site {
  if (typeof value === 'string' && Object.hasOwn(SITES, value)) {
    return value as Site;
  }
  throw invalidArgument(parameter, `one of ${SITE_NAMES.join(', ')}`, value);
}

/** Layers of a model: every one, or a list. */
export type Layers = 'all' | readonly number[];

/**
 * Layer numbers as a sorted list without repetitions. Errors: INVALID_ARGUMENT for a layer that the model does not have
 * (layers count from 0 as in GGUF `blk.<il>`; negative ones count from the end).
 */
export function resolveLayers(layers: Layers, layerCount: number, parameter = 'layers'): number[] {
  if (layers === 'all') {
    return Array.from({ length: layerCount }, (_, layer) => layer);
  }
  if (!Array.isArray(layers) || layers.length === 0) {
    throw invalidArgument(parameter, "'all' or a list of at least one layer", layers);
  }
  const resolved = (layers as readonly number[]).map((layer) => {
    const index = layer < 0 ? layerCount + layer : layer;
    if (!Number.isInteger(layer) || index < 0 || index >= layerCount) {
      throw invalidArgument(parameter, `integers in ${-layerCount}..${layerCount - 1}`, layer);
    }
    return index;
  });
  return [...new Set(resolved)].sort((a, b) => a - b);
}

/** No model has more; a longer range is a slip, and expanding it could exhaust memory. */
const MOST_LAYERS = 65_536;

/** Parses the command-line form of layers: "all", or comma separated numbers and ranges, e.g. "0,3-5". */
export function parseLayers(text: string, parameter = 'layers'): Layers {
  if (text === 'all') {
    return 'all';
  }
  const out: number[] = [];
  for (const part of text.split(',')) {
    const match = /^\s*(-?\d+)(?:-(\d+))?\s*$/.exec(part);
    if (match === null) {
      throw invalidArgument(parameter, '"all" or numbers and ranges such as "0,3-5"', text);
    }
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    if (last < first) {
      throw invalidArgument(parameter, 'ranges that go upwards', part);
    }
    if (last - first >= MOST_LAYERS) {
      throw invalidArgument(parameter, `ranges of at most ${MOST_LAYERS} layers`, part);
    }
    for (let layer = first; layer <= last; layer++) {
      out.push(layer);
    }
  }
  return out;
}
