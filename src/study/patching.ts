/** Activation patching from pairs to `patch.json`. */
import { join } from 'node:path';
import type { Session, SessionOptions } from '../model/session.js';
import type { Site } from '../model/sites.js';
import { buildInfo, native } from '../native/addon.js';
import { invalidArgument } from '../native/errors.js';
import { columnsOf, writeParquet } from '../export/parquet.js';
import type { NeuronGroup, PatchMap } from '../patch/cells.js';
import { columnCount, firstDifference, positionOffsets } from '../patch/cells.js';
import type { PatchMetric, PatchMode } from '../patch/metrics.js';
import type { PatchPair, ResolvedPairs } from '../patch/pairs.js';
import type { PatchRunOptions, PatchRunResult } from '../patch/run.js';
import { runPatches } from '../patch/run.js';
import type { PatchMapResult, Patching } from '../report/patchSchema.js';
import { PATCH_FORMAT, PATCH_VERSION } from '../report/patchSchema.js';
import { writeJson } from '../rollout/folder.js';
import { createManifest, hashFiles } from '../run/manifest.js';
import { mulberry32 } from '../util/random.js';
import { patchFindings } from './patchFindings.js';
import { summariseMaps } from './patchMaps.js';

/** Files in the output folder. */
export const PATCH_FILES = { json: 'patch.json', table: 'patch.parquet', report: 'report.html' } as const;

/** Which maps to make. */
export interface PatchPlan {
  readonly modes: readonly PatchMode[];
  readonly sites: readonly Site[];
  readonly layers: readonly number[];
  /** Columns of position maps; undefined: none. 'all': every position. */
  readonly offsets: 'all' | readonly number[] | undefined;
  /** Groups by site, for group maps. */
  readonly groups?: ReadonlyMap<Site, readonly NeuronGroup[]> | undefined;
  readonly groupPositions: 'all' | 'last';
  /** The metric of the summary; default logit-diff where every pair has a wrong answer, else probability. */
  readonly metric?: PatchMetric | undefined;
  /** Patch another pair's activations too. Needs two pairs. */
  readonly control: boolean;
  readonly seed: number;
}

/** The maps of a plan, position maps first. Errors: INVALID_ARGUMENT for a position that no prompt has. */
export function planMaps(plan: PatchPlan, pairs: readonly PatchPair[]): PatchMap[] {
  const { modes, sites, layers, offsets, groups, groupPositions } = plan;
  const each = modes.flatMap((mode) => sites.map((site) => ({ mode, site, layers })));
  const columns = offsets === 'all' ? positionOffsets(pairs) : offsets;
  const longest = Math.max(...pairs.map(({ clean }) => clean.length));
  const outside = columns?.find((offset) => offset >= longest || offset < -longest);
  if (outside !== undefined) {
    throw invalidArgument('positions', `positions that a prompt has (${-longest}..${longest - 1})`, outside);
  }
  return [
    ...(columns === undefined ? [] : each.map((base): PatchMap => ({ ...base, kind: 'positions', offsets: columns }))),
    ...each.flatMap((base): PatchMap[] => {
      const own = groups?.get(base.site);
      return own === undefined ? [] : [{ ...base, kind: 'groups', groups: own, positions: groupPositions }];
    }),
  ];
}

/** Cells of a plan over all pairs, controls included: an upper bound of the passes. */
export function countCells(plan: PatchPlan, pairs: readonly PatchPair[]): number {
  const perPair = planMaps(plan, pairs).reduce((sum, map) => sum + map.layers.length * columnCount(map), 0);
  return perPair * pairs.length * (plan.control && pairs.length > 1 ? 2 : 1);
}

/**
 * For every pair another one whose activations are its control: pairs in random order, then by number of tokens, each gets the next one's
 * (a derangement), so that lengths are as alike as can be.
 */
export function controlPairs(pairs: readonly PatchPair[], seed: number): number[] {
  const random = mulberry32(seed);
  const order = pairs.map((pair, p) => ({ p, length: pair.clean.length, at: random() })).sort((a, b) => a.length - b.length || a.at - b.at);
  const controls = new Array<number>(pairs.length);
  order.forEach(({ p }, i) => (controls[p] = order[(i + 1) % order.length]?.p as number));
  return controls;
}

function headline(metric: PatchMetric | undefined, pairs: readonly PatchPair[]): PatchMetric {
  const answered = pairs.every(({ wrong }) => wrong !== undefined);
  if (metric === 'logit-diff' && pairs.every(({ wrong }) => wrong === undefined)) {
    throw invalidArgument('metric', 'probability or kl: no pair has a wrong answer to take a difference to', metric);
  }
  return metric ?? (answered ? 'logit-diff' : 'probability');
}

