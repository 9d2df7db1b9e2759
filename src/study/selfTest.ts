/** The checks that come before every study: the same code finds what was planted, and nothing where nothing is. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Problem } from '../dataset/types.js';
import { loadModel } from '../model/model.js';
import { nativeDirectory } from '../native/addon.js';
import type { TrajectoryData } from '../probe/data.js';
import { measureMoments, trajectoryData } from '../probe/data.js';
import type { MemoryTrajectory } from '../probe/memory.js';
import { memoryData } from '../probe/memory.js';
import { placeIndices } from '../probe/places.js';
import { splitByProblem } from '../probe/split.js';
import type { ProbeJob, TrainedProbe } from '../probe/train.js';
import { TRAIN_DEFAULTS, shuffledRewards, trainProbes } from '../probe/train.js';
import { predictSets } from '../probe/trainer.js';
import { weightScores } from '../rank/scores.js';
import { topNeurons } from '../rank/sets.js';
import type { Study } from '../report/schema.js';
import type { Verdict } from '../reward/types.js';
import { runRollout } from '../rollout/rollout.js';
import { auc, aucVariance } from '../stats/auc.js';
import { ActivationStore } from '../store/reader.js';
import { toFloat32 } from '../util/half.js';
import { plantedTrajectories } from './planted.js';
import { predictPlaces } from './predict.js';
import { fileHash } from './stage.js';

/** Outcome of the self-test; part of `study.json`. */
export type SelfTest = Study['selfTest'];
type Check = SelfTest['checks'][number];

const SEED = 1;
/** Problems held out: more than in a study, as there are few and they cost nothing. */
const TEST_SHARE = 0.4;
/** 99.9 % of the normal distribution: a null check that fails by chance once in a thousand. */
const Z999 = 3.2905;
/** Scales of the planted coordinates. */
const SCALES = Array.from({ length: 9 }, (_, i) => 10 ** (-2 + i / 2));

/** Defaults of a study's value probe, small and quick: the data are. */
const JOB: Omit<ProbeJob, 'name' | 'layer'> = { hidden: 64, head: 'sigmoid', target: 'mc', lambda: 1, inputs: 'zscore', shuffledRewards: false };

interface Fitted {
  data: TrajectoryData;
  probes: TrainedProbe[];
  test: { rewards: Float32Array; shuffled: Float32Array; values: Float32Array[] };
}

async function fit(data: TrajectoryData, jobs: readonly ProbeJob[], options: SelfTestOptions, seed = SEED): Promise<Fitted> {
  const split = splitByProblem(data.problems, { seed, test: TEST_SHARE });
  const moments = await measureMoments(data, split.train, options.signal);
  const probes = await trainProbes(data, split, moments, jobs, { ...TRAIN_DEFAULTS, learningRate: 1e-3, maxEpochs: 12, seed, threads: options.threads, signal: options.signal });
  const values = await predictPlaces(data, probes, split.test, options);
  const shuffled = shuffledRewards(data.rewards, seed);
  return {
    data,
    probes,
    test: {
      rewards: Float32Array.from(split.test, (i) => data.rewards[i] as number),
      shuffled: Float32Array.from(split.test, (i) => shuffled[i] as number),
      values: values.map(({ places }) => places.middle),
    },
  };
}

function ranked(probe: TrainedProbe, count: number): number[] {
  return topNeurons(weightScores({ inputs: probe.mean.length, hidden: probe.hidden, w1: probe.weights.w1, w2: probe.weights.w2 }), count);
}

/** AUC and half the width of its 99.9 % interval. */
function measured(scores: Float32Array, rewards: Float32Array): { value: number; half: number; text: string } {
  const value = auc(scores, rewards);
  const half = Z999 * Math.sqrt(aucVariance(scores, rewards));
  return { value, half, text: `AUC ${value.toFixed(3)} ± ${half.toFixed(3)} (99.9 %)` };
}

