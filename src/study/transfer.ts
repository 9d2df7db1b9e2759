/** How stable value neurons are: overlap of their sets, and probes of one folder on the states of another. */
import { z } from 'zod';
import { throwIfAborted } from '../native/errors.js';
import type { ByPlace } from '../probe/places.js';
import { PLACES, byPlace } from '../probe/places.js';
import type { TrainedProbe } from '../probe/train.js';
import { overlap } from '../rank/overlap.js';
import type { CrossAuc, LayerOverlap, PairOverlap, Transfer } from '../report/transferSchema.js';
import { TRANSFER_FORMAT, TRANSFER_VERSION } from '../report/transferSchema.js';
import { aucDifference, aucEstimate } from '../stats/auc.js';
import type { Estimate, Numbers } from '../stats/estimate.js';
import { mean } from '../stats/moments.js';
import { packageVersion } from '../util/version.js';
import { jobGroups } from './analyse.js';
import { shownPlaces } from './evaluate.js';
import type { WorkOptions } from './options.js';
import type { ProbeValues } from './predict.js';
import { predictPlaces } from './predict.js';
import type { TransferSettings, TransferSource } from './transferFolder.js';
import { between, checkSettings } from './settingsCheck.js';
import { expandStudies, openSource, requireDistinct, sharedLayers, shortNames, whyNot } from './transferFolder.js';

/** Default of the settings. */
export const TRANSFER_DEFAULTS: TransferSettings = { shares: [0.01, 0.05], method: 'l1-zscore', excludeSinks: false, place: 'middle' };

/**
 * Compares probed rollout folders (a study's folder stands for its data sets) two by two, where site, width and layers agree.
 * Errors: IO; INVALID_ARGUMENT for fewer than two different folders; ABORTED. Cost: reads the training states of every
 * folder once, and its held-out states once for all probes that fit in half of the free memory together.
 */
export async function runTransfer(directories: readonly string[], settings: TransferSettings, work: WorkOptions): Promise<Transfer> {
  checkSettings(z.object({ shares: z.array(between(0, 1)) }), settings);
  const folders = await expandStudies(directories);
  requireDistinct(folders);
  const sources: TransferSource[] = [];
  try {
    for (const [i, directory] of folders.entries()) {
      work.onProgress?.('reading folders', i / folders.length, directory);
      sources.push(await openSource(directory, settings, work));
    }
    return await compare(sources, settings, work);
  } finally {
    await Promise.all(sources.map(({ folder }) => folder[Symbol.asyncDispose]()));
  }
}

async function compare(sources: readonly TransferSource[], settings: TransferSettings, work: WorkOptions): Promise<Transfer> {
  const facts = sources.map((source) => source.facts);
  const names = shortNames(facts);
  const pairs = sources.flatMap((_, a) => sources.slice(a + 1).map((__, k) => ({ a, b: a + 1 + k })));
  const why = (a: number, b: number): string | undefined => whyNot(facts[a] as (typeof facts)[number], facts[b] as (typeof facts)[number]);
  const usable = pairs.filter(({ a, b }) => why(a, b) === undefined);
  const overlaps = usable.flatMap(({ a, b }) => settings.shares.map((share) => pairOverlap(sources, { a, b, share })));
  const auc: CrossAuc[] = [];
  for (const to of sources.keys()) {
    throwIfAborted('comparing folders', work.signal);
    work.onProgress?.('probes on other states', to / sources.length, names[to] ?? '');
    const from = [...sources.keys()].filter((i) => i === to || why(i, to) === undefined);
    auc.push(...(await crossAucs(sources, from, to, work)));
  }
  const result = {
    format: TRANSFER_FORMAT,
    version: TRANSFER_VERSION,
    rewardlens: packageVersion(),
    ranking: settings.method,
    excludeSinks: settings.excludeSinks,
    place: settings.place,
    folders: facts.map((entry, i) => ({ ...entry, name: names[i] as string })),
    overlaps,
    auc,
    incompatible: pairs.flatMap(({ a, b }) => {
      const reason = why(a, b);
      return reason === undefined ? [] : [{ a, b, reason }];
    }),
  } as const;
  return { ...result, findings: transferFindings(result) };
}

function pairOverlap(sources: readonly TransferSource[], { a, b, share }: { a: number; b: number; share: number }): PairOverlap {
  const [first, second] = [sources[a] as TransferSource, sources[b] as TransferSource];
  const count = Math.max(1, Math.round(share * first.facts.width));
  const layers = sharedLayers(first.facts, second.facts).map((layer): LayerOverlap => {
    const [i, j] = [first.facts.layers.indexOf(layer), second.facts.layers.indexOf(layer)];
    const exclude = [...(first.excluded[i] ?? []), ...(second.excluded[j] ?? [])];
    const usable = (neurons: number[]): number[] => neurons.filter((neuron) => !exclude.includes(neuron));
    return { layer, ...overlap(usable(first.top(layer, count)), usable(second.top(layer, count)), first.moments[i]?.rms ?? [], second.moments[j]?.rms ?? [], exclude) };
  });
  const corrected = (pick: (entry: LayerOverlap) => number): number => Math.min(1, layers.length * Math.min(...layers.map(pick)));
  return {
    a,
    b,
    share,
    count,
    layers,
    iou: mean(layers.map(({ iou }) => iou)),
    expectedIou: mean(layers.map(({ expected }) => expected / (2 * count - expected))),
    p: corrected(({ p }) => p),
    pMatched: corrected(({ pMatched }) => pMatched),
    leastMatched: corrected(({ leastMatched }) => leastMatched),
  };
}

