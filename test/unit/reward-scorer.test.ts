/** Scorers beyond their verdicts: limits, hostile input, users' modules, fingerprints, speed. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from '@jest/globals';
import { RewardLensError } from '../../src/native/errors.js';
import { createScorer } from '../../src/reward/scorer.js';
import type { ScorerOptions } from '../../src/reward/scorer.js';
import type { ScoreItem, Verdict } from '../../src/reward/types.js';
import { mulberry32 } from '../../src/util/random.js';

const folder = mkdtempSync(join(tmpdir(), 'rewardlens-reward-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function moduleFile(name: string, source: string): string {
  const path = join(folder, name);
  writeFileSync(path, source);
  return path;
}

async function score(check: string, item: ScoreItem, options?: ScorerOptions): Promise<Verdict> {
  await using scorer = await createScorer(check, options);
  return await scorer.score(item);
}

const refusal = async (check: string, options?: ScorerOptions): Promise<RewardLensError> => {
  try {
    await using _scorer = await createScorer(check, options);
  } catch (error) {
    if (error instanceof RewardLensError) {
      return error;
    }
    throw error;
  }
  throw new Error('accepted');
};

describe('createScorer refuses', () => {
  test('an unknown name, listing the names', async () => {
    const { code, message } = await refusal('maths');
    expect(code).toBe('INVALID_ARGUMENT');
    expect(message).toContain('gsm8k, math, choice, exact, regex');
  });

  test.each<[string, ScorerOptions, string]>([
    ['math', { mode: 'strict' }, 'options.mode: the check math has no use for it'],
    ['regex', { pattern: '(' }, 'options.pattern: expected a regular expression'],
    ['math', { timeLimitMs: 0 }, 'options.timeLimitMs: expected milliseconds ≥ 1, got 0'],
    ['gsm8k', { mode: 'loose' as 'strict' }, 'options.mode: expected "strict" or "flexible", got "loose"'],
  ])('%s with %j', async (check, options, message) => {
    const error = await refusal(check, options);
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain(message);
  });

  test('a module that is missing, throws, or exports no function', async () => {
    expect((await refusal('./no/such/check.js')).code).toBe('IO');
    const broken = await refusal(moduleFile('throws.mjs', 'throw new Error("no key");'));
    expect([broken.code, broken.message]).toEqual(['INVALID_ARGUMENT', expect.stringContaining('no key')]);
    const other = await refusal(moduleFile('object.mjs', 'export default {};'));
    expect([other.code, other.message]).toEqual(['INVALID_ARGUMENT', expect.stringContaining('the default export must be a function (item) => verdict, got object')]);
    expect((await refusal(moduleFile('syntax.ts', 'export default (('))).code).toBe('INVALID_ARGUMENT');
  });
});

describe("a user's module", () => {
  const item: ScoreItem = { gold: '5', text: ' 5 ', problem: { id: 'p1' } };
  test.each<[string, string, Partial<Verdict>]>([
    ['a boolean', '({ text, gold }) => text.trim() === gold', { verdict: 'correct', reward: 1, extracted: '5' }],
    ['a promise of a boolean', 'async () => false', { verdict: 'wrong', reward: 0 }],
    ['a number', '() => 0.25', { verdict: 'wrong', reward: 0.25 }],
    ['a number of one half or more', '() => 0.5', { verdict: 'correct', reward: 0.5 }],
    ['a number outside [0, 1]', '() => 2', { verdict: 'unknown', reward: null, reason: 'the function returned 2: expected a number in [0, 1]' }],
    ['NaN', '() => NaN', { verdict: 'unknown', reward: null }],
    ['a word', '() => "wrong"', { verdict: 'wrong', reward: 0 }],
    ['another word', '() => "maybe"', { verdict: 'unknown' }],
    ['nothing', '() => {}', { verdict: 'unknown', reason: 'the function returned undefined: expected a verdict, a boolean or a number' }],
    ['an object', '({ problem }) => ({ verdict: "correct", extracted: problem.id, reason: "why not", reward: 0.9 })', { verdict: 'correct', extracted: 'p1', reason: 'why not', reward: 0.9 }],
    ['an object that is unknown', '() => ({ verdict: "unknown" })', { verdict: 'unknown', reward: null, extracted: undefined }],
    ['an exception', '() => { throw new Error("no idea") }', { verdict: 'unknown', reason: 'the function failed: no idea' }],
    ['a rejection', 'async () => { throw new Error("no network") }', { verdict: 'unknown', reason: 'the function failed: no network' }],
    ['something that cannot be cloned', '() => () => 1', { verdict: 'unknown' }],
  ])('that returns %s', async (_, source, expected) => {
    expect(await score(moduleFile('check.mjs', `export default ${source};`), item)).toMatchObject(expected);
  });

  test('in TypeScript', async () => {
    const path = moduleFile('check.ts', 'interface Item { text: string; gold: string }\nexport default ({ text, gold }: Item): boolean => text.trim() === (gold as string);');
    expect(await score(path, item)).toMatchObject({ verdict: 'correct' });
  });

  test('that never returns is stopped, and the next item is judged', async () => {
    const path = moduleFile('loop.mjs', 'export default ({ text }) => { while (text === "loop") {} return true; };');
    await using scorer = await createScorer(path, { timeLimitMs: 300 });
    expect(await scorer.score({ gold: '', text: 'loop' })).toMatchObject({ verdict: 'unknown', reason: 'the function failed: stopped after the time limit of 0.3 s' });
    expect(await scorer.score({ gold: '', text: 'fine' })).toMatchObject({ verdict: 'correct' });
  });

  test('that ends its thread or fills the memory does no harm', async () => {
    const path = moduleFile('exit.mjs', 'export default ({ text }) => { if (text === "exit") process.exit(3); const all = []; while (text === "fill") all.push(new Array(1e6).fill(all.length)); return true; };');
    await using scorer = await createScorer(path, { timeLimitMs: 30_000 });
    expect(await scorer.score({ gold: '', text: 'exit' })).toMatchObject({ verdict: 'unknown', reason: 'the function failed: the worker ended' });
    expect(await scorer.score({ gold: '', text: 'fill' })).toMatchObject({ verdict: 'unknown', reason: 'the function failed: stopped at the memory limit of 512 MB' });
    expect(await scorer.score({ gold: '', text: 'fine' })).toMatchObject({ verdict: 'correct' });
  });
});

describe('fingerprint', () => {
  const print = async (check: string, options?: ScorerOptions): Promise<string> => {
    await using scorer = await createScorer(check, options);
    return scorer.fingerprint;
  };

  test('tells checks, options and contents of modules apart, and nothing else', async () => {
    const first = await print(moduleFile('one.mjs', 'export default () => true;'));
    const changed = await print(moduleFile('one.mjs', 'export default () => false;'));
    const moved = await print(moduleFile('two.mjs', 'export default () => false;'));
    const prints = [first, changed, await print('gsm8k'), await print('gsm8k', { mode: 'flexible' }), await print('math'), await print('regex', { pattern: 'a' }), await print('regex', { pattern: 'b' })];
    expect(new Set(prints).size).toBe(prints.length);
    expect(moved).toBe(changed);
    expect(await print('gsm8k')).toBe(await print('gsm8k'));
  });
});

describe('limits', () => {
  test('a catastrophic regular expression is stopped, and the next item is judged', async () => {
    await using scorer = await createScorer('regex', { pattern: '^(a+)+$', timeLimitMs: 300 });
    expect(await scorer.score({ gold: 'a', text: `${'a'.repeat(40)}!` })).toMatchObject({ verdict: 'unknown', reason: 'stopped after the time limit of 0.3 s' });
    expect(await scorer.score({ gold: 'aa', text: 'aa' })).toMatchObject({ verdict: 'correct' });
  });

  test('a disposed scorer refuses', async () => {
    const scorer = await createScorer('regex');
    await scorer[Symbol.asyncDispose]();
    await expect(scorer.score({ gold: 'a', text: 'a' })).rejects.toMatchObject({ code: 'DISPOSED' });
  });

  test('items scored at the same time keep their own verdicts', async () => {
    await using scorer = await createScorer('math');
    const verdicts = await Promise.all(Array.from({ length: 40 }, async (_, i) => scorer.score({ gold: `x+${i}`, text: `\\boxed{${i % 2 === 0 ? i : i + 1}+x}` })));
    expect(verdicts.map(({ verdict }) => verdict)).toEqual(verdicts.map((_, i) => (i % 2 === 0 ? 'correct' : 'wrong')));
  });
});

describe('hostile texts', () => {
  const big = 1_000_000;
  const nested = (open: string, close: string, depth: number): string => open.repeat(depth) + close.repeat(depth);
  const texts = [
    '1'.repeat(big), ','.repeat(big), '1,'.repeat(big / 2), '#### '.repeat(big / 5), `#### ${'1'.repeat(big)}`, `#### 1${'e9'.repeat(1000)}`, '('.repeat(big), '(A'.repeat(big / 2), 'A '.repeat(big / 2),
    'answer is '.repeat(big / 10), `answer is${' '.repeat(big)}`, `\\boxed{${'{'.repeat(big)}`, '\\boxed'.repeat(big / 6), `\\boxed{${'9'.repeat(1999)}}`, `\\boxed{${nested('(', ')', 990)}}`, `\\boxed{${nested('\\{', '\\}', 490)}}`,
    `\\boxed{${nested('\\frac{1}{1+', '}', 150)}}`, `\\boxed{${'-'.repeat(1999)}}`, `\\boxed{${'1,'.repeat(900)}2}`, `\\boxed{${'x+'.repeat(900)}x}`, `\\boxed{${'2^'.repeat(500)}2}`, '\\boxed{10^{10^{10}}}', '\\boxed{9^{9^{9^9}}}',
    '\\boxed{1e999999999}', '\\boxed{10^{-999999999}}', '\\boxed{99999999!}', '\\boxed{((99!)!)!}', '\\boxed{\\binom{99999999}{5000000}}', '\\boxed{\\sqrt[0]{0}}', '\\boxed{0^0}', '\\boxed{\\ud83d}', '\u0000\ud800\\boxed{\ud800}',
    '\\boxed{\\begin{pmatrix}1&2\\\\}', `\\boxed{${'\\pm 1'.repeat(100)}}`, `\\boxed{${'\\text{a} '.repeat(200)}}`, `\\boxed{${'a_1 '.repeat(400)}}`, '\\boxed{__proto__}', '\\boxed{5 constructor}', '\\boxed{5\\text{ toString}}', '\\boxed{x_{__proto__}}', '\\boxed{\\operatorname{constructor}}', '\\boxed{\\operatorname{toString}(3)}',
  ]; // prettier-ignore

  test.each(['gsm8k', 'math', 'choice', 'exact', 'regex'])('%s neither throws nor hangs', async (check) => {
    await using scorer = await createScorer(check, check === 'math' || check === 'regex' ? { timeLimitMs: 500 } : {});
    for (const text of texts) {
      for (const gold of check === 'choice' ? ['A'] : check === 'regex' ? ['\\d+$'] : ['7', '\\frac{1}{2}x', '(1, 2)']) {
        const start = performance.now();
        const verdict = await scorer.score({ gold, text });
        expect(performance.now() - start).toBeLessThan(6000);
        expect(['correct', 'wrong', 'unknown']).toContain(verdict.verdict);
      }
    }
  });

  test('random LaTeX neither throws nor hangs nor changes its verdict', async () => {
    const random = mulberry32(11);
    const pieces = ['\\frac', '{', '}', '(', ')', '[', ']', '\\{', '\\}', '1', '23', 'x', 'y', '^', '_', '+', '-', '=', '<', '\\le', '\\sqrt', '\\pi', '\\text{', ',', '.', ' ', '\\\\', '&', '\\begin{pmatrix}', '\\end{pmatrix}', '\\pm', '\\cup', '\\infty', '%', '^\\circ', '$', '|', '!', ':', '/', '\\sin', '\\log', 'e', 'i', '\\left', '\\right', '\\cdot', '\\binom', '\\boxed{'];
    const garbage = (): string => Array.from({ length: 1 + Math.floor(random() * 14) }, () => pieces[Math.floor(random() * pieces.length)]).join('');
    await using scorer = await createScorer('math', { timeLimitMs: 2000 });
    await using second = await createScorer('math', { timeLimitMs: 2000 });
    for (let i = 0; i < 250; i += 1) {
      const item = { gold: garbage(), text: `\\boxed{${garbage()}}` };
      const verdict = await scorer.score(item);
      expect(await second.score(item)).toEqual(verdict);
      if (item.gold.trim() !== '' && !item.gold.includes('boxed')) {
        expect((await scorer.score({ ...item, text: `\\boxed{7}` })).verdict).toMatch(/^(correct|wrong|unknown)$/);
      }
    }
  });

  test('plain numbers are judged without the worker, 100,000 in seconds', async () => {
    await using scorer = await createScorer('math', { timeLimitMs: 1 });
    const start = performance.now();
    let correct = 0;
    for (let i = 0; i < 100_000; i += 1) {
      correct += (await scorer.score({ gold: String(i), text: `so \\boxed{${i % 2 === 0 ? `${i}.0` : i + 1}}` })).verdict === 'correct' ? 1 : 0;
    }
    expect(correct).toBe(50_000);
    expect(performance.now() - start).toBeLessThan(30_000);
  });
});

describe('the worker', () => {
  test('keeps stdout for results and does not keep the process alive', () => {
    const check = moduleFile('prints.mjs', 'export default () => { console.log("from the module"); return true; };');
    const script = moduleFile(
      'main.mts',
      `import { createScorer } from ${JSON.stringify(new URL('../../src/reward/scorer.ts', import.meta.url).href)};
       const scorer = await createScorer(${JSON.stringify(check)});
       console.log((await scorer.score({ gold: '', text: 'a' })).verdict);`,
    );
    const tsx = fileURLToPath(new URL('../../node_modules/tsx/dist/cli.mjs', import.meta.url));
    const { stdout, stderr, status } = spawnSync(process.execPath, [tsx, script], { encoding: 'utf8', timeout: 30_000 });
    expect({ stdout, stderr, status }).toEqual({ stdout: 'correct\n', stderr: 'from the module\n', status: 0 });
  });
});
