/** The statistics of sweeps: a pure function of records, so that whole sweeps can be simulated. */
import binomialCdf from '@stdlib/stats-base-dists-binomial-cdf';
import { describe, expect, test } from '@jest/globals';
import { BASE_ARM } from '../../src/ablate/arms.js';
import type { ArmResult, Comparison, VerdictKind } from '../../src/report/ablationSchema.js';
import { accuracyChange, mcnemar, scoreInterval } from '../../src/stats/paired.js';
import { detectableFall } from '../../src/stats/power.js';
import type { ArmFacts, ArmOutcomes, Outcome } from '../../src/study/ablationArms.js';
import type { ComparedArms } from '../../src/study/ablationCompare.js';
import { compareArms, judgeArms } from '../../src/study/ablationCompare.js';
import { mulberry32 } from '../../src/util/random.js';

const RIGHT = { verdict: 'correct', reward: 1, tokens: 10, finishReason: 'eog' } as const;
const WRONG = { verdict: 'wrong', reward: 0, tokens: 10, finishReason: 'eog' } as const;
const UNKNOWN = { verdict: 'unknown', reward: null, tokens: 30, finishReason: 'length' } as const;
const SYMBOLS = { '1': RIGHT, '0': WRONG, '?': UNKNOWN } as const;

/** Outcomes from text: 1 right, 0 wrong, ? unparsable and cut off, space not run. */
function outcomes(text: string, edited = 5): Outcome[] {
  return [...text].flatMap((symbol, i) => (symbol === ' ' ? [] : [{ item: `item ${i}`, ...SYMBOLS[symbol as keyof typeof SYMBOLS], edited, expected: edited }]));
}

function facts(group: string, draw = 0, layer = 2): ArmFacts {
  const role = group === 'base' ? 'base' : ['random', 'matched', 'spread'].includes(group) ? 'control' : 'set';
  return group === 'base' ? BASE_ARM : { ...BASE_ARM, name: `${group}#${draw}-L${layer}`, role, group, draw, layer, share: 0.01, neurons: [layer, draw] };
}

const arm = (group: string, text: string, draw = 0, layer = 2): ArmOutcomes => ({ arm: facts(group, draw, layer), outcomes: outcomes(text) });
const controls = (group: string, text: string, draws: number, layer = 2): ArmOutcomes[] => Array.from({ length: draws }, (_, draw) => arm(group, text, draw, layer));
/** `right` of `n` items right, the first ones. */
const first = (right: number, n: number): string => '1'.repeat(right) + '0'.repeat(n - right);

const find = (result: Pick<ComparedArms, 'arms'>, name: string): ArmResult => result.arms.find((entry) => entry.name === name) as ArmResult;
const kindOf = (arms: ArmOutcomes[], items: number): VerdictKind | undefined => judgeArms(arms, { items, resamples: 200 }).verdicts[0]?.kind;

describe('an arm against the base', () => {
  const base = { arm: BASE_ARM, outcomes: outcomes('11111000', 0) };
  const result = compareArms([base, arm('top', '1100?010'), ...controls('random', '11111000', 2)], { items: 8 });
  const top = find(result, 'top#0-L2');

  test('is paired by item, unparsable answers counting as wrong', () => {
    expect(top.accuracy).toMatchObject({ value: 3 / 8, n: 8 });
    expect(top.change).toEqual(accuracyChange([1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 1, 0]));
    expect([top.discordant, top.p]).toEqual([{ b: 3, c: 1 }, mcnemar(3, 1)]);
    expect([result.base.change, result.base.p, result.base.withoutUnparsable]).toEqual([null, null, null]);
  });

  test('says how it is without unparsable answers, how long they are and how they end', () => {
    expect(top.unparsable).toMatchObject({ count: 1, share: { value: 1 / 8 }, change: { value: 1 / 8 } });
    expect(top.withoutUnparsable).toMatchObject({ items: 7, change: { value: -1 / 7 }, p: mcnemar(2, 1) });
    expect(top.tokens).toMatchObject({ mean: 12.5, change: { value: 2.5, n: 8 } });
    expect(top.finishReasons).toEqual({ eog: 7, length: 1 });
    expect(top.ended).toMatchObject({ share: { value: 7 / 8 }, change: { value: -1 / 8 } });
    expect(top.edits).toEqual({ edited: 40, expected: 40 });
  });

  test('only over the items that it has, in whatever order', () => {
    const some = outcomes('11  ?010').reverse();
    const partial = compareArms([base, { arm: facts('top'), outcomes: some, decided: true }], { items: 8 });
    expect(find(partial, 'top#0-L2')).toMatchObject({ items: 6, status: 'decided', discordant: { b: 1, c: 1 }, change: { n: 6, value: 0 } });
    expect(find(compareArms([base, { arm: facts('top'), outcomes: some }], { items: 8 }), 'top#0-L2').status).toBe('incomplete');
    expect(top.status).toBe('complete');
  });
});

