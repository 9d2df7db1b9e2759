/** `rewardlens capture`: activations of given inputs to a safetensors file. */
import { stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CapturePlan } from '../capture/plan.js';
import { captureBlocks } from '../capture/plan.js';
import { siteTable } from '../intervene/compile.js';
import { readInterventions } from '../intervene/file.js';
import type { Positions } from '../model/positions.js';
import { countPositions } from '../model/positions.js';
import type { Session, SessionOptions } from '../model/session.js';
import { asSite, parseLayers, resolveLayers } from '../model/sites.js';
import { RewardLensError } from '../native/errors.js';
import { captureToFile } from '../run/capture.js';
import { checkInterventions, checkOutput } from './checks.js';
import type { Command, Io } from './command.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';
import type { Input, InputFlags } from './inputs.js';
import { INPUT_OPTIONS, contextFor, readInputFlags, readInputs, tokenizeInputs } from './inputs.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, formatBytes, openModel, plural, rate, readIndices, readModelFlags, readSessionFlags } from './options.js';

const CAPTURE = 'Capture:';

interface CaptureFlags {
  model: ModelFlags;
  session: SessionOptions;
  inputs: InputFlags;
  plan: CapturePlan;
  dtype: 'f32' | 'f16';
  intervene: string | undefined;
  output: string;
  force: boolean;
  hash: boolean;
}

