/** Activation patching without a model: pairs, groups, cells, maps and their statistics. */
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { parseCommandLine } from '../../src/cli/app.js';
import type { PatchMap } from '../../src/patch/cells.js';
import { cellOf, changesNothing, firstDifference, positionOffsets } from '../../src/patch/cells.js';
import type { PairValues, PatchValues } from '../../src/patch/metrics.js';
import { cleanLogits, effectOf, measureLogits } from '../../src/patch/metrics.js';
import type { PatchPair } from '../../src/patch/pairs.js';
import { readPairs } from '../../src/patch/pairs.js';
import type { PairMap } from '../../src/patch/run.js';
import { signFlipsMaxT } from '../../src/stats/signFlips.js';
import { probeStage } from '../../src/study/analyse.js';
import { PROBE_DEFAULTS } from '../../src/study/options.js';
import { neuronGroups, parseGroups } from '../../src/study/patchGroups.js';
import { metricMap } from '../../src/study/patchMaps.js';
import { patchFindings } from '../../src/study/patchFindings.js';
import { controlPairs, planMaps } from '../../src/study/patching.js';
import { mulberry32 } from '../../src/util/random.js';
import { saveTensors } from '../../src/util/safetensors.js';

const pair = (clean: number[], corrupted: number[], id = 'p'): PatchPair => ({ id, clean: Int32Array.from(clean), corrupted: Int32Array.from(corrupted), answer: 1, wrong: 2 });
const values = (difference: number | null, probability = 0.5, kl = 0): PatchValues => ({ 'logit-diff': difference, probability, kl });

describe('metrics', () => {
  test('logit difference, probability and divergence of two rows', () => {
    const clean = cleanLogits(Float32Array.of(Math.log(0.5), Math.log(0.25), Math.log(0.25)));
    const found = measureLogits(Float32Array.of(Math.log(2), Math.log(4), Math.log(2)), clean, 1, 0);
    expect(found['logit-diff']).toBeCloseTo(Math.log(2), 6);
    expect(found.probability).toBeCloseTo(0.5, 6);
    expect(found.kl).toBeCloseTo(0.5 * Math.log(2) - 0.25 * Math.log(2), 6);
    expect(measureLogits(clean.logits, clean, 0, undefined)).toMatchObject({ 'logit-diff': null, kl: 0 });
  });

  test('the effect runs from the edited run (0) to the other (1), in both directions', () => {
    const base: PairValues = { clean: values(4, 0.9, 0), corrupted: values(-1, 0.1, 2) };
    expect([-1, 4, 1.5].map((m) => effectOf('logit-diff', 'denoising', m, base))).toEqual([0, 1, 0.5]);
    expect([-1, 4, 1.5].map((m) => effectOf('logit-diff', 'noising', m, base))).toEqual([1, 0, 0.5]);
    expect(effectOf('kl', 'denoising', 0.5, base)).toBe(0.75);
    expect(effectOf('logit-diff', 'denoising', 4, { clean: values(4), corrupted: values(3.97) })).toBeNull();
    expect(effectOf('logit-diff', 'denoising', null, base)).toBeNull();
  });
});

describe('pairs', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rewardlens-pairs-'));
  });
  afterEach(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  test('every bad line has its number and reason; skipping leaves the rest', async () => {
    const path = join(directory, 'pairs.jsonl');
    const good = { id: 'a', clean: 'x', corrupted: 'y', answer: 'z' };
    await writeFile(path, [JSON.stringify(good), '{"clean":"x"}', '{', JSON.stringify({ ...good, wrong: 3 }), JSON.stringify(good), JSON.stringify({ ...good, id: 7, wrong: null })].join('\n'));
    const message = await readPairs(path).then(() => '', (error: Error) => error.message);
    expect(message.split('\n')).toEqual([
      `${path}: 4 bad lines; skipBad (--skip-bad) leaves them out:`,
      '  line 2: corrupted: expected a text, got nothing',
      '  line 3: not valid JSON: the text ends too early at column 2',
      '  line 4: wrong: expected a text, got 3',
      '  line 5: id: "a" is the id of line 1 too',
    ]);
    const source = await readPairs(path, { skipBad: true });
    expect(source.pairs.map(({ id, line, wrong }) => [id, line, wrong])).toEqual([['a', 1, undefined], ['7', 6, undefined]]);
    expect(source.skipped.map(({ line }) => line)).toEqual([2, 3, 4, 5]);
    await writeFile(path, '{}\n');
    await expect(readPairs(path, { skipBad: true })).rejects.toThrow(/no pair is left/);
    await writeFile(path, '\n');
    await expect(readPairs(path)).rejects.toThrow(/there is no pair/);
  });
});