describe('families', () => {
  const base = arm('base', first(30, 40));
  const sweep = [
    base,
    ...[2, 3, 4].flatMap((layer) => [arm('top', first(12 + layer, 40), 0, layer), ...controls('matched', first(29, 40), 3, layer), ...controls('random', first(30, 40), 4, layer)]),
    arm('bottom', first(29, 40)),
  ];
  const result = compareArms(sweep, { items: 40, resamples: 200 });

  test('McNemar: Holm over all sets, no control draw among them', () => {
    const ps = result.arms.filter(({ role }) => role === 'set').map(({ p }) => p as number);
    expect(ps).toHaveLength(4);
    expect(find(result, 'top#0-L2').pHolm).toBeCloseTo(4 * Math.min(...ps), 12);
    expect(result.arms.filter(({ role }) => role === 'control').every(({ pHolm, p }) => pHolm === null && p !== null)).toBe(true);
    expect(result.detectable).toEqual({ items: 40, sets: 4, power: 0.8, discordance: 0.3625, alone: expect.closeTo(detectableFall(40, () => 0.3625, { most: 0.3625 }) as number, 2), holm: expect.any(Number) }); // of the sets: 16, 15, 14 and 1 of 40
    expect(result.detectable.holm as number).toBeGreaterThan(result.detectable.alone as number);
    const { detectable } = compareArms([base, arm('top', first(14, 40))], { items: 40, resamples: 10 });
    expect(detectable).toEqual({ items: 40, sets: 1, power: 0.8, discordance: 0.4, alone: expect.closeTo(detectableFall(40, () => 0.4, { most: 0.4 }) as number, 3), holm: detectable.alone });
  });

  test('rank p-values: Holm over the value sets, each control on its own; the verdict rests on matched controls', () => {
    const of = (name: string, control: string): Comparison | undefined => result.comparisons.find((entry) => entry.arm === name && entry.control === control);
    expect(of('top#0-L3', 'matched')).toMatchObject({ draws: 3, items: 40, decisive: true, rankP: 1 / 4, rankPHolm: 3 / 4, leastP: 3 / 4, drawsNeeded: 59, effect: null, change: -0.375, changes: [-0.025, -0.025, -0.025] });
    expect(of('top#0-L3', 'random')).toMatchObject({ draws: 4, decisive: false, rankP: 1 / 5, rankPHolm: expect.closeTo(3 / 5, 12) });
    // matched draws look like the top set, not like the bottom one
    expect(of('bottom#0-L2', 'matched')).toBeUndefined();
    expect(of('bottom#0-L2', 'random')).toMatchObject({ draws: 4, rankP: 1 / 5, rankPHolm: null, leastP: 1 / 5, drawsNeeded: 19 });
    expect(result.verdicts.map(({ arm: name }) => name)).toEqual(['top#0-L2', 'top#0-L3', 'top#0-L4']);
  });

  test('draws are compared over the items that all of them have', () => {
    const gap = compareArms([base, arm('top', first(20, 40)), arm('matched', `${' '.repeat(10)}${first(20, 30)}`, 0), arm('matched', first(30, 40), 1)], { items: 40, resamples: 100 });
    expect(gap.comparisons[0]).toMatchObject({ items: 30, changes: [0, 0], change: expect.closeTo(-1 / 3, 12) });
  });
});

