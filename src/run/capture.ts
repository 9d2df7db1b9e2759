/** Reading activations of given texts: to memory, or to a safetensors file while the engine goes on. */
import type { Activations } from '../capture/activations.js';
import { ActivationBuffer } from '../capture/activations.js';
import type { CaptureBlock, CapturePlan } from '../capture/plan.js';
import { captureBlocks } from '../capture/plan.js';
import { ROW_TENSORS } from '../capture/save.js';
import type { Intervention } from '../intervene/types.js';
import { countPositions } from '../model/positions.js';
import type { Session } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import type { RowRange, TensorSpec } from '../util/safetensors.js';
import { SafetensorsWriter } from '../util/safetensors.js';
import type { CapturedChunk, EngineOptions, RunProgress } from './engine.js';
import { runSequences } from './engine.js';
import type { Manifest } from './manifest.js';
import { createManifest } from './manifest.js';
import type { SequenceRequest, SequenceResult } from './request.js';
import { promptTokens } from './request.js';

/** Options of {@link captureActivations}. */
export interface CaptureOptions extends Pick<EngineOptions, 'onProgress' | 'signal'> {
  /** Edits of every sequence; captured rows show their effect. */
  readonly interventions?: readonly Intervention[];
}

/** Options of {@link captureToFile}. */
export interface CaptureFileOptions extends CaptureOptions {
  /** Stored element type. Default f32. */
  readonly dtype?: 'f32' | 'f16';
  /** Takes the result of every sequence as it finishes: text, tokens, edit counts. */
  readonly onResult?: (result: SequenceResult) => void;
  /** Hash the model file for the manifest (reads it once). Default true. */
  readonly hashModel?: boolean;
}

/** Where each sequence's rows go: `starts[i]` is the first of its rows, `total` the most rows there can be. */
interface RowLayout {
  requests: SequenceRequest[];
  starts: number[];
  total: number;
}

type Sequence = SequenceRequest['prompt'] | SequenceRequest;

function isRequest(sequence: Sequence): sequence is SequenceRequest {
  return typeof sequence === 'object' && 'prompt' in sequence;
}

/** Lays out the most rows each sequence can give: with `maxTokens` n, all but the last of n tokens are fed back. */
function layOut(session: Session, sequences: readonly Sequence[], plan: CapturePlan, interventions: readonly Intervention[] | undefined): RowLayout {
  const starts: number[] = [];
  let total = 0;
  const requests = sequences.map((sequence, i): SequenceRequest => {
    const request = isRequest(sequence) ? sequence : { prompt: sequence };
    const prompt = promptTokens(session.model, request.prompt, `prompts[${i}]`);
    const processed = Math.min(prompt.length + Math.max(0, (request.maxTokens ?? 0) - 1), Math.max(prompt.length, session.info.contextLength));
    starts.push(total);
    total += countPositions(plan.positions ?? 'all', prompt.length, 0, processed);
    return { ...request, prompt, ...(request.interventions === undefined && interventions !== undefined ? { interventions } : {}) };
  });
  return { requests, starts, total };
}

/**
 * Reads `prompts` (texts or token ids) through the model and returns the planned rows, ordered by prompt and position.
 * Nothing above the last planned layer is computed. Memory: 4 bytes per value, known beforehand. Errors: as `generate`;
 * RangeError when an array would exceed what JavaScript can address.
 */
export async function captureActivations(
  session: Session,
  prompts: readonly SequenceRequest['prompt'][],
  plan: CapturePlan,
  options: CaptureOptions = {},
): Promise<Activations> {
  const layout = layOut(session, prompts, plan, options.interventions);
  const buffer = new ActivationBuffer(captureBlocks(plan, session.model.info.layerCount), layout.total);
  await drain(session, layout, plan, options, false, (chunk, widths) =>
    buffer.add(chunk, widths, (layout.starts[chunk.id] ?? 0) + chunk.firstRow, chunk.id),
  );
  return buffer.finish();
}

/**
 * Reads prompts, or runs whole requests with their completions, and streams the planned rows to a safetensors file:
 * tensors `<site>.<layer>` [rowCount, width], `tokens`, `sequence`, `position` (I32 [rowCount]) and the manifest in
 * `__metadata__.rewardlens`; rows ordered by sequence and position. Rows are written while the engine decodes; memory
 * stays bounded. Room is laid out for the longest completions (the file is sparse) and closed up at the end. The file appears
 * under its name only when complete. Errors: as `generate`, IO.
 */
