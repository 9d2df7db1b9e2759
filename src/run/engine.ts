/** Drives one native run: feeds requests as results are taken, hands out captured rows, checks the edit counters. */
import type { CapturePlan } from '../capture/plan.js';
import { captureBlocks, compileCapture } from '../capture/plan.js';
import type { SiteTable } from '../intervene/compile.js';
import { compileInterventions, expectedChanges, siteTable } from '../intervene/compile.js';
import type { EditCount, Intervention } from '../intervene/types.js';
import { countPositions } from '../model/positions.js';
import type { Session } from '../model/session.js';
import type { NativeChunk, NativeEditList, NativeEvent, NativeProgress, NativeResult, NativeRun } from '../native/addon.js';
import { RewardLensError, aborted, fromNative, guard, invalidArgument, throwIfAborted } from '../native/errors.js';
import type { SequenceRequest, SequenceResult } from './request.js';
import { compileRequest, promptTokens } from './request.js';

/** Totals since the start of a run. */
export type RunProgress = Readonly<NativeProgress>;

/** Captured rows of one sequence, straight from the engine; `blocks` in the order of {@link captureBlocks}. */
export type CapturedChunk = NativeChunk;

export interface EngineOptions {
  readonly capture?: CapturePlan | undefined;
  /** Rows as f16 instead of f32. */
  readonly halfPrecision?: boolean;
  /** Named intervention lists that requests refer to by `arm`. Needed when requests come from a stream. */
  readonly arms?: Readonly<Record<string, readonly Intervention[]>>;
  /** Every request only reads its prompt: nothing above the last layer of the plan is computed. */
  readonly promptOnly?: boolean;
  /** Take equal prompt prefixes from another sequence's cache. Default true. */
  readonly sharePrefixes?: boolean;
  /** Compute layers below the edits of a prompt once for all arms. Same bits, less work. Default true. */
  readonly skipLayers?: boolean;
  /** Called about ten times a second. */
  readonly onProgress?: ((progress: RunProgress) => void) | undefined;
  /** Takes captured rows; the engine waits when 256 MiB are not taken yet. */
  readonly onRows?: (chunk: CapturedChunk, widths: Int32Array) => void | Promise<void>;
  /** `onRows` has copied the rows when it is done: free them at once instead of by garbage collection. Default false. */
  readonly releaseRows?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** A request on its way through the engine. */
interface Flight {
  index: number;
  request: SequenceRequest;
  prompt: Int32Array;
  interventions: readonly Intervention[];
}

/** Requests beyond the parallel ones that are kept ready, so that a free slot never waits for JavaScript. */
const LOOKAHEAD = 64;

/**
 * Runs `requests` through the session and yields results as they finish (not in request order). Requests are pulled as
 * results are taken, so memory does not grow with their number. Leaving the loop early aborts the run. Errors: those of
 * compilation, CONTEXT_FULL, DECODE_FAILED, NON_FINITE, HOOK_NOT_FIRED, BUSY, ABORTED.
 */
export async function* runSequences(
  session: Session,
  requests: Iterable<SequenceRequest> | AsyncIterable<SequenceRequest>,
  options: EngineOptions = {},
): AsyncGenerator<SequenceResult, RunProgress, void> {
  throwIfAborted('the run', options.signal);
  const lists = collectLists(requests, options.arms);
  const hooked = options.capture !== undefined || lists.some((list) => list.interventions.length > 0);
  const table = hooked ? siteTable(await session.sites(), session.model.info.layerCount) : undefined;
  throwIfAborted('the run', options.signal); // it may have come while the sites were looked up
  const driver = new Driver(session, lists, table, options);
  try {
    return yield* driver.results(requests);
  } finally {
    await driver.close();
  }
}

interface InterventionList {
  interventions: readonly Intervention[];
  native: NativeEditList;
  path: string;
}

/** The distinct intervention lists of a run. A stream cannot be looked at beforehand: its lists must be named arms. */
function collectLists(requests: Iterable<SequenceRequest> | AsyncIterable<SequenceRequest>, arms: EngineOptions['arms']): InterventionList[] {
  const lists = new Map<readonly Intervention[], string>();
  for (const [name, interventions] of Object.entries(arms ?? {})) {
    lists.set(interventions, `arms.${name}`);
  }
  if (Array.isArray(requests)) {
    (requests as readonly SequenceRequest[]).forEach((request, i) => {
      if (request.interventions !== undefined && !lists.has(request.interventions)) {
        lists.set(request.interventions, `requests[${i}].interventions`);
      }
    });
  }
  return [...lists].map(([interventions, path]) => ({ interventions, path, native: { sourceCount: 0, edits: [] } }));
}

class Driver {
  readonly #session: Session;
  readonly #lists: InterventionList[];
  readonly #table: SiteTable | undefined;
  readonly #options: EngineOptions;
  readonly #flights = new Map<number, Flight>();
  readonly #ready: SequenceResult[] = [];
  readonly #onAbort = (): void => this.#run?.cancel();
  #run: NativeRun | undefined;
  #rows: Promise<void> = Promise.resolve();
  #wake: (() => void) | undefined;
  #ended = false;
  #error: unknown;
  #progress: RunProgress | undefined;
  #next = 0;

