/** Arms planned from a probed folder: which neurons every set takes, what ablations write, and what the plan says of them. */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Arm } from '../../src/ablate/arms.js';
import type { ResampleIntervention } from '../../src/intervene/types.js';
import { trajectoryData } from '../../src/probe/data.js';
import { ActivationStore } from '../../src/store/reader.js';
import { probeStage, splitOf } from '../../src/study/analyse.js';
import type { ArmGrid, ArmPlan } from '../../src/study/armPlan.js';
import { planArms } from '../../src/study/armPlan.js';
import { RESAMPLE_ROWS } from '../../src/study/armScores.js';
import { PROBE_DEFAULTS } from '../../src/study/options.js';
import { mulberry32 } from '../../src/util/random.js';
import { saveTensors } from '../../src/util/safetensors.js';

const WIDTH = 64;
const LAYERS = [0, 2];
/** Knows the reward in all states but the last; in the last alone; is the log-probability of the next token; is massive; is large. */
const [VALUE, TERMINAL, NEXT, SINK, LARGE] = [20, 30, 40, 50, 51] as const;
const SETTINGS = { ...PROBE_DEFAULTS, hidden: 16, targets: ['mc'], variants: ['linear'], maxEpochs: 20, learningRate: 3e-3 } as const;
const MODEL = { files: ['models/planted.gguf'], layerCount: 3, dModel: WIDTH };
const WORK = { threads: 1 };
const GRID: ArmGrid = { layers: 'all', shares: [1 / WIDTH], kinds: ['zero'], positions: ['all'], groups: ['top'], draws: 9, method: 'l1-zscore', excludeSinks: false, seed: 1 };

let directory: string;

/** A store as another program would write it. */
async function writeStore(): Promise<void> {
  const random = mulberry32(8);
  const noise = (): number => 2 * random() - 1;
  const rows: number[] = [];
  const lines: string[] = [];
  for (let t = 0; t < 240; t++) {
    const reward = t % 2;
    const count = 3 + (t % 4);
    const first = rows.length / (LAYERS.length * WIDTH);
    const logProbabilities: number[] = [];
    for (let s = 0; s < count; s++) {
      const next = noise();
      logProbabilities.push(next - 2);
      for (const layer of LAYERS) {
        const row = Array.from({ length: WIDTH }, noise);
        const sign = layer === 0 ? 2 * reward - 1 : 0; // layer 2 knows nothing of the reward
        row[VALUE] = (row[VALUE] as number) + (s < count - 1 ? sign : 0);
        row[TERMINAL] = (row[TERMINAL] as number) + (s === count - 1 ? sign : 0);
        row[NEXT] = next;
        row[SINK] = 40 * (row[SINK] as number);
        row[LARGE] = 3 * (row[LARGE] as number);
        rows.push(...row);
      }
    }
    lines.push(JSON.stringify({ problem: `p${t}`, reward, tokens: new Array(count).fill(1), logProbabilities, rows: [[0, first, first + count]] }));
  }
  await mkdir(join(directory, 'activations'));
  await writeFile(join(directory, 'store.json'), JSON.stringify({ format: 'rewardlens.store', version: 1, dtype: 'f32', sites: [{ site: 'residPost', layers: LAYERS, width: WIDTH }], positions: 'response' }));
  await writeFile(join(directory, 'trajectories.jsonl'), `${lines.join('\n')}\n`);
  const data = Float32Array.from(rows);
  await saveTensors(join(directory, 'activations', 'residPost-00000.safetensors'), new Map([['residPost', { shape: [data.length / (LAYERS.length * WIDTH), LAYERS.length, WIDTH], data }]]), {});
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-arm-plan-'));
  await writeStore();
  await probeStage(directory, SETTINGS, WORK);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const plan = (change: Partial<ArmGrid>, from: string | undefined = directory): Promise<ArmPlan> => planArms(from, { ...GRID, ...change }, MODEL, WORK);
const neuronsOf = (arms: readonly Arm[], group: string, layer = 0): (readonly number[])[] => arms.filter((arm) => arm.group === group && arm.layer === layer).map(({ neurons }) => neurons);
const refused = async (change: Partial<ArmGrid>, message: string, from: string | undefined = directory): Promise<void> =>
  expect(planArms(from, { ...GRID, ...change }, MODEL, WORK)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) });