/** What a test of the self-test changes: the seed of everything, and the trajectories, as a mistake in the code would. */
export interface Spoiling {
  readonly seed?: number;
  readonly spoil?: (trajectories: readonly MemoryTrajectory[]) => readonly MemoryTrajectory[];
}

/** The checks on synthetic trajectories. Errors: ABORTED. Cost: about half a second. */
export async function syntheticChecks(options: SelfTestOptions, { seed = SEED, spoil = (same) => same }: Spoiling = {}): Promise<Check[]> {
  const { trajectories, planted } = plantedTrajectories({ width: 96, trajectories: 500, scales: SCALES, seed });
  const data = memoryData('planted', [0], 96, spoil(trajectories));
  const jobs: ProbeJob[] = [
    { ...JOB, name: 'value', layer: 0 },
    { ...JOB, name: 'shuffled', layer: 0, shuffledRewards: true },
    { ...JOB, name: 'raw', layer: 0, inputs: 'raw' },
  ];
  const { probes, test } = await fit(data, jobs, options, seed);
  const share = (probe: TrainedProbe): number => ranked(probe, planted.length).filter((neuron) => planted.includes(neuron)).length;
  const found = share(probes[0] as TrainedProbe);
  const value = measured(test.values[0] as Float32Array, test.rewards);
  const shuffled = measured(test.values[1] as Float32Array, test.shuffled);
  const kept = await keptAuc(data, probes[0] as TrainedProbe, { planted, seed }, options);
  return [
    {
      name: `planted coordinates at scales ${SCALES[0]} to ${SCALES.at(-1)}: share recovered by l1-zscore`,
      passed: found === planted.length,
      expected: `${planted.length} of ${planted.length}`,
      observed: `${found} of ${planted.length} (l1-raw on raw inputs, the literal recipe: ${share(probes[2] as TrainedProbe)})`,
    },
    {
      name: 'pruned to the planted coordinates, and to as many others: AUC at the middle',
      passed: kept.planted > value.value - 0.05 && kept.others < value.value - 0.1,
      expected: `within 0.05 of all inputs (${value.value.toFixed(3)}), and 0.1 below them`,
      observed: `${kept.planted.toFixed(3)}, and ${kept.others.toFixed(3)}`,
    },
    { name: 'planted value: held-out AUC at the middle', passed: value.value - value.half > 0.5, expected: 'above 0.5 by its interval', observed: value.text },
    { name: 'shuffled rewards: held-out AUC at the middle', passed: Math.abs(shuffled.value - 0.5) <= shuffled.half, expected: '0.5 within its interval', observed: shuffled.text },
  ];
}

/** AUC at the middle of the held-out trajectories when only the planted inputs are kept, and when only as many others are. */
async function keptAuc(
  data: TrajectoryData,
  probe: TrainedProbe,
  { planted, seed }: { planted: readonly number[]; seed: number },
  options: SelfTestOptions,
): Promise<{ planted: number; others: number }> {
  const { test } = splitByProblem(data.problems, { seed, test: TEST_SHARE });
  const rows = toFloat32(await data.readStates(test, test.map((i) => placeIndices(data.lengths[i] as number).middle)));
  const x = rows.map((value, i) => (value - (probe.mean[i % data.width] as number)) * (probe.scale[i % data.width] as number));
  const others = Array.from({ length: data.width }, (_, i) => i).filter((i) => !planted.includes(i)).slice(0, planted.length);
  const values = await predictSets(probe, x, test.length, [Int32Array.from(planted), Int32Array.from(others)], options.threads);
  const rewards = test.map((i) => data.rewards[i] as number);
  return { planted: auc(values.subarray(0, test.length), rewards), others: auc(values.subarray(test.length), rewards) };
}

/** Prompts of the planted models: four letters, of which the last decides. */
function plantedProblems(count: number): Problem[] {
  const letters = 'etaoinshrdlcumwfgypbvkxqjz';
  return Array.from({ length: count }, (_, i): Problem => {
    const letter = (k: number): string => letters[k % 26] ?? '';
    const question = `${letter(i * 3)}${letter(i * 5 + Math.floor(i / 26))}${letter(i * 11)}${letter(i * 7)}`;
    return { id: `planted-${i}`, question, answer: 'y', check: 'planted', source: {} };
  });
}