describe('cells', () => {
  const map = (change: object = {}): PatchMap => ({ kind: 'positions', mode: 'denoising', site: 'residPost', layers: [0], offsets: [0, 3, -1], ...change });
  const own = pair([1, 2, 3, 4, 5], [1, 2, 9, 4, 5]);
  const long = pair([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 9, 5, 6, 7]);

  test('columns count from the start where pairs are equally long, else from the end', () => {
    expect(positionOffsets([own, own])).toEqual([0, 1, 2, 3, 4]);
    expect(positionOffsets([own, long])).toEqual([-7, -6, -5, -4, -3, -2, -1]);
  });

  test('a column that no prompt has is refused', () => {
    const plan = { modes: ['denoising'], sites: ['residPost'], layers: [0], groupPositions: 'all', control: false, seed: 1 } as const;
    expect(planMaps({ ...plan, offsets: [6, -7] }, [own, long])).toHaveLength(1);
    expect(() => planMaps({ ...plan, offsets: [0, 7] }, [own, long])).toThrow('positions: expected positions that a prompt has (-7..6), got 7');
    expect(() => planMaps({ ...plan, offsets: [-8] }, [own, long])).toThrow('got -8');
  });

  test('a position that a prompt does not have is no cell; sources are aligned at the end', () => {
    expect(cellOf(map({ offsets: [5] }), 0, 0, own)).toBeUndefined();
    expect(cellOf(map({ offsets: [-6] }), 0, 0, own)).toBeUndefined();
    expect(cellOf(map(), 0, 2, own)).toMatchObject({ positions: [4], source: own.clean, target: own.corrupted });
    expect(cellOf(map({ mode: 'noising' }), 0, 2, own)).toMatchObject({ source: own.corrupted, target: own.clean });
    expect(cellOf(map(), 0, 0, own, long)).toMatchObject({ positions: [0], source: long.clean, target: own.corrupted });
    expect(cellOf(map(), 0, 0, long, own)).toBeUndefined(); // the shorter source has nothing there
    expect(cellOf(map(), 0, 1, long, own)).toMatchObject({ positions: [3] });
  });

  test('nothing changes before the prompts differ, nor where the last layer has no row; another prompt does change things there', () => {
    expect(firstDifference(own)).toBe(2);
    const at = (position: number, control?: PatchPair) => cellOf(map({ offsets: [position] }), 0, 0, own, control) as NonNullable<ReturnType<typeof cellOf>>;
    expect([1, 2, 3].map((position) => changesNothing(at(position), own, false))).toEqual([true, false, false]);
    expect([2, 3, 4].map((position) => changesNothing(at(position), own, true))).toEqual([true, true, false]);
    expect(changesNothing(at(0, long), own, false)).toBe(false);
    const groups = { kind: 'groups', positions: 'all', groups: [{ name: 'g', neurons: { 0: [1] } }] } as const;
    expect(cellOf(map(groups), 0, 0, own)?.positions).toEqual([2, 3, 4]);
    expect(cellOf(map(groups), 0, 0, own, long)?.positions).toEqual([0, 1, 2, 3, 4]);
  });

  test('controls are a derangement that keeps to similar lengths', () => {
    const pairs = [5, 7, 5, 6, 5, 7, 6].map((length, i) => pair(Array.from({ length }, () => i), [0], `p${i}`));
    for (let seed = 0; seed < 50; seed++) {
      const controls = controlPairs(pairs, seed);
      expect([...controls].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
      controls.forEach((other, own) => expect(other).not.toBe(own));
      const shorter = controls.filter((other, p) => (pairs[other]?.clean.length ?? 0) < (pairs[p]?.clean.length ?? 0));
      expect(shorter).toHaveLength(1); // the last one wraps around
    }
    expect(controlPairs(pairs, 3)).toEqual(controlPairs(pairs, 3));
  });
});

describe('groups', () => {
  test('blocks, lists and counts', async () => {
    expect(parseGroups('blocks:16')).toEqual({ kind: 'blocks', size: 16 });
    expect(parseGroups('top:32,8')).toEqual({ kind: 'top', counts: [8, 32] });
    expect(parseGroups('3,17;20-22')).toEqual({ kind: 'lists', lists: [[3, 17], [20, 21, 22]] });
    for (const wrong of ['blocks:0', 'blocks:4,8', 'top:', 'all', '1;-2', 'best:3']) {
      expect(() => parseGroups(wrong, '--groups')).toThrow(/^--groups: expected/);
    }
    const width = (layer: number): number => (layer === 0 ? 10 : 6);
    const request = { site: 'mlpPost', layers: [0, 1], width } as const;
    const blocks = await neuronGroups({ ...request, spec: { kind: 'blocks', size: 4 } });
    expect(blocks.map(({ name, neurons }) => [name, neurons[0], neurons[1]])).toEqual([['0–3', [0, 1, 2, 3], [0, 1, 2, 3]], ['4–7', [4, 5, 6, 7], [4, 5]], ['8–9', [8, 9], []]]);
    await expect(neuronGroups({ ...request, spec: { kind: 'lists', lists: [[7]] } })).rejects.toThrow(/neurons in 0\.\.5 \(mlpPost, layer 1\), got 7/);
  });
});

describe('groups of a probed folder', () => {
  const WIDTH = 16;
  const KNOWS = 5;
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rewardlens-groups-'));
    const random = mulberry32(4);
    const rows = Array.from({ length: 240 }, (_, t) => Array.from({ length: WIDTH }, (__, i) => 2 * random() - 1 + (i === KNOWS ? 2 * (t % 2) - 1 : 0)));
    await mkdir(join(directory, 'activations'));
    await writeFile(join(directory, 'store.json'), JSON.stringify({ format: 'rewardlens.store', version: 1, dtype: 'f32', sites: [{ site: 'residPost', layers: [2], width: WIDTH }], positions: 'response' }));
    await writeFile(join(directory, 'trajectories.jsonl'), rows.map((_, t) => `${JSON.stringify({ problem: `p${t}`, reward: t % 2, tokens: [1], logProbabilities: [0], rows: [[0, t, t + 1]] })}\n`).join(''));
    await saveTensors(join(directory, 'activations', 'residPost-00000.safetensors'), new Map([['residPost', { shape: [rows.length, 1, WIDTH], data: Float32Array.from(rows.flat()) }]]), {});
    await probeStage(directory, { ...PROBE_DEFAULTS, hidden: 16, targets: ['mc'], variants: [], maxEpochs: 20, learningRate: 3e-3 }, { threads: 1 });
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  test('the best neurons, each set beside one of its magnitude that has none of them', async () => {
    const request = { spec: parseGroups('top:1,3'), site: 'residPost', layers: [2], width: () => WIDTH, from: directory } as const;
    const [best, matched, three, others] = await neuronGroups(request);
    expect([best, matched, three, others].map((group) => group?.name)).toEqual(['top 1', 'matched 1', 'top 3', 'matched 3']);
    expect(best?.neurons).toEqual({ 2: [KNOWS] });
    expect(three?.neurons[2]).toContain(KNOWS);
    expect([matched?.neurons[2]?.length, others?.neurons[2]?.length]).toEqual([1, 3]);
    expect(three?.neurons[2]?.filter((neuron) => others?.neurons[2]?.includes(neuron))).toEqual([]);
    expect(await neuronGroups(request)).toEqual([best, matched, three, others]);
    await expect(neuronGroups({ ...request, site: 'mlpOut' })).rejects.toThrow(/from: expected a folder with probes of mlpOut, layers 2, got "residPost, layers 2"/);
    await expect(neuronGroups({ ...request, layers: [1, 2] })).rejects.toThrow(/layers 1, 2/);
    await expect(neuronGroups({ ...request, from: join(directory, 'activations') })).rejects.toThrow(/has no probes/);
  });
});

interface SignFlipCase {
  values: number[][];
  single: number[];
  adjusted: number[];
}

describe('sign flips over many quantities', () => {
  const cases = JSON.parse(readFileSync(new URL('../fixtures/patch/sign-flips.json', import.meta.url), 'utf8')) as SignFlipCase[];

  test.each(cases.map((item, i) => [i, item] as const))('case %i equals SciPy for each quantity alone and NumPy for the adjusted ones', (_, { values: rows, single, adjusted }) => {
    expect(signFlipsMaxT(rows).least).toBe(2 ** (1 - rows.length));
    signFlipsMaxT(rows).p.forEach((p, q) => expect(p).toBeCloseTo(adjusted[q] as number, 12));
    single.forEach((p, q) => expect(signFlipsMaxT(rows.map((row) => [row[q] as number])).p[0]).toBeCloseTo(p, 12));
  });

  test('random patterns come close to all of them; missing and zero quantities are no evidence', () => {
    const { values: rows, adjusted } = cases[2] as SignFlipCase;
    const many = signFlipsMaxT([...rows, ...rows.map((row) => row.map(() => 0))], { flips: 4999 }); // 20 items: too many for all patterns
    expect(many.least).toBe(1 / 5000);
    many.p.forEach((p, q) => expect(Math.abs(p - (adjusted[q] as number))).toBeLessThan(0.03));
    expect(signFlipsMaxT([[NaN, 0, 1], [NaN, 0, 2]]).p).toEqual([1, 1, 0.5]);
    expect(() => signFlipsMaxT([[1], [1, 2]])).toThrow(/values\[1\]/);
  });

  test('without any effect a map has a cell with p ≤ 0.05 in at most 5 % of the runs', () => {
    const random = mulberry32(11);
    const runs = 600;
    let false_ = 0;
    for (let run = 0; run < runs; run++) {
      // heavy-tailed and dependent cells, as restorations are
      const rows = Array.from({ length: 8 }, () => {
        const common = random() - 0.5;
        return Array.from({ length: 25 }, () => common + (random() - 0.5) ** 3 * 8);
      });
      false_ += signFlipsMaxT(rows).p.some((p) => p <= 0.05) ? 1 : 0;
    }
    expect(false_ / runs).toBeLessThan(0.05 + 3 * Math.sqrt((0.05 * 0.95) / runs));
    expect(false_).toBeGreaterThan(0);
  });
});

describe('maps', () => {
  const map: PatchMap = { kind: 'positions', mode: 'denoising', site: 'residPost', layers: [0, 1], offsets: [0, 1] };
  const base: PairValues = { clean: values(4), corrupted: values(0) };
  const one = (...own: (number | undefined)[]): PairMap => ({ own: own.map((value) => (value === undefined ? undefined : values(value))), control: [undefined, undefined, undefined, values(1)] });

  test('a single pair has values, and no interval or test', () => {
    const found = metricMap(map, 'logit-diff', [base], [one(0, 2, 4, undefined)]);
    expect(found).toMatchObject({ pairs: 1, leftOut: 0, leastP: null, base: { clean: 4, corrupted: 0 } });
    expect(found.cells[0]?.[1]).toEqual({ raw: 2, effect: { value: 0.5, low: null, high: null, n: 1 }, p: null, control: null });
    expect(found.cells[1]?.[1]).toEqual({ raw: null, effect: { value: null, low: null, high: null, n: 0 }, p: null, control: 0.25 });
  });

  test('pairs without a gap count in raw values alone', () => {
    const flat: PairValues = { clean: values(1), corrupted: values(1.01) };
    const pairs = [one(0, 4, 3, 2), one(0, 4, 2, 2), one(0, 4, 2.5, 2), one(7, 7, 7, 7)];
    const found = metricMap(map, 'logit-diff', [base, base, base, flat], pairs);
    expect(found).toMatchObject({ pairs: 3, leftOut: 1, leastP: 0.25 });
    expect(found.cells[0]?.[1]).toMatchObject({ raw: 4.75, effect: { value: 1, n: 3 }, p: 0.25 });
    const { effect } = found.cells[1]?.[0] ?? {};
    expect(effect).toMatchObject({ value: 0.625, n: 3 });
    expect((effect?.low ?? 1) < 0.625 && (effect?.high ?? 0) > 0.625).toBe(true);
    expect(found.cells[0]?.[0]?.p).toBe(1);
  });
});

describe('findings', () => {
  const cell = (value: number, control: number | null): object => ({ raw: value, effect: { value, low: null, high: null, n: 3 }, p: 1, control });
  const finding = (value: number, control: number | null): string | undefined => {
    const map = { kind: 'positions', mode: 'denoising', site: 'residPost', layers: [0], positions: null, columns: [{ name: '2', offset: 2, token: null, neurons: null }], metrics: [{ metric: 'logit-diff', pairs: 3, leftOut: 0, leastP: 0.25, cells: [[cell(value, control)]] }] };
    return patchFindings({ maps: [map], pairs: [], metric: 'logit-diff', skipped: [] } as unknown as Parameters<typeof patchFindings>[0])[1];
  };

  test('an effect that another pair has as well is called that', () => {
    expect(finding(1, 1.1)).toContain("another prompt's activations: 1.10, as much");
    expect(finding(-1, -0.9)).toContain('as much');
    for (const [value, control] of [[1, 0.5], [1, null], [1, -2], [0, 0]] as const) {
      expect(finding(value, control)).not.toContain('as much');
    }
  });
});

describe('command line', () => {
  test.each([
    ['patch -m m.gguf -o out', '--clean: expected a text (or --pairs FILE), but it is missing'],
    ['patch -m m.gguf -o out --pairs p.jsonl --clean x', 'expected --pairs or one pair, got --pairs and --clean'],
    ['patch -m m.gguf -o out --pairs p.jsonl --groups top:8', '--from: expected a folder with probes for --groups top:…, but it is missing'],
    ['patch -m m.gguf -o out --pairs p.jsonl --from d', '--from: only --groups top:… takes neurons from a folder'],
    ['patch -m m.gguf -o out --pairs p.jsonl --maps groups', '--groups: expected blocks:N, top:K or lists for the map by groups, but it is missing'],
    ['patch -m m.gguf -o out --pairs p.jsonl --site logits', '--site: logits are what is measured; expected a site before them'],
    ['patch -m m.gguf -o out --pairs p.jsonl --positions s0', '--positions: expected all or a list such as 0,5,-1, got "s0"'],
    ['patch -m m.gguf -o out --pairs p.jsonl --modes both', '--modes: expected some of denoising, noising, got "both"'],
    ['patch -m m.gguf --pairs p.jsonl', '--output: expected a folder (-o DIR), but it is missing'],
    ['patch -m m.gguf -o out --pairs p.jsonl --positions -1 --metric kl --groups blocks:8 --maps positions,groups', 'accepted'],
  ])('%s', async (line, expected) => {
    const invocation = await parseCommandLine(line.split(' '));
    const refusal = (): string => {
      try {
        return invocation.kind === 'run' && typeof invocation.command.prepare(invocation.flags) === 'function' ? 'accepted' : 'printed';
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(refusal()).toBe(expected);
  });
});
