/** The table that a study ends with in the terminal: plain text, at most 100 columns. */
import { bestBaseline, bestLayer, inputCount, neededInputs, pruningOf } from './facts.js';
import { fixed, percent, seconds, shareText, signed, withInterval } from './format.js';
import type { ModelResult } from './ablationSchema.js';
import { transferSentence } from './applyFacts.js';
import { dopamineRivals } from './dopamineFacts.js';
import type { DatasetResult, Estimate, Place, Study } from './schema.js';
import { PLACES } from './schema.js';
import { VERDICT_NAMES, hardestComparison, orderedVerdicts, pText, points } from './sweepFacts.js';
import { visibleText } from './text.js';

const LABEL = 24;
const COLUMN = 25;
const WIDTH = 100;

/** At most `width` characters, one line. */
function cut(text: string, width: number): string {
  const line = visibleText(text).replace(/[\n\t]/g, ' ');
  const characters = [...line];
  return characters.length <= width ? line : `${characters.slice(0, width - 1).join('')}…`;
}

function row(label: string, cells: readonly string[]): string {
  return `  ${cut(label, LABEL - 2).padEnd(LABEL)}${cells.map((cell) => cut(cell, COLUMN - 1).padEnd(COLUMN)).join('')}`.trimEnd();
}

const two = (x: number | null): string => fixed(x, 2);
const auc = (estimate: Estimate): string => withInterval(estimate, two);

function neededCells(dataset: DatasetResult): string[] {
  const points = pruningOf(dataset, bestLayer(dataset).layer);
  const all = inputCount(points);
  return PLACES.map((place) => {
    const needed = points === undefined ? undefined : neededInputs(points, place);
    return needed === undefined || all === undefined ? '–' : `${needed.kept} of ${all} (${shareText(needed.kept / all)})`;
  });
}

/** The strongest verdict of a sweep, with its numbers. */
function sweepLines(model: ModelResult): string[] {
  const [first, ...more] = orderedVerdicts(model);
  const arm = model.arms.find(({ name }) => name === first?.arm);
  if (first === undefined || arm === undefined) {
    return [];
  }
  const control = hardestComparison(model, arm.name);
  const against = control === undefined ? '' : `; ${control.draws} ${control.control} draws ${points(control.spread.mean)}, rank p ${pText(control.rankP)}`;
  const rest = more.length === 0 ? '' : ` (the strongest of ${more.length + 1} verdicts)`;
  return [
    cut(`  ${arm.name}: accuracy ${points(arm.change?.value)} points [${points(arm.change?.low)}, ${points(arm.change?.high)}]${against}`, WIDTH),
    cut(`    ${VERDICT_NAMES[first.kind]}${rest}`, WIDTH),
    ...(first.warnings.length === 0 ? [] : [cut(`    ⚠ ${first.warnings[0]}`, WIDTH)]),
  ];
}

/** The sweep, or why there is none. */
function ablationLines({ ablation, ablationNotes }: DatasetResult): string[] {
  return ablation === null ? [cut(`  taken away: nothing. ${ablationNotes.join(' ')}`, WIDTH)] : [`  taken away: ${ablation.models.reduce((sum, { arms }) => sum + arms.length, 0)} sets, ${ablation.items} held-out problems each`, ...ablation.models.flatMap(sweepLines)];
}

