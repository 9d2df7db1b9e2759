/** Activation patching against PyTorch (tools/patch), and identities that hold to the bit. */
import { readFileSync } from 'node:fs';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import type { Session, SessionOptions } from '../../src/index.js';
import { loadModel } from '../../src/index.js';
import type { Site } from '../../src/model/sites.js';
import type { PatchMap } from '../../src/patch/cells.js';
import { positionOffsets } from '../../src/patch/cells.js';
import type { PatchMode, PatchValues } from '../../src/patch/metrics.js';
import type { PatchPair } from '../../src/patch/pairs.js';
import type { PatchRunOptions, PatchRunResult } from '../../src/patch/run.js';
import { PATCH_LEDGER, runPatches } from '../../src/patch/run.js';
import type { PairSource, RawPair } from '../../src/patch/pairs.js';
import { resolvePairs } from '../../src/patch/pairs.js';
import type { Patching } from '../../src/report/patchSchema.js';
import { patchSchema } from '../../src/report/patchSchema.js';
import { neuronGroups, parseGroups } from '../../src/study/patchGroups.js';
import { renderPatchReport } from '../../src/study/patchReport.js';
import { PATCH_FILES, runPatching } from '../../src/study/patching.js';
import { oraclePath } from '../helpers/oracle.js';

type Metrics = [difference: number, probability: number, kl: number];
interface Fixture {
  layerCount: number;
  pairs: { clean: number[]; corrupted: number[]; answer: number; wrong: number }[];
  base: { clean: Metrics; corrupted: Metrics }[];
  maps: { mode: PatchMode; site: Site; kind: 'positions' | 'groups'; positions: 'all' | 'last' | null; groups: number[][] | null; values: Metrics[][][] }[];
}

const loadFixture = (name: string): Fixture => JSON.parse(readFileSync(new URL(`../fixtures/patch/${name}.json`, import.meta.url), 'utf8')) as Fixture;

function pairsOf(fixture: Fixture): PatchPair[] {
  return fixture.pairs.map(({ clean, corrupted, answer, wrong }, i) => ({ id: `pair-${i}`, clean: Int32Array.from(clean), corrupted: Int32Array.from(corrupted), answer, wrong }));
}

function mapsOf(fixture: Fixture, offsets: readonly number[]): PatchMap[] {
  const layers = Array.from({ length: fixture.layerCount }, (_, i) => i);
  return fixture.maps.map(({ mode, site, groups, positions }): PatchMap =>
    groups === null || positions === null
      ? { kind: 'positions', mode, site, layers, offsets }
      : { kind: 'groups', mode, site, layers, positions, groups: groups.map((neurons, g) => ({ name: `g${g}`, neurons: Object.fromEntries(layers.map((layer) => [layer, neurons])) })) },
  );
}

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-patch-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const EXACT: SessionOptions = { threads: 1, contextLength: 256, flashAttention: false, cacheTypeK: 'f32', cacheTypeV: 'f32' };

async function withSession<T>(file: string, options: SessionOptions, body: (session: Session) => Promise<T>): Promise<T> {
  await using model = await loadModel(oraclePath(file), { gpuLayers: 0, isolate: false });
  await using session = model.createSession({ ...EXACT, ...options });
  return await body(session);
}

const patch = (session: Session, options: Omit<PatchRunOptions, 'directory' | 'inputs'>): Promise<PatchRunResult> => runPatches(session, { directory, inputs: {}, ...options });

const asMetrics = (values: PatchValues | undefined): (number | null | undefined)[] => [values?.['logit-diff'], values?.probability, values?.kl];

