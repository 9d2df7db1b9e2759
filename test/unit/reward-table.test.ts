import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from '@jest/globals';
import { createScorer } from '../../src/reward/scorer.js';
import type { ScorerOptions } from '../../src/reward/scorer.js';
import type { Scorer, VerdictKind } from '../../src/reward/types.js';

/** A hand-written row of test/fixtures/reward/pairs.jsonl; `verdict` is what a careful mathematician says. */
interface Row {
  check: string;
  topic: string;
  gold: string;
  text: string;
  verdict: VerdictKind;
  /** Left out where the answer read from the text does not matter. */
  extracted?: string;
  options?: ScorerOptions;
}

const rows = readFileSync(new URL('../fixtures/reward/pairs.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Row);

const scorers = new Map<string, Scorer>();

async function scorerFor({ check, options }: Row): Promise<Scorer> {
  const key = JSON.stringify([check, options]);
  const scorer = scorers.get(key) ?? (await createScorer(check, options));
  scorers.set(key, scorer);
  return scorer;
}

afterAll(async () => {
  await Promise.all([...scorers.values()].map(async (scorer) => scorer[Symbol.asyncDispose]()));
});

describe('hand-written pairs', () => {
  test('there are at least 150, of every check and every verdict', () => {
    expect(rows.length).toBeGreaterThanOrEqual(150);
    expect(new Set(rows.map(({ check, verdict }) => `${check} ${verdict}`)).size).toBe(15);
  });

  test.each(rows.map((row) => [row.check, row.topic, row.text, row.gold, row.verdict, row] as const))('%s, %s: %j against %j is %s', async (_check, _topic, _text, _gold, _verdict, row) => {
    const scorer = await scorerFor(row);
    const verdict = await scorer.score({ gold: row.gold, text: row.text });
    expect(verdict).toMatchObject({ verdict: row.verdict, reward: { correct: 1, wrong: 0, unknown: null }[row.verdict] });
    expect(verdict.reason).not.toBe('');
    if (row.extracted !== undefined) {
      expect(verdict.extracted).toBe(row.extracted);
    }
    expect(await scorer.score({ gold: row.gold, text: row.text })).toEqual(verdict);
  });
});

describe('pairs judged by SymPy', () => {
  test('every verdict agrees', async () => {
    const pairs = JSON.parse(readFileSync(new URL('../fixtures/reward/sympy.json', import.meta.url), 'utf8')) as { gold: string; answer: string; same: boolean }[];
    await using scorer = await createScorer('math');
    const disagreements: unknown[] = [];
    for (const { gold, answer, same } of pairs) {
      const { verdict, reason } = await scorer.score({ gold, text: `\\boxed{${answer}}` });
      if (verdict !== (same ? 'correct' : 'wrong')) {
        disagreements.push({ gold, answer, same, verdict, reason });
      }
    }
    expect(pairs.length).toBe(150);
    expect(disagreements).toEqual([]);
  });
});
