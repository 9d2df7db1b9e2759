/** Headline findings in words, derived from the numbers by fixed rules. */
import { fixed, withInterval as interval, shareText, signed } from '../report/format.js';
import { SHUFFLED, TOLERANCE, bestBaseline, bestLayer, neededInputs, pruningOf, side } from '../report/facts.js';
import type { DatasetResult, Estimate, Study } from '../report/schema.js';

const number = (value: number | null): string => (value === null ? 'not known' : fixed(value, 2));
const withInterval = (estimate: Estimate): string => interval(estimate, number);

function predictionFinding(dataset: DatasetResult): string {
  const layer = bestLayer(dataset);
  if (layer.auc.middle.value === null) {
    return 'No AUC can be given: the held-out trajectories are all right or all wrong.';
  }
  const { s0, middle, last } = layer.auc;
  const chance = side(middle, 0.5) === 'above' ? 'is above chance' : 'is not distinguishable from chance (0.5)';
  const best = bestBaseline(dataset, 'middle');
  const difference = best?.difference.middle;
  const against =
    best === undefined || difference === null || difference === undefined
      ? ''
      : ` The best baseline there, ${best.name}, has ${withInterval(best.auc.middle)}: the value probe is ${
          side(difference, 0) === 'above' ? 'better' : side(difference, 0) === 'below' ? 'worse' : 'not distinguishably better'
        } (difference ${interval(difference, (value) => signed(value, 2))}).`;
  return `Half-way through an answer, the value probe on ${layer.site} of layer ${layer.layer} predicts success with AUC ${withInterval(middle)} on held-out problems, which ${chance}; before the first token it has ${withInterval(s0)}, at the last ${withInterval(last)}.${against}`;
}

function sparsityFinding(dataset: DatasetResult): string | undefined {
  const points = pruningOf(dataset, dataset.ranking.layer) ?? [];
  const all = points[0];
  const few = neededInputs(points, 'middle');
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
  return `${few.kept} of ${all.kept} neurons (${shareText(few.kept / all.kept)}) ${few.kept === 1 ? 'keeps' : 'keep'} the AUC at the middle within ${TOLERANCE} of all inputs (${number(few.top.middle.value)} against ${number(all.top.middle.value)}); ${control}`;
}

/** What a probe trained anew on the kept inputs alone needs; undefined when none was. */
function refitFinding(dataset: DatasetResult): string | undefined {
  const points = pruningOf(dataset, dataset.ranking.layer) ?? [];
  const refitted = points.flatMap((point) => (point.refit === undefined ? [] : [{ ...point, top: point.refit }]));
  const few = neededInputs(refitted, 'middle');
  const control = few?.refitRandom?.middle;
  if (few === undefined || control === undefined) {
    return undefined;
  }
  const own = few.top.middle.value;
  const better = own !== null && control.high !== null && own > control.high;
  return `Trained anew on the kept neurons alone, ${few.kept} reach ${number(own)} at the middle (all: ${number(refitted[0]?.top.middle.value ?? null)}); ${control.draws} random sets of that size, trained anew too, reach ${number(control.mean)} on average and up to ${number(control.high)}: the top set is ${better ? 'better' : 'no better than them'}.`;
}

function nullFinding(dataset: DatasetResult): string | undefined {
  const shuffled = bestLayer(dataset).variants[SHUFFLED]?.middle;
  if (shuffled?.value === undefined || shuffled.value === null) {
    return undefined;
  }
  const inside = side(shuffled, 0.5) === 'over' || side(shuffled, 0.5) === undefined;
  return `The same probe trained on shuffled rewards has AUC ${withInterval(shuffled)} at the middle: ${inside ? 'chance, as it must be' : 'outside chance by its interval, which happens once in twenty'}.`;
}

function lengthFinding({ rollout, baselines }: DatasetResult): string | undefined {
  const length = baselines.find(({ name }) => name.startsWith('prompt length'));
  if (rollout.promptLengths.min === rollout.promptLengths.max) {
    return undefined;
  }
  const s0 = length?.auc.s0;
  const apart = s0 === undefined ? undefined : side(s0, 0.5);
  return s0 !== undefined && (apart === 'above' || apart === 'below') ? `Prompt length alone predicts success with AUC ${number(s0.value)}: part of what the probe finds may be length.` : undefined;
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
      [predictionFinding(dataset), sparsityFinding(dataset), refitFinding(dataset), nullFinding(dataset), lengthFinding(dataset)]
        .filter((text) => text !== undefined)
        .map((text) => ({ dataset: dataset.name, text })),
    ),
  ];
}
