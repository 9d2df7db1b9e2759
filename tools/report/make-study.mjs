/**
 * Writes an invented study for the tests of the report: numbers that look like those of a small model, drawn from a seed.
 *
 *     node tools/report/make-study.mjs test/fixtures/report/study.json
 *     node tools/report/make-study.mjs --large /tmp/large.json      # 3 data sets × 30 examples × 500 tokens, 32 layers
 *
 * The second data set is awkward on purpose: unknown verdicts, estimates that could not be given, HTML and broken bytes in
 * prompts and tokens, a trajectory of 500 tokens. The same bytes on every machine.
 */
import { writeFileSync } from 'node:fs';

const PLACES = ['s0', 'middle', 'last'];
const WIDTH = 192;
const METHODS = ['l1-zscore', 'l1-raw', 'linear', 'permutation', 'univariate'];
const SHARES = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 1 / WIDTH];

let state = 20602;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const noise = (size) => (random() + random() + random() - 1.5) * size;
const round = (value, digits = 4) => Number(value.toFixed(digits));
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const byPlace = (make) => Object.fromEntries(PLACES.map((place, i) => [place, make(place, i)]));

/** An AUC with a Hanley–McNeil interval, as if half of n were right. */
function auc(centre, n = 120) {
  const value = clamp(centre + noise(0.02), 0.02, 0.995);
  const q1 = value / (2 - value);
  const q2 = (2 * value * value) / (1 + value);
  const m = n / 2;
  const half = 1.96 * Math.sqrt((value * (1 - value) + (m - 1) * (q1 + q2 - 2 * value * value)) / (m * m));
  return { value: round(value), low: round(clamp(value - half, 0, 1)), high: round(clamp(value + half, 0, 1)), n };
}
const missing = (n) => ({ value: null, low: null, high: null, n });
const band = (centre, draws = 20) => ({ mean: round(centre + noise(0.01)), low: round(centre - 0.05), high: round(centre + 0.05), draws });
const absent = (draws) => ({ mean: null, low: null, high: null, draws });

/** How good a probe is at a layer and place: grows to two thirds of the depth, and towards the end of a trajectory. */
const skill = (layer, layers, place, best) => clamp(best - 0.16 + 0.16 * Math.sin((Math.PI * (layer + 1)) / (1.5 * layers)) + 0.04 * place, 0.5, 0.97);

function layerResult(layer, layers, { best, n, sinks }) {
  const epochs = 18;
  const at = (p) => skill(layer, layers, p, best);
  return {
    site: 'residPost',
    layer,
    epochs,
    bestEpoch: 12,
    trainLoss: Array.from({ length: epochs }, (_, e) => round(0.12 + 0.12 * Math.exp(-e / 4))),
    validationLoss: Array.from({ length: epochs }, (_, e) => round(0.15 + 0.1 * Math.exp(-e / 4) + 0.002 * Math.max(0, e - 12))),
    auc: byPlace((_, p) => auc(at(p), n)),
    deciles: Array.from({ length: 10 }, (_, d) => auc(at((d * 2) / 9), n)),
    brier: byPlace((_, p) => round(0.24 - 0.03 * p)),
    validationAuc: byPlace((_, p) => round(at(p) + noise(0.01))),
    variants: {
      'linear probe': byPlace((_, p) => auc(at(p) - 0.05, n)),
      'shuffled rewards': byPlace(() => auc(0.5, n)),
      'raw inputs': byPlace((_, p) => auc(at(p) - 0.02, n)),
    },
    sinks: sinks ? [{ neuron: 11, rms: 412.7, ratioToMedian: 388.2 }, { neuron: 140, rms: 96.1, ratioToMedian: 90.4 }] : [],
  };
}

