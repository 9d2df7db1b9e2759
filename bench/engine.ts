/** Our side: runs of a session, timed from the request to the last event. */
import type { NativeCapture, NativeEditList, NativeRequest, NativeResult, NativeRunParams } from '../src/native/addon.js';
import { fromNative } from '../src/native/errors.js';
import type { Session } from '../src/model/session.js';
import type { Sample } from './measure.js';

/** Prompt token of a sequence at a position: the formula of prompt_token() in bench/native/stock.cpp. */
export function promptToken(sequence: number, position: number, vocabSize: number): number {
  return 3 + ((sequence * 7919 + position * 104729 + 12345) % (vocabSize - 3));
}

/** The first `length` prompt tokens of a sequence. */
export function promptTokens(sequence: number, length: number, vocabSize: number): Int32Array {
  return Int32Array.from({ length }, (_, position) => promptToken(sequence, position, vocabSize));
}

/** A greedy request that runs to its full length. `edits` is an index into the run's edit lists, -1 none. */
export function greedyRequest(id: number, prompt: Int32Array, maxTokens: number, edits = -1): NativeRequest {
  return {
    id,
    prompt,
    maxTokens,
    edits,
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    seed: 1,
    grammar: '',
    stop: [],
    statistics: false,
    ignoreEog: true,
  };
}

/** The residual stream after each of `layers`, every position. */
export function captureLayers(layers: readonly number[]): NativeCapture {
  return {
    sites: layers.map((layer) => ({ site: 'residPost' as const, layer })),
    positions: { kind: 'all' },
    halfPrecision: false,
  };
}

/** What an arm of the benchmark does: sets one neuron in a hundred of a layer's residual stream to zero. */
export function zeroEdit(arm: number, layerCount: number, dModel: number, positions: 'all' | 'completion', layer = arm % layerCount): NativeEditList {
  const count = Math.max(1, Math.round(dModel / 100));
  const neurons = Int32Array.from({ length: count }, (_, i) => (arm * 31 + i * 97) % dModel);
  return {
    sourceCount: 1,
    edits: [
      {
        source: 0,
        site: 'residPost',
        layer,
        op: 'set',
        neurons: Int32Array.from(new Set(neurons)).sort(),
        positions: { kind: positions },
        values: Float32Array.of(0),
      },
    ],
  };
}

/** What a run gave back. */
export interface Outcome {
  seconds: number;
  busySeconds: number;
  results: NativeResult[];
  sharedTokens: number;
  promptTokens: number;
  /** Prompt tokens whose lower layers were not computed, and the same × those layers. */
  skippedTokens: number;
  skippedLayerTokens: number;
  capturedBytes: number;
  /** Forward passes. */
  passes: number;
}

/** Runs `requests` to the end; captured rows are dropped at once. Rejects with the run's error. */
export async function runToEnd(session: Session, params: NativeRunParams, requests: readonly NativeRequest[]): Promise<Outcome> {
  const outcome: Outcome = { seconds: 0, busySeconds: 0, results: [], sharedTokens: 0, promptTokens: 0, skippedTokens: 0, skippedLayerTokens: 0, capturedBytes: 0, passes: 0 };
  const start = performance.now();
  await new Promise<void>((done, fail) => {
    const run = session.start(params, (events) => {
      for (const event of events) {
        if (event.kind === 'capture') {
          outcome.capturedBytes += event.chunk.bytes;
          run.acknowledge(event.chunk, true);
        } else if (event.kind === 'result') {
          outcome.results.push(event.result);
        } else if (event.kind === 'end') {
          outcome.seconds = (performance.now() - start) / 1000;
          outcome.busySeconds = event.progress.busyMs / 1000;
          outcome.sharedTokens = event.progress.sharedTokens;
          outcome.promptTokens = event.progress.promptTokens;
          outcome.skippedTokens = event.progress.skippedTokens;
          outcome.skippedLayerTokens = event.progress.skippedLayerTokens;
          outcome.passes = event.progress.decodeCalls;
          run.close();
          if (event.error === undefined) {
            done();
          } else {
            const failure = fromNative(event.error);
            fail(failure instanceof Error ? failure : new Error(String(failure)));
          }
        }
      }
    });
    for (const request of requests) {
      run.push(request);
    }
    run.finish();
  });
  outcome.results.sort((a, b) => a.id - b.id);
  return outcome;
}

/** FNV-1a over the sampled tokens, request by request, as the reference computes it. */
export function hashTokens(results: readonly NativeResult[]): number {
  let hash = 2166136261;
  for (const { tokens } of results) {
    for (const token of tokens) {
      hash = Math.imul(hash ^ token, 16777619) >>> 0;
    }
  }
  return hash;
}

/** An outcome as a sample; units are sampled tokens unless given. */
export function toSample(outcome: Outcome, units?: number): Sample {
  const sampled = outcome.results.reduce((sum, result) => sum + result.tokens.length, 0);
  return {
    seconds: outcome.seconds,
    busySeconds: outcome.busySeconds,
    units: units ?? sampled,
    hash: sampled > 0 ? hashTokens(outcome.results) : undefined,
  };
}

/** Throws when an edit list that should have changed values did not: a benchmark of nothing would look very fast. */
export function assertEdited(results: readonly NativeResult[]): void {
  for (const result of results) {
    if (result.changed.reduce((sum, count) => sum + count, 0) === 0) {
      throw new Error(`request ${result.id}: its edit changed nothing`);
    }
  }
}