/**
 * Runs the plan and writes `patch.json` and `patch.parquet` into the folder; the ledger is there too. `source`: where the pairs are from;
 * `session`: the options that the session was made with, as they change numbers. Errors: those of {@link runPatches}; IO.
 */
export async function runPatching(
  session: Session,
  resolved: ResolvedPairs,
  plan: PatchPlan,
  options: Pick<PatchRunOptions, 'directory' | 'signal' | 'onProgress'> & { source: string; session: SessionOptions },
): Promise<Patching> {
  const { pairs } = resolved;
  const metric = headline(plan.metric, pairs);
  const maps = planMaps(plan, pairs);
  const controls = plan.control && pairs.length > 1 ? controlPairs(pairs, plan.seed) : undefined;
  const { model } = session;
  const { flashAttention, cacheTypeK, cacheTypeV } = options.session;
  const sha256 = await hashFiles(model.files, options.signal);
  const result = await runPatches(session, {
    ...options,
    pairs,
    maps,
    controls,
    inputs: { model: sha256, llamaCpp: buildInfo().llamaRelease, devices: native().devices().map(({ name }) => name), flashAttention, cacheTypeK, cacheTypeV },
  });
  const manifest = await createManifest(session, { hashModel: false });
  const piece = (token: number): string => model.tokenPiece(token).toString('utf8');
  const patching: Patching = {
    format: PATCH_FORMAT,
    version: PATCH_VERSION,
    manifest: { ...manifest, model: { ...manifest.model, sha256 }, plan: { ...plan, groups: undefined }, controlled: controls !== undefined },
    source: options.source,
    metric,
    pairs: describePairs(resolved, result, controls, piece),
    skipped: resolved.skipped.map((line) => ({ ...line })),
    notes: [...resolved.notes],
    maps: await summariseMaps(maps, pairs, result, { piece, signal: options.signal }),
    findings: [],
    sweep: { made: result.made, found: result.found, copied: result.copied, seconds: result.seconds, run: { ...result.run } },
  };
  patching.findings = patchFindings(patching);
  await writeJson(join(options.directory, PATCH_FILES.json), patching);
  await writeTable(join(options.directory, PATCH_FILES.table), patching.maps);
  return patching;
}

function describePairs({ pairs, raw }: ResolvedPairs, { base }: PatchRunResult, controls: readonly number[] | undefined, piece: (token: number) => string): Patching['pairs'] {
  return pairs.map((pair, p) => {
    const { id, clean, corrupted, answer, wrong } = raw[p] as ResolvedPairs['raw'][number];
    const sides = base[p] as Patching['pairs'][number]['base'];
    const other = controls?.[p];
    return {
      id,
      clean,
      corrupted,
      tokens: pair.clean.length,
      firstDifference: firstDifference(pair),
      answer: { text: answer, token: pair.answer, piece: piece(pair.answer) },
      wrong: wrong === undefined || pair.wrong === undefined ? null : { text: wrong, token: pair.wrong, piece: piece(pair.wrong) },
      base: sides,
      control: other === undefined ? null : (pairs[other]?.id ?? null),
    };
  });
}

/** A row per map, metric, layer and column. */
async function writeTable(path: string, maps: readonly PatchMapResult[]): Promise<void> {
  const rows = maps.flatMap((map) => map.metrics.flatMap((result) => result.cells.flatMap((row, l) => row.map((cell, c) => ({ map, result, layer: map.layers[l] as number, column: map.columns[c] as PatchMapResult['columns'][number], cell })))));
  await writeParquet(path, columnsOf(rows, [
    ['kind', 'STRING', ({ map }) => map.kind],
    ['mode', 'STRING', ({ map }) => map.mode],
    ['site', 'STRING', ({ map }) => map.site],
    ['layer', 'INT32', ({ layer }) => layer],
    ['column', 'STRING', ({ column }) => column.name],
    ['position', 'INT32', ({ column }) => column.offset],
    ['metric', 'STRING', ({ result }) => result.metric],
    ['raw', 'DOUBLE', ({ cell }) => cell.raw],
    ['effect', 'DOUBLE', ({ cell }) => cell.effect.value],
    ['low', 'DOUBLE', ({ cell }) => cell.effect.low],
    ['high', 'DOUBLE', ({ cell }) => cell.effect.high],
    ['pairs', 'INT32', ({ cell }) => cell.effect.n],
    ['p', 'DOUBLE', ({ cell }) => cell.p],
    ['control', 'DOUBLE', ({ cell }) => cell.control],
  ]), { format: PATCH_FORMAT, version: String(PATCH_VERSION) });
}
