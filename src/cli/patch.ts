/** `rewardlens patch`: activations of one prompt put into another, as heat maps. */
import { join } from 'node:path';
import type { Session, SessionOptions } from '../model/session.js';
import type { Site } from '../model/sites.js';
import { asSite, parseLayers, resolveLayers } from '../model/sites.js';
import { RewardLensError } from '../native/errors.js';
import type { PatchMetric, PatchMode } from '../patch/metrics.js';
import { PATCH_METRICS, PATCH_MODES } from '../patch/metrics.js';
import type { PairSource } from '../patch/pairs.js';
import { readPairs, resolvePairs } from '../patch/pairs.js';
import type { NeuronGroup } from '../patch/cells.js';
import { RANKING_METHODS } from '../rank/scores.js';
import type { RankingMethod } from '../rank/scores.js';
import type { Patching } from '../report/patchSchema.js';
import { writePage } from '../report/page.js';
import { EFFECT_NAMES, METRIC_NAMES, cellText, mapName } from '../study/patchFindings.js';
import type { GroupSpec } from '../study/patchGroups.js';
import { neuronGroups, parseGroups } from '../study/patchGroups.js';
import { strongestCells } from '../study/patchMaps.js';
import { renderPatchReport } from '../study/patchReport.js';
import type { PatchPlan } from '../study/patching.js';
import { PATCH_FILES, countCells, runPatching } from '../study/patching.js';
import type { Command, Io } from './command.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';
import { processEscapes } from './inputs.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, openModel, plural, rate, readModelFlags, readSessionFlags } from './options.js';
import { readNames } from './studyFlags.js';

const PAIRS = 'Pairs (--pairs, or one pair):';
const MAPS = 'Maps:';
const WORDS = ['clean', 'corrupted', 'answer', 'wrong'] as const;
/** Cells that the terminal lists for each map. */
const LISTED = 5;

interface PatchFlags {
  model: ModelFlags;
  session: SessionOptions;
  pairs: string | PairSource;
  skipBad: boolean;
  limit: number | undefined;
  modes: PatchMode[];
  sites: Site[];
  layers: 'all' | readonly number[];
  maps: ('positions' | 'groups')[];
  offsets: 'all' | readonly number[];
  groups: GroupSpec | undefined;
  groupPositions: 'all' | 'last';
  from: string | undefined;
  method: RankingMethod | undefined;
  metric: PatchMetric | undefined;
  control: boolean;
  seed: number;
  output: string;
}

