/** What a guided search goes by, on made-up candidates; choices and costs of whole answers by hand. */
import { describe, expect, test } from '@jest/globals';
import type { Candidate } from '../../src/apply/search.js';
import { answersCost, answersWithin } from '../../src/apply/search.js';
import type { TrainedProbe } from '../../src/probe/train.js';
import { poolSteps, zscored } from '../../src/rpe/features.js';
import { DopamineScorer, byChance, byLogProbability, completionStates } from '../../src/study/searchScorers.js';
import { compareMethods, discriminationOf, searchMethods } from '../../src/study/searchResult.js';
import type { Chosen } from '../../src/study/searchResult.js';

const WIDTH = 3;
/** State s of a completion: numbers that say which it is. */
const state = (s: number): number[] => [s, (7 * s) % 5, Math.sin(s)];

/** A candidate with `tokens` tokens in all whose step has captured `rows` states. */
function candidate(from: Candidate | undefined, tokens: number, rows: number): Candidate {
  const begin = from?.tokens.length ?? 0;
  return {
    item: 0, number: 0, step: (from?.step ?? -1) + 1, tokens: Int32Array.from({ length: tokens }, (_, i) => i), logProbability: -tokens / 2, from, ended: undefined, rows,
    states: Float32Array.from(Array.from({ length: rows }, (_, i) => state(begin + i)).flat()),
  };
}

/** An answer that went on: four tokens, then one, then three. */
const steps = (lookahead: number): Candidate[] => {
  const first = candidate(undefined, 4, 4 + lookahead);
  const second = candidate(first, 5, 1 + lookahead);
  return [first, second, candidate(second, 8, 3 + lookahead)];
};
const whole = (states: number): Float32Array => Float32Array.from(Array.from({ length: states }, (_, s) => state(s)).flat());

describe('states of a completion', () => {
  test.each([[0, [4, 5, 8]], [1, [5, 6, 9]]] as const)('each once and in order, with %i tokens sampled ahead', (lookahead, counts) => {
    steps(lookahead).forEach((own, i) => expect(completionStates(own)).toEqual(whole(counts[i] as number)));
  });
});

describe('the dopamine scorer', () => {
  const probe: TrainedProbe = {
    name: 'dopamine', layer: 0, hidden: 0, head: 'identity', target: 'mc', lambda: 1, inputs: 'zscore', shuffledRewards: false,
    mean: Float32Array.of(0.1, 0, -0.2), scale: Float32Array.of(1, 2, 0.5), trainLoss: [], validationLoss: [], bestEpoch: 0,
    weights: { w1: new Float32Array(), b1: new Float32Array(), w2: Float32Array.of(1, -0.5, 2), b2: Float32Array.of(0.25) },
  };
  const by = (feature: Float32Array): number => feature.reduce((sum, x, i) => sum + (x - (probe.mean[i] as number)) * (probe.scale[i] as number) * (probe.weights.w2[i] as number), 0.25);

  test.each([['running', 1], ['running', 0], ['none', 1]] as const)('%s, %i ahead: the sum of what the probe says of each step, features as in training', async (mode, lookahead) => {
    await using scorer = new DopamineScorer(probe, 'residPost', mode, 1);
    let sum = 0;
    for (const own of steps(lookahead)) {
      const range = { begin: own.from?.tokens.length ?? 0, end: own.tokens.length };
      const states = range.begin + own.rows;
      sum += by(poolSteps(zscored(whole(states), WIDTH, mode), WIDTH, [range]));
      const [score] = Array.from(await scorer.score([own]));
      expect(score).toBeCloseTo(sum, 4);
    }
    expect(Array.from(await scorer.score([]))).toEqual([]);
  });
});

test('log-probability is a mean over tokens, chance depends on its place alone', async () => {
  const [a, b] = steps(0);
  expect(Array.from(await byLogProbability([a as Candidate, b as Candidate]))).toEqual([-0.5, -0.5]);
  const own = [a as Candidate, { ...(a as Candidate), number: 1 }, b as Candidate];
  const draw = async (seed: number, id: string): Promise<number[]> => Array.from(await byChance(seed, () => id)(own));
  expect(await draw(1, 'p')).toEqual(await draw(1, 'p'));
  expect(new Set([...(await draw(1, 'p')), ...(await draw(2, 'p')), ...(await draw(1, 'q'))]).size).toBe(9);
});