/** Largest |difference| between what was found and the reference, by metric. */
function compare(result: PatchRunResult, fixture: Fixture, maps: readonly PatchMap[]): { worst: number[]; cells: number } {
  const worst = [0, 0, 0];
  let cells = 0;
  const see = (found: PatchValues | undefined, expected: Metrics): void => {
    asMetrics(found).forEach((value, k) => (worst[k] = Math.max(worst[k] as number, Math.abs((value ?? NaN) - (expected[k] as number)))));
    cells++;
  };
  fixture.base.forEach((base, p) => (['clean', 'corrupted'] as const).forEach((side) => see(result.base[p]?.[side], base[side])));
  fixture.maps.forEach((reference, m) => {
    const map = maps[m] as PatchMap;
    reference.values.forEach((layers, p) => layers.forEach((columns, l) => columns.forEach((expected, c) => {
      const width = map.kind === 'positions' ? map.offsets.length : map.groups.length;
      // fixtures count positions from the start; maps of pairs of several lengths from the end
      const column = map.kind === 'positions' ? width - columns.length + c : c;
      see(result.maps[m]?.[p]?.own[l * width + column], expected);
    })));
  });
  return { worst, cells };
}

/**
 * Both sides compute in f32 and sum in another order: logits of norm about 10 with a relative error of 1e-6 (tools/oracle) differ by
 * up to 1e-5, and 7e-6 is the most that was seen. A position, layer or neuron off by one moves the numbers by 1e-2 and more.
 */
const BOUND = 5e-5;

describe.each(['llama', 'gemma2'])('%s', (name) => {
  test('all maps equal the PyTorch reference', async () => {
    const fixture = loadFixture(name);
    const pairs = pairsOf(fixture);
    const maps = mapsOf(fixture, positionOffsets(pairs));
    await withSession(`${name}.gguf`, { parallel: 8 }, async (session) => {
      const result = await patch(session, { pairs, maps });
      const { worst, cells } = compare(result, fixture, maps);
      expect({ worst, ok: Math.max(...worst) < BOUND }).toMatchObject({ ok: true });
      expect(result.run).toMatchObject({ promptTokens: expect.any(Number), sharedTokens: expect.any(Number) });
      expect(cells).toBe(result.made + result.copied + 2 * pairs.length);
    });
  });
});

/** One group of all neurons: a whole layer of the stream. */
const wholeLayer = (mode: PatchMode, layer: number, width = 64): PatchMap => ({
  kind: 'groups', mode, site: 'residPre', layers: [layer], positions: 'all', groups: [{ name: 'all', neurons: { [layer]: Array.from({ length: width }, (_, i) => i) } }],
});

// Q8_0 gives the same bits in any company. In f32 a product of one row goes through another kernel than one of many: nothing may run
// beside it, and the last layer, which has one row where only the logits are wanted and all where it is captured, is left out.
describe.each([['llama-q8_0.gguf', 8, [0, 1, 2]], ['llama.gguf', 1, [0, 1]]] as const)('%s, %i side by side: to the bit', (file, parallel, layers) => {
  const fixture = loadFixture('llama');
  const [pair] = pairsOf(fixture) as [PatchPair];

  test('the whole stream entering the first layer gives the other run', async () => {
    await withSession(file, { parallel }, async (session) => {
      const result = await patch(session, { pairs: [pair], maps: [wholeLayer('denoising', 0), wholeLayer('noising', 0)] });
      expect(result.made).toBe(2);
      expect(result.maps[0]?.[0]?.own).toEqual([result.base[0]?.clean]);
      expect(result.maps[1]?.[0]?.own).toEqual([result.base[0]?.corrupted]);
    });
  });

  test("a run's own activations change nothing, at any site, layer and position; another prompt's do", async () => {
    // the control of the first pair is a prompt that is its corrupted one
    const twin: PatchPair = { ...pair, id: 'twin', clean: pair.corrupted.slice(), corrupted: pair.clean.slice() };
    const sites: Site[] = ['residPre', 'attnOut', 'residMid', 'mlpPost', 'mlpOut', 'residPost'];
    const maps = sites.map((site): PatchMap => ({ kind: 'positions', mode: 'denoising', site, layers, offsets: [0, 2, 5, 7, 10] }));
    await withSession(file, { parallel }, async (session) => {
      const result = await patch(session, { pairs: [pair, twin], maps, controls: [1, 0] });
      const base = result.base[0]?.corrupted;
      let changed = 0;
      for (const map of result.maps) {
        expect(map[0]?.control).toEqual(map[0]?.control.map(() => base));
        changed += map[0]?.own.filter((values) => values?.kl !== base?.kl).length ?? 0;
      }
      expect(changed).toBeGreaterThan(40);
    });
  });
});

