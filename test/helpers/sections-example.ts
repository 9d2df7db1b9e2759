/** Results of a study's sections with known numbers, as their commands would write them. */
import type { Confidence, ConfidenceScore } from '../../src/report/confidenceSchema.js';
import type { Dopamine, DopamineScore } from '../../src/report/dopamineSchema.js';
import { NOISY_BASELINE } from '../../src/report/dopamineSchema.js';
import type { Interplay, InterplayArm } from '../../src/report/interplaySchema.js';
import type { Estimate } from '../../src/report/schema.js';
import type { SearchResult } from '../../src/report/searchSchema.js';
import type { Sections } from '../../src/report/sectionsSchema.js';
import type { Transfer } from '../../src/report/transferSchema.js';
import type { Values } from '../../src/report/valuesSchema.js';

const near = (value: number, half = 0.1, n = 40): Estimate => ({ value, low: value - half, high: value + half, n });
const NOTHING: Estimate = { value: null, low: null, high: null, n: 0 };
const SHA = 'a'.repeat(64);

const values: Values = {
  format: 'rewardlens.values',
  version: 2,
  manifest: {},
  settings: { steps: 'regex:<b>', counts: { min: 6, max: 6, width: 0.35 }, budget: null, limit: 120, gamma: 0.99999, seed: 1, maxTokens: 96, sampling: {}, stop: [] },
  trajectoriesSha256: SHA,
  linesSha256: SHA,
  probesSha256: SHA,
  counts: { trajectories: 120, steps: 480, states: 480, distinctStates: 470, withoutValue: 1, continuations: { made: 2800, found: 20, unknown: 3 } },
  tokens: { sampled: 104_000, computed: 20_000, shared: 80_000 },
  exhausted: false,
  meanWidth: 0.48,
  tdErrors: { known: 479, mean: -0.005, deviation: 0.25, large: 0.24, noise: 0.47, telescopeGap: 1.4e-16 },
  probe: { layer: 3, states: 96, spearman: near(0.6), pearson: near(0.65) },
  seconds: 20,
};

const score = (name: string, all: number, large: number, half?: number): DopamineScore => ({ name, all: { spearman: near(all, half, 96), pearson: near(all, half, 96) }, large: { spearman: near(large, half), pearson: near(large, half), auc: near(0.5 + large / 2, half) } });
const OFFSETS = [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5];
const average = (at: number): Dopamine['events'][number]['positive'] => ({ events: 12, offsets: OFFSETS, mean: OFFSETS.map((t) => (t < 0 ? 0 : at)), low: OFFSETS.map((t) => (t === 5 ? null : (t < 0 ? 0 : at) - 0.3)), high: OFFSETS.map((t) => (t < 0 ? 0 : at) + 0.3), n: OFFSETS.map(() => 12) });

