/** Synthetic trajectories whose dopamine neurons are known, and the checks that come before every result: they are found, and nothing is where nothing is. */
import type { Dopamine } from '../report/dopamineSchema.js';
import type { DopamineData, DopamineStep, DopamineTrajectory, Part } from './dopamineData.js';
import { itemsOf } from './dopamineData.js';
import { DOPAMINE_PROBES, fitDopamine } from './dopamineProbe.js';
import { dopamineScores } from './dopamineRank.js';
import { stepErrors } from '../rpe/tdErrors.js';
import { order } from '../rank/scores.js';
import { mulberry32 } from '../util/random.js';

/** What to plant. */
export interface DopaminePlant {
  readonly width: number;
  readonly trajectories: number;
  /** Scale of each planted coordinate. */
  readonly scales: readonly number[];
  readonly seed: number;
  /** False: the same trajectories, but no coordinate shows δ. */
  readonly signal?: boolean;
}

/** Noise of a state beside a δ of 1: averaged over a step it leaves a correlation of about 0.9. */
const NOISE = 1;

/**
 * Trajectories of 3 to 8 steps with 3 to 9 tokens each. Values in front of steps jump at random in [0, 1] and the reward is 0 or 1, so δ is large in many steps. During
 * a step with error δ a planted coordinate shows 2 δ plus noise, times its scale; all others are noise at scales spread over the same range; every coordinate
 * has an offset. Returns the planted ones, ascending.
 */
export function plantedDopamine({ width, trajectories, scales, seed, signal = true }: DopaminePlant): { data: DopamineData; planted: number[] } {
  const random = mulberry32(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const places = Array.from({ length: width }, (_, i) => [random(), i] as const).sort(([a], [b]) => a - b).map(([, i]) => i);
  const planted = new Set(places.slice(0, scales.length));
  const [low, high] = [Math.log(Math.min(...scales)), Math.log(Math.max(...scales))];
  const scaleOf = new Float64Array(width);
  places.forEach((place, i) => (scaleOf[place] = scales[i] ?? Math.exp(low + (high - low) * random())));
  const offset = scaleOf.map((scale) => 3 * scale * normal());
  const rows: Float32Array[] = [];
  const made = Array.from({ length: trajectories }, (_, t): DopamineTrajectory => {
    const values = Array.from({ length: 3 + Math.floor(random() * 6) }, random);
    const reward = random() < (values.at(-1) as number) ? 1 : 0;
    const errors = stepErrors(values, reward, 1) as number[];
    let end = 0;
    const steps = errors.map((error): DopamineStep => {
      const begin = end;
      end += 3 + Math.floor(random() * 7);
      return { begin, end, error, baselines: {} };
    });
    const states = new Float32Array(end * width);
    for (let s = 0; s < end; s++) {
      const error = steps.find((step) => s > step.begin && s <= step.end)?.error ?? 0;
      for (let c = 0; c < width; c++) {
        const shown = signal && planted.has(c) ? 2 * error + NOISE * normal() : normal();
        states[s * width + c] = (offset[c] as number) + (scaleOf[c] as number) * shown;
      }
    }
    rows.push(states);
    const part: Part = t % 5 === 0 ? 'test' : t % 5 === 1 ? 'validation' : 'train';
    return { problem: `planted-${t}`, sample: 0, pieces: [], group: `planted-${t}`, part, reward, value: values[0] as number, steps };
  });
  return {
    data: { site: 'planted', layers: [0], width, trajectories: made, read: async (i) => rows[i] as Float32Array },
    planted: [...planted].sort((a, b) => a - b),
  };
}

/** 99.9 % of the normal distribution: a null check that fails by chance once in a thousand. Steps of planted trajectories are independent. */
const Z999 = 3.2905;
/** Scales of the planted coordinates. */
const SCALES = Array.from({ length: 9 }, (_, i) => 10 ** (-2 + i / 2));

/** The checks of the self-test. `spoil` changes the trajectories as a mistake in the code would: for tests. Cost: about a second. Errors: ABORTED. */
export async function dopamineSelfTest(options: { threads: number; seed?: number; spoil?: (data: DopamineData) => DopamineData; signal?: AbortSignal | undefined }): Promise<Dopamine['selfTest']> {
  const seed = options.seed ?? 1;
  const training = { mode: 'running', threshold: 0.3, hidden: 32, seed, threads: options.threads, signal: options.signal } as const;
  const plant = { width: 64, trajectories: 200, scales: SCALES, seed };
  const real = await outcome(plant, training, options.spoil);
  const twin = await outcome({ ...plant, signal: false, seed: seed + 1000 }, training, options.spoil);
  const half = ({ n }: Estimate): number => Z999 / Math.sqrt(n - 1);
  const isNull = (found: Estimate): boolean => Math.abs(found.value ?? 1) <= half(found);
  const text = (found: Estimate): string => `${found.value?.toFixed(3) ?? '–'} ± ${half(found).toFixed(3)} (99.9 %)`;
  const checks = [
    { name: `planted coordinates at scales ${SCALES[0]} to ${SCALES.at(-1)} come first`, passed: real.found === SCALES.length, expected: `${SCALES.length} of ${SCALES.length}`, observed: `${real.found} of ${SCALES.length}` },
    { name: 'planted δ: held-out Spearman', passed: (real.main.value ?? -1) - half(real.main) > 0.5, expected: 'above 0.5 by its interval', observed: text(real.main) },
    { name: 'shuffled errors: held-out Spearman', passed: isNull(real.shuffled), expected: '0 within its interval', observed: text(real.shuffled) },
    { name: 'no coordinate shows δ: held-out Spearman', passed: isNull(twin.main), expected: '0 within its interval', observed: text(twin.main) },
  ];
  return { passed: checks.every(({ passed }) => passed), checks };
}

async function outcome(plant: DopaminePlant, training: Parameters<typeof fitDopamine>[2], spoil: (data: DopamineData) => DopamineData = (same) => same): Promise<{ found: number; main: Estimate; shuffled: Estimate }> {
  const { data: made, planted } = plantedDopamine(plant);
  const data = spoil(made);
  const items = itemsOf(data);
  const { layers, best } = await fitDopamine(data, items, training);
  const first = [...order(dopamineScores(best, items, training.threshold).get('l1-zscore') as Float64Array).subarray(0, planted.length)];
  const spearmanOf = (name: string): Estimate => layers[0]?.scores.find((entry) => entry.name === name)?.large.spearman as Estimate;
  return { found: first.filter((neuron) => planted.includes(neuron)).length, main: spearmanOf(DOPAMINE_PROBES.main), shuffled: spearmanOf(DOPAMINE_PROBES.shuffled) };
}

type Estimate = Dopamine['ranking'][number]['spearman'];