/** One line or two for each section that was switched on by name. */
function sectionLines({ sections }: DatasetResult): string[] {
  const { values, dopamine, interplay, confidence, search, notes } = sections;
  const lines: string[] = [];
  if (values !== null) {
    lines.push(`  steps: ${values.counts.states} states of ${values.counts.trajectories} trajectories continued; ${percent(values.tdErrors.noise, 0)} of the variance of δ is noise`);
  }
  if (dopamine !== null) {
    const { main, shuffled } = dopamineRivals(dopamine);
    const [own, nothing] = [main, shuffled].map((score) => (score === undefined ? '–' : auc(score.large.spearman)));
    lines.push(`  dopamine: layer ${dopamine.bestLayer}, Spearman with large δ ${own} (null ${nothing}), ${main?.large.spearman.n ?? 0} held-out steps`);
  }
  if (interplay !== null) {
    const [first] = interplay.arms.filter(({ role }) => role === 'set');
    const hardest = interplay.comparisons.filter(({ arm, measure }) => arm === first?.name && measure === 'agreement').sort((a, b) => b.p - a.p)[0];
    lines.push(`  interplay: ${first?.name ?? '–'}: agreement ${first === undefined ? '–' : auc(first.agreement)}${hardest === undefined ? '' : `; ${hardest.control} controls ${two(hardest.meanControl)}, p ${pText(hardest.p)} of ${hardest.draws} draws`}`);
  }
  if (confidence !== null) {
    const own = confidence.scores[confidence.main];
    lines.push(`  confidence: ${own?.name ?? '–'}: AUC ${own === undefined ? '–' : auc(own.auc)}`);
  }
  if (search !== null) {
    lines.push(`  search: ${search.methods.filter(({ kind, name }) => kind === 'guided' || name === 'majority of n').map(({ name, accuracy }) => `${name} ${withInterval(accuracy, (x) => percent(x, 0))}`).join(', ')}; ${search.problems.length} problems`);
  }
  const left = Object.keys(notes).filter((name) => sections[name as keyof typeof notes] === null);
  return [...lines, ...(left.length === 0 ? [] : [`  left out: ${left.join(', ')} (the report says why)`])].flatMap((line) => wrapped(line, '    '));
}

/** A sentence in lines that fit, all but the first indented. */
function wrapped(text: string, indent = '  '): string[] {
  const lines: string[] = [];
  for (const word of visibleText(text).split(' ')) {
    const line = lines.at(-1);
    if (line !== undefined && [...line, ...word].length < WIDTH) {
      lines[lines.length - 1] = `${line} ${word}`;
    } else {
      lines.push(line === undefined ? word : `${indent}${word}`);
    }
  }
  return lines;
}

function block(dataset: DatasetResult): string[] {
  const best = bestLayer(dataset);
  const { rollout, split } = dataset;
  const baselines = PLACES.map((place: Place) => ({ place, baseline: bestBaseline(dataset, place) }));
  const unknown = rollout.unknown === 0 ? '' : `, ${rollout.unknown} unknown`;
  return [
    cut(`${dataset.name}: accuracy ${withInterval(rollout.accuracy, (x) => percent(x))} of ${rollout.trajectories} trajectories${unknown}`, WIDTH),
    cut(`  best layer ${best.layer} (${best.site}), chosen on validation problems; ${split.test} trajectories held out`, WIDTH),
    row('', ['s0', 'middle', 'last token']),
    row('AUC of the value probe', PLACES.map((place) => auc(best.auc[place]))),
    row('AUC of best baseline', baselines.map(({ place, baseline }) => (baseline === undefined ? '–' : auc(baseline.auc[place])))),
    row('  which is', baselines.map(({ baseline }) => baseline?.name.replace(/ \(.*\)$/, '') ?? '–')),
    row('  advantage over it', baselines.map(({ place, baseline }) => {
      const difference = baseline?.difference[place] ?? null;
      return difference === null ? '–' : withInterval(difference, (x) => signed(x, 2));
    })),
    row('neurons needed', neededCells(dataset)),
    ...ablationLines(dataset),
    ...sectionLines(dataset),
  ];
}

/**
 * Headline numbers for people: the self-test, and per data set accuracy, AUC of the value probe and of the best baseline with 95 %
 * intervals, the smallest set of neurons that is within 0.03 of all of them, and what taking neurons away did. Lines of at most 100 characters, no final line break.
 */
export function renderSummary(study: Study): string {
  const { selfTest } = study;
  const passed = selfTest.checks.filter((check) => check.passed).length;
  const failed = selfTest.checks.filter((check) => !check.passed).map(({ name, expected, observed }) => cut(`  failed: ${name}: expected ${expected}, observed ${observed}`, WIDTH));
  const head = `Self-test ${selfTest.passed ? 'passed' : 'FAILED'}: ${passed} of ${selfTest.checks.length} checks, ${seconds(selfTest.seconds)}`;
  const transfer = study.transfer === null ? [] : [wrapped(transferSentence(study.transfer))];
  return [[head, ...failed], ...study.datasets.map(block), ...transfer].map((lines) => lines.join('\n')).join('\n\n');
}