function pruning(layers, { best, n, missingLast }) {
  return Array.from({ length: layers }, (_, layer) => ({
    layer,
    points: SHARES.map((share) => {
      const kept = Math.max(1, Math.round(share * WIDTH));
      const all = kept === WIDTH;
      const loss = Math.log10(1 / share);
      const of = (p, slope) => clamp(skill(layer, layers, p, best) - slope * loss * loss, 0.5, 1);
      const gone = (place) => missingLast && place === 'last';
      return {
        share,
        kept,
        top: byPlace((place, p) => (gone(place) ? missing(n) : auc(of(p, 0.015), n))),
        random: byPlace((place, p) => (gone(place) ? absent(20) : band(of(p, 0.09), all ? 1 : 20))),
        matched: byPlace((place, p) => (gone(place) ? absent(20) : band(of(p, 0.06), all ? 1 : 20))),
        ...(layer === 3 ? { refit: byPlace((place, p) => (gone(place) ? missing(n) : auc(of(p, 0.008), n))) } : {}),
      };
    }),
  }));
}

function baselines(layer, { n, noProbabilities }) {
  const difference = (size) => ({ value: round(size), low: round(size - 0.09), high: round(size + 0.09), n });
  const outside = (name, centre, from = 0) => {
    const none = (p) => p < from || noProbabilities;
    const values = byPlace((_, p) => (none(p) ? missing(n) : auc(centre + 0.04 * p, n)));
    return { name, auc: values, difference: byPlace((place, p) => (none(p) ? null : difference(layer.auc[place].value - values[place].value))) };
  };
  const inside = Object.entries(layer.variants).map(([name, values]) => ({
    name,
    auc: values,
    difference: byPlace((place) => (name === 'shuffled rewards' ? null : difference(layer.auc[place].value - values[place].value))),
  }));
  const length = { ...outside('prompt length (shorter is better)', 0.6), ...(noProbabilities ? { auc: byPlace(() => auc(0.6, n)) } : {}) };
  return [length, outside('entropy of the first token (lower is better)', 0.57), outside('mean token log-probability so far', 0.6, 1), ...inside];
}

function calibration({ n, sparse }) {
  return PLACES.map((place) => ({
    place,
    bins: Array.from({ length: 10 }, (_, b) => {
      const empty = sparse && (b < 3 || place === 'last');
      const count = empty ? 0 : Math.round((n / 10) * (0.6 + random() * 0.8));
      const p = clamp((b + 0.5) / 10 + noise(0.1), 0.02, 0.98);
      const half = count === 0 ? 0 : 1.96 * Math.sqrt((p * (1 - p)) / (count + 4));
      return {
        low: b / 10,
        high: (b + 1) / 10,
        meanPredicted: count === 0 ? null : round((b + 0.5) / 10 + noise(0.02)),
        observed: count === 0 ? missing(0) : { value: round(p), low: round(clamp(p - half, 0, 1)), high: round(clamp(p + half, 0, 1)), n: count },
      };
    }),
    expectedError: sparse && place === 'last' ? null : round(0.06 + random() * 0.03),
  }));
}

function neurons(n, rows) {
  const ids = [...new Set(Array.from({ length: 4 * rows }, () => Math.floor(random() * WIDTH)))].slice(0, rows);
  return ids.map((neuron, i) => ({
    neuron,
    rank: i + 1,
    scores: Object.fromEntries(METHODS.map((method) => [method, method === 'permutation' && i === 5 ? null : round((9 * Math.exp(-i / 4) + 1) * (0.8 + random() * 0.4), 5)])),
    ranks: Object.fromEntries(METHODS.map((method, m) => [method, m === 0 ? i + 1 : method === 'permutation' && i === 5 ? null : 1 + Math.floor(random() * (m + 1) * (i + 3))])),
    auc: byPlace((_, p) => auc((i % 3 === 0 ? 0.3 : 0.72) + (0.02 * p) - 0.004 * i, n)),
    mean: round(noise(2)),
    rms: round(neuron === 11 ? 412.7 : 0.4 + random() * 3),
    std: round(0.2 + random() * 2),
    sink: neuron === 11 || i === 4,
  }));
}

