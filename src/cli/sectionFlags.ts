/** Flags of a study's sections beside probes, ranking and sweep. */
import { SECTIONS, STUDY_SECTIONS } from '../report/sectionsSchema.js';
import { formatSplitter } from '../rpe/steps.js';
import type { SectionChoice } from '../study/sectionChoice.js';
import { SECTION_DEFAULTS } from '../study/sectionChoice.js';
import type { OptionTable } from './argv.js';
import type { Flags } from './flags.js';
import { readNames, readSplitter } from './studyFlags.js';

const GROUP = 'Sections:';
const d = SECTION_DEFAULTS;

/** Options of {@link readSectionChoice}. */
export const SECTION_OPTIONS: OptionTable = {
  sections: { type: 'string', group: GROUP, describe: `some of ${STUDY_SECTIONS.join(', ')}, comma separated, or all: what the commands of these names do, small; default none` },
  'sections-datasets': { type: 'string', group: GROUP, describe: 'short names (as in the output folder) of the data sets that get them, comma separated; default all' },
  steps: { type: 'string', group: GROUP, describe: `what ends a step: line, blank-line, sentence, regex:PATTERN or tokens:N; default ${formatSplitter(d.steps)}` },
  'values-trajectories': { type: 'string', group: GROUP, describe: `trajectories whose steps are valued; default ${d.trajectories}` },
  'values-continuations': { type: 'string', group: GROUP, describe: `continuations of every state; default ${d.continuations}` },
  'confidence-samples': { type: 'string', group: GROUP, describe: `answers per held-out problem for self-consistency, 0 for none; default ${d.samples}` },
  'interplay-draws': { type: 'string', group: GROUP, describe: `draws of every control; default ${d.draws}` },
  'search-problems': { type: 'string', group: GROUP, describe: `held-out problems to search on; default ${d.problems}` },
  'search-seeds': { type: 'string', group: GROUP, describe: `searches of every problem; default ${d.seeds}` },
};

/** Which sections, and how large. Errors: UsageError naming the flag. */
export function readSectionChoice(flags: Flags): SectionChoice {
  const given = flags.text('sections') === 'all' ? STUDY_SECTIONS : (readNames(flags, 'sections', STUDY_SECTIONS) ?? d.names);
  return {
    names: SECTIONS.filter((name) => given.includes(name)),
    transfer: given.some((name) => name === 'transfer'),
    datasets: flags.text('sections-datasets')?.split(',').map((name) => name.trim()),
    steps: readSplitter(flags, 'steps') ?? d.steps,
    trajectories: flags.integer('values-trajectories', 1) ?? d.trajectories,
    continuations: flags.integer('values-continuations', 1, 1 << 20) ?? d.continuations,
    samples: flags.integer('confidence-samples', 0, 10_000) ?? d.samples,
    draws: flags.integer('interplay-draws', 1, 10_000) ?? d.draws,
    problems: flags.integer('search-problems', 1) ?? d.problems,
    seeds: flags.integer('search-seeds', 1, 10_000) ?? d.seeds,
  };
}