  constructor(session: Session, lists: InterventionList[], table: SiteTable | undefined, options: EngineOptions) {
    this.#session = session;
    this.#lists = lists;
    this.#table = table;
    this.#options = options;
    if (table !== undefined) {
      for (const list of lists) {
        list.native = compileInterventions(list.interventions, table, list.path);
      }
    }
    const { capture } = options;
    this.#run = session.start(
      {
        ...(capture === undefined ? {} : { capture: compileCapture(capture, session.model.info.layerCount, options.halfPrecision ?? false) }),
        editLists: lists.map((list) => list.native),
        promptOnly: options.promptOnly ?? false,
        ...(options.sharePrefixes === false ? { minSharedPrefix: -1 } : {}),
        skipLayers: options.skipLayers ?? true,
      },
      (events) => this.#onEvents(events),
    );
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  async *results(requests: Iterable<SequenceRequest> | AsyncIterable<SequenceRequest>): AsyncGenerator<SequenceResult, RunProgress, void> {
    const source: AsyncIterator<SequenceRequest> | Iterator<SequenceRequest> =
      Symbol.asyncIterator in requests ? requests[Symbol.asyncIterator]() : requests[Symbol.iterator]();
    const most = this.#session.info.parallel + LOOKAHEAD;
    let pulling: Promise<void> | undefined;
    let exhausted = false;
    // A source may take its time, or wait for our results: it never holds up what is ready.
    const pull = async (): Promise<void> => {
      try {
        const step = await source.next();
        if (step.done === true) {
          exhausted = true;
          this.#run?.finish();
        } else if (!this.#ended && this.#error === undefined && this.#options.signal?.aborted !== true) {
          this.#push(step.value);
        }
      } catch (error) {
        exhausted = true;
        this.#fail(error);
      }
      pulling = undefined;
      this.#wake?.();
    };
    try {
      while (true) {
        if (!exhausted && pulling === undefined && !this.#ended && this.#flights.size + this.#ready.length < most) {
          pulling = pull();
        }
        const result = this.#ready.shift();
        if (result !== undefined) {
          yield result;
        } else if (this.#ended) {
          break;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      if (!exhausted) {
        void Promise.resolve(source.return?.()).catch(() => undefined); // not awaited: a stuck source must not hold us
      }
    }
    await this.#rows;
    if (this.#error !== undefined) {
      throw this.#error as Error;
    }
    return this.#progress as RunProgress;
  }

  /** Aborts what is still in flight and frees the session. */
  async close(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#run?.cancel();
    while (!this.#ended) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    await this.#rows.catch(() => undefined);
  }

  #push(request: SequenceRequest): void {
    const index = this.#next++;
    const name = `requests[${index}]`;
    const interventions = this.#interventionsOf(request, name);
    const edits = interventions === undefined ? -1 : this.#lists.findIndex((list) => list.interventions === interventions);
    const prompt = promptTokens(this.#session.model, request.prompt, name);
    const compiled = compileRequest(request, { id: index, prompt, edits, contextLength: this.#session.info.contextLength });
    guard(() => this.#run?.push(compiled));
    this.#flights.set(index, { index, request, prompt, interventions: interventions ?? [] });
  }

  #interventionsOf(request: SequenceRequest, name: string): readonly Intervention[] | undefined {
    if (request.arm !== undefined) {
      const list = this.#options.arms?.[request.arm];
      if (list === undefined || request.interventions !== undefined) {
        throw invalidArgument(`${name}.arm`, `one of the run's arms (${Object.keys(this.#options.arms ?? {}).join(', ')}) and no interventions beside it`, request.arm);
      }
      return list;
    }
    if (request.interventions !== undefined && !this.#lists.some((list) => list.interventions === request.interventions)) {
      throw invalidArgument(`${name}.interventions`, 'a named arm when requests come from a stream', request.interventions);
    }
    return request.interventions;
  }

  #onEvents(events: NativeEvent[]): void {
    for (const event of events) {
      switch (event.kind) {
        case 'capture':
          this.#takeRows(event.chunk, event.blockWidths);
          break;
        case 'result':
          this.#takeResult(event.result);
          break;
        case 'progress':
          this.#report(event.progress);
          break;
        case 'end':
          this.#takeEnd(event.progress, event.error);
          break;
      }
    }
    this.#wake?.();
  }

  /** Rows are consumed one after the other; only then may the engine produce as many again. */
  #takeRows(chunk: NativeChunk, widths: Int32Array): void {
    this.#rows = this.#rows
      .then(() => (this.#error === undefined ? this.#options.onRows?.(chunk, widths) : undefined))
      .then(() => this.#run?.acknowledge(chunk, this.#options.releaseRows ?? false))
      .catch((error: unknown) => this.#fail(error));
  }

  #takeResult(native: NativeResult): void {
    const flight = this.#flights.get(native.id);
    if (flight === undefined) {
      return;
    }
    this.#flights.delete(native.id);
    try {
      const result = toResult(native, flight, this.#countEdits(native, flight));
      // A result is handed out only after its rows have been taken.
      this.#rows = this.#rows.then(() => {
        if (this.#error === undefined) {
          this.#ready.push(result);
          this.#wake?.();
        }
      });
    } catch (error) {
      this.#fail(error);
    }
  }

  #takeEnd(progress: NativeProgress, error: Error | undefined): void {
    this.#progress = progress;
    const run = this.#run;
    this.#run = undefined;
    guard(() => run?.close());
    if (error !== undefined) {
      const cause = fromNative(error);
      this.#error ??= this.#options.signal?.aborted === true ? aborted('the run', this.#options.signal) : cause;
    }
    this.#report(progress);
    void this.#rows.finally(() => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  /** A caller's progress function that throws ends the run with its error. */
  #report(progress: NativeProgress): void {
    try {
      this.#options.onProgress?.(progress);
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#error ??= error;
    this.#run?.cancel();
  }

  #countEdits(native: NativeResult, flight: Flight): EditCount[] {
    const table = this.#table;
    return flight.interventions.map((intervention, i) => {
      const changed = native.changed[i] ?? 0;
      const sequence = { promptLength: native.promptLength, begin: native.sharedPrefix, end: native.processed };
      const expected = table === undefined ? 0 : expectedChanges(intervention, table, { ...sequence, isOutput: this.#outputRows(native, flight) });
      if (changed !== expected) {
        throw new RewardLensError(
          'HOOK_NOT_FIRED',
          `requests[${flight.index}]: intervention ${i} (${intervention.kind}) was expected to write ${expected} values and wrote ${changed}`,
          { details: { request: flight.index, intervention: i, expected, changed, ...sequence } },
        );
      }
      return { changed, expected, shared: native.changedShared[i] ?? 0 };
    });
  }

  /** Which positions of a sequence have rows in the last layer: those whose logits were needed, and captured ones. */
  #outputRows(native: NativeResult, flight: Flight): (position: number) => boolean {
    const { capture } = this.#options;
    const { layerCount } = this.#session.model.info;
    const captured =
      capture !== undefined && captureBlocks(capture, layerCount).some(({ site, layer }) => this.#table?.outputRowsOnly(site, layer) === true);
    const firstLogits = (flight.request.maxTokens ?? 0) > 0 ? native.promptLength - 1 : Infinity;
    return (position) => {
      const isCaptured = (): boolean => {
        const positions = capture?.positions ?? 'all';
        return positions === 'last'
          ? position >= native.promptLength - 1
          : countPositions(positions, native.promptLength, position, position + 1) === 1;
      };
      return position >= firstLogits || (captured && isCaptured());
    };
  }
}

function toResult(native: NativeResult, flight: Flight, edits: EditCount[]): SequenceResult {
  const withStatistics = flight.request.logProbabilities === true;
  return {
    index: flight.index,
    label: flight.request.label,
    arm: flight.request.arm,
    finishReason: native.finishReason,
    text: native.text,
    tokens: native.tokens,
    promptTokens: flight.prompt,
    logProbabilities: withStatistics ? native.logProbabilities : undefined,
    entropies: withStatistics ? native.entropies : undefined,
    sharedPrefix: native.sharedPrefix,
    skippedLayers: native.skippedLayers,
    processedTokens: native.processed,
    edits,
  };
}
