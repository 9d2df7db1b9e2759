/** Headline findings in words, derived from the numbers by fixed rules. */
import { fixed, withInterval as interval, shareText, signed } from '../report/format.js';
import { SHUFFLED, TOLERANCE, bestBaseline, bestLayer, neededInputs, pruningOf, side } from '../report/facts.js';
import type { Band, DatasetResult, Estimate, Place, Study } from '../report/schema.js';
import { searchSentence, transferSentence } from '../report/applyFacts.js';
import { dopaminePruningSentence, dopamineSentence, interplaySentence, surpriseSentence, valuesSentence } from '../report/dopamineFacts.js';
import { sweepSentence } from '../report/sweepFacts.js';

const number = (value: number | null): string => (value === null ? 'not known' : fixed(value, 2));
const withInterval = (estimate: Estimate): string => interval(estimate, number);

/** Trajectories without a verdict are left out of everything; from this share on a reader must know. */
const MANY_UNKNOWN = 0.05;

function unknownFinding({ rollout }: DatasetResult): string | undefined {
  const share = rollout.unknown / Math.max(1, rollout.trajectories);
  return share < MANY_UNKNOWN
    ? undefined
    : `${rollout.unknown} of ${rollout.trajectories} trajectories (${shareText(share)}) could not be judged, ${rollout.finishReasons.length ?? 0} trajectories were cut off at the token limit; they are left out of every number, so this is about the others only.`;
}

const PLACE_TEXT: Readonly<Record<Place, string>> = { s0: 'before the first token', middle: 'half-way through an answer', last: 'before the last token' };

function against(dataset: DatasetResult, place: Place): string {
  const best = bestBaseline(dataset, place);
  const difference = best?.difference[place];
  if (best === undefined || difference === null || difference === undefined) {
    return '';
  }
  const verdict = side(difference, 0) === 'above' ? 'better' : side(difference, 0) === 'below' ? 'worse' : 'not distinguishably better';
  return ` The best baseline there, ${best.name}, has ${withInterval(best.auc[place])}: the value probe is ${verdict} (difference ${interval(difference, (value) => signed(value, 2))}).`;
}

function predictionFinding(dataset: DatasetResult): string {
  const layer = bestLayer(dataset);
  const place: Place = layer.auc.middle.value === null ? 's0' : 'middle';
  const { auc } = layer;
  if (auc[place].value === null) {
    return 'No AUC can be given: the held-out trajectories are all right or all wrong.';
  }
  const chance = { above: 'is above chance', below: 'is below chance', over: 'is not distinguishable from chance (0.5)', none: 'has no interval' }[side(auc[place], 0.5) ?? 'none'];
  const others = place === 's0' ? '' : `; before the first token it has ${withInterval(auc.s0)}, before the last ${withInterval(auc.last)}`;
  return `${PLACE_TEXT[place].replace(/^./, (letter) => letter.toUpperCase())}, the value probe on ${layer.site} of layer ${layer.layer} predicts success with AUC ${withInterval(auc[place])} on held-out problems, which ${chance}${others}.${against(dataset, place)}`;
}

/** s_0 on its own: another layer may be the one, and the comparison there is another. */
function startFinding(dataset: DatasetResult): string | undefined {
  const chosen = bestLayer(dataset);
  if (chosen.auc.middle.value === null || chosen.auc.s0.value === null) {
    return undefined;
  }
  const own = dataset.layers.reduce((best, layer) => ((layer.validationAuc.s0 ?? -1) > (best.validationAuc.s0 ?? -1) ? layer : best), chosen);
  const other = own === chosen ? '' : ` (layer ${own.layer}, which validation problems favour there: ${withInterval(own.auc.s0)})`;
  return `Before the first token: AUC ${withInterval(chosen.auc.s0)} at layer ${chosen.layer}${other}.${against(dataset, 's0')}`;
}

