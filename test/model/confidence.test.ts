/** Confidence on the planted model, where one neuron knows the outcome beforehand, on its null twin, and P(True) read in another way. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { askWhetherTrue, prepareQuestion } from '../../src/apply/pTrue.js';
import { loadModel } from '../../src/model/model.js';
import { predictSets } from '../../src/probe/trainer.js';
import type { Confidence } from '../../src/report/confidenceSchema.js';
import { confidenceSchema } from '../../src/report/confidenceSchema.js';
import { generate } from '../../src/run/generate.js';
import { CONFIDENCE_FILE, runConfidence } from '../../src/study/confidence.js';
import { predictPlaces } from '../../src/study/predict.js';
import { mainProbe, openProbed, pruneProbe } from '../../src/study/probedFolder.js';
import { toFloat32 } from '../../src/util/half.js';
import { CARRIER, PLANTED_MODELS, plantedFolder } from '../helpers/planted.js';

const QUESTION = { text: 'right', yes: 'y', no: 'n' };
const SAMPLES = 6;
const folders = new Map<string, string>();
const results = new Map<string, Confidence>();

async function confidence(which: keyof typeof PLANTED_MODELS): Promise<Confidence> {
  const directory = folders.get(which) ?? '';
  const target = { model: PLANTED_MODELS[which], load: { gpuLayers: 0, isolate: false }, session: { threads: 1 } };
  return runConfidence(directory, { neurons: [1, 3], method: 'l1-zscore', layer: undefined, samples: SAMPLES, question: QUESTION }, target, { threads: 1 });
}

beforeAll(async () => {
  for (const which of ['planted', 'null'] as const) {
    folders.set(which, await plantedFolder(which, { count: 500 }));
    results.set(which, await confidence(which));
  }
}, 60_000);
afterAll(async () => {
  await Promise.all([...folders.values()].map((folder) => rm(folder, { recursive: true, force: true })));
});

const score = (which: string, name: string): Confidence['scores'][number] => {
  const found = results.get(which)?.scores.find((entry) => entry.name === name);
  if (found === undefined) {
    throw new Error(`no score '${name}' among ${results.get(which)?.scores.map((entry) => entry.name).join(', ')}`);
  }
  return found;
};

describe('on planted answers', () => {
  test('the one neuron that knows is the one kept, and knows as much as all of them', () => {
    for (const name of ['V(s_0) of 1 neuron, trained anew', 'V(s_0) of 1 neuron, pruned']) {
      expect(score('planted', name).neurons).toEqual([CARRIER]);
      expect(score('planted', name).auc.low).toBeGreaterThan(0.65);
    }
    const difference = score('planted', 'V(s_0) of all neurons').difference;
    expect(difference?.low).toBeLessThan(0.02);
    expect(difference?.high).toBeGreaterThan(-0.02);
    expect(results.get('planted')?.findings[0]).not.toContain('not above chance');
  });

  test('and on the twin whose outcome nothing tells, no score is above chance', () => {
    for (const { name, auc } of results.get('null')?.scores ?? []) {
      // 99.9 %: thirteen scores are looked at
      const beyond = ((auc.low ?? 0) - (auc.value ?? 0)) * 0.68;
      expect({ name, above: (auc.low ?? 0) + beyond > 0.5 }).toEqual({ name, above: false });
    }
    expect(results.get('null')?.findings[0]).toContain('not above chance');
  });

  test('the file is what was returned, and fits its schema', async () => {
    const read: unknown = JSON.parse(await readFile(join(folders.get('planted') ?? '', CONFIDENCE_FILE), 'utf8'));
    expect(confidenceSchema.parse(read)).toEqual(results.get('planted'));
  });

  test('costs are counted in tokens', () => {
    const tokens = (name: string): [number, number] => [score('planted', name).cost.tokens, score('planted', name).cost.extra];
    expect(tokens('prompt length')).toEqual([0, 0]);
    const [prompt] = tokens('V(s_0) of 1 neuron, pruned');
    expect(tokens('entropy of the first token')).toEqual([prompt, 0]);
    expect(tokens('mean token log-probability')).toEqual([prompt, 0]); // one token is sampled from s_0, and none is read
    expect(tokens(`majority share of ${SAMPLES} samples`)).toEqual([prompt, 0]);
    const [asked, extra] = tokens('P(True)');
    expect(asked - extra).toBe(prompt);
    expect(results.get('planted')?.consistency).toMatchObject({ samples: SAMPLES, total: SAMPLES * (results.get('planted')?.heldOut.problems ?? 0) });
    expect(results.get('planted')?.spent.completionTokens).toBe(results.get('planted')?.consistency?.total);
  });

  test('a second run samples nothing and finds the same', async () => {
    const again = await confidence('planted');
    expect(again.spent.completionTokens).toBe(0);
    expect(again.scores).toEqual(results.get('planted')?.scores);
  });

  test('another model is refused', async () => {
    const target = { model: PLANTED_MODELS.null, load: { gpuLayers: 0, isolate: false }, session: { threads: 1 } };
    await expect(runConfidence(folders.get('planted') ?? '', { neurons: [1], method: 'l1-zscore', layer: 0, samples: 0, question: undefined }, target, { threads: 1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

test('a pruned probe says what the probe says with its other inputs at zero', async () => {
  await using folder = await openProbed(folders.get('planted') ?? '');
  const { data, split } = folder;
  const layer = data.layers[1] as number;
  const probe = mainProbe(folder, layer);
  const set = [CARRIER, 3, 60];
  const [own] = await predictPlaces(data, [pruneProbe(probe, set)], split.test, { threads: 1 });
  const rows = toFloat32(await data.readStates(split.test, split.test.map(() => 0)));
  const stride = data.layers.length * data.width;
  const x = Float32Array.from({ length: split.test.length * data.width }, (_, at) => {
    const [row, neuron] = [Math.floor(at / data.width), at % data.width];
    return ((rows[row * stride + data.width + neuron] as number) - (probe.mean[neuron] as number)) * (probe.scale[neuron] as number);
  });
  const expected = await predictSets(probe, x, split.test.length, [Int32Array.from(set)], 1);
  own?.places.s0.forEach((value, i) => expect(value).toBeCloseTo(expected[i] as number, 5));
});

test('P(True) is the share of the log-probabilities that sampling reports', async () => {
  await using model = await loadModel('models/reasoner-base.gguf', { gpuLayers: 0, isolate: false });
  await using session = model.createSession({ parallel: 4, contextLength: 256, threads: 1 });
  const question = prepareQuestion(model, { text: 'yes or no?', yes: 'y', no: 'n' }, false);
  const texts = ['12+34=?\n046\n#### 46', '7*x+11=018 x in 01-04\n7*01+11=018 yes', '9'].map((text) => model.tokenize(text));
  const { beliefs } = await askWhetherTrue(session, texts, question);
  const words = [...question.yesTokens, ...question.noTokens];
  const requests = texts.flatMap((text, i) => words.map((token) => ({
    prompt: Int32Array.of(...text, ...question.tokens), maxTokens: 1, logProbabilities: true, grammar: `root ::= ${JSON.stringify(model.detokenize([token]))}`, label: { i, token },
  })));
  const probability = new Map<string, number>();
  for await (const { label, logProbabilities, tokens } of generate(session, requests)) {
    const { i, token } = label as { i: number; token: number };
    expect(tokens[0]).toBe(token);
    probability.set(`${i}/${token}`, Math.exp(logProbabilities?.[0] ?? NaN));
  }
  for (const [i, { pTrue, mass }] of beliefs.entries()) {
    const sum = (tokens: readonly number[]): number => tokens.reduce((total, token) => total + (probability.get(`${i}/${token}`) ?? NaN), 0);
    const [yes, no] = [sum(question.yesTokens), sum(question.noTokens)];
    expect(mass / (yes + no)).toBeCloseTo(1, 4);
    expect(pTrue).toBeCloseTo(yes / (yes + no), 5);
  }
});
