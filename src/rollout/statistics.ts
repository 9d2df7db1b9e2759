/** How large every coordinate of the stream gets, prompt positions included: attention sinks sit there. */
import type { CapturePlan } from '../capture/plan.js';
import { captureBlocks } from '../capture/plan.js';
import type { Session } from '../model/session.js';
import { runSequences } from '../run/engine.js';
import { ColumnMoments } from '../stats/moments.js';

/** Sizes per (site, layer) block, over all positions of some prompts. */
export interface StreamSizes {
  /** `<site>.<layer>` in the plan's order. */
  readonly blocks: readonly string[];
  /** Per block: root mean square of every coordinate. */
  readonly rms: readonly Float32Array[];
  /** Per block: largest magnitude of every coordinate. */
  readonly max: readonly Float32Array[];
  readonly rowCount: number;
}

/**
 * Reads `prompts` through the model and measures every coordinate at every position. Memory: a few arrays of the stream's
 * width per block. Errors: those of the engine. Cost: one forward pass per prompt, up to the last layer of the plan.
 */
export async function measureStream(
  session: Session,
  prompts: readonly (string | Int32Array)[],
  plan: Pick<CapturePlan, 'site' | 'layers'>,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<StreamSizes> {
  const blocks = captureBlocks(plan, session.model.info.layerCount).map(({ name }) => name);
  let moments: ColumnMoments[] = [];
  const run = runSequences(
    session,
    prompts.map((prompt) => ({ prompt })),
    {
      capture: { ...plan, positions: 'all' },
      promptOnly: true,
      releaseRows: true,
      signal: options.signal,
      onRows: (chunk, widths) => {
        if (moments.length === 0) {
          moments = [...widths].map((width) => new ColumnMoments(width));
        }
        chunk.blocks.forEach((buffer, b) => moments[b]?.push(new Float32Array(buffer)));
      },
    },
  );
  for await (const result of run) {
    void result; // the rows are what counts
  }
  return {
    blocks,
    rms: moments.map((block) => Float32Array.from(block.rms())),
    max: moments.map((block) => Float32Array.from(block.maxAbs)),
    rowCount: moments[0]?.count ?? 0,
  };
}
