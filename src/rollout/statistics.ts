/** How large every coordinate of the stream gets, prompt positions included: attention sinks sit there. */
import type { CapturePlan } from '../capture/plan.js';
import { captureBlocks } from '../capture/plan.js';
import type { Session } from '../model/session.js';
import { runSequences } from '../run/engine.js';

/** Sizes per (site, layer) block, over all positions of some prompts. */
export interface StreamSizes {
  /** `<site>.<layer>` in the plan's order. */
  readonly blocks: readonly string[];
  /** Per block: root mean square of every coordinate. */
  readonly rms: readonly Float32Array[];
  /** Per block: largest magnitude of every coordinate, and the position where it was met. */
  readonly max: readonly Float32Array[];
  readonly maxPosition: readonly Int32Array[];
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
  let squares: Float64Array[] = [];
  let max: Float32Array[] = [];
  let maxPosition: Int32Array[] = [];
  let rowCount = 0;
  const run = runSequences(
    session,
    prompts.map((prompt) => ({ prompt })),
    {
      capture: { ...plan, positions: 'all' },
      promptOnly: true,
      releaseRows: true,
      signal: options.signal,
      onRows: (chunk, widths) => {
        if (squares.length === 0) {
          squares = [...widths].map((width) => new Float64Array(width));
          max = [...widths].map((width) => new Float32Array(width));
          maxPosition = [...widths].map((width) => new Int32Array(width).fill(-1));
        }
        chunk.blocks.forEach((buffer, b) => addRows(new Float32Array(buffer), chunk.positions, [squares[b], max[b], maxPosition[b]] as Totals));
        rowCount += chunk.rowCount;
      },
    },
  );
  for await (const result of run) {
    void result; // the rows are what counts
  }
  return { blocks, rms: squares.map((sums) => Float32Array.from(sums, (sum) => Math.sqrt(sum / Math.max(1, rowCount)))), max, maxPosition, rowCount };
}

type Totals = [squares: Float64Array, max: Float32Array, position: Int32Array];

function addRows(rows: Float32Array, positions: Int32Array, [squares, max, position]: Totals): void {
  const width = squares.length;
  for (let row = 0; row * width < rows.length; row++) {
    for (let j = 0; j < width; j++) {
      const value = rows[row * width + j] as number;
      squares[j] = (squares[j] as number) + value * value;
      if (Math.abs(value) > (max[j] as number)) {
        max[j] = Math.abs(value);
        position[j] = positions[row] as number;
      }
    }
  }
}
