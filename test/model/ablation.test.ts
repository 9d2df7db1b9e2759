/** From a model to a sweep's result: verdicts on the planted model and its twin, neutral text, tables. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Arm } from '../../src/ablate/arms.js';
import { BASE_ARM, makeArm } from '../../src/ablate/arms.js';
import type { NeutralResult } from '../../src/ablate/neutral.js';
import { NEUTRAL_FILE, measureNeutral } from '../../src/ablate/neutral.js';
import { NEUTRAL_TEXT } from '../../src/ablate/neutralText.js';
import type { Problem } from '../../src/dataset/types.js';
import { loadModel } from '../../src/model/model.js';
import { armSets } from '../../src/rank/armSets.js';
import { ablationSchema } from '../../src/report/ablationSchema.js';
import { captureActivations } from '../../src/run/capture.js';
import type { ModelRun } from '../../src/study/ablation.js';
import { ABLATION_FILE, runAblation, saveAblation } from '../../src/study/ablation.js';
import type { Prepared } from '../../src/study/sample.js';
import { CARRIER } from '../helpers/planted.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-ablation-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const WIDTH = 64;
/** Keeps the model to y and n: taking it away breaks everything whatever it encodes. */
const LEVEL = 11;
/** Last letters after which the planted model is right in about 80 %. */
const GOOD = 'strukzb';

const problems: Problem[] = Array.from({ length: 120 }, (_, i) => {
  const question = `${'etaoinshrdlcu'[i % 13] ?? ''}${'mwfgypbvkxq'[i % 11] ?? ''}${GOOD[i % GOOD.length] ?? ''}`;
  return { id: `item-${i}`, question, answer: 'y', check: 'exact', source: {} };
});

function plantedArms(): Arm[] {
  const scores = Float64Array.from({ length: WIDTH }, (_, i) => (i === CARRIER ? 1 : 0));
  const flat = new Float64Array(WIDTH).fill(1);
  const sets = armSets({ width: WIDTH, scores, rms: flat, std: flat }, { groups: ['top', 'matched'], target: 1, draws: 19, seed: 5, exclude: [LEVEL] });
  return [BASE_ARM, ...sets.map((set) => makeArm({ ...set, site: 'residPost', layer: 1, share: 1 / WIDTH, kind: 'zero', positions: 'all' }))];
}

const SETTINGS = { sampling: { temperature: 1 }, maxTokens: 1, seed: 3 };
const DATASET = { name: 'planted', source: 'test', format: 'jsonl', sha256: '0', problems, skipped: [] } as const;

async function ablatePlanted(file: string): Promise<{ run: ModelRun; prepared: Prepared }> {
  await using model = await loadModel(`models/${file}`, { gpuLayers: 0, isolate: false });
  await using session = model.createSession({ parallel: 64, contextLength: 64, threads: 1 });
  const prompt = ({ question }: Problem): { text: string; tokens: Int32Array } => ({ text: question, tokens: model.tokenize(question) });
  const prepared = { dataset: DATASET, problems, prompt, template: 'raw', promptLengths: Int32Array.of(3) };
  return { run: await runAblation(session, prepared, plantedArms(), SETTINGS, { directory, neutral: NEUTRAL_TEXT }), prepared };
}

describe('a planted causal neuron', () => {
  test('an effect beyond matched controls on the model, none on its twin; both in one folder', async () => {
    const runs: ModelRun[] = [];
    let common: Prepared | undefined;
    for (const [file, kind] of [['planted.gguf', 'beyond'], ['planted-null.gguf', 'noEffect']] as const) {
      const { run, prepared } = await ablatePlanted(file);
      const { result } = run;
      const top = result.arms.find(({ group }) => group === 'top');
      expect({ file, kinds: result.verdicts.map((verdict) => verdict.kind) }).toEqual({ file, kinds: [kind] });
      expect(result.verdicts[0]?.text).toContain(kind === 'beyond' ? 'an effect beyond the matched controls' : 'no effect beyond matched controls');
      expect((top?.pHolm as number) < 0.001).toBe(kind === 'beyond');
      expect(result.comparisons).toEqual([expect.objectContaining({ control: 'matched', draws: 19, items: 120 })]);
      expect(result.comparisons[0]?.rankP === 0.05).toBe(kind === 'beyond');
      expect([result.base, ...result.arms].every(({ edits, role }) => edits.edited === edits.expected && edits.edited > 0 === (role !== 'base'))).toBe(true);
      // three dozen characters are all that it can spell
      expect([result.neutral, result.neutralSkipped, top?.neutral]).toEqual([null, expect.stringContaining('no tokens for the bundled English passage'), null]);
      runs.push(run);
      common = prepared;
    }
    const grid = { layers: [1], shares: [1 / WIDTH], kinds: ['zero'], positions: ['all'], groups: ['top', 'matched'], draws: 19, method: 'linear', excludeSinks: false, seed: 5 } as const;
    const saved = await saveAblation(directory, runs, { prepared: common as Prepared, grid: grid, settings: SETTINGS, notes: ['few draws.'] });
    expect(saved.notes).toEqual(['few draws.']);
    const read: unknown = JSON.parse(await readFile(join(directory, ABLATION_FILE), 'utf8'));
    expect(ablationSchema.parse(read)).toEqual(read);
    expect(read).toEqual(JSON.parse(JSON.stringify(saved)));
    expect(saved.models.map(({ name }) => name)).toEqual(['planted.gguf', 'planted-null.gguf']);
  });
});

