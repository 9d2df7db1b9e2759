/** Groups of neurons that are patched together: blocks, lists, and the best of a probed folder beside sets of matched magnitude. */
import { parseLayers } from '../model/sites.js';
import type { Site } from '../model/sites.js';
import { invalidArgument } from '../native/errors.js';
import type { NeuronGroup } from '../patch/cells.js';
import { measureMoments } from '../probe/data.js';
import type { RankingMethod } from '../rank/scores.js';
import { matchedNeurons, topNeurons } from '../rank/sets.js';
import { openProbed } from './probedFolder.js';
import { weightMethods } from './rank.js';

/** What `--groups` says. */
export type GroupSpec =
  | { readonly kind: 'blocks'; readonly size: number }
  | { readonly kind: 'top'; readonly counts: readonly number[] }
  | { readonly kind: 'lists'; readonly lists: readonly (readonly number[])[] };

/** Seed of the matched sets. */
const SEED = 1;

const unique = (numbers: readonly number[]): number[] => [...new Set(numbers)].sort((a, b) => a - b);

/**
 * Parses "blocks:16" (consecutive blocks of 16), "top:8,32" (the best 8 and 32 of a probed folder) or lists such as "3,17;20-31" (a group
 * each). Errors: INVALID_ARGUMENT naming `parameter`.
 */
export function parseGroups(text: string, parameter = 'groups'): GroupSpec {
  const refuse = (): never => {
    throw invalidArgument(parameter, '"blocks:16", "top:8,32" or lists such as "3,17;20-31"', text);
  };
  const [, kind, rest = ''] = /^(blocks|top):(.*)$/.exec(text) ?? [];
  if (kind !== undefined) {
    const counts = rest.split(',').map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : 0));
    if (counts.some((count) => count < 1) || (kind === 'blocks' && counts.length !== 1)) {
      refuse();
    }
    return kind === 'blocks' ? { kind, size: counts[0] as number } : { kind: 'top', counts: unique(counts) };
  }
  const lists = text.split(';').map((part) => parseLayers(part, parameter));
  return { kind: 'lists', lists: lists.map((list) => (list === 'all' || list.some((neuron) => neuron < 0) ? refuse() : unique(list))) };
}

/** Where groups are for. */
export interface GroupRequest {
  readonly spec: GroupSpec;
  readonly site: Site;
  readonly layers: readonly number[];
  /** Number of neurons of the site in a layer. */
  readonly width: (layer: number) => number;
  /** Folder with probes, for `top`. */
  readonly from?: string | undefined;
  readonly method?: RankingMethod;
  readonly signal?: AbortSignal | undefined;
}

/** Builds the groups of a map. Errors: INVALID_ARGUMENT for neurons that the site lacks, and for a folder of another site or other layers; IO. */
export async function neuronGroups(request: GroupRequest): Promise<NeuronGroup[]> {
  const { spec, layers, width } = request;
  if (spec.kind === 'top') {
    return topGroups(request, spec.counts);
  }
  const widest = Math.max(...layers.map(width));
  const lists =
    spec.kind === 'lists'
      ? spec.lists
      : Array.from({ length: Math.ceil(widest / spec.size) }, (_, b) => Array.from({ length: Math.min(spec.size, widest - b * spec.size) }, (__, i) => b * spec.size + i));
  return lists.map((list): NeuronGroup => {
    const neurons = Object.fromEntries(layers.map((layer) => {
      const wrong = list.find((neuron) => neuron >= width(layer));
      if (spec.kind === 'lists' && wrong !== undefined) {
        throw invalidArgument('groups', `neurons in 0..${width(layer) - 1} (${request.site}, layer ${layer})`, wrong);
      }
      return [layer, list.filter((neuron) => neuron < width(layer))];
    }));
    return { name: nameOf(list), neurons };
  });
}

/** "0–15", "3,17", "3,17,… (12)" */
function nameOf(list: readonly number[]): string {
  const [first, last] = [list[0] as number, list.at(-1) as number];
  if (list.length > 1 && last - first === list.length - 1) {
    return `${first}–${last}`;
  }
  return list.length <= 4 ? list.join(',') : `${list.slice(0, 3).join(',')},… (${list.length})`;
}

async function topGroups({ site, layers, from, method = 'l1-zscore', signal }: GroupRequest, counts: readonly number[]): Promise<NeuronGroup[]> {
  if (from === undefined) {
    throw invalidArgument('from', 'a folder with probes, for the best neurons', 'none');
  }
  await using folder = await openProbed(from);
  const { data, probes, split } = folder;
  if (data.site !== site || layers.some((layer) => !data.layers.includes(layer))) {
    throw invalidArgument('from', `a folder with probes of ${site}, layers ${layers.join(', ')}`, `${data.site}, layers ${data.layers.join(', ')}`);
  }
  const moments = await measureMoments(data, split.train, signal);
  const byLayer = layers.map((layer) => {
    const scores = weightMethods(probes, layer).get(method);
    const rms = moments[data.layers.indexOf(layer)]?.rms;
    if (scores === undefined || rms === undefined) {
      throw invalidArgument('ranking', `a ranking that the probes of '${from}' give (layer ${layer})`, method);
    }
    return { layer, scores, rms };
  });
  const group = (name: string, pick: (entry: (typeof byLayer)[number]) => readonly number[]): NeuronGroup => ({ name, neurons: Object.fromEntries(byLayer.map((entry) => [entry.layer, unique(pick(entry))])) });
  return counts.flatMap((count) => [
    group(`top ${count}`, ({ scores }) => topNeurons(scores, count)),
    group(`matched ${count}`, ({ layer, scores, rms }) => matchedNeurons(topNeurons(scores, count), rms, { seed: SEED + layer }).neurons),
  ]);
}