describe('whole answers', () => {
  const answers = [10, 20, 30].map((tokens) => candidate(undefined, tokens, 0));

  test('cost the prompt once, two of its tokens again, and all tokens but the last', () => {
    expect(answersCost(40, answers, 1)).toEqual({ sampled: 10, computed: 40 + 9, shared: 0 });
    expect(answersCost(40, answers, 3)).toEqual({ sampled: 60, computed: 40 + 2 * 2 + 57, shared: 2 * 38 });
    expect(answersCost(17, answers, 2)).toEqual({ sampled: 30, computed: 2 * 17 + 28, shared: 0 }); // too short to be shared
  });

  test('as many as the budget buys, at least one, and what is left goes on', () => {
    // one costs 49, two 40 + 2 + 28 = 70, three 101
    expect(answersWithin([40], [answers], [100])).toEqual([2]);
    expect(answersWithin([40], [answers], [101])).toEqual([3]);
    expect(answersWithin([40], [answers], [1])).toEqual([1]);
    expect(answersWithin([40, 40], [answers, answers], [100, 71])).toEqual([2, 3]); // 30 left over: 30 + 71 = 101
    expect(answersWithin([40, 40], [answers, answers], [20, 98])).toEqual([1, 1]); // 29 too much: 98 − 29 = 69
  });
});

test('methods are compared by problem, whatever the seeds', () => {
  const chosen = (reward: number): Chosen => ({ reward, unknown: reward < 0, answers: 2, length: 5, steps: 1, ended: true, cost: { sampled: 4, computed: 6, shared: 8 } });
  const seeds = (rewards: number[][]): Chosen[][] => rewards.map((own) => own.map(chosen));
  const problems = ['a', 'b', 'c'];
  const methods = searchMethods(new Map([['guided by value', seeds([[1, 1, 0], [1, 0, 0]])], ['greedy', seeds([[0, 1, 0], [0, 0, 0]])]]), problems);
  expect(methods[0]).toMatchObject({ kind: 'guided', unknown: 0, answers: 2, cost: { sampled: 4, computed: 6, shared: 8 }, rewards: [[1, 1, 0], [1, 0, 0]] });
  expect(methods[0]?.accuracy.value).toBeCloseTo(0.5, 12);
  const [comparison] = compareMethods(methods, problems, 'value');
  expect(comparison).toMatchObject({ method: 'guided by value', against: 'greedy' });
  expect(comparison?.difference).toMatchObject({ n: 3 });
  expect(comparison?.difference.value).toBeCloseTo(1 / 3, 12); // a better by one, b and c the same
  expect(compareMethods(methods, problems, 'logprob')).toEqual([]);
});

test('a score that knows the problems alone tells nothing among the answers of one', () => {
  const problems = ['easy', 'hard', 'never'];
  const rewards = [[1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]];
  const level = [[0.9, 0.9, 0.9, 0.9], [0.2, 0.2, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]];
  const exact = rewards.map((own) => own.map((reward) => reward - 3));
  const [value, logprob] = discriminationOf([{ rewards, scores: { value: level, 'mean log-probability': exact } }, { rewards, scores: { value: level, 'mean log-probability': exact } }], problems);
  // 8 right answers, 6 of them easy; 16 wrong ones, 2 of them easy: ties of easy with easy and hard with hard count half
  expect(value).toMatchObject({ score: 'value', across: { value: (6 * (2 / 2 + 14) + 2 * (6 / 2 + 8)) / (8 * 16), n: 24 }, within: { value: 0.5, n: 2 } });
  expect(logprob).toMatchObject({ across: { value: 1 }, within: { value: 1, n: 2 } });
  expect(discriminationOf([{ rewards: [[1, 1]], scores: { value: [[1, 2]], 'mean log-probability': [[1, 2]] } }], ['all right'])[0]).toMatchObject({ across: { value: null }, within: { value: null, n: 0 } });
  for (const scores of [[1, 2], [2, 1], [1, 1]]) {
    const [few] = discriminationOf([{ rewards: [[0, 1]], scores: { value: [scores], 'mean log-probability': [scores] } }], ['one problem']);
    expect(few?.within.low).toBe(0); // wide, but still of an AUC
    expect(few?.within.high).toBeLessThanOrEqual(1);
  }
});
