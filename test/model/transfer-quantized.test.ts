/** Copies of the planted model go through what the original went through, and keep its neuron. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { transferSchema } from '../../src/report/transferSchema.js';
import { probeStage } from '../../src/study/analyse.js';
import { PROBE_DEFAULTS } from '../../src/study/options.js';
import { openDataset, openSession, prepareDataset, sampleStage } from '../../src/study/sample.js';
import type { CopiedStudy } from '../../src/study/transferQuantized.js';
import { STUDY_FILES } from '../../src/study/studyFiles.js';
import { runQuantized } from '../../src/study/transferQuantized.js';
import { loadModel } from '../../src/model/model.js';
import { PLANTED_MODELS, plantedProblems } from '../helpers/planted.js';

let root: string;
let options: CopiedStudy;
const stages: [stage: string, reused: boolean][] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'rewardlens-quantized-'));
  const path = join(root, 'letters.jsonl');
  writeFileSync(path, plantedProblems(300).map(({ id, question, answer, check }) => JSON.stringify({ id, prompt: question, answer, check })).join('\n'));
  options = {
    directory: join(root, 'letters'), // a rollout folder stands for itself
    model: PLANTED_MODELS.planted,
    load: { gpuLayers: 0, isolate: false },
    session: { parallel: 32, threads: 1 },
    sources: [{ spec: path, format: 'jsonl' }],
    rollout: { samples: 1, maxTokens: 1, sampling: { temperature: 1 }, stop: [], seed: 3, capture: { site: 'residPost', layers: 'all', positions: 'response' }, dtype: 'f16', maxDiskBytes: undefined },
    probe: { ...PROBE_DEFAULTS, hidden: 16, learningRate: 3e-3, maxEpochs: 20, targets: ['mc'], variants: [], test: 0.3, validation: 0.2 },
    threads: 1,
    onStage: ({ stage, reused }) => stages.push([stage, reused]),
  };
  await using model = await loadModel(options.model, options.load);
  const source = options.sources[0] as CopiedStudy['sources'][number];
  const prepared = await prepareDataset(model, await openDataset(source), source);
  await using session = openSession(model, [prepared], options.rollout, options.session);
  await sampleStage(session, prepared, options.rollout, { directory: options.directory });
  await probeStage(options.directory, options.probe, options);
}, 60_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));

test('copies are made, sampled, probed and compared; a second run makes nothing', async () => {
  const settings = { types: ['Q8_0', 'Q5_0'], allowRequantize: false } as const;
  const transfer = await runQuantized(options, settings);
  expect(transfer.folders.map(({ name, quantization }) => [name.includes(quantization), quantization])).toEqual([[true, 'all F32'], [true, 'Q8_0'], [true, 'Q5_0']]);
  const ofOne = transfer.overlaps.filter(({ count }) => count === 1);
  expect(ofOne.map(({ a, b, iou }) => [a, b, iou])).toEqual([[0, 1, 1], [0, 2, 1], [1, 2, 1]]);
  for (const { layers } of transfer.auc) {
    expect(layers.every(({ auc }) => (auc.s0.low ?? 0) > 0.6)).toBe(true);
  }
  expect(transferSchema.parse(JSON.parse(readFileSync(join(options.directory, STUDY_FILES.transfer), 'utf8')))).toEqual(transfer);
  expect(stages.every(([, reused]) => !reused)).toBe(true);

  stages.length = 0;
  expect(await runQuantized(options, settings)).toEqual(transfer);
  expect(stages.map(([stage]) => stage)).toEqual(['quantize Q8_0', 'quantize Q5_0', 'rollout Q8_0', 'probe Q8_0', 'rollout Q5_0', 'probe Q5_0']);
  expect(stages.every(([, reused]) => reused)).toBe(true);
});
