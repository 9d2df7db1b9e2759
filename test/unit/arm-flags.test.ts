/** Flags of the arms of a sweep. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readArmFlags } from '../../src/cli/armFlags.js';
import { Flags } from '../../src/cli/flags.js';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rewardlens-arm-flags-'));
});
afterAll(() => rm(directory, { recursive: true }));

const read = (values: Record<string, string>, folder = true): ReturnType<typeof readArmFlags> => readArmFlags(new Flags(values), { folder });
const file = async (text: string): Promise<string> => {
  const path = join(directory, 'neurons.json');
  await writeFile(path, text);
  return path;
};

describe('arms of a sweep', () => {
  test('defaults, with and without neurons and a folder', () => {
    expect(read({})).toEqual({ layers: 'all', shares: [0.01, 0.05], kinds: ['zero'], positions: ['all'], groups: ['top', 'random', 'matched'], draws: 19, method: 'l1-zscore', excludeSinks: false, seed: 1 });
    expect(read({ neurons: '3, 17,40' })).toMatchObject({ groups: ['list', 'random', 'matched'], list: [3, 17, 40] });
    expect(read({ neurons: '3' }, false)).toMatchObject({ groups: ['list', 'random'], list: [3] });
  });

  test('every group, kind, position and ranking has a name', () => {
    expect(
      read({ arms: 'top,bottom,random,random-no-sinks,matched,spread,largest,wanda,next-token,terminal', kinds: 'zero,mean,resample', positions: 'prompt,completion,all', ranking: 'permutation', layers: '2-4,7', shares: '0.02,0.5,0.02', draws: '5' }),
    ).toEqual({
      layers: [2, 3, 4, 7],
      shares: [0.02, 0.5],
      kinds: ['zero', 'mean', 'resample'],
      positions: ['prompt', 'completion', 'all'],
      groups: ['top', 'bottom', 'random', 'random-no-sinks', 'matched', 'spread', 'largest', 'wanda', 'next-token', 'terminal'],
      draws: 5,
      method: 'permutation',
      excludeSinks: false,
      seed: 1,
    });
  });

  test('neurons by layer from a file', async () => {
    expect(read({ 'neurons-file': await file('{"2": [3, 17], "10": [40]}') })).toMatchObject({ layers: 'all', list: { 2: [3, 17], 10: [40] } });
    for (const [text, message] of [
      ['{"2": [3, -1]}', 'wrong at 2.1'],
      ['{"two": [3]}', 'expected an object of layers'],
      ['[3, 4]', 'expected an object of layers'],
      ['{}', 'expected an object of layers'],
      ['{"2": []}', 'wrong at 2'],
      ['{"2": [3}', 'neurons.json'],
    ] as const) {
      const path = await file(text);
      expect(() => read({ 'neurons-file': path })).toThrow(message);
    }
    expect(() => read({ 'neurons-file': join(directory, 'none') })).toThrow('--neurons-file: cannot read');
  });

  test.each([
    [{ arms: 'top,best' }, '--arms: expected some of top, bottom, list'],
    [{ arms: 'list' }, '--arms: list needs --neurons'],
    [{ arms: 'random', neurons: '3' }, '--arms: neurons are given, but list is not among the arms'],
    [{ arms: 'top,list', neurons: '3' }, '--arms: controls are matched to one set'],
    [{ neurons: '3,x' }, '--neurons: expected numbers such as 3,17,40, got "3,x"'],
    [{ neurons: '3,,4' }, '--neurons: expected numbers'],
    [{ neurons: '3', 'neurons-file': 'a' }, '--neurons: give either'],
    [{ neurons: '3', shares: '0.1' }, '--shares: the neurons are given'],
    [{ kinds: 'noise' }, '--kinds: expected some of zero, mean, resample'],
    [{ positions: 'last' }, '--positions: expected some of all, prompt, completion'],
    [{ shares: '0' }, '--shares: expected numbers above 0'],
    [{ draws: '0' }, '--draws'],
    [{ ranking: 'best' }, '--ranking: expected one of l1-zscore'],
  ])('%j is refused', (values, message) => {
    expect(() => read(values)).toThrow(message);
  });

  test('without a folder: what needs one is named', () => {
    expect(() => read({}, false)).toThrow('dir: expected the folder of a rollout with probes, but it is missing; top, matched need it');
    expect(() => read({ neurons: '3', kinds: 'mean' }, false)).toThrow('mean need it');
  });
});