describe('verdicts', () => {
  const base = arm('base', first(60, 100));

  test('beyond the controls, alone and corrected', () => {
    expect(kindOf([base, arm('top', first(30, 100)), ...controls('matched', first(58, 100), 19)], 100)).toBe('beyond');
    const two = [2, 3].flatMap((layer) => [arm('top', first(30, 100), 0, layer), ...controls('matched', first(58, 100), 19, layer)]);
    const { verdicts } = judgeArms([base, ...two], { items: 100, resamples: 100 });
    expect(verdicts.map(({ kind }) => kind)).toEqual(['beyondAlone', 'beyondAlone']);
    expect(verdicts[0]?.text).toContain('19 draws can give no less than 0.1; 39 are needed');
  });

  test('an effect, but matched controls cost as much, however random ones do', () => {
    const sweep = [base, arm('top', first(30, 100)), ...controls('matched', first(30, 100), 19), ...controls('random', first(60, 100), 19)];
    expect(kindOf(sweep, 100)).toBe('controlsCostAsMuch');
    expect(judgeArms(sweep, { items: 100, resamples: 100 }).verdicts[0]?.text).toContain('an effect, but matched controls cost as much: 19 of 19 draws.');
    // one of two matched controls is enough
    expect(kindOf([base, arm('top', first(30, 100)), ...controls('matched', first(58, 100), 19), ...controls('spread', first(30, 100), 19)], 100)).toBe('controlsCostAsMuch');
  });

  test('no effect, with what is excluded', () => {
    const sweep = [base, arm('top', first(59, 100)), ...controls('matched', first(58, 100), 19)];
    expect(kindOf(sweep, 100)).toBe('noEffect');
    expect(judgeArms(sweep, { items: 100, resamples: 200 }).verdicts[0]?.text).toContain('no effect beyond matched controls');
    expect(kindOf([base, arm('top', first(90, 100)), ...controls('matched', first(58, 100), 19)], 100)).toBe('raised');
  });

  test('a set that ended early stands beside the base on the same items', () => {
    const early = [base, { ...arm('top', first(20, 40)), decided: true }, ...controls('matched', first(40, 40), 19)];
    const { verdicts } = judgeArms(early, { items: 100, resamples: 100, early: { level: 0.04 } });
    expect(verdicts[0]?.text).toContain('accuracy 100.0 % → 50.0 %, -50.0 points');
  });

  test('gains and losses that cancel are no effect on accuracy, but are not passed over', () => {
    const swapped = (n: number): string => '0'.repeat(n) + '1'.repeat(60) + '0'.repeat(40 - n); // n lost, n won
    const of = (set: string, draws: string): string[] | undefined => judgeArms([base, arm('top', set), ...controls('matched', draws, 19)], { items: 100, resamples: 100 }).verdicts[0]?.warnings;
    expect(of(swapped(20), swapped(2))).toEqual([expect.stringMatching(/^40\.0 % of the outcomes change, 20 for the worse and 20 for the better, at most 4\.0 % with any of 19 control draws/)]);
    expect(of(swapped(20), swapped(18))).toEqual([]); // any edit does that
    expect(of(swapped(3), swapped(0))).toEqual([]);
    expect(of(first(20, 100), swapped(2))).toEqual([]); // a fall is said as such
    const few = judgeArms([arm('base', '110'), arm('top', '000'), ...controls('matched', '110', 3)], { items: 3, resamples: 100 });
    expect(few.verdicts).toMatchObject([{ kind: 'cannotTell', warnings: [] }]); // nothing is won that could cancel what is lost
  });

  test('what is excluded is not what happened not to be seen', () => {
    // one gain and no loss: the bootstrap's interval begins at 0
    const { arms, verdicts } = judgeArms([base, arm('top', first(61, 100)), ...controls('matched', first(58, 100), 19)], { items: 100, resamples: 200 });
    expect(arms[0]?.change?.low).toBe(0);
    expect(verdicts[0]?.text).toContain(`a fall of more than ${(-100 * scoreInterval(0, 1, 100).low).toFixed(1)} points is excluded`);
  });

  test('under an early rule its levels decide, not Holm; other sets keep Holm among themselves', () => {
    const early = { level: 0.01 };
    const cut = (text: string): string => text.slice(0, 60);
    const stopped = [arm('top', cut(first(30, 100))), ...controls('matched', cut(first(58, 100)), 19)].map((entry) => ({ ...entry, decided: true }));
    const result = judgeArms([base, ...stopped, arm('bottom', first(52, 100))], { items: 100, resamples: 100, early });
    expect(result.verdicts[0]).toMatchObject({ kind: 'beyond', text: expect.stringContaining('decided early after 60 items') });
    expect(find(result, 'top#0-L2')).toMatchObject({ status: 'decided', items: 60, pHolm: null });
    expect(find(result, 'bottom#0-L2').pHolm).toBe(mcnemar(8, 0));
    // at the last look: 8 losses have p 0.008, 7 have 0.016
    const kinds = [52, 53].map((right) => judgeArms([base, arm('top', first(right, 100)), ...controls('matched', first(60, 100), 19)], { items: 100, resamples: 100, early }).verdicts[0]?.kind);
    expect(kinds).toEqual(['beyond', 'cannotTell']);
  });

  test('cannot tell: too few draws, too few items, no control', () => {
    expect(kindOf([base, arm('top', first(30, 100)), ...controls('matched', first(58, 100), 5)], 100)).toBe('cannotTell');
    // few draws are enough to see that they cost as much
    expect(kindOf([base, arm('top', first(30, 100)), ...controls('matched', first(20, 100), 5)], 100)).toBe('controlsCostAsMuch');
    expect(kindOf([arm('base', first(6, 10)), arm('top', first(5, 10)), ...controls('matched', first(5, 10), 19)], 10)).toBe('cannotTell');
    // a base that is hardly ever right leaves nothing to lose
    expect(kindOf([arm('base', first(2, 100)), arm('top', first(2, 100)), ...controls('matched', first(2, 100), 19)], 100)).toBe('cannotTell');
    expect(kindOf([base, arm('top', first(57, 100)), ...controls('matched', first(60, 100), 19)], 100)).toBe('cannotTell');
    expect(kindOf([base, arm('top', first(30, 100))], 100)).toBe('noControls');
    expect(kindOf([base, arm('top', ' '.repeat(100)), ...controls('matched', first(60, 100), 19)], 100)).toBe('cannotTell');
  });

  test('warns when answers stop ending or being readable, and when language suffers', () => {
    const broken = judgeArms([base, arm('top', `${'1'.repeat(30)}${'?'.repeat(70)}`), ...controls('matched', first(58, 100), 19)], { items: 100, resamples: 200 });
    const [verdict] = broken.verdicts;
    expect(verdict?.kind).toBe('beyond');
    expect(verdict?.warnings).toHaveLength(3);
    expect(verdict?.warnings[0]).toContain('100.0 % of the completions ended by themselves without the edit, 30.0 % with it');
    expect(verdict?.warnings[1]).toContain('24.0 tokens on average, 10.0 without');
    expect(verdict?.warnings[2]).toContain('without them the change is 0.0 points (p 1, 30 items)');
    const neutral = (kl: number, perplexity: number): Pick<ArmOutcomes, 'neutral'> => ({ neutral: { kl, perplexity } });
    const harmed = (foreign: boolean): string[] | undefined =>
      judgeArms([{ ...base, ...neutral(0, 10) }, { ...arm('top', first(30, 100)), ...neutral(2, 40) }, ...controls('matched', first(58, 100), 19)], { items: 100, resamples: 200, foreign }).verdicts[0]?.warnings;
    expect(harmed(false)).toEqual([expect.stringContaining('from 10.0 to 40.0')]);
    expect(harmed(true)).toEqual([]);
    const clean = judgeArms([base, arm('top', first(30, 100)), ...controls('matched', first(58, 100), 19)], { items: 100, resamples: 200 });
    expect(clean.verdicts[0]?.warnings).toEqual([]);
  });
});