export async function captureToFile(
  session: Session,
  sequences: readonly Sequence[],
  plan: CapturePlan,
  path: string,
  options: CaptureFileOptions = {},
): Promise<Manifest> {
  const started = performance.now();
  const layout = layOut(session, sequences, plan, options.interventions);
  const dtype = options.dtype ?? 'f32';
  const specs = await tensorSpecs(session, plan, layout.total, dtype);
  const manifestPromise = createManifest(session, { hashModel: options.hashModel ?? true, signal: options.signal });
  manifestPromise.catch(() => undefined); // awaited below; a failure of the run must not leave it unhandled
  const description = describePlan(plan, session.model.info.layerCount);
  const writer = await SafetensorsWriter.create(path, specs, manifestBytes(description, session.model.info.path));
  const written = layout.starts.map((start): RowRange => ({ begin: start, end: start }));
  try {
    const blocks = captureBlocks(plan, session.model.info.layerCount);
    const progress = await drain(session, layout, plan, options, dtype === 'f16', async (chunk) => {
      await writeChunk(writer, chunk, layout.starts[chunk.id] ?? 0, blocks);
      const range = written[chunk.id] as RowRange;
      range.end = Math.max(range.end, range.begin + chunk.firstRow + chunk.rowCount);
    });
    const manifest: Manifest = {
      ...(await manifestPromise),
      kind: 'capture',
      plan: description,
      interventions: options.interventions?.length ?? 0,
      dtype,
      sequenceCount: sequences.length,
      rowCount: written.reduce((sum, { begin, end }) => sum + end - begin, 0),
      promptTokens: progress.promptTokens,
      completionTokens: progress.completionTokens,
      durationMs: Math.round(performance.now() - started),
    };
    await writer.finish(written, { format: 'rewardlens.capture', rewardlens: JSON.stringify(manifest) });
    return manifest;
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

async function writeChunk(writer: SafetensorsWriter, chunk: CapturedChunk, start: number, blocks: readonly CaptureBlock[]): Promise<void> {
  const row = start + chunk.firstRow;
  await writer.writeRows('tokens', row, chunk.tokens);
  await writer.writeRows('position', row, chunk.positions);
  await writer.writeRows('sequence', row, new Int32Array(chunk.rowCount).fill(chunk.id));
  for (const [i, block] of blocks.entries()) {
    await writer.writeRows(block.name, row, new Uint8Array(chunk.blocks[i] as ArrayBuffer));
  }
}

/** Room in the header for the manifest, which is JSON inside a JSON string: every quote may take two bytes, twice. */
function manifestBytes(plan: Record<string, unknown>, modelPath: string): number {
  return (16 << 10) + 4 * Buffer.byteLength(JSON.stringify([plan, modelPath]));
}

function describePlan(plan: CapturePlan, layerCount: number): Record<string, unknown> {
  return {
    tensors: captureBlocks(plan, layerCount).map((block) => block.name),
    positions: plan.positions ?? 'all',
    neuronCount: plan.neurons?.length ?? 'all',
  };
}

async function tensorSpecs(session: Session, plan: CapturePlan, rows: number, dtype: 'f32' | 'f16'): Promise<TensorSpec[]> {
  const sites = new Map((await session.sites()).map((site) => [`${site.site}.${site.layer}`, site]));
  // Row tensors first: rows of f16 may have any even length, and 4-byte integers must lie on 4 bytes.
  const specs: TensorSpec[] = ROW_TENSORS.map((name) => ({ name, dtype: 'I32', shape: [rows] }));
  for (const { name } of captureBlocks(plan, session.model.info.layerCount)) {
    const site = sites.get(name);
    if (site === undefined || !site.found) {
      throw new RewardLensError('SITE_NOT_FOUND', `${name}: ${site?.reason ?? 'no such layer'}`, { details: { tensor: name } });
    }
    specs.push({ name, dtype: dtype === 'f16' ? 'F16' : 'F32', shape: [rows, plan.neurons?.length ?? site.width] });
  }
  return specs;
}

async function drain(
  session: Session,
  layout: RowLayout,
  plan: CapturePlan,
  options: CaptureFileOptions,
  halfPrecision: boolean,
  onRows: (chunk: CapturedChunk, widths: Int32Array) => void | Promise<void>,
): Promise<RunProgress> {
  const run = runSequences(session, layout.requests, {
    capture: plan,
    halfPrecision,
    promptOnly: layout.requests.every(({ maxTokens }) => (maxTokens ?? 0) === 0),
    onRows,
    releaseRows: true,
    onProgress: options.onProgress,
    signal: options.signal,
  });
  while (true) {
    const step = await run.next();
    if (step.done === true) {
      return step.value;
    }
    options.onResult?.(step.value);
  }
}