describe('ledger', () => {
  const fixture = loadFixture('llama');
  const pairs = pairsOf(fixture);
  const maps = mapsOf(fixture, positionOffsets(pairs)).slice(0, 2);
  const go = (session: Session, change: Partial<PatchRunOptions> = {}): Promise<PatchRunResult> => runPatches(session, { directory, inputs: {}, pairs, maps, controls: [1, 0], ...change });

  test('a stopped run goes on; a second one makes nothing; damaged records are made again; other inputs are another run', async () => {
    await withSession('llama-q8_0.gguf', { parallel: 4 }, async (session) => {
      const stop = new AbortController();
      await expect(go(session, { signal: stop.signal, onProgress: ({ finished }) => finished === 40 && stop.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
      const resumed = await go(session);
      expect(resumed.found).toBeGreaterThanOrEqual(40);
      const again = await go(session);
      expect([again.made, again.found]).toEqual([0, resumed.made + resumed.found]);
      expect(again.maps).toEqual(resumed.maps);
      expect(again.base).toEqual(resumed.base);

      const path = join(directory, PATCH_LEDGER);
      const text = await readFile(path, 'utf8');
      await writeFile(path, text.replace('"control":true', '"control":truE')); // one byte of one record
      await appendFile(path, '{"key":"torn');
      const mended = await go(session);
      expect([mended.made, mended.found]).toEqual([1, again.found - 1]);
      expect(mended.maps).toEqual(again.maps);

      const other = await go(session, { inputs: { model: 'another' } });
      expect([other.made, other.found]).toEqual([again.found, 0]);
      const answer = await go(session, { pairs: pairs.map((pair) => ({ ...pair, answer: pair.answer === 0 ? 1 : 0 })) });
      expect(answer.found).toBe(0);

      await rm(directory, { recursive: true });
      const whole = await go(session);
      expect(whole.maps).toEqual(again.maps);
    });
  });
});

describe('a planted causal neuron', () => {
  const CARRIER = 37;
  const GOOD = 'srbtlkup';
  const BAD = 'fjmxcevh';
  /** The letters before the last differ too, which the model ignores. */
  const source: PairSource = {
    name: 'planted', unit: 'pair', skipped: [],
    pairs: Array.from(GOOD, (good, i) => ({ line: i + 1, id: `p${i}`, clean: `z${GOOD[(i + 3) % 8] ?? ''}q${good}`, corrupted: `z${BAD[(i + 5) % 8] ?? ''}q${BAD[i] ?? ''}`, answer: 'y', wrong: 'n' })),
  };

  async function maps(file: string): Promise<Patching> {
    await using model = await loadModel(`models/${file}`, { gpuLayers: 0, isolate: false });
    await using session = model.createSession({ ...EXACT, parallel: 16 });
    const layers = [0, 1, 2];
    const groups = await neuronGroups({ spec: parseGroups('blocks:8'), site: 'residPost', layers, width: () => 64 });
    return await runPatching(session, resolvePairs(model, source), { modes: ['denoising', 'noising'], sites: ['residPost'], layers, offsets: 'all', groups: new Map([['residPost', groups]]), groupPositions: 'all', control: true, seed: 1 }, { directory, source: 'planted', session: {} });
  }

  test('its block and the last position carry the answer, in both directions and at every layer', async () => {
    const patching = await maps('planted.gguf');
    expect(patchSchema.parse(JSON.parse(await readFile(join(directory, PATCH_FILES.json), 'utf8')))).toEqual(JSON.parse(JSON.stringify(patching)));
    expect(patching).toMatchObject({ metric: 'logit-diff', skipped: [], notes: [] });
    expect(patching.maps.map(({ kind, mode }) => `${kind} ${mode}`)).toEqual(['positions denoising', 'positions noising', 'groups denoising', 'groups noising']);
    for (const map of patching.maps) {
      const [result] = map.metrics;
      const carries = (column: number): boolean => (map.kind === 'groups' ? column === Math.floor(CARRIER / 8) : column === map.columns.length - 1);
      result?.cells.forEach((row) => row.forEach(({ effect, p }, column) => {
        // the final norm makes a little of every coordinate matter
        expect({ map: map.kind, column, near: Math.abs((effect.value ?? NaN) - (carries(column) ? 1 : 0)) < 0.1, n: effect.n }).toEqual({ map: map.kind, column, near: true, n: 8 });
        expect(carries(column) ? p : 1).toBeLessThanOrEqual(carries(column) ? 2 ** -7 : 1);
      }));
    }
    expect(patching.findings[0]).toBe('8 pairs; logit difference at the last position.');

    const file = await readFile(join(directory, PATCH_FILES.table));
    const rows = await parquetReadObjects({ file: file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength), compressors });
    expect(rows).toHaveLength(patching.maps.reduce((sum, { metrics, layers, columns }) => sum + metrics.length * layers.length * columns.length, 0));
    expect(rows[0]).toMatchObject({ kind: 'positions', mode: 'denoising', site: 'residPost', layer: 0, position: 0, metric: 'logit-diff', pairs: 8 });

    const page = await renderPatchReport(patching);
    expect(page).toBe(await renderPatchReport(patching));
    // the text under the pointer belongs to the cell: one place a column, one height a layer
    const cells = [...page.matchAll(/<path d="M([\d.]+),([\d.]+)h[^"]*"[^>]*><title>layer (\d), neurons ([^:]*): (−?[\d.]+)/g)].slice(0, 24);
    const places = new Set(cells.map(([, x, , , column]) => `${x ?? ''} ${column ?? ''}`));
    const heights = new Set(cells.map(([, , y, layer]) => `${y ?? ''} ${layer ?? ''}`));
    expect([places.size, heights.size, new Set(cells.map(([, x]) => x)).size, new Set(cells.map(([, , y]) => y)).size]).toEqual([8, 3, 8, 3]);
    expect(cells.filter(([, , , , column]) => column === '32–39').map(([, , , , , value]) => Math.round(Number(value)))).toEqual([1, 1, 1]);
    expect(page).not.toMatch(/(?:src|href)="(?!#)/);
  });

  test('on the twin without it there is nothing to restore, and that is said', async () => {
    const patching = await maps('planted-null.gguf');
    expect(patching.maps.map(({ metrics }) => metrics[0]?.leftOut)).toEqual([8, 8, 8, 8]);
    expect(patching.findings.join(' ')).toMatch(/no pair has a gap between clean and corrupted/);
  });

  test('pairs that do not fit the model are named with both tokenizations', async () => {
    await using model = await loadModel('models/planted.gguf', { gpuLayers: 0, isolate: false });
    const first = source.pairs[0] as RawPair;
    const others: RawPair[] = [
      { ...first, line: 2, id: 'long', corrupted: 'zzzzz' },
      { ...first, line: 3, id: 'same', corrupted: first.clean },
      { ...first, line: 4, id: 'answers', wrong: 'yn' },
      { ...first, line: 5, id: 'several', answer: 'ny', wrong: 'y' },
    ];
    const all = { ...source, unit: 'line', pairs: [first, ...others] };
    expect(() => resolvePairs(model, all)).toThrow(/planted: 3 bad lines.*line 2: long: clean has 6 tokens and corrupted 7.*\n {4}clean +\|.*\n {4}corrupted +\|.*line 3: same: .* the same tokens.*line 4: answers: answer "y" and wrong "yn" begin with the same token/s);
    const resolved = resolvePairs(model, all, { skipBad: true });
    expect(resolved.pairs.map(({ id }) => id)).toEqual(['p0', 'several']);
    expect(resolved.skipped.map(({ line }) => line)).toEqual([2, 3, 4]);
    expect(resolved.notes).toEqual(['several: answer "ny" is 2 tokens, |n|y|; the first one counts']);
  });
});
