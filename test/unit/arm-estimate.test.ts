/** What a sweep is expected to cost. */
import { describe, expect, test } from '@jest/globals';
import type { Arm } from '../../src/ablate/arms.js';
import { BASE_ARM, makeArm } from '../../src/ablate/arms.js';
import { estimateSweep } from '../../src/study/armEstimate.js';

const arm = (layer: number, positions: Arm['positions']): Arm => makeArm({ role: 'set', group: 'top', draw: 0, site: 'residPost', layer, share: 0.1, kind: 'zero', positions, neurons: [1] });

describe('estimateSweep', () => {
  const facts = { promptTokens: [10, 20], maxTokens: 50, layerCount: 4 };

  test('prompts: once each, shared by arms that leave them alone, and without the layers below the edit', () => {
    // base and two completion arms share 30 tokens, each of the two reads the last two of both prompts itself; two arms read all 30
    const arms = [BASE_ARM, arm(1, 'completion'), arm(2, 'completion'), arm(0, 'all'), arm(2, 'prompt')];
    expect(estimateSweep(arms, facts)).toEqual({
      arms: 5,
      items: 2,
      sequences: 10,
      promptTokens: { alone: 150, shared: 30 + 8 + 60, skipped: 30 + 8 + 30 * (3 / 4) + 30 * (1 / 4) },
      sampledTokens: { most: 500, expected: undefined },
      seconds: undefined,
    });
    expect(estimateSweep([arm(3, 'all')], facts).promptTokens).toEqual({ alone: 30, shared: 30, skipped: 0 });
  });

  test('time: only from a measured rate; completions no longer than the limit', () => {
    const rate = { tokensPerSecond: 10, source: 'the rollout' };
    expect(estimateSweep([BASE_ARM], { ...facts, rate })).toMatchObject({ sampledTokens: { most: 100, expected: undefined }, seconds: { most: 13, expected: undefined, source: 'the rollout' } });
    expect(estimateSweep([BASE_ARM], { ...facts, rate, meanTokens: 7 })).toMatchObject({ sampledTokens: { most: 100, expected: 14 }, seconds: { most: 13, expected: 4.4 } });
    expect(estimateSweep([BASE_ARM], { ...facts, meanTokens: 70 }).sampledTokens).toEqual({ most: 100, expected: 100 });
  });
});
