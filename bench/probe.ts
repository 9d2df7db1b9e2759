/** Training value probes: ours against PyTorch on the same states, initial weights and threads. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ProbeWeights } from '../src/probe/trainer.js';
import { ProbeTrainer, initialWeights } from '../src/probe/trainer.js';
import { mulberry32 } from '../src/util/random.js';
import { LineProcess } from './lineProcess.js';
import type { Contender, Sample } from './measure.js';
import { compare, interleave, median, rate } from './measure.js';
import type { Finding } from './rows.js';
import type { Setup } from './setup.js';

/** A model of 7B parameters has streams of this width; mini-batches as the trainer's defaults. */
const SHAPE = { width: 3584, hidden: 1024, layers: 4, trajectories: 4, length: 128, batches: 2, gamma: 1 - 1e-5 };
const ROWS = SHAPE.trajectories * SHAPE.length;
const SCRIPT = resolve(import.meta.dirname, '../tools/probe/bench_torch.py');
/** Losses of the two sides after the same steps may differ by rounding only. */
const TOLERANCE = 1e-3;

interface Data {
  /** Half floats [batches, rows, layers, width]. */
  states: Uint16Array;
  /** [batches, trajectories] */
  rewards: Float32Array;
  weights: ProbeWeights[];
}

/** Seeded states of unit scale, as half floats. */
function makeData(): Data {
  const random = mulberry32(1);
  const { width, hidden, layers, trajectories, batches } = SHAPE;
  const states = new Uint16Array(batches * ROWS * layers * width);
  for (let i = 0; i < states.length; i++) {
    const bits = Math.floor(random() * 0x10000);
    states[i] = (bits & 0x83ff) | ((11 + ((bits >> 10) & 3)) << 10); // sign and mantissa as they come, magnitudes 1/16 to 1
  }
  return {
    states,
    rewards: Float32Array.from({ length: batches * trajectories }, () => Math.round(random())),
    weights: Array.from({ length: layers }, (_, layer) => initialWeights(width, hidden, layer)),
  };
}

interface Answer {
  seconds: number;
  losses: number[];
  torch: string;
}

function makeTrainer(data: Data, threads: number): ProbeTrainer {
  const { width, layers, hidden, gamma } = SHAPE;
  const probes = data.weights.map((weights, layer) => ({
    layer,
    hidden,
    head: 'sigmoid' as const,
    target: 'td0' as const,
    lambda: 1,
    rewardColumn: 0,
    learningRate: 1e-4,
    weightDecay: 0.01,
    mean: new Float32Array(width),
    scale: new Float32Array(width).fill(1),
    weights,
  }));
  return new ProbeTrainer({ width, layers, gamma, threads, probes });
}

/** Ours: from half floats in JavaScript to losses in JavaScript. */
function ours(data: Data, trainer: ProbeTrainer): (steps: number) => Promise<Answer> {
  const { trajectories, length, batches } = SHAPE;
  const rowValues = data.states.length / batches;
  const lengths = new Int32Array(trajectories).fill(length);
  let done = 0;
  return async (steps) => {
    const started = performance.now();
    let losses: Float32Array = new Float32Array(0);
    for (let i = 0; i < steps; i++) {
      const batch = done++ % batches;
      losses = await trainer.step(
        data.states.subarray(batch * rowValues, (batch + 1) * rowValues),
        lengths,
        data.rewards.subarray(batch * trajectories, (batch + 1) * trajectories),
      );
    }
    return { seconds: (performance.now() - started) / 1000, losses: [...losses], torch: '' };
  };
}

function writeSettings(folder: string, data: Data, threads: number): string {
  const files = { states: join(folder, 'states'), rewards: join(folder, 'rewards'), weights: join(folder, 'weights') };
  writeFileSync(files.states, data.states);
  writeFileSync(files.rewards, data.rewards);
  writeFileSync(files.weights, Buffer.concat(data.weights.flatMap(({ w1, b1, w2, b2 }) => [w1, b1, w2, b2].map((part) => Buffer.from(part.buffer)))));
  const path = join(folder, 'settings.json');
  writeFileSync(path, JSON.stringify({ ...SHAPE, threads, files }));
  return path;
}

const OPTIMIZERS = ['fused', 'default'] as const;

async function measure(folder: string, python: string, setup: Setup): Promise<Finding[]> {
  const { threads, repetitions } = setup.settings;
  const data = makeData();
  const torch = new LineProcess<Answer>(python, [SCRIPT, writeSettings(folder, data, threads)]);
  await using trainer = makeTrainer(data, threads);
  const steps = repetitions === 1 ? 1 : 4;
  const losses = new Map<string, number[]>();
  let version = '';
  const contender = (name: string, work: (steps: number) => Promise<Answer>): Contender => ({
    name,
    run: async (): Promise<Sample> => {
      const answer = await work(steps);
      losses.set(name, answer.losses);
      version = answer.torch === '' ? version : answer.torch;
      return { seconds: answer.seconds, busySeconds: answer.seconds, units: steps * ROWS };
    },
  });
  const contenders = [contender('ours', ours(data, trainer)), ...OPTIMIZERS.map((name) => contender(name, async (n) => torch.ask(`${name} ${n}`)))];
  const samples = await interleave(contenders, repetitions, (round) => setup.report(`probe training, round ${round + 1} of ${repetitions}`));
  torch.close();
  const speed = (name: string): number => median((samples.get(name) ?? []).map(rate));
  const [better, other] = speed('fused') >= speed('default') ? OPTIMIZERS : ([...OPTIMIZERS].reverse() as ['default', 'fused']);
  const { ours: rateOfOurs, reference, ratio, spread } = compare(samples, 'ours', better);
  const apart = Math.max(...(losses.get('ours') ?? []).map((loss, i) => Math.abs(loss / (losses.get(better)?.[i] ?? NaN) - 1)));
  return [
    {
      name: `value-probe training (d = ${SHAPE.width}, hidden ${SHAPE.hidden})`,
      unit: 'states/s',
      target: 1,
      comparison: '>=',
      ours: rateOfOurs,
      reference,
      ratio,
      spread,
      decodeRatio: null,
      note:
        `PyTorch ${version}, AdamW ${better} (${other}: ${speed(other).toFixed(0)} states/s); ${SHAPE.layers} layers, ` +
        `${SHAPE.trajectories} trajectories of ${SHAPE.length} states per step. ` +
        (apart <= TOLERANCE ? 'Both sides have the same losses.' : `WARNING: the losses of the two sides differ by ${apart.toExponential(1)}.`),
    },
  ];
}

/**
 * One row, or none with a line that says why: the environment variable REWARDLENS_PYTHON names a Python with PyTorch and
 * NumPy. Throws what that Python prints. Cost: about 800 MiB of memory over both sides.
 */
export async function probeRows(setup: Setup): Promise<Finding[]> {
  const python = process.env['REWARDLENS_PYTHON'];
  if (python === undefined || python === '') {
    setup.report('probe training: left out; set REWARDLENS_PYTHON to a Python with PyTorch to compare with');
    return [];
  }
  const folder = mkdtempSync(join(tmpdir(), 'rewardlens-probe-'));
  try {
    return await measure(folder, python, setup);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
