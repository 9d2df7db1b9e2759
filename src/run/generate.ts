/** Generation with optional interventions and capture, many sequences at a time. */
import type { Activations } from '../capture/activations.js';
import { ActivationBuffer } from '../capture/activations.js';
import type { CapturePlan } from '../capture/plan.js';
import { captureBlocks } from '../capture/plan.js';
import type { Session } from '../model/session.js';
import type { CapturedChunk, EngineOptions, RunProgress } from './engine.js';
import { runSequences } from './engine.js';
import type { SequenceRequest, SequenceResult } from './request.js';

/** Options of {@link generate}. */
export interface GenerateOptions extends Pick<EngineOptions, 'arms' | 'sharePrefixes' | 'skipLayers' | 'onProgress' | 'signal'> {
  /** Rows to read from every sequence; they come with its result. */
  readonly capture?: CapturePlan;
}

/** A finished sequence, with its captured rows when a capture was asked for. */
export type GenerateResult = SequenceResult & { activations?: Activations };

/**
 * Runs every request and yields results as they finish (use `index` for the order of requests). Requests may come from
 * a stream; at most `parallel` + 64 are held at a time. Leaving the loop aborts what is in flight; the generator's
 * return value are the run's totals. Errors: INVALID_ARGUMENT, SITE_NOT_FOUND, SHAPE_MISMATCH, CONTEXT_FULL, BUSY,
 * ABORTED, NON_FINITE, HOOK_NOT_FIRED, DECODE_FAILED. Cost: one forward row per token that no other sequence shares.
 */
export async function* generate(
  session: Session,
  requests: Iterable<SequenceRequest> | AsyncIterable<SequenceRequest>,
  options: GenerateOptions = {},
): AsyncGenerator<GenerateResult, RunProgress, void> {
  const { capture } = options;
  const rows = capture === undefined ? undefined : new RowsBySequence(capture, session.model.info.layerCount);
  const run = runSequences(session, requests, {
    ...options,
    ...(rows === undefined ? {} : { onRows: (chunk: CapturedChunk, widths: Int32Array) => rows.add(chunk, widths) }),
  });
  try {
    for (let step = await run.next(); ; step = await run.next()) {
      if (step.done === true) {
        return step.value;
      }
      yield rows === undefined ? step.value : { ...step.value, activations: rows.take(step.value.index) };
    }
  } finally {
    await run.return(undefined as never); // the caller may have left the loop
  }
}

/** Chunks of sequences in flight, until their result takes them. */
class RowsBySequence {
  readonly #plan: CapturePlan;
  readonly #layerCount: number;
  readonly #chunks = new Map<number, { chunk: CapturedChunk; widths: Int32Array }[]>();

  constructor(plan: CapturePlan, layerCount: number) {
    this.#plan = plan;
    this.#layerCount = layerCount;
  }

  add(chunk: CapturedChunk, widths: Int32Array): void {
    const list = this.#chunks.get(chunk.id) ?? [];
    list.push({ chunk, widths });
    this.#chunks.set(chunk.id, list);
  }

  take(index: number): Activations {
    const list = this.#chunks.get(index) ?? [];
    this.#chunks.delete(index);
    const capacity = list.reduce((sum, { chunk }) => sum + chunk.rowCount, 0);
    const buffer = new ActivationBuffer(captureBlocks(this.#plan, this.#layerCount), capacity);
    for (const { chunk, widths } of list) {
      buffer.add(chunk, widths, chunk.firstRow, index);
    }
    return buffer.finish();
  }
}
