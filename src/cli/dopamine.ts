/** `rewardlens dopamine`: neurons that follow the prediction error of a rollout's steps. */
import { join } from 'node:path';
import { ZSCORES } from '../rpe/features.js';
import type { DopamineSettings } from '../study/dopamine.js';
import { DOPAMINE_DEFAULTS, runDopamine } from '../study/dopamine.js';
import { dopaminePruningSentence, dopamineSentence, noiseText, surpriseSentence } from '../report/dopamineFacts.js';
import type { Dopamine, DopamineExample, DopamineScore } from '../report/dopamineSchema.js';
import { fixed, signed, withInterval } from '../report/format.js';
import { visibleText } from '../report/text.js';
import { DOPAMINE_FILE, ERROR_SOURCES } from '../report/dopamineSchema.js';
import type { OptionTable } from './argv.js';
import { requireFolder } from './checks.js';
import type { Command, Io } from './command.js';
import type { Flags } from './flags.js';
import { THREAD_OPTIONS, workOptions } from './studyFlags.js';

const GROUP = 'Dopamine neurons:';
const d = DOPAMINE_DEFAULTS;

/** Options of {@link readDopamineSettings}. */
export const DOPAMINE_OPTIONS: OptionTable = {
  'probe-site': { type: 'string', group: GROUP, describe: `site of the store to read; default ${d.site}` },
  errors: { type: 'string', group: GROUP, describe: 'where δ comes from: mc (continuations, default) or probe (the value probe)' },
  zscore: { type: 'string', group: GROUP, describe: 'of every neuron along its trajectory: running (the past alone, default), response (looks ahead, as in the paper) or none' },
  threshold: { type: 'string', group: GROUP, describe: `|δ| of the steps that are learned from; default ${d.threshold}` },
  hidden: { type: 'string', group: GROUP, describe: `hidden units; default ${d.hidden}` },
  radius: { type: 'string', group: GROUP, describe: `tokens around an event; default ${d.radius}` },
  neurons: { type: 'string', group: GROUP, describe: `best neurons that get averages around events; default ${d.neurons}` },
  examples: { type: 'string', group: GROUP, describe: `held-out trajectories with the trace of the best neuron; default ${d.examples}` },
  trace: { type: 'boolean', group: GROUP, describe: 'print these traces: red is low, blue is high, faint is near the mean so far' },
  permutations: { type: 'string', group: GROUP, describe: `of the surprise groups; default ${d.permutations}` },
  draws: { type: 'string', group: GROUP, describe: `draws of every control set; default ${d.draws}` },
  seed: { alias: 's', type: 'string', group: GROUP, describe: 'default 1' },
};

/** Reads {@link DOPAMINE_OPTIONS}. */
export function readDopamineSettings(flags: Flags): DopamineSettings {
  return {
    site: flags.text('probe-site') ?? d.site,
    error: flags.choice('errors', ERROR_SOURCES) ?? d.error,
    zscore: flags.choice('zscore', ZSCORES) ?? d.zscore,
    threshold: flags.number('threshold', 0, 1) ?? d.threshold,
    hidden: flags.integer('hidden', 1, 1 << 20) ?? d.hidden,
    radius: flags.integer('radius', 0, 10_000) ?? d.radius,
    neurons: flags.integer('neurons', 0, 50) ?? d.neurons,
    examples: flags.integer('examples', 0, 1000) ?? d.examples,
    permutations: flags.integer('permutations', 1, 1_000_000) ?? d.permutations,
    draws: flags.integer('draws', 1, 10_000) ?? d.draws,
    seed: flags.integer('seed', 0, 0xffffffff) ?? d.seed,
  };
}

/** Finds dopamine neurons. */
export const dopamineCommand: Command = {
  name: 'dopamine',
  describe: 'Find neurons that follow the prediction error: probe on the steps, ranking, averages around events, surprise groups.',
  positionals: [{ name: 'dir', describe: 'folder of a rollout that `rewardlens values` has been through' }],
  options: { ...DOPAMINE_OPTIONS, ...THREAD_OPTIONS },
  examples: [['rewardlens dopamine gsm8k --zscore response', "with the paper's z-scores, which look ahead"]],
  prepare(flags: Flags) {
    const directory = flags.required('dir', 'the folder of a rollout with values');
    const settings = readDopamineSettings(flags);
    const threads = flags.integer('threads', 1, 1024);
    const trace = flags.on('trace');
    return async (io) => {
      await requireFolder(directory);
      const result = await runDopamine(directory, settings, workOptions({ threads }, io));
      io.progress.stop();
      printDopamine(result, join(directory, DOPAMINE_FILE), io);
      if (trace && !io.json) {
        io.out(`\nz-scores of neuron ${result.ranking[0]?.neuron ?? '–'}, held-out trajectories${process.stdout.isTTY === true ? ': red low, blue high' : ' (no colours: not a terminal)'}`);
        result.examples.forEach((example) => printTrace(example, io));
      }
    };
  },
};

