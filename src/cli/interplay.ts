/** `rewardlens interplay`: dopamine neurons after value neurons of earlier layers are taken away. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { ArmGrid } from '../study/armPlan.js';
import { planArms } from '../study/armPlan.js';
import { earlierLayers, interplayArms } from '../study/interplayArms.js';
import type { SessionOptions } from '../model/session.js';
import { resolveLayers } from '../model/sites.js';
import { openInterplaySession, prepareInterplay, runInterplay } from '../study/interplay.js';
import { interplayComparison, interplaySentence } from '../report/dopamineFacts.js';
import { fixed, withInterval } from '../report/format.js';
import type { Interplay } from '../report/interplaySchema.js';
import { INTERPLAY_FILE, INTERPLAY_MEASURES } from '../report/interplaySchema.js';
import { ARM_OPTIONS, readArmFlags, readShares } from './armFlags.js';
import { requireFolder } from './checks.js';
import type { Command, Io } from './command.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, openModel, plural, readModelFlags, readSessionFlags } from './options.js';
import { workOptions } from './studyFlags.js';

/** The paper takes away a fifth. */
const SHARES = [0.05, 0.2];
const { positions: _positions, shares, ...OWN_ARM_OPTIONS } = ARM_OPTIONS;

/** Takes value neurons of earlier layers away and reads the dopamine neurons again. */
export const interplayCommand: Command = {
  name: 'interplay',
  describe: 'Take value neurons of earlier layers away, beside matched controls, and see what is left of the dopamine neurons.',
  positionals: [{ name: 'dir', describe: 'folder of a rollout that `probe`, `values` and `dopamine` have been through' }],
  options: {
    ...OWN_ARM_OPTIONS,
    shares: { ...shares, describe: `shares of the neurons; default ${SHARES.join(',')}` },
    seed: { alias: 's', type: 'string', group: 'Arms:', describe: 'of the draws; default 1' },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [['rewardlens interplay gsm8k -m model.gguf --layers 2-5 --kinds mean', 'every earlier layer of 2 to 5 by itself, and all of them together']],
  prepare(flags: Flags) {
    const parsed = {
      directory: flags.required('dir', 'the folder of a rollout with dopamine neurons'),
      model: readModelFlags(flags),
      session: readSessionFlags(flags),
      grid: { ...readArmFlags(flags), shares: readShares(flags, 'shares', SHARES), positions: ['all'] } satisfies ArmGrid,
    };
    return (io) => run(parsed, io);
  },
};

async function run({ directory, model: modelFlags, session: sessionFlags, grid }: { directory: string; model: ModelFlags; session: SessionOptions; grid: ArmGrid }, io: Io): Promise<void> {
  await requireFolder(directory);
  await using model = await openModel(modelFlags, io);
  const prepared = await prepareInterplay(model, directory, io.signal);
  const given = grid.layers;
  const layers = earlierLayers({ ...grid, layers: given === 'all' ? given : asUsage(() => resolveLayers(given, model.info.layerCount, '--layers')) }, prepared);
  if (layers.length === 0) {
    throw new UsageError(`--layers: expected layers below ${prepared.dopamine.bestLayer}, the dopamine probe's, got ${given === 'all' ? 'all' : given.join(',')}`);
  }
  const threads = sessionFlags.threads ?? availableParallelism();
  const plan = await planArms(directory, { ...grid, layers }, { files: model.files, layerCount: model.info.layerCount, dModel: model.info.dModel }, workOptions({ threads }, io));
  io.progress.stop();
  await using session = openInterplaySession(model, prepared, sessionFlags);
  const arms = interplayArms(plan.arms, { alone: true });
  io.summary(`${plural(arms.length, 'arm')} × ${prepared.trajectories.length} held-out trajectories`);
  io.progress.start('reading', arms.length * prepared.trajectories.length);
  const result = await runInterplay(session, prepared, { ...plan, arms }, { signal: io.signal, threads, onProgress: (finished) => io.progress.update(finished) });
  io.progress.stop();
  printInterplay(result, join(directory, INTERPLAY_FILE), io);
}

const two = (value: number | null): string => fixed(value, 2);
const MEASURES = { score: 'Spearman of the probe with δ', agreement: 'the probe with itself untouched', trace: 'the neurons with themselves' } as const;

function printInterplay(result: Interplay, path: string, io: Io): void {
  const sets = result.arms.filter(({ role }) => role === 'set');
  if (io.json) {
    io.line({ summary: { path, layer: result.layer, base: result.base.score, arms: sets.map(({ name, score, agreement, trace }) => ({ name, score, agreement, trace })), comparisons: result.comparisons } });
    return;
  }
  const controls = [...new Set(result.comparisons.map(({ control }) => control))];
  const width = Math.max(...result.arms.map(({ name }) => name.length), 0);
  const line = (name: string, measure: string, value: string, against: readonly string[]): void => io.out(`  ${name.padEnd(width)}  ${measure.padEnd(32)} ${value.padEnd(20)} ${against.map((text) => text.padEnd(16)).join(' ')}`.trimEnd());
  io.out(`dopamine probe of layer ${result.layer}, ${result.steps.all} held-out steps, ${result.steps.large} with large δ; untouched: Spearman with δ ${withInterval(result.base.score, two)}`);
  line('arm', 'agreement of', 'value', controls.map((control) => `${control} (p)`));
  for (const arm of sets) {
    for (const measure of INTERPLAY_MEASURES) {
      const against = controls.map((control) => interplayComparison(result, arm.name, measure, control));
      line(measure === INTERPLAY_MEASURES[0] ? arm.name : '', MEASURES[measure], measure === 'trace' ? two(arm.trace) : withInterval(arm[measure], two), against.map((entry) => (entry === undefined ? '–' : `${two(entry.meanControl)} (${two(entry.p)})`)));
    }
  }
  io.out(`\n${interplaySentence(result)}`);
  result.notes.forEach((note) => io.summary(note));
  io.out(`\n${path}, ${result.seconds.toFixed(1)} s`);
}
