/** What to read from the forward pass. */
import type { NativeCapture } from '../native/addon.js';
import { invalidArgument } from '../native/errors.js';
import type { Positions } from '../model/positions.js';
import { asPositions, toNativePositions } from '../model/positions.js';
import type { Layers, Site } from '../model/sites.js';
import { asSite, resolveLayers } from '../model/sites.js';

/** What to capture, the same for every sequence of a run. Rows are taken after the interventions at the same site. */
export interface CapturePlan {
  /** One site or several; default residPost. */
  readonly site?: Site | readonly Site[];
  /** Layers counted from 0 (negative from the end), or 'all'. */
  readonly layers: Layers;
  /** Default 'all'. Positions that are captured are never taken from a shared prefix. */
  readonly positions?: Positions;
  /** Only these coordinates; default: the whole width. */
  readonly neurons?: readonly number[] | Int32Array;
}

/** One (site, layer) of a plan, in storage order. */
export interface CaptureBlock {
  site: Site;
  layer: number;
  /** "<site>.<layer>", the tensor's name in capture files. */
  name: string;
}

/** The blocks of a plan: sites in the plan's order, layers ascending. Errors: INVALID_ARGUMENT. */
export function captureBlocks(plan: CapturePlan, layerCount: number): CaptureBlock[] {
  const sites = plan.site === undefined ? ['residPost'] : typeof plan.site === 'string' ? [plan.site] : plan.site;
  if (sites.length === 0) {
    throw invalidArgument('capture.site', 'at least one site', sites);
  }
  const layers = resolveLayers(plan.layers, layerCount, 'capture.layers');
  return [...new Set(sites)].flatMap((value) => {
    const site = asSite(value, 'capture.site');
    const own = site === 'logits' ? [layerCount - 1] : layers; // there is only one, whatever layers the other sites have
    return own.map((layer) => ({ site, layer, name: `${site}.${layer}` }));
  });
}

/** The addon's form of a plan. */
export function compileCapture(plan: CapturePlan, layerCount: number, halfPrecision: boolean): NativeCapture {
  const neurons = plan.neurons === undefined ? undefined : Int32Array.from(plan.neurons);
  if (neurons?.length === 0) {
    throw invalidArgument('capture.neurons', 'at least one neuron (leave it out for the whole width)', plan.neurons);
  }
  const positions = asPositions(plan.positions ?? 'all', 'capture.positions', { allowLast: true });
  return {
    sites: captureBlocks(plan, layerCount).map(({ site, layer }) => ({ site, layer })),
    positions: toNativePositions(positions),
    ...(neurons === undefined ? {} : { neurons }),
    halfPrecision,
  };
}