/** The planted models answer well when their last letter is y. */
async function judgePlanted(_problem: Problem, text: string): Promise<Verdict> {
  const right = text.endsWith('y');
  return { verdict: right ? 'correct' : 'wrong', extracted: text.slice(-1), reason: 'the last letter', reward: right ? 1 : 0 };
}

async function modelFit(file: string, directory: string, options: SelfTestOptions): Promise<Fitted & { planted: number }> {
  await using model = await loadModel(plantedModel(file), { gpuLayers: 0, ...(options.signal === undefined ? {} : { signal: options.signal }) });
  await using session = model.createSession({ parallel: 32, contextLength: 64, threads: options.threads });
  await runRollout(session, {
    directory,
    problems: plantedProblems(400),
    prompt: ({ question }) => ({ text: question, tokens: model.tokenize(question) }),
    samples: 1,
    maxTokens: 4,
    sampling: { temperature: 1 },
    seed: SEED,
    judge: judgePlanted,
    capture: { site: 'residPost', layers: 'all', positions: 'response' },
    dtype: 'f16',
    inputs: {},
    about: {},
    signal: options.signal,
  });
  await using store = await ActivationStore.open(directory);
  const data = trajectoryData(store, 'residPost');
  const jobs = data.layers.map((layer): ProbeJob => ({ ...JOB, name: 'value', layer }));
  return { ...(await fit(data, jobs, options)), planted: Number(model.metadata()['rewardlens.planted.neuron']) };
}

async function modelChecks(options: SelfTestOptions): Promise<Check[]> {
  const directory = await mkdtemp(join(tmpdir(), 'rewardlens-self-test-'));
  try {
    const real = await modelFit('planted.gguf', join(directory, 'planted'), options);
    const twin = await modelFit('planted-null.gguf', join(directory, 'null'), options);
    const firsts = real.probes.map((probe) => ranked(probe, 1)[0] as number);
    const middle = Math.floor(real.probes.length / 2);
    const value = measured(real.test.values[middle] as Float32Array, real.test.rewards);
    const nothing = measured(twin.test.values[middle] as Float32Array, twin.test.rewards);
    return [
      {
        name: `a model in which neuron ${real.planted} carries correctness: first neuron of every layer`,
        passed: firsts.every((neuron) => neuron === real.planted),
        expected: String(real.planted),
        observed: firsts.join(', '),
      },
      { name: 'that model: held-out AUC at the middle', passed: value.value - value.half > 0.5, expected: 'above 0.5 by its interval', observed: value.text },
      { name: 'its twin, which ignores that neuron: held-out AUC at the middle', passed: Math.abs(nothing.value - 0.5) <= nothing.half, expected: '0.5 within its interval', observed: nothing.text },
    ];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What the self-test's outcome depends on besides its code: the planted models and the addon. */
export async function selfTestInputs(): Promise<string[]> {
  return Promise.all([plantedModel('planted.gguf'), plantedModel('planted-null.gguf'), join(nativeDirectory, 'rewardlens.node')].map(fileHash));
}

/** Path of a planted model. */
function plantedModel(file: string): string {
  return fileURLToPath(new URL(`../../models/${file}`, import.meta.url));
}

/** Options of {@link runSelfTest}. */
export interface SelfTestOptions {
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs every check: planted coordinates in synthetic trajectories, shuffled rewards, a model with a planted neuron and its
 * twin. A check that fails is reported, not thrown. Errors: MODEL_LOAD when the planted models are missing, ABORTED. Cost: a few seconds.
 */
export async function runSelfTest(options: SelfTestOptions): Promise<SelfTest> {
  const started = performance.now();
  const checks = [...(await syntheticChecks(options)), ...(await modelChecks(options))];
  return { passed: checks.every(({ passed }) => passed), seconds: (performance.now() - started) / 1000, checks };
}