const dopamine: Dopamine = {
  format: 'rewardlens.dopamine',
  version: 2,
  rewardlens: '0',
  trajectoriesSha256: SHA,
  probesSha256: SHA,
  valuesSha256: SHA,
  values: {},
  settings: { site: 'residPost', error: 'mc', zscore: 'running', threshold: 0.3, hidden: 32, radius: 5, neurons: 2, examples: 2, permutations: 1000, draws: 20, seed: 1 },
  selfTest: { passed: true, checks: [{ name: 'planted', passed: true, expected: '9', observed: '9' }] },
  steps: { all: { train: 300, validation: 84, test: 96 }, large: { train: 80, validation: 20, test: 40 }, testProblems: 24, noise: 0.47 },
  layers: [
    { layer: 1, epochs: 9, bestEpoch: 3, validationSpearman: 0.1, scores: [score('dopamine', 0, 0.05)] },
    { layer: 2, epochs: 9, bestEpoch: 4, validationSpearman: 0.4, scores: [score('dopamine', 0.2, 0.41), score('linear', 0.1, 0.3), { ...score('shuffled errors', 0, -0.02), all: { spearman: NOTHING, pearson: NOTHING } }] },
  ],
  bestLayer: 2,
  baselines: [score(NOISY_BASELINE, 0.5, 0.7), score('number of the step', 0.01, 0.12)],
  ranking: [49, 1].map((neuron, i) => ({ neuron, rank: i + 1, scores: { 'l1-zscore': 0.5 - i / 10 }, ranks: { 'l1-zscore': i + 1 }, spearman: near(0.3 - 0.5 * i) })),
  pruning: [1, 0.1, 0.05, 0.01].map((share) => ({ share, kept: Math.round(192 * share), top: near(0.36 + share / 20), random: { mean: 0.1 + share / 4, low: 0, high: 0.3, draws: 20 }, matched: { mean: 0.08, low: -0.05, high: 0.2, draws: 20 } })),
  events: [49, 1].map((neuron) => ({ neuron, positive: average(1.5), negative: average(-1.25), random: average(0) })),
  examples: [
    { problem: 'p<1>', sample: 0, reward: 1, tokens: ['a', ' <b>', '\n', 'c'], trace: [0.5, -1, 2, null], steps: [{ begin: 0, end: 3, error: 0.5, predicted: -0.004 }, { begin: 3, end: 4, error: -0.25, predicted: null }] },
    { problem: 'p2', sample: 0, reward: null, tokens: ['a'], trace: [null], steps: [{ begin: 0, end: 1, error: null, predicted: 0.1 }] },
  ],
  surprise: {
    source: 'mc',
    both: [7],
    low: 0.4,
    high: 0.8,
    groups: { positive: 25, negative: 14, expectedSuccess: 50, expectedFailure: 31 },
    cells: [
      { position: 'mean', contrast: 'surprise', units: [25, 14], significant: 3, top: [{ neuron: 7, difference: -1.5, p: 0.001 }] },
      { position: 'mean', contrast: 'positive', units: [25, 50], significant: 1, top: [] },
      { position: 'last', contrast: 'negative', units: null, significant: null, top: [] },
    ],
  },
  overlaps: [{ a: 'dopamine', b: 'value neurons', size: 10, shared: 1, iou: 0.05, p: 0.42 }],
  seconds: 7,
};

const arm = (name: string, role: InterplayArm['role'], agreement: number): InterplayArm => ({ name, group: role === 'set' ? 'top' : 'random', role, draw: 0, layers: [1], share: 0.2, kind: 'zero', neurons: [[1, 2]], score: near(0.3), agreement: near(agreement, 0.01), trace: agreement, edited: 400 });

const interplay: Interplay = {
  format: 'rewardlens.interplay',
  version: 2,
  manifest: {},
  trajectoriesSha256: SHA,
  probesSha256: SHA,
  grid: {},
  notes: [],
  layer: 2,
  dopamineNeurons: [49, 1],
  trajectories: 24,
  steps: { all: 96, large: 40 },
  base: { ...arm('base', 'base', 1), edited: 0 },
  arms: [arm('top-20%-L1-zero-all', 'set', 0.7), ...[0, 1].map((draw) => arm(`random-20%-L1-zero-all-${draw}`, 'control', 0.97))],
  comparisons: (['score', 'agreement', 'trace'] as const).flatMap((measure) => ['random', 'matched'].map((control) => ({ arm: 'top-20%-L1-zero-all', control, measure, draws: 19, observed: 0.7, meanControl: control === 'random' ? 0.97 : 0.9, p: control === 'random' ? 0.05 : 0.25 }))),
  seconds: 4,
};

const confident = (name: string, known: 'before' | 'after', value: number, extra = 0): ConfidenceScore => ({
  name,
  known,
  probability: 'own',
  auc: near(value),
  difference: near(0.8 - value, 0.05),
  aurc: near(1 - value),
  riskCoverage: Array.from({ length: 100 }, (_, i) => ({ coverage: (i + 1) / 100, risk: 0.3 * (i / 99) })),
  brier: 0.2,
  expectedError: 0.1,
  calibration: [{ low: 0, high: 0.5, meanPredicted: 0.3, observed: near(0.35) }, { low: 0.5, high: 1, meanPredicted: null, observed: NOTHING }],
  cost: { tokens: 20 + extra, extra },
});