describe('sets', () => {
  test.each(['l1-zscore', 'linear', 'permutation', 'univariate'] as const)('the top of %s is the neuron that knows the reward', async (method) => {
    const { arms } = await plan({ method, layers: [0] });
    expect(neuronsOf(arms, 'top')).toEqual([[VALUE]]);
  });

  test('controls by another score: each finds its own neuron', async () => {
    const { arms, notes } = await plan({ groups: ['top', 'next-token', 'terminal', 'largest', 'wanda'], layers: [0] });
    expect(['top', 'next-token', 'terminal', 'largest'].map((group) => neuronsOf(arms, group))).toEqual([[[VALUE]], [[NEXT]], [[TERMINAL]], [[SINK]]]);
    expect(notes).toEqual([]);
  });

  test('wanda: RMS times what the next matrices read', async () => {
    const { arms } = await plan({ groups: ['wanda'], shares: [0.1] });
    const oracle = (JSON.parse(await readFile('test/fixtures/oracle/weight-norms.json', 'utf8')) as Record<string, { strength: number[][] }>)['models/planted.gguf']?.strength as number[][];
    await using store = await ActivationStore.open(directory);
    const data = trajectoryData(store, 'residPost');
    const states = await data.read(splitOf(data, SETTINGS).train);
    for (const [l, layer] of LAYERS.entries()) {
      const sums = new Float64Array(WIDTH);
      states.forEach((value, at) => (sums[at % WIDTH] = (sums[at % WIDTH] as number) + (Math.floor(at / WIDTH) % LAYERS.length === l ? value * value : 0)));
      const scores = Array.from(sums, (sum, j) => Math.sqrt(sum) * (oracle[layer]?.[j] as number));
      const best = scores.map((score, j) => ({ score, j })).sort((a, b) => b.score - a.score || a.j - b.j).slice(0, 6).map(({ j }) => j);
      expect(neuronsOf(arms, 'wanda', layer)).toEqual([best.sort((a, b) => a - b)]);
    }
  });

  test('control probes are trained once, and again when the value probes are others', async () => {
    const path = join(directory, 'probe-next-token.safetensors');
    await plan({ groups: ['next-token'] });
    const { mtimeMs } = await stat(path);
    await plan({ groups: ['next-token', 'random'], layers: [2], seed: 3 });
    expect((await stat(path)).mtimeMs).toBe(mtimeMs);
    const before = await readFile(path);
    await writeFile(path, before.subarray(0, before.length - 1));
    await plan({ groups: ['next-token'] });
    expect(await readFile(path)).toEqual(before);
  });

  test('the sink is in no set without sinks, and alone in a layer of few', async () => {
    const { arms } = await plan({ groups: ['largest', 'random', 'random-no-sinks', 'matched'], shares: [0.4], excludeSinks: true, layers: [0] });
    expect(arms.flatMap(({ neurons }) => neurons)).not.toContain(SINK);
    const random = await plan({ groups: ['random', 'random-no-sinks'], shares: [0.4], draws: 30, layers: [0] });
    expect(neuronsOf(random.arms, 'random').filter((set) => set.includes(SINK)).length).toBeGreaterThan(5);
    expect(neuronsOf(random.arms, 'random-no-sinks').filter((set) => set.includes(SINK))).toEqual([]);
  });
});