const NOTHING = (n: number): Estimate => ({ value: null, low: null, high: null, n });

/** Probes of `from` on the held-out trajectories of `to`. */
async function crossAucs(sources: readonly TransferSource[], from: readonly number[], to: number, work: WorkOptions): Promise<CrossAuc[]> {
  const target = sources[to] as TransferSource;
  const { data, split, store } = target.folder;
  const shown = shownPlaces(store);
  const jobs = from.flatMap((i) => {
    const source = sources[i] as TransferSource;
    return sharedLayers(source.facts, target.facts).map((layer) => ({ from: i, layer, probe: source.probes[source.facts.layers.indexOf(layer)] as TransferSource['probes'][number] }));
  });
  const values: ProbeValues[] = [];
  for (const group of jobGroups(jobs.map(({ probe }) => probe), data.width)) {
    values.push(...(await predictPlaces(data, group as TrainedProbe[], split.test, work)));
  }
  const valuesOf = (i: number, layer: number): ProbeValues => values[jobs.findIndex((job) => job.from === i && job.layer === layer)] as ProbeValues;
  return from.map((i): CrossAuc => {
    const kept = unseen(sources[i] as TransferSource, target);
    const rewards = kept.map((k) => data.rewards[split.test[k] as number] as number);
    const problems = kept.map((k) => data.problems[split.test[k] as number] as string);
    const pick = (own: Numbers): Float32Array => Float32Array.from(kept, (k) => own[k] as number);
    const at = (make: (place: keyof ByPlace<unknown>) => Estimate): ByPlace<Estimate> => byPlace((place) => (shown.includes(place) ? make(place) : NOTHING(kept.length)));
    return {
      from: i,
      to,
      trajectories: kept.length,
      problems: new Set(problems).size,
      excluded: split.test.length - kept.length,
      layers: jobs.filter((job) => job.from === i).map(({ layer }) => ({
        layer,
        auc: at((place) => aucEstimate(pick(valuesOf(i, layer).places[place]), rewards, problems)),
        difference: i === to ? null : at((place) => aucDifference(pick(valuesOf(to, layer).places[place]), pick(valuesOf(i, layer).places[place]), rewards, problems)),
      })),
    };
  });
}

/** Held-out trajectories of `target` (indices into its test part) on whose problems `source` was not trained. */
function unseen(source: TransferSource, target: TransferSource): number[] {
  const { data, split } = source.folder;
  const trained = new Set([...split.train, ...split.validation].map((i) => data.problems[i]));
  return [...target.folder.split.test.keys()].filter((k) => !trained.has(target.folder.data.problems[target.folder.split.test[k] as number]));
}

const figure = (value: number | null): string => (value === null ? 'not known' : value.toFixed(3));

/** What the numbers say, pair by pair. */
export function transferFindings({ folders, overlaps, auc, place }: Omit<Transfer, 'findings'>): string[] {
  const name = (i: number): string => folders[i]?.name ?? '';
  const significant = (p: number): boolean => p <= 0.05;
  const sets = overlaps.map(({ a, b, share, count, iou, expectedIou, p, pMatched, leastMatched }) => {
    const matched = significant(leastMatched) ? 'but not beyond their magnitudes' : 'too few neurons to tell from their magnitudes';
    const verdict = significant(pMatched) ? 'beyond chance and beyond their magnitudes' : significant(p) ? `beyond chance, ${matched}` : 'not beyond chance';
    return `${name(a)} and ${name(b)}, top ${Number((100 * share).toPrecision(3))} % (${count}): IoU ${iou.toFixed(3)} on average over layers (chance ${expectedIou.toFixed(3)}), ${verdict} (p ${p.toPrecision(2)}, matched ${pMatched.toPrecision(2)}).`;
  });
  const probes = auc.filter(({ from, to }) => from !== to).map(({ from, to, layers, trajectories }) => {
    const best = layers.find(({ layer }) => layer === folders[from]?.bestLayer) ?? layers[0];
    const own = best?.auc[place];
    const difference = best?.difference?.[place];
    if (own?.value === null || own === undefined) {
      return `The probe of ${name(from)} cannot be judged on ${name(to)} (${trajectories} trajectories).`;
    }
    if (own.low === null || own.high === null) {
      return `The probe of ${name(from)} (layer ${best?.layer}) on ${name(to)}: AUC ${figure(own.value)}, on too few problems for an interval (${trajectories} trajectories).`;
    }
    const level = own.low > 0.5 ? 'above chance' : own.high < 0.5 ? 'below chance' : 'not distinguishable from chance';
    const against = (difference?.low ?? -1) > 0 ? 'worse than its own probe' : (difference?.high ?? 1) < 0 ? 'better than its own probe' : 'not distinguishable from its own probe';
    return `The probe of ${name(from)} (layer ${best?.layer}) on ${name(to)}: AUC ${figure(own.value)} [${figure(own.low)}, ${figure(own.high)}], ${level}, ${against}.`;
  });
  return [...sets, ...probes];
}

/** Places that can be asked for. */
export const TRANSFER_PLACES = PLACES;