/** One simulated sweep: items of different difficulty; arm effects on the log-odds drawn by `effect`. */
function simulate(random: () => number, plan: { items: number; cells: number; draws: number; effect: (isTop: boolean) => number }): Omit<ComparedArms, 'detectable'> {
  const logit = Array.from({ length: plan.items }, () => 1 + 4 * (random() - 0.5));
  const answers = (shift: number): Outcome[] => logit.map((odds, i) => ({ item: `item ${i}`, ...(random() < 1 / (1 + Math.exp(-odds - shift)) ? RIGHT : WRONG), edited: 1, expected: 1 }));
  const arms: ArmOutcomes[] = [{ arm: BASE_ARM, outcomes: answers(0) }];
  for (let layer = 0; layer < plan.cells; layer++) {
    arms.push({ arm: facts('top', 0, layer), outcomes: answers(plan.effect(true)) });
    for (let draw = 0; draw < plan.draws; draw++) {
      arms.push({ arm: facts('matched', draw, layer), outcomes: answers(plan.effect(false)) });
    }
  }
  return judgeArms(arms, { items: plan.items, resamples: 1 }); // intervals decide nothing here but "no effect" against "cannot tell"
}

/** Share of sweeps in which any verdict is one of the given kinds. */
function rates(sweeps: number, seed: number, plan: { items: number; cells: number; draws: number; effect: (isTop: boolean, random: () => number) => number }): (...kinds: VerdictKind[]) => number {
  const random = mulberry32(seed);
  const seen = Array.from({ length: sweeps }, () => simulate(random, { ...plan, effect: (isTop) => plan.effect(isTop, random) }).verdicts);
  return (...kinds) => seen.filter((verdicts) => verdicts.some(({ kind }) => kinds.includes(kind))).length / sweeps;
}