describe('kinds', () => {
  test('mean and resample: of the training states of the layer; every arm of a layer resamples the same states', async () => {
    const { arms } = await plan({ groups: ['top', 'random'], kinds: ['mean', 'resample'], shares: [0.05] });
    await using store = await ActivationStore.open(directory);
    const data = trajectoryData(store, 'residPost');
    const split = splitOf(data, SETTINGS);
    const states = await data.read(split.train);
    const column = (layer: number, neuron: number): number[] => {
      const l = LAYERS.indexOf(layer);
      return Array.from({ length: states.length / (WIDTH * LAYERS.length) }, (_, row) => states[(row * LAYERS.length + l) * WIDTH + neuron] as number);
    };
    const rowsSeen = new Map<number, Set<string>>();
    for (const arm of arms.slice(1)) {
      const columns = arm.neurons.map((neuron) => column(arm.layer, neuron));
      const intervention = arm.interventions[0] as ResampleIntervention;
      if (arm.kind === 'mean') {
        const means = (arm.interventions[0] as unknown as { means: Float32Array }).means;
        columns.forEach((values, k) => expect(means[k]).toBeCloseTo(values.reduce((a, b) => a + b, 0) / values.length, 5));
        continue;
      }
      const { data: rows, width } = intervention.rows as { data: Float32Array; width: number };
      expect([width, rows.length]).toEqual([arm.neurons.length, RESAMPLE_ROWS * arm.neurons.length]);
      // each row's values stand side by side in one training state
      const drawn = Array.from({ length: RESAMPLE_ROWS }, (_, row) => columns[0]?.findIndex((_value, at) => columns.every((values, k) => values[at] === rows[row * width + k])) ?? -1);
      expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
      expect(new Set(drawn).size).toBe(RESAMPLE_ROWS);
      rowsSeen.set(arm.layer, (rowsSeen.get(arm.layer) ?? new Set()).add(`${drawn.join()} ${intervention.seed}`));
    }
    expect([...rowsSeen.values()].map(({ size }) => size)).toEqual([1, 1]);
  });
});