/** Activation patching. */
export const patchCommand: Command = {
  name: 'patch',
  resumes: true,
  describe: 'Put activations of a clean prompt into a corrupted one (or the other way) and see where the answer comes back, as heat maps.',
  options: {
    pairs: { type: 'string', group: PAIRS, describe: 'JSON lines {id, clean, corrupted, answer, wrong}; also JSON or Parquet' },
    clean: { type: 'string', group: PAIRS, describe: 'the prompt that leads to the answer' },
    corrupted: { type: 'string', group: PAIRS, describe: 'the same with something changed; as many tokens' },
    answer: { type: 'string', group: PAIRS, describe: 'what follows the clean prompt, its leading space included; the first token counts' },
    wrong: { type: 'string', group: PAIRS, describe: 'what the answer is compared with (needed for logit-diff)' },
    'skip-bad': { type: 'boolean', group: PAIRS, describe: 'leave out lines that cannot be used, and say which' },
    limit: { type: 'string', group: PAIRS, describe: 'only the first pairs, as many as this' },
    modes: { type: 'string', group: MAPS, describe: 'denoising (clean into corrupted; default), noising (corrupted into clean); comma separated' },
    metric: { type: 'string', group: MAPS, describe: `metric of the summary: ${PATCH_METRICS.join(', ')}; all are measured; default logit-diff, without wrong answers probability` },
    site: { type: 'string', group: MAPS, describe: 'residPre, attnOut, residMid, mlpPost, mlpOut, residPost; comma separated; default residPost' },
    layers: { type: 'string', group: MAPS, describe: 'all (default), or numbers and ranges: 0,3-5' },
    maps: { type: 'string', group: MAPS, describe: 'positions (layer × position), groups (layer × group of neurons); default positions, with --groups groups' },
    positions: { type: 'string', group: MAPS, describe: 'columns of position maps: all (default), or a list: 0,5,-1 (negative from the end)' },
    groups: { type: 'string', group: MAPS, describe: 'neurons patched together: blocks:16, lists such as "3,17;20-31", or top:8,32 (the best of --from, beside sets of matched magnitude)' },
    'group-positions': { type: 'string', group: MAPS, describe: 'where groups are patched: all (default) or last' },
    from: { type: 'string', group: MAPS, describe: 'folder of `rewardlens rollout` with probes, for top:…' },
    ranking: { type: 'string', group: MAPS, describe: `${RANKING_METHODS.slice(0, 3).join(', ')}; default l1-zscore` },
    'no-control': { type: 'boolean', group: MAPS, describe: "do not patch another pair's activations as a control (half the work)" },
    seed: { type: 'string', group: MAPS, describe: 'of the choice of controls; default 1' },
    output: { alias: 'o', type: 'string', group: 'Output:', describe: 'folder for patch.json, patch.parquet, report.html and the ledger; what is in the ledger is not run again' },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [
    ['rewardlens patch -m model.gguf --clean "The capital of France is" --corrupted "The capital of Italy is" --answer " Paris" --wrong " Rome" -o capitals', 'where the country is read'],
    ['rewardlens patch -m model.gguf --pairs pairs.jsonl --modes denoising,noising --site attnOut,mlpOut -o out', 'both directions, attention and MLP apart'],
    ['rewardlens patch -m model.gguf --pairs pairs.jsonl --groups top:8,32 --from gsm8k -o out', 'value neurons beside others of their magnitude'],
  ],
  prepare(flags: Flags) {
    const parsed = readPatchFlags(flags);
    return (io) => patch(parsed, io);
  },
};

function readPatchFlags(flags: Flags): PatchFlags {
  const layers = asUsage(() => parseLayers(flags.text('layers') ?? 'all', '--layers'));
  const groupText = flags.text('groups');
  const groups = groupText === undefined ? undefined : asUsage(() => parseGroups(groupText, '--groups'));
  const maps = readNames(flags, 'maps', ['positions', 'groups'] as const) ?? [groups === undefined ? 'positions' : 'groups'];
  const from = flags.text('from');
  if (maps.includes('groups') && groups === undefined) {
    throw new UsageError('--groups: expected blocks:N, top:K or lists for the map by groups, but it is missing');
  }
  if ((groups?.kind === 'top') !== (from !== undefined)) {
    throw new UsageError(from === undefined ? '--from: expected a folder with probes for --groups top:…, but it is missing' : '--from: only --groups top:… takes neurons from a folder');
  }
  const sites = asUsage(() => (flags.text('site') ?? 'residPost').split(',').map((name) => asSite(name.trim(), '--site')));
  if (sites.includes('logits')) {
    throw new UsageError('--site: logits are what is measured; expected a site before them');
  }
  return {
    model: readModelFlags(flags),
    session: readSessionFlags(flags),
    pairs: readPairFlags(flags),
    skipBad: flags.on('skip-bad'),
    limit: flags.integer('limit', 1),
    modes: readNames(flags, 'modes', PATCH_MODES) ?? ['denoising'],
    sites: [...new Set(sites)],
    layers,
    maps,
    offsets: readOffsets(flags.text('positions') ?? 'all'),
    groups,
    groupPositions: flags.choice('group-positions', ['all', 'last']) ?? 'all',
    from,
    method: flags.choice('ranking', RANKING_METHODS.slice(0, 3)),
    metric: flags.choice('metric', PATCH_METRICS),
    control: !flags.on('no-control'),
    seed: flags.integer('seed', 0, 0xfffffffe) ?? 1,
    output: flags.required('output', 'a folder (-o DIR)'),
  };
}

function readPairFlags(flags: Flags): string | PairSource {
  const file = flags.text('pairs');
  const given = WORDS.filter((name) => flags.text(name) !== undefined);
  if (file !== undefined) {
    if (given.length > 0) {
      throw new UsageError(`expected --pairs or one pair, got --pairs and --${given[0] ?? ''}`);
    }
    return file;
  }
  const text = (name: (typeof WORDS)[number]): string => processEscapes(flags.required(name, 'a text (or --pairs FILE)'));
  const wrong = flags.text('wrong');
  const pair = { line: 1, id: 'pair', clean: text('clean'), corrupted: text('corrupted'), answer: text('answer'), ...(wrong === undefined ? {} : { wrong: processEscapes(wrong) }) };
  return { name: 'command line', unit: 'pair', pairs: [pair], skipped: [] };
}

function readOffsets(text: string): 'all' | number[] {
  const parts = text.split(',').map((part) => part.trim());
  if (text !== 'all' && !parts.every((part) => /^-?\d+$/.test(part))) {
    throw new UsageError(`--positions: expected all or a list such as 0,5,-1, got ${JSON.stringify(text)}`);
  }
  return text === 'all' ? 'all' : [...new Set(parts.map(Number))];
}

async function patch(flags: PatchFlags, io: Io): Promise<void> {
  const source = typeof flags.pairs === 'string' ? await readPairs(flags.pairs, { skipBad: flags.skipBad, limit: flags.limit, signal: io.signal }) : flags.pairs;
  await using model = await openModel(flags.model, io);
  const resolved = resolvePairs(model, source, { skipBad: flags.skipBad });
  resolved.notes.forEach((note) => io.warn(note));
  if (resolved.skipped.length > 0) {
    io.warn(`${plural(resolved.skipped.length, source.unit)} left out:\n${resolved.skipped.map(({ line, message }) => `  ${source.unit} ${line}: ${message}`).join('\n')}`);
  }
  const layers = resolveLayers(flags.layers, model.info.layerCount, '--layers');
  const longest = Math.max(...resolved.pairs.map(({ clean }) => clean.length));
  if (flags.session.contextLength !== undefined && flags.session.contextLength < longest) {
    throw new RewardLensError('CONTEXT_FULL', `the longest prompt has ${longest} tokens, -c ${flags.session.contextLength} holds fewer`, { details: { promptTokens: longest } });
  }
  const options = { contextLength: longest, parallel: Math.min(32, Math.max(4, Math.ceil((2 * (flags.session.ubatch ?? 512)) / longest))), ...flags.session };
  await using session = model.createSession(options);
  const { modes, sites, groupPositions, metric, control, seed } = flags;
  const groups = await groupsOf(session, flags, layers, io.signal);
  const plan: PatchPlan = { modes, sites, layers, offsets: flags.maps.includes('positions') ? flags.offsets : undefined, groups, groupPositions, metric, control, seed };
  const most = countCells(plan, resolved.pairs);
  io.summary(`${plural(resolved.pairs.length, 'pair')}, at most ${plural(most, 'patched run')}${plan.control && resolved.pairs.length > 1 ? ', half of them controls' : ''}`);
  io.progress.start('patching', most);
  const result = await runPatching(session, resolved, plan, {
    directory: flags.output,
    source: source.name,
    session: options,
    signal: io.signal,
    onProgress: ({ finished, total, run }) => io.progress.update(Math.round((most * finished) / total), `${finished}/${total} ${rate(run.promptTokens ?? 0, run.busyMs ?? 0)}`),
  });
  io.progress.stop();
  await writePage(join(flags.output, PATCH_FILES.report), await renderPatchReport(result));
  printPatching(result, flags.output, io);
}

async function groupsOf(session: Session, flags: PatchFlags, layers: readonly number[], signal: AbortSignal): Promise<Map<Site, NeuronGroup[]> | undefined> {
  const { groups: spec, from, method } = flags;
  if (spec === undefined || !flags.maps.includes('groups')) {
    return undefined;
  }
  const widths = new Map((await session.sites()).map(({ site, layer, width }) => [`${site}.${layer}`, width]));
  const out = new Map<Site, NeuronGroup[]>();
  for (const site of flags.sites) {
    const width = (layer: number): number => widths.get(`${site}.${layer}`) ?? 0;
    out.set(site, await neuronGroups({ spec, site, layers, width, from, signal, ...(method === undefined ? {} : { method }) }));
  }
  return out;
}

function printPatching(result: Patching, directory: string, io: Io): void {
  const { maps, metric, findings, sweep } = result;
  if (io.json) {
    const strongest = maps.map((map) => ({ map: mapName(map), cells: strongestCells(map, metric).slice(0, LISTED).map(({ column, ...cell }) => ({ column: map.columns[column]?.name, ...cell })) }));
    io.line({ path: join(directory, PATCH_FILES.json), pairs: result.pairs.length, skipped: result.skipped, metric, strongest, findings, sweep });
    return;
  }
  for (const map of maps) {
    io.out(`\n${mapName(map)}: largest ${EFFECT_NAMES[map.mode]} (${METRIC_NAMES[metric]})`);
    strongestCells(map, metric).slice(0, LISTED).forEach((cell) => io.out(`  ${cellText(map, cell)}`));
  }
  io.out('');
  findings.forEach((finding) => io.out(finding));
  const { promptTokens = 0, sharedTokens = 0 } = sweep.run;
  io.summary(`\n${sweep.made} cells made, ${sweep.found} found, ${sweep.copied} known without a run; ${plural(promptTokens, 'token')} computed, ${plural(sharedTokens, 'token')} shared; ${sweep.seconds.toFixed(1)} s`);
  io.summary(join(directory, PATCH_FILES.report));
}