/** The largest share of n that chance gives at a true rate of 5 %, but for one time in 10 000. */
function nominal(n: number): number {
  let k = 0;
  while (binomialCdf(k, n, 0.05) < 1 - 1e-4) {
    k++;
  }
  return k / n;
}

describe('simulated sweeps', () => {
  const SWEEPS = 500;
  // every arm costs, some more, some less: McNemar alone would call nearly all of them an effect
  const costly = (_: boolean, random: () => number): number => -2 - 1.5 * random();

  test('value sets drawn like their controls: false positives within the nominal rate', () => {
    const share = rates(SWEEPS, 1, { items: 60, cells: 1, draws: 19, effect: costly });
    expect(share('beyond', 'controlsCostAsMuch')).toBeGreaterThan(0.9);
    expect(share('beyond', 'beyondAlone')).toBeLessThanOrEqual(nominal(SWEEPS));
    expect(share('beyond', 'beyondAlone')).toBeGreaterThan(0.005); // it can happen: the rule is not merely never satisfied
  });

  test('the same for all value sets of a sweep together, and where no edit does anything', () => {
    const two = rates(SWEEPS, 2, { items: 50, cells: 2, draws: 39, effect: costly });
    expect(two('beyond')).toBeLessThanOrEqual(nominal(SWEEPS));
    const none = rates(SWEEPS, 3, { items: 50, cells: 1, draws: 19, effect: () => 0 });
    expect(none('beyond', 'beyondAlone', 'controlsCostAsMuch', 'raised')).toBeLessThanOrEqual(nominal(SWEEPS));
  });

  test('a planted effect is found', () => {
    const share = rates(100, 4, { items: 100, cells: 1, draws: 19, effect: (isTop, random) => (isTop ? -3 : -0.6 * random()) });
    expect(share('beyond')).toBeGreaterThan(0.95);
  });
});