function sparsityFinding(dataset: DatasetResult): string | undefined {
  const points = pruningOf(dataset, dataset.ranking.layer) ?? [];
  const all = points[0];
  const few = neededInputs(points, 'middle');
  if (all === undefined || few === undefined) {
    return undefined;
  }
  const top = few.top.middle.value;
  const control = ({ mean, high, draws }: Band, name: string): string =>
    draws < 2 ? `no ${name} set of that size can be drawn twice` : `${name} sets of that size have ${number(mean)} (95 % of ${draws} draws up to ${number(high)}${top !== null && high !== null && top > high ? ', less than the top set' : ''})`;
  const controls = few === all ? 'every smaller set loses more.' : `${control(few.random.middle, 'random')}, ${control(few.matched.middle, 'magnitude-matched')}.`;
  return `${few.kept} of ${all.kept} neurons (${shareText(few.kept / all.kept)}) ${few.kept === 1 ? 'keeps' : 'keep'} the AUC at the middle within ${TOLERANCE} of all inputs (${number(top)} against ${number(all.top.middle.value)}); ${controls} The size was read off these held-out numbers.`;
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
  return `Trained anew on the kept neurons alone, ${few.kept} reach ${number(few.top.middle.value)} at the middle (all: ${number(refitted[0]?.top.middle.value ?? null)}); ${control.draws} random sets of that size, trained anew too, reach ${number(control.mean)} on average and up to ${number(control.high)} (${control.draws} draws can show no p below ${fixed(1 / (control.draws + 1), 2)}).`;
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
  const length = baselines.find(({ name }) => name === 'prompt length');
  if (rollout.promptLengths.min === rollout.promptLengths.max) {
    return undefined;
  }
  const s0 = length?.auc.s0;
  const apart = s0 === undefined ? undefined : side(s0, 0.5);
  return s0 !== undefined && (apart === 'above' || apart === 'below') ? `Prompt length alone predicts success with AUC ${number(s0.value)}: part of what the probe finds may be length.` : undefined;
}

/** What happened when the neurons were taken away; undefined without a sweep. */
function ablationFinding({ ablation }: DatasetResult): string | undefined {
  return ablation === null ? undefined : ablation.models.map((model) => `${ablation.models.length === 1 ? '' : `${model.name}: `}${sweepSentence(model)}`).join(' ');
}

/** What the sections that were switched on by name say. */
function sectionFindings({ sections: { values, dopamine, interplay, confidence, search } }: DatasetResult): (string | undefined)[] {
  return [
    values === null ? undefined : valuesSentence(values),
    ...(dopamine === null ? [] : [dopamineSentence(dopamine), dopaminePruningSentence(dopamine), surpriseSentence(dopamine)]),
    interplay === null ? undefined : interplaySentence(interplay),
    ...(confidence === null ? [] : [`Confidence: ${confidence.findings.join(' ')}`]),
    search === null ? undefined : searchSentence(search),
  ];
}

/** Findings of a study: self-test, transfer between its folders, then each data set. */
export function studyFindings(selfTest: Study['selfTest'], datasets: readonly DatasetResult[], transfer: Study['transfer'] = null): Study['findings'] {
  const failed = selfTest.checks.filter(({ passed }) => !passed);
  const first = selfTest.passed
    ? { dataset: null, text: 'The self-test passed: planted neurons were found, shuffled rewards and a model without a planted neuron gave chance.' }
    : { dataset: null, text: `The self-test FAILED (${failed.map(({ name }) => name).join('; ')}): do not trust what follows.` };
  return [
    first,
    ...(transfer === null ? [] : [{ dataset: null, text: transferSentence(transfer) }]),
    ...datasets.flatMap((dataset) =>
      [predictionFinding(dataset), startFinding(dataset), sparsityFinding(dataset), refitFinding(dataset), ablationFinding(dataset), ...sectionFindings(dataset), nullFinding(dataset), lengthFinding(dataset), unknownFinding(dataset)]
        .filter((text) => text !== undefined)
        .map((text) => ({ dataset: dataset.name, text })),
    ),
  ];
}
