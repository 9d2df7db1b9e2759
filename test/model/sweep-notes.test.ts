/** What a sweep says of the problems that ranked its neurons. */
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Prepared } from '../../src/study/sample.js';
import { heldOutPart, seenNotes } from '../../src/study/sweepStage.js';
import { plantedFolder, plantedProblems } from '../helpers/planted.js';

let directory: string;
beforeAll(async () => {
  directory = await plantedFolder('planted', { count: 60 });
});
afterAll(() => rm(directory, { recursive: true, force: true }));

test('problems that chose the neurons are counted; held-out ones and others are none', async () => {
  const problems = plantedProblems(60);
  const dataset = { name: 'planted', source: 'test', format: 'jsonl', sha256: '0', problems, skipped: [] } as const;
  const prepared: Prepared = { dataset, problems, prompt: () => ({ text: 'abc', tokens: Int32Array.of(1, 2, 3) }), template: 'raw', promptLengths: new Int32Array(60).fill(3) };
  const { part, heldOut } = await heldOutPart(directory, prepared);
  expect(heldOut).toBe(18); // a share of 0.3
  expect(await seenNotes(directory, part.problems)).toEqual([]);
  const others = problems.map((problem) => ({ ...problem, id: `other-${problem.id}` }));
  expect(await seenNotes(directory, others)).toEqual([]);
  expect(await seenNotes(directory, [...problems, ...others])).toEqual([expect.stringContaining('42 of 120 have the ids of problems that the probes were trained on')]);
});