/** Reads inputs through the model and stores the rows of the planned sites. */
export const captureCommand: Command = {
  name: 'capture',
  describe: 'Read inputs through the model and store activations in a safetensors file.',
  options: {
    ...INPUT_OPTIONS,
    site: { type: 'string', array: true, group: CAPTURE, describe: 'residPre, attnOut, residMid, mlpPost, mlpOut, residPost (default), logits; comma separated or repeated' },
    layers: { type: 'string', group: CAPTURE, describe: 'all, or numbers and ranges: 0,3-5; negative ones count from the end; default all' },
    positions: { type: 'string', group: CAPTURE, describe: 'all, last, or a list: 0,5,-1 (negative from the end); default all' },
    neurons: { type: 'string', group: CAPTURE, describe: 'only these coordinates: 3,10-12' },
    dtype: { type: 'string', group: CAPTURE, describe: 'stored type: f32 or f16; default f32' },
    intervene: { type: 'string', group: CAPTURE, describe: 'interventions (JSON, see docs/interventions.md); captured rows show their effect' },
    output: { alias: 'o', type: 'string', group: CAPTURE, describe: 'the safetensors file to write' },
    force: { type: 'boolean', group: CAPTURE, describe: 'replace the output file if it exists' },
    'no-hash': { type: 'boolean', group: CAPTURE, describe: "leave the model file's SHA-256 out of the manifest" },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [
    ['rewardlens capture -m model.gguf -p "2+2=" -o acts.safetensors', 'residPost of every layer and position'],
    ['rewardlens capture -m model.gguf --prompts set.jsonl --site mlpPost --layers 10-12 --positions last -o s0.safetensors', 'the state that predicts the first answer token'],
    ['rewardlens capture -m model.gguf --tokens ids.json --intervene edits.json -o edited.safetensors', 'under interventions'],
  ],
  prepare(flags: Flags) {
    const neurons = readIndices(flags, 'neurons');
    const parsed: CaptureFlags = {
      model: readModelFlags(flags),
      session: readSessionFlags(flags),
      inputs: readInputFlags(flags),
      plan: {
        site: asUsage(() => flags.list('site').flatMap((text) => text.split(',')).map((name) => asSite(name, '--site'))),
        layers: asUsage(() => parseLayers(flags.text('layers') ?? 'all', '--layers')),
        positions: readPositions(flags.text('positions') ?? 'all'),
        ...(neurons === undefined ? {} : { neurons }),
      },
      dtype: flags.choice('dtype', ['f32', 'f16']) ?? 'f32',
      intervene: flags.text('intervene'),
      output: flags.required('output', 'a file to write (-o FILE)'),
      force: flags.on('force'),
      hash: !flags.on('no-hash'),
    };
    const plan = parsed.plan.site?.length === 0 ? { ...parsed.plan, site: 'residPost' as const } : parsed.plan;
    return (io) => capture({ ...parsed, plan }, io);
  },
};

function readPositions(text: string): Positions {
  if (text === 'completion') {
    throw new UsageError('--positions: capture reads prompts and samples nothing, so there is no completion; give the whole text as the prompt');
  }
  if (text === 'all' || text === 'prompt' || text === 's0' || text === 'last') {
    return text;
  }
  const parts = text.split(',').map((part) => part.trim());
  if (!parts.every((part) => /^-?\d+$/.test(part))) {
    throw new UsageError(`--positions: expected all, prompt, s0, last or a list such as 0,5,-1, got ${JSON.stringify(text)}`);
  }
  return parts.map(Number);
}

async function capture(given: CaptureFlags, io: Io): Promise<void> {
  await checkOutput(given.output, given.force);
  const raw = await readInputs(given.inputs);
  const interventions = given.intervene === undefined ? [] : await readInterventions(given.intervene);
  await using model = await openModel(given.model, io);
  const flags = { ...given, plan: { ...given.plan, layers: resolveLayers(given.plan.layers, model.info.layerCount, '--layers') } };
  const inputs = tokenizeInputs(model, raw, { chat: flags.inputs.chat });
  await using session = model.createSession({
    ...flags.session,
    contextLength: contextFor(inputs, 0, flags.session.contextLength),
    parallel: flags.session.parallel ?? sideBySide(inputs, flags.session.ubatch ?? 512),
  });
  await checkInterventions(session, interventions, flags.intervene);
  const size = await estimate(session, inputs, flags);
  const total = inputs.reduce((sum, input) => sum + input.tokens.length, 0);
  io.note(`${plural(inputs.length, 'sequence')}, ${plural(total, 'token')} → ${plural(size.rows, 'row')} of ${plural(size.tensors, 'tensor')}, ${formatBytes(size.bytes)}`);
  io.progress.start('reading', total);
  const manifest = await captureToFile(session, inputs.map((input) => input.tokens), flags.plan, flags.output, {
    dtype: flags.dtype,
    hashModel: flags.hash,
    interventions,
    signal: io.signal,
    onProgress: (progress) => {
      const done = progress.promptTokens + progress.sharedTokens;
      const note = done < total ? rate(progress.promptTokens, progress.busyMs) : flags.hash ? 'finishing: file and hash of the model' : 'finishing';
      io.progress.update(done, `${plural(done, 'token')} ${note}`);
    },
  });
  io.progress.stop();
  if (io.json) {
    io.line({ path: flags.output, ...manifest });
    return;
  }
  const { size: bytes } = await stat(flags.output);
  io.out(flags.output);
  io.summary(`${plural(size.rows, 'row')} × ${plural(size.tensors, 'tensor')} (${flags.dtype}), ${formatBytes(bytes)}, ${((manifest.durationMs as number) / 1000).toFixed(1)} s`);
  io.summary(`model ${manifest.model.sha256 === null ? 'not hashed' : `sha256 ${manifest.model.sha256}`}, llama.cpp ${manifest.llamaCpp}`);
}

/** Enough sequences side by side to fill a forward pass, so that the KV cache does not get larger than it helps. */
function sideBySide(inputs: readonly Input[], ubatch: number): number {
  const longest = Math.max(...inputs.map((input) => input.tokens.length));
  return Math.min(inputs.length, 32, Math.ceil((2 * ubatch) / longest));
}

interface Estimate {
  rows: number;
  tensors: number;
  bytes: number;
}

/** What the file will hold. Errors: INVALID_ARGUMENT for no rows, SITE_NOT_FOUND, IO when the disk cannot hold it. */
async function estimate(session: Session, inputs: readonly Input[], flags: CaptureFlags): Promise<Estimate> {
  const { plan, output } = flags;
  const rows = inputs.reduce((sum, { tokens }) => sum + countPositions(plan.positions ?? 'all', tokens.length, 0, tokens.length), 0);
  if (rows === 0) {
    throw new RewardLensError('INVALID_ARGUMENT', `--positions: no input has a position among ${String(plan.positions)}`);
  }
  const table = siteTable(await session.sites(), session.model.info.layerCount);
  const blocks = captureBlocks(plan, session.model.info.layerCount);
  const width = blocks.reduce((sum, { site, layer }) => sum + checkedWidth(table.width(site, layer), plan.neurons), 0);
  const bytes = rows * (width * (flags.dtype === 'f16' ? 2 : 4) + 12);
  const disk = await statfs(dirname(output)).catch(() => undefined);
  const free = disk === undefined ? Infinity : disk.bavail * disk.bsize;
  if (bytes > free) {
    throw new RewardLensError('IO', `'${output}' needs ${formatBytes(bytes)} and ${formatBytes(free)} are free on its disk`, { details: { bytes, free } });
  }
  return { rows, tensors: blocks.length, bytes };
}

function checkedWidth(width: number, neurons: CapturePlan['neurons']): number {
  const bad = neurons?.find((neuron) => neuron >= width);
  if (bad !== undefined) {
    throw new RewardLensError('INVALID_ARGUMENT', `--neurons: expected integers in 0..${width - 1}, got ${bad}`);
  }
  return neurons?.length ?? width;
}
