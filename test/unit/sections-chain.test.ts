/** Results that are made from each other: one that was made anew leaves those behind it stale, and that shows. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Sections } from '../../src/report/sectionsSchema.js';
import { sealLine } from '../../src/store/journal.js';
import type { FittedLayer } from '../../src/study/dopamineProbe.js';
import { itemsOf } from '../../src/study/dopamineData.js';
import { readDopamine } from '../../src/study/dopamineFolder.js';
import { plantedDopamine } from '../../src/study/dopaminePlanted.js';
import { dopamineEvents } from '../../src/study/dopamineTraces.js';
import { readSections } from '../../src/study/sectionStage.js';
import { fileHash } from '../../src/study/stage.js';
import { readValues } from '../../src/study/valuesFormat.js';
import { SECTIONS_EXAMPLE } from '../helpers/sections-example.js';

const { values, dopamine, interplay } = SECTIONS_EXAMPLE as { [name in keyof Sections]: NonNullable<Sections[name]> };
const LINE = { problem: 'p', group: 'g', part: null, reward: 1, finishReason: 'eog', steps: [], values: [], tdErrors: [], variances: [], probe: null };
let directory: string;
const at = (name: string): string => join(directory, name);
const write = async (name: string, value: object): Promise<void> => writeFile(at(name), JSON.stringify(value));

/** A folder as the three commands leave it, as far as these readers look. */
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-chain-'));
  await writeFile(at('trajectories.jsonl'), '{}\n');
  await writeFile(at('values.jsonl'), [0, 1].map((sample) => `${sealLine({ ...LINE, sample })}\n`).join(''));
  await writeFile(at('dopamine.safetensors'), 'probes');
  const trajectoriesSha256 = await fileHash(at('trajectories.jsonl'));
  const linesSha256 = await fileHash(at('values.jsonl'));
  const probesSha256 = await fileHash(at('dopamine.safetensors'));
  await write('values.json', { ...values, counts: { ...values.counts, trajectories: 2 }, trajectoriesSha256, linesSha256 });
  await write('dopamine.json', { ...dopamine, trajectoriesSha256, valuesSha256: linesSha256, probesSha256 });
  await write('interplay.json', { ...interplay, trajectoriesSha256, probesSha256 });
});
afterEach(async () => rm(directory, { recursive: true }));

describe('values.jsonl and values.json', () => {
  test('belong together', async () => {
    expect((await readValues(directory)).trajectories.map(({ sample }) => sample)).toEqual([0, 1]);
  });

  test.each([
    ['a line is lost', [0], 'expected its 2 trajectories, got 1'],
    ['the lines are those of another run', [0, 7], 'expected its 2 trajectories, got those of another run'],
    ['the file is lost', [], 'expected its 2 trajectories, got 0'],
  ])('%s: STORE_CORRUPT, and what to run', async (_, samples, message) => {
    await writeFile(at('values.jsonl'), samples.map((sample) => `${sealLine({ ...LINE, sample })}\n`).join(''));
    await expect(readValues(directory)).rejects.toMatchObject({ code: 'STORE_CORRUPT', message: expect.stringContaining(message) });
    await expect(readValues(directory)).rejects.toThrow(`run \`rewardlens values ${directory}\` again`);
  });
});

describe('a report of the folder', () => {
  const shown = async (): Promise<string[]> => Object.entries(await readSections(directory)).flatMap(([name, section]) => (section === null || name === 'notes' ? [] : [name]));

  test('shows results that belong together', async () => {
    expect(await shown()).toEqual(['values', 'dopamine', 'interplay']);
  });

  test('leaves out what is made from values, or from dopamine neurons, that were replaced', async () => {
    const before = JSON.parse(JSON.stringify(dopamine)) as object;
    const [trajectoriesSha256, valuesSha256] = [await fileHash(at('trajectories.jsonl')), await fileHash(at('values.jsonl'))];
    await write('dopamine.json', { ...before, trajectoriesSha256, valuesSha256, probesSha256: 'new' });
    expect(await shown()).toEqual(['values', 'dopamine']);
    await write('values.json', { ...values, trajectoriesSha256, linesSha256: 'new' });
    expect(await shown()).toEqual(['values']);
    expect((await readSections(directory)).notes).toEqual({
      dopamine: ['It was made from values that are no longer there: `rewardlens dopamine` makes it anew.'],
      interplay: ['It was made from dopamine neurons that are no longer there: `rewardlens interplay` makes it anew.'],
    });
  });
});

test('dopamine neurons are not read beside other values than theirs', async () => {
  await writeFile(at('values.jsonl'), '');
  await expect(readDopamine(directory)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(`run \`rewardlens dopamine ${directory}\` again`) });
});

test('a result of another version, or with a wrong field, says which and what to run', async () => {
  await write('interplay.json', { ...interplay, version: 1 });
  await expect(readSections(directory)).rejects.toThrow('interplay.json: version: expected 2, got 1: it was written by an older rewardlens; run `rewardlens interplay` again');
  await write('interplay.json', { ...interplay, layer: 'two' });
  await expect(readSections(directory)).rejects.toThrow(`interplay.json: layer: expected a number, got "two"`);
  await write('values.json', { ...values, counts: null });
  await expect(readValues(directory)).rejects.toThrow('values.json: counts: expected an object, got null');
  await write('dopamine.json', { ...dopamine, version: 9 });
  await expect(readDopamine(directory)).rejects.toThrow('dopamine.json: version: expected 2, got 9: it was written by a newer rewardlens');
});

test('no neurons, no averages', async () => {
  const { data } = plantedDopamine({ width: 4, trajectories: 9, scales: [1], seed: 1 });
  expect(await dopamineEvents(data, { index: 0 } as FittedLayer, itemsOf(data), [], { mode: 'running', threshold: 0, seed: 1, radius: 2 })).toEqual([]);
});