describe('the grid', () => {
  test('layers × shares × kinds × positions × sets, base first, names unique, layers of the folder', async () => {
    const { arms, grid } = await plan({ shares: [0.02, 0.1], kinds: ['zero', 'resample'], positions: ['all', 'prompt', 'completion'], groups: ['top', 'bottom', 'matched'], draws: 4 });
    expect(arms.length).toBe(1 + 2 * 2 * 2 * 3 * (2 + 4));
    expect(new Set(arms.map(({ name }) => name)).size).toBe(arms.length);
    expect([arms[0]?.name, grid.layers]).toEqual(['base', LAYERS]);
    expect(arms.some(({ name }) => name === 'matched#3-10%-L2-resample-completion')).toBe(true);
    expect(await plan({ shares: [0.1], layers: [-1] })).toMatchObject({ grid: { layers: [2] }, meanTokens: 4.5 });
  });

  test('notes: shares of one number, few different draws, overlap, bad matches', async () => {
    const { arms, notes } = await plan({ shares: [0.01, 0.02], groups: ['top', 'matched'], layers: [0], draws: 80 });
    expect(arms.filter(({ group }) => group === 'top').length).toBe(1);
    expect(notes).toEqual([
      expect.stringMatching(/^matched: no more different draws than [56]\d \(L0 1%\)\.$/),
      expect.stringMatching(/^matched: too few neurons alike; partners differ by a factor of up to (1\.[5-9]|2\.0) \(L0 1%\)\.$/),
      'Left out, as 1% is the same number of neurons: 2%.',
    ]);
    const half = await plan({ shares: [0.6], groups: ['largest', 'top', 'matched'], layers: [0], draws: 5 });
    expect(half.notes.join('\n')).toMatch(/matched: too few other neurons; shared with the set that they are compared with 1\d \(L0 60%\)\./);
    const most = await plan({ shares: [0.45], groups: ['top', 'matched'], layers: [0], draws: 5 });
    expect(most.notes.join('\n')).toMatch(/matched: draws have much in common, of their neurons on average [6-9]\d(\.\d)?% \(L0 45%\)/);
    expect(half.notes.join('\n')).toMatch(/largest: neurons that are also in top \d+ of 38 \(L0 60%\)/);
    const sink = await plan({ groups: ['list', 'matched'], list: [SINK], layers: [0], draws: 2 });
    expect(sink.notes.join('\n')).toMatch(/matched: too few neurons alike; partners differ by a factor of up to 1\d \(L0 1\.56%\)/);
  });

  test('neurons given by hand: the same in every layer, or by layer; without a folder too', async () => {
    const { arms } = await plan({ groups: ['list', 'matched'], list: [9, 3], draws: 2 });
    expect(LAYERS.map((layer) => neuronsOf(arms, 'list', layer))).toEqual([[[3, 9]], [[3, 9]]]);
    expect(neuronsOf(arms, 'matched').map((set) => set.length)).toEqual([2, 2]);
    const byLayer = await planArms(undefined, { ...GRID, groups: ['list', 'random'], list: { 1: [5], 2: [6, 7] } }, MODEL, WORK);
    expect([byLayer.grid.layers, neuronsOf(byLayer.arms, 'list', 1), neuronsOf(byLayer.arms, 'list', 2)]).toEqual([[1, 2], [[5]], [[6, 7]]]);
    expect((await planArms(undefined, { ...GRID, groups: ['list'], list: [1] }, MODEL, WORK)).grid.layers).toEqual([0, 1, 2]);
  });

  test('what cannot be is refused', async () => {
    await refused({ layers: [1] }, 'layers: expected layers that');
    await refused({ layers: [7] }, 'layers');
    await refused({ method: 'l1-raw' }, 'ranking by l1-raw needs a probe that was not trained');
    await refused({ groups: ['list'] }, 'list: group list needs neurons');
    await refused({ list: [3] }, 'list is not among the groups');
    await refused({ groups: ['list', 'top'], list: [3] }, 'controls are matched to one set');
    await refused({ groups: ['list'], list: [64] }, 'layer 0: expected different neurons in 0..63, at least one, got 64');
    await refused({ groups: ['list'], list: [3, 3] }, 'got 3');
    await refused({ groups: ['list'], list: { 0: [3] }, layers: [0, 2] }, 'list: expected neurons of layer 2, got those of 0');
    await refused({ groups: ['random'], draws: 9000, shares: [0.1, 0.2] }, 'grid: more than 10000 arms');
    await refused({ shares: [0.5], groups: ['random'], layers: [0], draws: 1, positions: ['all', 'all'] }, 'two arms are named');
    await expect(planArms(undefined, GRID, MODEL, WORK)).rejects.toThrow('top need the folder of a rollout with probes');
    await expect(planArms(undefined, { ...GRID, groups: ['list'], list: [1], kinds: ['mean'] }, MODEL, WORK)).rejects.toThrow('mean need the folder');
    // a wider model has neurons of these numbers too, but others
    await expect(planArms(directory, GRID, { ...MODEL, dModel: 192 }, WORK)).rejects.toMatchObject({ code: 'SHAPE_MISMATCH', message: expect.stringContaining('its stream is 192 wide, that of the folder 64') });
    await expect(plan({}, join(directory, 'none'))).rejects.toMatchObject({ code: 'IO' });
  });

  test('stale probes and missing log-probabilities are refused', async () => {
    const path = join(directory, 'trajectories.jsonl');
    const text = await readFile(path, 'utf8');
    try {
      await writeFile(path, text.replace('"logProbabilities":[', '"logProbabilities":[1,'));
      await refused({}, 'not those that the probes were trained on');
      await writeFile(path, text.replace(/"logProbabilities":\[[^,]+,/, '"logProbabilities":['));
      await probeStage(directory, SETTINGS, WORK);
      await refused({ groups: ['next-token'] }, 'control next-token: expected a log-probability for each of 3 states, got 2');
    } finally {
      await writeFile(path, text);
      await probeStage(directory, SETTINGS, WORK);
    }
  });
});
