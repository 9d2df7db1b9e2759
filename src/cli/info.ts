/** `rewardlens info`: facts of a model file and its sites. */
import { listDevices } from '../model/model.js';
import type { Model } from '../model/model.js';
import type { SiteInfo } from '../model/sites.js';
import { SITE_NAMES } from '../model/sites.js';
import { buildInfo } from '../native/addon.js';
import { RewardLensError } from '../native/errors.js';
import { packageVersion } from '../util/version.js';
import type { Command, Io } from './command.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, formatBytes, openModel, readModelFlags } from './options.js';
import { formatRanges } from '../util/ranges.js';

interface InfoFlags {
  model: ModelFlags;
  sites: boolean;
  threads: number | undefined;
}

/** Shows what a model is and where it can be read and edited. */
export const infoCommand: Command = {
  name: 'info',
  describe: 'Show facts of a model, the devices, and which sites can be read and edited in which layers.',
  options: {
    ...MODEL_OPTIONS,
    threads: { alias: 't', type: 'string', group: 'Model:', describe: 'compute threads; default: all hardware threads' },
    'no-sites': { type: 'boolean', group: 'Model:', describe: 'skip the site table, which needs one small forward pass' },
  },
  examples: [
    ['rewardlens info -m model.gguf', 'a table for people'],
    ["rewardlens info -m model.gguf --json | jq -r .model.architecture", 'everything, metadata included, for programs'],
  ],
  prepare(flags: Flags) {
    const model = readModelFlags(flags);
    // Weights are hardly used here: leave them in the file unless the GPU is asked for.
    const load = { gpuLayers: 0, ...model.load };
    const parsed: InfoFlags = { model: { ...model, load }, sites: !flags.on('no-sites'), threads: flags.integer('threads', 1, 1024) };
    return (io) => info(parsed, io);
  },
};

interface Sites {
  sites: SiteInfo[];
  error: { code: string; message: string } | undefined;
}

async function info(flags: InfoFlags, io: Io): Promise<void> {
  await using model = await openModel(flags.model, io);
  const { sites, error } = flags.sites ? await readSites(model, flags.threads) : { sites: [], error: undefined };
  io.signal.throwIfAborted(); // the forward pass of the site table cannot be cut short
  const devices = listDevices();
  const program = { rewardlens: packageVersion(), llamaCpp: buildInfo().llamaRelease, flavor: buildInfo().flavor };
  if (io.json) {
    const { chatTemplate, ...facts } = model.info;
    io.line({ ...program, model: { ...facts, hasChatTemplate: chatTemplate !== '' }, devices, sites: flags.sites ? sites : null, sitesError: error ?? null, metadata: model.metadata() });
    return;
  }
  const lines = [...facts(model), `llama.cpp        ${program.llamaCpp} (${program.flavor}), rewardlens ${program.rewardlens}`];
  for (const [i, device] of devices.entries()) {
    const memory = device.memoryTotalBytes === 0 ? '' : `, ${formatBytes(device.memoryFreeBytes)} free of ${formatBytes(device.memoryTotalBytes)}`;
    lines.push(`${i === 0 ? 'devices' : ''}`.padEnd(17) + `${device.name}: ${device.description} (${device.type}${memory})`);
  }
  if (flags.sites) {
    lines.push('', ...(error === undefined ? siteTable(sites, model.info.layerCount) : [`sites            not available: ${error.message}`]));
  }
  io.out(lines.join('\n'));
}

async function readSites(model: Model, threads: number | undefined): Promise<Sites> {
  try {
    const session = model.createSession({ contextLength: 256, ...(threads === undefined ? {} : { threads }) });
    return { sites: await session.sites(), error: undefined };
  } catch (error) {
    if (error instanceof RewardLensError) {
      return { sites: [], error: { code: error.code, message: error.message } };
    }
    throw error;
  }
}

function facts(model: Model): string[] {
  const { info } = model;
  const name = model.metadata()['general.name'];
  const tokenizer = info.tokenizer === 'none' || info.tokenizer === '' ? 'none (give token ids)' : info.tokenizer;
  const special = [['BOS', info.bos], ['EOS', info.eos], ['EOT', info.eot]].filter(([, id]) => (id as number) >= 0).map(([label, id]) => `${label} ${id}`);
  const rows: [string, string][] = [
    ['file', info.path],
    ...(name === undefined ? [] : [['name', name] as [string, string]]),
    ['architecture', info.architecture + (info.recurrent ? ', recurrent' : '') + (info.hybrid ? ', hybrid' : '')],
    ['quantization', info.quantization],
    ['parameters', `${info.parameterCount.toLocaleString('en-US')} (${formatBytes(info.sizeBytes)})`],
    ['layers', String(info.layerCount)],
    ['width', `${info.dModel}, ${info.headCount} heads, ${info.kvHeadCount} KV heads`],
    ['vocabulary', info.vocabSize.toLocaleString('en-US')],
    ['tokenizer', [tokenizer, ...special].join(', ')],
    ['chat template', info.chatTemplate === '' ? 'no' : 'yes'],
    ['train context', `${info.trainContextLength.toLocaleString('en-US')} tokens`],
  ];
  return rows.map(([label, text]) => label.padEnd(17) + text);
}

/** One line per site and per different answer among its layers. */
function siteTable(sites: readonly SiteInfo[], layerCount: number): string[] {
  const lines = [`${'site'.padEnd(11)} ${'width'.padStart(7)}  layers`];
  for (const site of SITE_NAMES) {
    const groups = new Map<string, { width: string; layers: number[]; note: string }>();
    for (const entry of sites.filter((candidate) => candidate.site === site)) {
      const width = entry.found ? String(entry.width) : '-';
      const note = entry.found ? '' : `missing: ${entry.reason}`;
      const group = groups.get(`${width} ${note}`) ?? { width, layers: [], note };
      group.layers.push(entry.layer);
      groups.set(`${width} ${note}`, group);
    }
    for (const { width, layers, note } of groups.values()) {
      const where = layers.length === layerCount ? 'all' : formatRanges(layers);
      lines.push(`${site.padEnd(11)} ${width.padStart(7)}  ${where}${note === '' ? '' : `  ${note}`}`);
    }
  }
  return lines;
}
