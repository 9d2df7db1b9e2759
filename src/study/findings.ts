/** Headline findings in words, derived from the numbers by fixed rules. */
import type { DatasetResult, Estimate, PruningPoint, Study } from '../report/schema.js';

const number = (value: number | null): string => (value === null ? 'not known' : value.toFixed(2));
const withInterval = ({ value, low, high }: Estimate): string => (low === null || high === null ? number(value) : `${number(value)} [${number(low)}, ${number(high)}]`);

/** How far below all inputs a pruned probe may stay to count as keeping them. */
export const KEEPS_WITHIN = 0.03;

/** The fewest inputs whose AUC at the middle is within {@link KEEPS_WITHIN} of all inputs; undefined without a curve. */
export function fewestInputs(points: readonly PruningPoint[]): PruningPoint | undefined {
  const all = points[0]?.top.middle.value ?? null;
  const enough = points.filter(({ top }) => all !== null && top.middle.value !== null && top.middle.value >= all - KEEPS_WITHIN);
  return enough.at(-1);
}

function predictionFinding({ layers, bestLayer, baselines }: DatasetResult): string {
  const layer = layers[bestLayer];
  if (layer === undefined || layer.auc.middle.value === null) {
    return 'No AUC can be given: the held-out trajectories are all right or all wrong.';
  }
  const { s0, middle, last } = layer.auc;
  const chance = middle.low !== null && middle.low > 0.5 ? 'is above chance' : 'is not distinguishable from chance (0.5)';
  const outside = baselines.filter((row) => !row.name.startsWith('linear') && row.name !== 'shuffled rewards' && !['raw inputs', 'td0', 'td0-residual', 'td-lambda', 'mc', 'terminal'].includes(row.name));
  const rivals = outside.filter((row) => row.auc.middle.value !== null);
  const best = rivals.reduce<(typeof rivals)[number] | undefined>((a, b) => ((a?.auc.middle.value ?? -1) >= (b.auc.middle.value ?? -1) ? a : b), undefined);
  const difference = best?.difference.middle;
  const against =
    best === undefined || difference === null || difference === undefined
      ? ''
      : ` The best baseline there, ${best.name}, has ${withInterval(best.auc.middle)}: the value probe is ${
          difference.low !== null && difference.low > 0 ? 'better' : difference.high !== null && difference.high < 0 ? 'worse' : 'not distinguishably better'
        } (difference ${withInterval(difference)}).`;
  return `Half-way through an answer, the value probe on ${layer.site} of layer ${layer.layer} predicts success with AUC ${withInterval(middle)} on held-out problems, which ${chance}; before the first token it has ${withInterval(s0)}, at the last ${withInterval(last)}.${against}`;
}

function sparsityFinding({ pruning, ranking }: DatasetResult): string | undefined {
  const points = pruning.find(({ layer }) => layer === ranking.layer)?.points ?? [];
  const all = points[0];
  const few = fewestInputs(points);
  if (all === undefined || few === undefined) {
    return undefined;
  }
  const random = few.random.middle;
  const matched = few.matched.middle;
  const beats = (band: typeof random): boolean => band.high !== null && few.top.middle.value !== null && few.top.middle.value > band.high;
  const control =
    few === all
      ? 'every smaller set loses more.'
      : `random sets of that size have ${number(random.mean)} (95 % of draws up to ${number(random.high)}), magnitude-matched ones ${number(matched.mean)} (up to ${number(matched.high)}): the top set is ${
          beats(random) && beats(matched) ? 'better than both' : 'not better than its controls'
        }.`;
  return `${few.kept} of ${all.kept} neurons (${(100 * few.share).toFixed(few.share < 0.01 ? 2 : 1)} %) keep the AUC at the middle within ${KEEPS_WITHIN} of all inputs (${number(few.top.middle.value)} against ${number(all.top.middle.value)}); ${control}`;
}

function nullFinding({ layers, bestLayer }: DatasetResult): string | undefined {
  const shuffled = layers[bestLayer]?.variants['shuffled rewards']?.middle;
  if (shuffled?.value === undefined || shuffled.value === null) {
    return undefined;
  }
  const inside = shuffled.low === null || shuffled.high === null || (shuffled.low <= 0.5 && shuffled.high >= 0.5);
  return `The same probe trained on shuffled rewards has AUC ${withInterval(shuffled)} at the middle: ${inside ? 'chance, as it must be' : 'outside chance by its interval, which happens once in twenty'}.`;
}

function lengthFinding({ rollout, baselines }: DatasetResult): string | undefined {
  const length = baselines.find(({ name }) => name.startsWith('prompt length'));
  if (rollout.promptLengths.min === rollout.promptLengths.max) {
    return undefined;
  }
  const { value, low, high } = length?.auc.s0 ?? { value: null, low: null, high: null };
  const tells = value !== null && low !== null && high !== null && (low > 0.5 || high < 0.5);
  return tells ? `Prompt length alone predicts success with AUC ${number(value)}: part of what the probe finds may be length.` : undefined;
}

/** Findings of a study: self-test, then each data set. */
export function studyFindings(selfTest: Study['selfTest'], datasets: readonly DatasetResult[]): Study['findings'] {
  const failed = selfTest.checks.filter(({ passed }) => !passed);
  const first = selfTest.passed
    ? { dataset: null, text: 'The self-test passed: planted neurons were found, shuffled rewards and a model without a planted neuron gave chance.' }
    : { dataset: null, text: `The self-test FAILED (${failed.map(({ name }) => name).join('; ')}): do not trust what follows.` };
  return [
    first,
    ...datasets.flatMap((dataset) =>
      [predictionFinding(dataset), sparsityFinding(dataset), nullFinding(dataset), lengthFinding(dataset)]
        .filter((text) => text !== undefined)
        .map((text) => ({ dataset: dataset.name, text })),
    ),
  ];
}