function example(i, { pieces, length, verdict, prompt, gold, bare }) {
  const right = verdict === 'correct';
  const tokens = Array.from({ length }, (_, t) => pieces[(t + 3 * i) % pieces.length]);
  const values = [];
  let value = 0.55 + noise(0.3);
  for (let t = 0; t < length; t++) {
    value = clamp(value + noise(0.12) + ((right ? 0.95 : 0.08) - value) * (0.6 / length + 0.02), 0.01, 0.99);
    values.push(round(value));
  }
  const reward = verdict === 'unknown' ? null : right ? 1 : 0;
  return {
    problem: `problem-${String(i).padStart(4, '0')}`,
    sample: i % 4,
    prompt,
    gold,
    verdict,
    reward,
    tokens,
    logProbabilities: values.map(() => (bare ? null : round(-(random() ** 4) * 5))),
    entropies: values.map(() => (bare ? null : round(random() ** 3 * 2.2))),
    values,
    tdErrors: values.map((v, t) => (t + 1 < length ? round((1 - 1e-5) * values[t + 1] - v, 6) : reward === null ? null : round(reward - v))),
  };
}

const SEARCH = ['try', ' ', '0', '7', ' ', '->', ' ', '3', '*', '7', '+', '0', '5', '=', '2', '6', ' ', 'low', '\n'];
const ODD = [
  '<script>alert(1)</script>', ' ', '</script', '>', '<!--', '-->', '&amp;', ']]>', '"quoted"', "'", '\n', '\t', ' ', '  ', '⟨0xE2⟩⟨0x82⟩', '\ufffd', '\u0000', '\u001b[31m',
  '\ud83d\ude00', '\u202eabc', '\u200b', '変数', 'مرحبا', 'x'.repeat(90), '\r\n', '${x}', '`', '\u2028', '<img src=x onerror=alert(2)>', '', 'é',
];

function dataset(name, options) {
  const { layers, n, rows, examples } = options;
  const results = Array.from({ length: layers }, (_, layer) => layerResult(layer, layers, options));
  const best = results.reduce((a, b, i) => (b.validationAuc.middle > results[a].validationAuc.middle ? i : a), 0);
  const { counts } = options;
  const total = counts.correct + counts.wrong + counts.unknown;
  const share = counts.correct / (counts.correct + counts.wrong);
  const half = 1.96 * Math.sqrt((share * (1 - share)) / total);
  return {
    name,
    source: `data/${name}/test.jsonl`,
    format: 'jsonl',
    sha256: Array.from({ length: 64 }, () => Math.floor(random() * 16).toString(16)).join(''),
    check: 'math',
    rollout: {
      problems: total / 2,
      samplesPerProblem: 2,
      trajectories: total,
      ...counts,
      accuracy: { value: round(share), low: round(share - half), high: round(share + half), n: counts.correct + counts.wrong },
      meanTokens: 38.4,
      maxTokens: 500,
      finishReasons: { eog: total - 9, length: 9 },
      promptLengths: { min: 22, max: 22 },
      sampling: { temperature: 1, topP: 1, topK: 0, minP: 0 },
      seed: 1,
      template: 'none',
    },
    split: { seed: 1, train: Math.round(total * 0.6), validation: Math.round(total * 0.15), test: n, testProblems: Math.ceil(n / 2), testAccuracy: { value: round(share), low: round(share - 0.08), high: round(share + 0.08), n } },
    probe: { hidden: 256, head: 'sigmoid', target: 'mc', lambda: 1, gamma: 0.99999, inputs: 'zscore', learningRate: 0.001, weightDecay: 0.01, seed: 1 },
    layers: results,
    bestLayer: best,
    baselines: baselines(results[best], options),
    calibration: calibration(options),
    ranking: { method: 'l1-zscore', layer: best, neurons: neurons(n, rows) },
    pruning: pruning(layers, options),
    examples,
    ablation: null,
    ablationNotes: ['The sweep was switched off (--no-ablate).'],
  };
}

const counts = { correct: 584, wrong: 216, unknown: 0 };
const VERDICTS = ['correct', 'wrong', 'unknown'];

function searchExamples(count, length, bare = false) {
  return Array.from({ length: count }, (_, i) =>
    example(i, { pieces: SEARCH, length: length ?? 30 + 9 * i, verdict: VERDICTS[i % 2], prompt: `${3 + i}*x+05=0${29 + i} x in 01-08\n`, gold: '8', bare }),
  );
}

