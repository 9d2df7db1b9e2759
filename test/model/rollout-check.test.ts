/** Resuming and rescoring: records judged otherwise, choices of a problem, what is beyond, prompts that are too long. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { rescoreCommand } from '../../src/cli/rescore.js';
import type { Io } from '../../src/cli/command.js';
import { Flags } from '../../src/cli/flags.js';
import { loadDataset } from '../../src/dataset/load.js';
import type { Model, Session } from '../../src/index.js';
import { loadModel } from '../../src/index.js';
import type { RolloutTotals } from '../../src/rollout/rollout.js';
import type { TrajectoryRecord } from '../../src/store/format.js';
import type { RolloutSettings } from '../../src/study/sample.js';
import { openSession, prepareDataset, sampleStage } from '../../src/study/sample.js';

let directory: string;
let folder: string;
let model: Model;
let session: Session;
let made = 0;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rewardlens-check-'));
  model = await loadModel(fileURLToPath(new URL('../../models/reasoner-base.gguf', import.meta.url)), { gpuLayers: 0, isolate: false });
  session = model.createSession({ parallel: 4, contextLength: 256, threads: 1 });
});
afterAll(async () => {
  await session.dispose();
  await model.dispose();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(() => {
  folder = join(directory, `out-${made++}`);
});

const SETTINGS: RolloutSettings = { samples: 2, maxTokens: 4, sampling: { temperature: 1 }, stop: [], seed: 1, capture: undefined, dtype: 'f16', maxDiskBytes: undefined };
interface Row {
  id: string;
  question: string;
  answer: string;
  choices?: readonly string[];
}
const ROWS: readonly Row[] = ['1+2=?', '3+4=?', '5+6=?'].map((question, i) => ({ id: `p${i}`, question, answer: 'B', choices: ['one', 'two', 'three'] }));

async function prepare(rows: readonly Row[], check?: string): ReturnType<typeof prepareDataset> {
  const path = join(directory, 'data.jsonl');
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const source = { spec: path, template: 'qa', ...(check === undefined ? {} : { check }) };
  return prepareDataset(model, await loadDataset(path, source), source);
}

async function rollout(rows: readonly Row[] = ROWS, check?: string, settings: Partial<RolloutSettings> = {}): Promise<RolloutTotals> {
  return sampleStage(session, await prepare(rows, check), { ...SETTINGS, ...settings }, { directory: folder });
}

const records = (): (TrajectoryRecord & { checkFingerprint?: string; choices?: unknown })[] =>
  readFileSync(join(folder, 'trajectories.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as TrajectoryRecord);

async function rescoreFolder(check?: string): Promise<void> {
  const io = { json: false, out: () => undefined, line: () => undefined } as unknown as Io;
  await rescoreCommand.prepare(new Flags({ dir: folder, ...(check === undefined ? {} : { check }) }))(io);
}

/** A reward module whose verdict is what it says, and whose reason is what it was given. */
function writeModule(name: string, answer: boolean): string {
  const path = join(directory, name);
  writeFileSync(path, `export default ({ problem }) => ({ verdict: ${answer ? '"correct"' : '"wrong"'}, reason: JSON.stringify(problem) });\n`);
  return path;
}

describe('a folder whose records were judged otherwise is refused', () => {
  test('another check: what differs and how to judge again; after that it fits', async () => {
    await rollout();
    expect(new Set(records().map(({ check }) => check))).toEqual(new Set(['choice']));
    const before = readFileSync(join(folder, 'rollout.json'), 'utf8');
    await expect(rollout(ROWS, 'exact')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/'p\d' judged by 'choice'; now 'exact': .*`rewardlens rescore .* --check exact`.*another output folder/),
    });
    expect(readFileSync(join(folder, 'rollout.json'), 'utf8')).toBe(before);
    await rescoreFolder('exact');
    expect(await rollout(ROWS, 'exact')).toMatchObject({ made: 0, found: 6 });
    await expect(rollout()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('an edited module', async () => {
    const check = writeModule('edited.mjs', true);
    await rollout(ROWS, check);
    expect(await rollout(ROWS, check)).toMatchObject({ made: 0, found: 6 });
    writeModule('edited.mjs', false);
    await expect(rollout(ROWS, check)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/edited\.mjs' as it was.*`rewardlens rescore/) });
    await rescoreFolder();
    expect(await rollout(ROWS, check)).toMatchObject({ made: 0, found: 6 });
    expect(records().every(({ verdict }) => verdict === 'wrong')).toBe(true);
  });

  test('another right answer, and that only of problems that are asked for', async () => {
    await rollout();
    const changed = ROWS.map((row, i) => (i === 1 ? { ...row, answer: 'C' } : row));
    await expect(rollout(changed)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/'p1' judged against 'B'; now 'C'; give another output folder/) });
    expect(await rollout(changed.slice(0, 1))).toMatchObject({ made: 0, found: 2 });
  });
});

test('rescoring gives the function id and choices of the problem, as the rollout did', async () => {
  await rollout();
  const choices = [
    { label: 'A', text: 'one' },
    { label: 'B', text: 'two' },
    { label: 'C', text: 'three' },
  ];
  expect(records()[0]?.choices).toEqual(choices);
  await rescoreFolder(writeModule('seen.mjs', true));
  records().forEach(({ reason, problem }) => expect(JSON.parse(reason)).toEqual({ id: problem, choices }));
  await rollout([{ id: 'plain', question: '1+1=?', answer: '#### 2' }]);
  expect(records().find(({ problem }) => problem === 'plain')).not.toHaveProperty('choices');
});

test('trajectories of the folder beyond what is asked for are counted', async () => {
  expect(await rollout()).toMatchObject({ made: 6, found: 0, beyond: 0 });
  expect(await rollout(ROWS.slice(0, 2))).toMatchObject({ made: 0, found: 4, beyond: 2 });
  expect(await rollout(ROWS, undefined, { samples: 1 })).toMatchObject({ made: 0, found: 3, beyond: 3 });
  expect(await rollout([...ROWS.slice(0, 1), { id: 'new', question: '2+2=?', answer: 'A', choices: ['x', 'y'] }])).toMatchObject({ made: 2, found: 2, beyond: 4 });
});

test('a prompt that does not fit is named before anything is sampled', async () => {
  const long = [...ROWS, { id: 'long', question: '1+'.repeat(300), answer: 'A', choices: ['x', 'y'] }];
  const error = { code: 'CONTEXT_FULL', message: expect.stringMatching(/problem 'long' has \d+ tokens, the session \(-c\) holds 256/) };
  await expect(rollout(long)).rejects.toMatchObject(error);
  expect(() => readFileSync(join(folder, 'trajectories.jsonl'))).toThrow('ENOENT');
  const prepared = await prepare(long);
  expect(() => openSession(model, [prepared], SETTINGS, { contextLength: 256 })).toThrow(expect.objectContaining(error));
});
