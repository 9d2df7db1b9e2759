/** How much traces of some neurons have in common with those of the base arm, summed up as they come. */

/** Sums of a Pearson correlation. */
interface Sums {
  n: number;
  x: number;
  y: number;
  xx: number;
  yy: number;
  xy: number;
}

/** Traces of one trajectory that wait for the base arm's. */
interface Waiting {
  base: readonly Float32Array[] | undefined;
  others: { arm: string; traces: readonly Float32Array[] }[];
  taken: number;
}

/** Token by token agreement of every arm with the base arm over all trajectories. Memory: six sums per arm and neuron, and traces until those of the base arm have come. */
export class TraceAgreement {
  readonly #base: string;
  readonly #sums: ReadonlyMap<string, Sums[]>;
  readonly #waiting = new Map<number, Waiting>();

  /** `arms`: names, the base first. */
  constructor(arms: readonly string[], neurons: number) {
    this.#base = arms[0] ?? '';
    this.#sums = new Map(arms.map((arm) => [arm, Array.from({ length: neurons }, () => ({ n: 0, x: 0, y: 0, xx: 0, yy: 0, xy: 0 }))]));
  }

  /** Takes the traces of one arm and trajectory, one per neuron; sequences finish in any order. */
  take(trajectory: number, arm: string, traces: readonly Float32Array[]): void {
    const own = this.#waiting.get(trajectory) ?? { base: undefined, others: [], taken: 0 };
    this.#waiting.set(trajectory, own);
    own.others.push({ arm, traces });
    own.base = arm === this.#base ? traces : own.base;
    const { base } = own;
    if (base !== undefined) {
      own.taken += own.others.length;
      own.others.splice(0).forEach((other) => add(this.#sums.get(other.arm) ?? [], other.traces, base));
    }
    if (own.taken === this.#sums.size) {
      this.#waiting.delete(trajectory);
    }
  }

  /** Mean over neurons of Pearson's correlation; a neuron whose trace has no spread left agrees with nothing and counts as 0. Null without traces. */
  correlation(arm: string): number | null {
    const sums = this.#sums.get(arm) ?? [];
    const values = sums.map(({ n, x, y, xx, yy, xy }) => {
      const [a, b] = [xx - (x * x) / n, yy - (y * y) / n];
      return a > 1e-9 * xx && b > 1e-9 * yy ? (xy - (x * y) / n) / Math.sqrt(a * b) : 0;
    });
    return (sums[0]?.n ?? 0) === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  }
}

function add(sums: readonly Sums[], traces: readonly Float32Array[], base: readonly Float32Array[]): void {
  traces.forEach((trace, neuron) => {
    const own = sums[neuron] as Sums;
    trace.forEach((x, t) => {
      const y = base[neuron]?.[t] as number;
      own.n++;
      own.x += x;
      own.y += y;
      own.xx += x * x;
      own.yy += y * y;
      own.xy += x * y;
    });
  });
}