type Shown = DopamineScore['all']['spearman'];
const two = (value: number | null): string => fixed(value, 2);
const shown = (estimate: Shown): string => withInterval(estimate, two);

function printDopamine(result: Dopamine, path: string, io: Io): void {
  const best = result.layers.find(({ layer }) => layer === result.bestLayer);
  if (io.json) {
    io.line({ summary: { path, selfTest: result.selfTest.passed, bestLayer: result.bestLayer, scores: best?.scores, baselines: result.baselines, neurons: result.ranking.slice(0, 10).map(({ neuron }) => neuron) } });
    return;
  }
  const { all, large, testProblems, noise } = result.steps;
  io.out(`self-test on planted and shuffled errors: ${result.selfTest.passed ? 'passed' : 'FAILED'}`);
  io.out(`steps: ${all.train} train, ${all.validation} validation, ${all.test} held out (${testProblems} problems); |δ| > ${result.settings.threshold}: ${large.train}, ${large.validation}, ${large.test}${noise === null ? '' : `; ${noiseText(noise)} of the variance of δ is noise of the continuations`}`);
  io.out(`\n${`layer ${result.bestLayer}, held-out δ`.padEnd(58)} ${'Spearman, all steps'.padEnd(24)} ${'Spearman, large'.padEnd(24)} ${'Pearson, large'.padEnd(24)} AUC of the sign`);
  for (const { name, all: whole, large: own } of [...(best?.scores ?? []), ...result.baselines]) {
    io.out(`  ${name.padEnd(56)} ${shown(whole.spearman).padEnd(24)} ${shown(own.spearman).padEnd(24)} ${shown(own.pearson).padEnd(24)} ${shown(own.auc)}`);
  }
  io.out(`\nneurons by the probe's weights (Spearman of each alone): ${result.ranking.slice(0, 10).map(({ neuron, spearman }) => `${neuron} (${two(spearman.value)})`).join(', ')}`);
  const few = result.pruning.find(({ share }) => share <= 0.1) ?? result.pruning.at(-1);
  if (few !== undefined) {
    io.out(`pruned to ${few.kept}: Spearman ${shown(few.top)}; random ${two(few.random.mean)}, magnitude-matched ${two(few.matched.mean)}`);
  }
  const { groups, cells } = result.surprise;
  io.out(`\nsurprise: ${groups.positive} positive, ${groups.negative} negative, ${groups.expectedSuccess} successes and ${groups.expectedFailure} failures as expected; neurons that differ (adjusted p < 0.05):`);
  for (const { position, contrast, significant, top } of cells) {
    io.out(`  ${contrast.padEnd(9)} ${position.padEnd(7)} ${significant === null ? 'too few trajectories' : `${significant}${significant > 0 ? `: ${top.slice(0, 5).map(({ neuron, difference }) => `${neuron} (${signed(difference, 2)})`).join(', ')}` : ''}`}`);
  }
  result.overlaps.forEach(({ a, b, size, shared, iou, p }) => io.out(`first ${size} of ${a} and ${b}: ${shared} shared, IoU ${iou.toFixed(2)}, p ${p.toPrecision(2)}`));
  [dopamineSentence(result), dopaminePruningSentence(result), surpriseSentence(result)].forEach((text) => (text === undefined ? undefined : io.out(`\n${text}`)));
  io.out(`\n${path}, ${result.seconds.toFixed(1)} s`);
}

/** From −3 to 3: background colours of the 256-colour palette, red over none to blue. */
const COLOURS = [160, 203, 217, undefined, 153, 75, 27] as const;

function coloured(text: string, z: number | null): string {
  const colour = COLOURS[Math.round(Math.max(-3, Math.min(3, z ?? 0))) + 3];
  return colour === undefined || process.stdout.isTTY !== true ? text : `\u001b[30;48;5;${colour}m${text}\u001b[0m`;
}

/** One line per step: δ, what the probe says, and the tokens coloured by the best neuron's z-score. Their texts come from a model: nothing of them may reach the terminal as a command. */
export function printTrace({ problem, sample, reward, tokens, trace, steps }: DopamineExample, io: Io): void {
  io.out(`\n${visibleText(problem)}, sample ${sample}, reward ${reward ?? 'unknown'}`);
  for (const { begin, end, error, predicted } of steps) {
    const text = tokens.slice(begin, end).map((token, i) => coloured(visibleText(token).replaceAll('\n', '⏎'), trace[begin + i] ?? null)).join('');
    io.out(`  δ ${signed(error, 2).padStart(5)}  probe ${signed(predicted, 2).padStart(5)}  ${text}`);
  }
}
