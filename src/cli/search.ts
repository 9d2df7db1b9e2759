/** `rewardlens search`: answers found step by step with a value probe, beside whole answers at the same cost. */
import { join } from 'node:path';
import type { SearchResult } from '../report/searchSchema.js';
import { formatSplitter } from '../rpe/steps.js';
import type { ConfidenceModel } from '../study/confidence.js';
import type { SearchSettings } from '../study/search.js';
import { SEARCH_DEFAULTS, SEARCH_FILE, runSearch } from '../study/search.js';
import { GUIDES } from '../study/searchScorers.js';
import { requireFolder } from './checks.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, plural, readModelFlags, readSessionFlags } from './options.js';
import { PROBE_RANKINGS, readNames, readSplitter, workOptions } from './studyFlags.js';

const GROUP = 'Search:';
const D = SEARCH_DEFAULTS;

/** Searches answers. */
export const searchCommand: Command = {
  name: 'search',
  resumes: true,
  describe: 'Answer held-out problems step by step, keeping the candidates that a dopamine or value probe likes best; beside it best-of-n and majority voting at equal token cost.',
  positionals: [{ name: 'dir', describe: 'folder of `rewardlens rollout` with probes' }],
  options: {
    guides: { type: 'string', group: GROUP, describe: `${GUIDES.join(', ')}: what chooses; the first is compared with all others; default: all, dopamine only where \`rewardlens dopamine\` has been` },
    candidates: { alias: 'K', type: 'string', group: GROUP, describe: `next steps drawn from every kept completion; default ${D.candidates}` },
    beam: { type: 'string', group: GROUP, describe: `completions kept after every step; default ${D.beam}` },
    step: { type: 'string', group: GROUP, describe: `line, blank-line or tokens:N; default ${formatSplitter(D.step)}` },
    seeds: { type: 'string', group: GROUP, describe: `repetitions; default ${D.seeds}` },
    limit: { type: 'string', group: GROUP, describe: `held-out problems; default ${D.limit}` },
    neurons: { type: 'string', group: GROUP, describe: 'the value probe is trained anew on this many of the best neurons; default: the whole probe' },
    ranking: { type: 'string', group: GROUP, describe: `${PROBE_RANKINGS.join(', ')}; default ${D.method}` },
    layer: { type: 'string', group: GROUP, describe: 'default: the layer whose probe is best half-way on validation trajectories' },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [['rewardlens search study/gsm8k -m model.gguf --candidates 4 --limit 100', 'one in four at every line, three seeds']],
  prepare(flags: Flags) {
    const directory = flags.required('dir', 'the folder of a rollout with probes');
    const settings = readSettings(flags);
    const { path, load } = readModelFlags(flags);
    const session = readSessionFlags(flags);
    return (io) => run(directory, settings, { model: path, load, session }, io);
  },
};

function readSettings(flags: Flags): SearchSettings {
  const step = readSplitter(flags, 'step') ?? D.step;
  if (step.kind === 'sentence' || step.kind === 'regex') {
    throw new UsageError(`--step: expected line, blank-line or tokens:N, got ${JSON.stringify(flags.text('step'))}`);
  }
  return {
    guides: readNames(flags, 'guides', GUIDES) ?? D.guides,
    candidates: flags.integer('candidates', 1, 128) ?? D.candidates,
    beam: flags.integer('beam', 1, 128) ?? D.beam,
    step,
    seeds: flags.integer('seeds', 1, 1000) ?? D.seeds,
    limit: flags.integer('limit', 1) ?? D.limit,
    neurons: flags.integer('neurons', 1),
    method: flags.choice('ranking', PROBE_RANKINGS) ?? D.method,
    layer: flags.integer('layer', 0),
  };
}

async function run(directory: string, settings: SearchSettings, target: ConfidenceModel, io: Io): Promise<void> {
  await requireFolder(directory);
  const result = await runSearch(directory, settings, target, workOptions({ threads: target.session.threads }, io));
  io.progress.stop();
  const path = join(directory, SEARCH_FILE);
  if (io.json) {
    io.line({ summary: { path, findings: result.findings } });
  } else {
    searchTable(result).forEach((line) => io.out(line));
    io.out(`\n${result.findings.join('\n')}\n\n${path}`);
  }
}

const percent = (value: number | null): string => (value === null ? '–' : (100 * value).toFixed(1));

/** The result as a table. */
export function searchTable({ methods, problems, seeds, candidates, beam, step, site, layer, neurons, spent }: SearchResult): string[] {
  const width = Math.max(...methods.map(({ name }) => name.length));
  return [
    `${plural(problems.length, 'held-out problem')} × ${plural(seeds.length, 'seed')}; ${candidates} candidates a step (${step}), beam ${beam}; V from ${neurons === null ? 'all' : neurons.length} neurons of ${site}, layer ${layer}`,
    `${''.padEnd(width)}  accuracy             unknown  answers  tokens: sampled  computed  from cache  in the answer`,
    ...methods.map(({ name, accuracy, unknown, answers, cost, length }) =>
      `${name.padEnd(width)}  ${`${percent(accuracy.value)} [${percent(accuracy.low)}, ${percent(accuracy.high)}]`.padEnd(19)}  ${String(unknown).padStart(7)}  ${answers.toFixed(1).padStart(7)}  ${cost.sampled.toFixed(1).padStart(15)}  ${cost.computed.toFixed(1).padStart(8)}  ${cost.shared.toFixed(1).padStart(10)}  ${length.toFixed(1).padStart(13)}`),
    `in all ${spent.promptTokens} prompt tokens computed, ${spent.sharedTokens} taken from the cache, ${spent.completionTokens} sampled, ${spent.seconds.toFixed(1)} s`,
  ];
}