const confidence: Confidence = {
  format: 'rewardlens.confidence',
  version: 1,
  manifest: {},
  directory: 'd',
  trajectoriesSha256: SHA,
  site: 'residPost',
  layer: 3,
  ranking: 'l1-zscore',
  heldOut: { trajectories: 200, problems: 200, accuracy: near(0.7) },
  errorRate: 0.3,
  bestAurc: 0.05,
  main: 0,
  scores: [{ ...confident('V(s_0) of 10 neurons, trained anew', 'before', 0.8), difference: null, neurons: [4, 8] }, confident('prompt length', 'before', 0.6), confident('mean <token> log-probability', 'after', 0.9), confident('P(True)', 'after', 0.5, 30)],
  pTrue: { question: 'Right?', yes: 'Yes', no: 'No', chat: false, mass: 0.01 },
  consistency: null,
  spent: { promptTokens: 1000, sharedTokens: 20, completionTokens: 300, seconds: 5 },
  findings: ['The neurons say <something>.'],
};

const method = (name: string, kind: 'guided' | 'answers', accuracy: number): SearchResult['methods'][number] => ({ name, kind, accuracy: near(accuracy), unknown: 0, answers: 1, length: 40, steps: 4, ended: 1, cost: { sampled: 160, computed: 190.4, shared: 500 }, rewards: [[1]] });

const search: SearchResult = {
  format: 'rewardlens.search',
  version: 2,
  manifest: {},
  directory: 'd',
  trajectoriesSha256: SHA,
  site: 'residPost',
  layer: 3,
  neurons: null,
  step: 'line',
  candidates: 4,
  beam: 1,
  sampling: {},
  maxTokens: 96,
  seeds: [3],
  problems: ['a', 'b'],
  budgetOf: 'value',
  dopamine: null,
  methods: [method('guided by value', 'guided', 0.8), method('guided by random', 'guided', 0.6), method('majority of n', 'answers', 0.9), method('greedy', 'answers', 0.8)],
  comparisons: [['guided by random', 0.2, 0.01], ['majority of n', -0.1, 0.04], ['greedy', 0, 1]].map(([against, difference, p]) => ({ method: 'guided by value', against: String(against), difference: near(Number(difference)), p: Number(p), pHolm: Number(p) })),
  discrimination: [{ score: 'value', across: near(0.78), within: { value: 0.52, low: 0.47, high: 0.57, n: 12 } }],
  spent: { promptTokens: 1000, sharedTokens: 20, completionTokens: 300, seconds: 5 },
  findings: ['x'],
};

/** All of them. */
export const SECTIONS_EXAMPLE: Sections = { values, dopamine, interplay, confidence, search, notes: { values: ['Of 1000 trajectories the steps of the first 120 were valued.'] } };

const folder = (name: string): Transfer['folders'][number] => ({ directory: name, name, dataset: name, model: '/models/<m>.gguf', modelSha256: SHA, quantization: 'Q8_0', seed: 1, site: 'residPost', layers: [0, 1], width: 192, trajectories: 100, heldOut: 20, bestLayer: 1, trajectoriesSha256: SHA });
const place = (value: number): Transfer['auc'][number]['layers'][number]['auc'] => ({ s0: near(0.5), middle: near(value), last: near(0.5) });
const cross = (from: number, to: number, value: number): Transfer['auc'][number] => ({ from, to, trajectories: 20, problems: 20, excluded: 3, layers: [0, 1].map((layer) => ({ layer, auc: place(layer === 1 ? value : 0.3), difference: from === to ? null : place(0.9 - value) })) });

/** Two folders: one of the two probes carries over, the value neurons are shared beyond chance alone. */
export const TRANSFER_EXAMPLE: Transfer = {
  format: 'rewardlens.transfer',
  version: 1,
  rewardlens: '0',
  ranking: 'l1-zscore',
  excludeSinks: false,
  place: 'middle',
  folders: [folder('a<1>'), folder('b')],
  overlaps: [{ a: 0, b: 1, share: 0.05, count: 10, layers: [], iou: 0.31, expectedIou: 0.027, p: 0.01, pMatched: 0.2, leastMatched: 0.001 }],
  auc: [cross(0, 0, 0.9), cross(0, 1, 0.85), cross(1, 0, 0.55), cross(1, 1, 0.9)],
  incompatible: [],
  findings: ['a and b, pair by pair.'],
};