const softmax = (row: Float32Array): number[] => {
  const weights = [...row].map(Math.exp);
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
};

test('a neutral text that the model cannot spell is an error before any pair is run', async () => {
  await using model = await loadModel('models/planted.gguf', { gpuLayers: 0, isolate: false });
  await using session = model.createSession({ parallel: 4, contextLength: 64, threads: 1 });
  const prompt = ({ question }: Problem): { text: string; tokens: Int32Array } => ({ text: question, tokens: model.tokenize(question) });
  const prepared = { dataset: DATASET, problems: problems.slice(0, 2), prompt, template: 'raw', promptLengths: Int32Array.of(3) };
  await expect(runAblation(session, prepared, [BASE_ARM], SETTINGS, { directory, neutral: { source: 'x', text: 'ÄÖÜ' } })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(readFile(join(directory, 'ledger.jsonl'))).rejects.toMatchObject({ code: 'ENOENT' });
});

describe('neutral text', () => {
  const TEXT = { source: 'words', text: 'plain words that mean nothing to it' };
  const arms: Arm[] = [
    BASE_ARM,
    ...(['all', 'completion'] as const).map((positions) =>
      makeArm({ role: 'set', group: 'top', draw: 0, site: 'residPost', layer: 1, share: 0.1, kind: 'zero', positions, neurons: [1, 5, 9, 13, 20, 40] })),
    makeArm({ role: 'set', group: 'list', draw: 0, site: 'residPost', layer: 0, share: 1, kind: 'zero', positions: 'prompt', neurons: Array.from({ length: 192 }, (_, i) => i) }),
  ];

  test('KL and perplexity are those of the logits; edits act at every position; what is known is not measured again', async () => {
    await using model = await loadModel('models/reasoner-rl.gguf', { gpuLayers: 0, isolate: false });
    await using session = model.createSession({ parallel: 4, contextLength: 64, threads: 1 });
    const seen: [number, number][] = [];
    const measure = (own: readonly Arm[], inputs = {}): Promise<NeutralResult> => measureNeutral(session, own, TEXT, { directory, inputs, onProgress: (finished, total) => seen.push([finished, total]) });
    const { arms: scores, text } = await measure(arms);
    const tokens = model.tokenize(TEXT.text);
    expect(text).toMatchObject({ source: 'words', tokens: tokens.length, predicted: tokens.length - 1, cut: false });

    const plan = { site: 'logits', layers: [-1] } as const;
    const rows = async (arm: Arm): Promise<number[][]> => {
      const captured = await captureActivations(session, [tokens], plan, { interventions: arm.interventions.map((entry) => ({ ...entry, positions: 'all' as const })) });
      const { rowCount } = captured;
      const flat = captured.get('logits', model.info.layerCount - 1).data;
      return Array.from({ length: rowCount }, (_, r) => softmax(flat.subarray((r * flat.length) / rowCount, ((r + 1) * flat.length) / rowCount)));
    };
    const base = await rows(BASE_ARM);
    for (const [i, arm] of arms.entries()) {
      const own = await rows(arm);
      const kl = base.map((p, t) => p.reduce((sum, share, v) => sum + share * Math.log(share / ((own[t] as number[])[v] as number)), 0));
      const loss = own.slice(0, -1).map((q, t) => -Math.log(q[tokens[t + 1] as number] as number));
      const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
      expect(scores[i]?.kl).toBeCloseTo(mean(kl), 9);
      expect((scores[i]?.perplexity as number) / Math.exp(mean(loss))).toBeCloseTo(1, 9);
    }
    expect(scores[0]?.kl).toBe(0);
    expect(scores[1]?.kl).toBeGreaterThan(1e-6);
    expect(scores[2]).toEqual(scores[1]);
    expect(scores[3]?.kl).toBeGreaterThan(scores[1]?.kl as number);

    const lines = async (): Promise<number> => (await readFile(join(directory, NEUTRAL_FILE), 'utf8')).trim().split('\n').length;
    expect(await lines()).toBe(3); // two arms do the same here
    expect(seen).toEqual([[0, 3], [1, 3], [2, 3], [3, 3]]);
    expect((await measure(arms)).arms).toEqual(scores);
    expect((await measure(arms.slice(1, 2))).arms).toEqual([scores[1]]);
    expect(await lines()).toBe(3);
    await measure(arms.slice(0, 1), { model: 'another' });
    expect(await lines()).toBe(4);

    // a record without its seal is trusted no more than one with a wrong one
    const [first = '', ...rest] = (await readFile(join(directory, NEUTRAL_FILE), 'utf8')).split('\n');
    const { crc32: _seal, ...record } = JSON.parse(first) as Record<string, unknown>;
    await writeFile(join(directory, NEUTRAL_FILE), [JSON.stringify({ ...record, kl: 99 }), ...rest].join('\n'));
    expect((await measure(arms)).arms).toEqual(scores);
    expect(await lines()).toBe(4);
  });

  test('a text of one token is refused', async () => {
    await using model = await loadModel('models/planted.gguf', { gpuLayers: 0, isolate: false });
    await using session = model.createSession({ parallel: 4, contextLength: 64, threads: 1 });
    await expect(measureNeutral(session, [BASE_ARM], { source: 'x', text: '' }, { directory, inputs: {} })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('at least two tokens') });
  });
});
