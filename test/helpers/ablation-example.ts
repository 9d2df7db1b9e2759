/** A sweep as the report gets it: simulated outcomes through the statistics of a real one. */
import type { Ablation } from '../../src/report/ablationSchema.js';
import type { ArmOutcomes, Outcome } from '../../src/study/ablationArms.js';
import { compareArms, detectableChange } from '../../src/study/ablationCompare.js';
import { mulberry32 } from '../../src/util/random.js';

/** What the simulated model is like. */
export interface Simulated {
  readonly layers: readonly number[];
  readonly shares: readonly number[];
  readonly draws: number;
  readonly items: number;
  /** Chance of a right answer when a set is taken away. */
  readonly accuracy: (group: string, layer: number, share: number) => number;
  /** Whether what is wrong in top sets did not end either. */
  readonly endless?: boolean;
}

const BASE = 0.7;

/** The simulated model of most tests: the best-ranked neurons of layer 3 matter, those of layer 1 as much as any of their magnitude. */
export const EXAMPLE: Simulated = {
  layers: [1, 3],
  shares: [0.01, 0.05],
  draws: 39,
  items: 100,
  accuracy: (group, layer) => (layer === 3 && group === 'top' ? 0.2 : layer === 1 && group !== 'random' ? 0.45 : BASE),
};

/** One item answers right while its own difficulty is below the chance of a right answer: arms are paired, as they are by a shared seed. */
function outcomes(items: number, chance: number, seed: number, endless: boolean): Outcome[] {
  const difficulty = mulberry32(1);
  const noise = mulberry32(seed);
  return Array.from({ length: items }, (_, i) => {
    const right = 0.85 * difficulty() + 0.15 * noise() < chance;
    return { item: `p${i}`, verdict: right ? 'correct' : 'wrong', reward: right ? 1 : 0, tokens: right || !endless ? 20 + Math.round(4 * noise()) : 96, finishReason: right || !endless ? 'eog' : 'length', edited: 44, expected: 44 };
  });
}

/** Result of a simulated sweep of one model. */
export function simulatedAblation(simulated: Simulated = EXAMPLE): Ablation {
  const { layers, shares, draws, items, accuracy, endless = false } = simulated;
  const facts = { site: 'residPost', kind: 'zero', positions: 'all' } as const;
  const neutral = { kl: 0, perplexity: 12.5 };
  const arms: ArmOutcomes[] = [{ arm: { ...facts, name: 'base', role: 'base', group: 'base', draw: 0, layer: -1, share: 0, neurons: [] }, outcomes: outcomes(items, BASE, 1, false), neutral }];
  for (const layer of layers) {
    for (const share of shares) {
      for (const group of ['top', 'random', 'matched']) {
        const role = group === 'top' ? 'set' : 'control';
        for (let draw = 0; draw < (role === 'set' ? 1 : draws); draw++) {
          const name = `${group}${role === 'set' ? '' : `#${draw}`}-${100 * share}%-L${layer}-zero-all`;
          const neurons = Array.from({ length: Math.round(200 * share) }, (_, j) => j + draw);
          arms.push({ arm: { ...facts, name, role, group, draw, layer, share, neurons }, outcomes: outcomes(items, accuracy(group, layer, share), arms.length + 1, endless && role === 'set'), neutral: { kl: 0.01 * arms.length, perplexity: 12.5 + 0.1 * arms.length } });
        }
      }
    }
  }
  const compared = compareArms(arms, { items, resamples: 200 });
  return {
    format: 'rewardlens.ablation',
    version: 1,
    dataset: { name: 'sums <b>', source: 'data/sums.jsonl', sha256: 'ab12' },
    grid: { layers, shares, draws },
    items,
    maxTokens: 96,
    sampling: { temperature: 0 },
    seed: 1,
    models: [
      {
        name: 'tiny.gguf',
        manifest: { llamaCpp: 'b1' },
        ...compared,
        detectable: detectableChange(compared.arms, items),
        neutral: { source: 'bundled English passage', sha256: 'cd34', tokens: 256, predicted: 255, cut: true },
        sweep: { made: arms.length * items, found: 0, seconds: 12.3 },
      },
    ],
  };
}