function smallStudy() {
  const plain = dataset('feedback-search', { layers: 6, best: 0.86, n: 120, rows: 20, sinks: true, counts, examples: searchExamples(6) });
  const odd = [
    example(0, { pieces: ODD, length: 62, verdict: 'unknown', prompt: '<script>alert("prompt")</script>\n<!-- & \u202e\u0007 -->', gold: '</td><b>bold</b>' }),
    example(1, { pieces: ['a', ' b', '\n'], length: 500, verdict: 'wrong', prompt: 'A long one.\n', gold: '', bare: true }),
    example(2, { pieces: ['yes'], length: 1, verdict: 'correct', prompt: '', gold: 'yes' }),
  ];
  const awkward = dataset('odd-cases', { layers: 6, best: 0.62, n: 14, rows: 8, sinks: false, sparse: true, missingLast: true, noProbabilities: true, counts: { correct: 31, wrong: 40, unknown: 29 }, examples: odd });
  awkward.layers.forEach((layer) => {
    layer.auc.last = missing(14);
    layer.deciles[9] = missing(14);
    layer.brier.last = null;
    layer.validationAuc.last = null;
    layer.variants = { 'shuffled rewards': layer.variants['shuffled rewards'] };
  });
  awkward.baselines = awkward.baselines.filter(({ name }) => !['linear probe', 'raw inputs'].includes(name));
  return [plain, awkward];
}

function largeStudy() {
  return ['first', 'second', 'third'].map((name) => dataset(name, { layers: 32, best: 0.86, n: 400, rows: 50, sinks: true, counts, examples: searchExamples(30, 500) }));
}

const large = process.argv[2] === '--large';
const datasets = large ? largeStudy() : smallStudy();
const study = {
  format: 'rewardlens.study',
  version: 2,
  title: large ? 'A large study' : 'reasoner-rl.gguf on feedback-search and odd-cases (invented numbers)',
  manifest: {
    rewardlens: '0.1.0',
    llamaCpp: 'b9000',
    flavor: 'cpu',
    model: { path: 'models/reasoner-rl.gguf', sha256: 'a3f5'.repeat(16), architecture: 'llama', quantization: 'F16', parameterCount: 2700000, layerCount: 6, dModel: WIDTH },
    session: { contextLength: 512, parallel: 32, ubatch: 512, threads: 2 },
    devices: ['CPU: an example'],
    hardware: 'an example × 2',
    createdAt: '2026-01-01T00:00:00.000Z',
  },
  command: ['rewardlens', 'study', '-m', 'models/reasoner-rl.gguf', '--dataset', 'data/feedback-search/test.jsonl', '--dataset', 'data/odd cases/test.jsonl', '-o', 'study'],
  selfTest: {
    passed: true,
    seconds: 4.21,
    checks: [
      { name: 'planted coordinates at scales 0.01 to 100: share recovered by l1-zscore', passed: true, expected: '9 of 9', observed: '9 of 9 (l1-raw on raw inputs, the literal recipe: 3)' },
      { name: 'shuffled rewards: held-out AUC at the middle', passed: true, expected: '0.5 within its interval', observed: 'AUC 0.512 ± 0.071 (99.9 %)' },
    ],
  },
  datasets,
  findings: datasets.map(({ name }, i) => ({
    dataset: name,
    text: i === 0 ? 'The value probe predicts success better than every baseline: AUC 0.87 at the middle, against 0.65 for prompt length.' : 'With 14 held-out trajectories nothing can be said: every interval contains 0.5 <b>or nearly</b>.',
  })),
  durations: [
    { stage: 'self-test', dataset: null, seconds: 4.21, reused: false },
    ...datasets.flatMap(({ name }) => [
      { stage: 'rollout', dataset: name, seconds: 61.3, reused: false },
      { stage: 'probe', dataset: name, seconds: 0, reused: true },
    ]),
  ],
};
writeFileSync(process.argv.at(-1), `${JSON.stringify(study)}\n`);
