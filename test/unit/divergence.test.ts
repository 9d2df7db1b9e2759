// References: PyTorch (tools/stats/make_divergence_fixture.py).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { klDivergence, logPartition } from '../../src/stats/divergence.js';

interface Case {
  name: string;
  base: (number | null)[][];
  arm: (number | null)[][];
  tokens: number[];
  partition: number[];
  kl: number[];
  perplexity: number;
}

const { cases } = JSON.parse(readFileSync('test/fixtures/stats/divergence.json', 'utf8')) as { cases: Case[] };
const scores = (row: readonly (number | null)[]): Float32Array => Float32Array.from(row, (value) => value ?? -Infinity);

describe('from scores to distributions', () => {
  test.each(cases)('$name: as PyTorch', ({ base, arm, tokens, partition, kl, perplexity }) => {
    let loss = 0;
    arm.forEach((row, t) => {
      const [p, q] = [scores(base[t] as number[]), scores(row)];
      const own = logPartition(q);
      expect(Math.abs(own - (partition[t] as number))).toBeLessThan(1e-12 * Math.max(1, Math.abs(own)));
      expect(Math.abs(klDivergence(p, logPartition(p), q, own) - (kl[t] as number))).toBeLessThan(1e-12 * Math.max(1, kl[t] as number));
      loss += t + 1 < arm.length ? own - (q[tokens[t + 1] as number] as number) : 0;
    });
    expect(Math.exp(loss / (arm.length - 1)) / perplexity).toBeCloseTo(1, 9);
  });

  test('is 0 for the same scores, never below, and infinite where the second rules out what the first allows', () => {
    const row = Float32Array.of(3, 1, -2);
    const moved = row.map((x) => x + 0.1);
    expect(klDivergence(row, logPartition(row), row, logPartition(row))).toBe(0);
    expect(klDivergence(row, logPartition(row), moved, logPartition(moved))).toBeGreaterThanOrEqual(0);
    const without = Float32Array.of(3, -Infinity, -2);
    expect(klDivergence(row, logPartition(row), without, logPartition(without))).toBe(Infinity);
    expect(klDivergence(without, logPartition(without), row, logPartition(row))).toBeGreaterThan(0);
  });

  test('a score that is no number is not lost', () => {
    expect(logPartition(Float32Array.of(1, NaN, 2))).toBeNaN();
    expect(logPartition(Float32Array.of(NaN, 1))).toBeNaN();
    expect(logPartition(Float32Array.of(-Infinity, -Infinity))).toBe(-Infinity);
  });
});
