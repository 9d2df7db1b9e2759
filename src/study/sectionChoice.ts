/** Which sections a study has beside probes, ranking and sweep, and how much they may cost. */
import type { SectionName } from '../report/sectionsSchema.js';
import { SECTIONS } from '../report/sectionsSchema.js';
import type { Splitter } from '../rpe/steps.js';

/** What can be chosen in a study; the commands of the same names can do all. */
export interface SectionChoice {
  readonly names: readonly SectionName[];
  /** Are data sets compared with each other, where there are several? */
  readonly transfer: boolean;
  /** Short names of the data sets that get them; undefined: all. */
  readonly datasets: readonly string[] | undefined;
  /** What ends a step of values, dopamine, interplay and search. */
  readonly steps: Splitter;
  /** Trajectories whose steps are valued, from the first on, and continuations of every state. */
  readonly trajectories: number;
  readonly continuations: number;
  /** Answers per held-out problem for self-consistency; 0: none. */
  readonly samples: number;
  /** Draws of every control of the interplay. */
  readonly draws: number;
  /** Held-out problems of the guided search, and seeds of each. */
  readonly problems: number;
  readonly seeds: number;
}

/** No sections; those that are named take 5 to 30 s each with a model of the size of the bundled ones. */
export const SECTION_DEFAULTS: SectionChoice = { names: [], transfer: false, datasets: undefined, steps: { kind: 'line' }, trajectories: 120, continuations: 6, samples: 4, draws: 19, problems: 40, seeds: 1 };

const NEEDS: Readonly<Record<SectionName, readonly SectionName[]>> = { values: [], dopamine: ['values'], interplay: ['values', 'dopamine'], confidence: [], search: [] };

/** The named sections and those that they are made from, in the order in which they are made. */
export function withNeeds(names: readonly SectionName[]): SectionName[] {
  const all = new Set(names.flatMap((name) => [name, ...NEEDS[name]]));
  return SECTIONS.filter((name) => all.has(name));
}

/** The sections that a data set gets by this choice. */
export const namesFor = ({ names, datasets }: SectionChoice, dataset: string): readonly SectionName[] => (datasets?.includes(dataset) === false ? [] : names);

/** What a section is made from; it is left out when one of them is. */
export const needsOf = (name: SectionName): readonly SectionName[] => NEEDS[name];
