/** `rewardlens interplay`: dopamine neurons after value neurons of earlier layers are taken away. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { ArmGrid } from '../study/armPlan.js';
import { planArms } from '../study/armPlan.js';
import type { SessionOptions } from '../model/session.js';
import { resolveLayers } from '../model/sites.js';
import { openInterplaySession, prepareInterplay, runInterplay } from '../study/interplay.js';
import type { Interplay, InterplayArm } from '../report/interplaySchema.js';
import { INTERPLAY_FILE } from '../report/interplaySchema.js';
import { ARM_OPTIONS, readArmFlags, readShares } from './armFlags.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
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
  examples: [['rewardlens interplay gsm8k -m model.gguf --layers 2-5 --kinds mean', 'every earlier layer of 2 to 5 by itself']],
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

async function run({ directory, model: modelFlags, session: given, grid }: { directory: string; model: ModelFlags; session: SessionOptions; grid: ArmGrid }, io: Io): Promise<void> {
  await using model = await openModel(modelFlags, io);
  const prepared = await prepareInterplay(model, directory, io.signal);
  const { bestLayer } = prepared.dopamine;
  const layers = resolveLayers(grid.layers, model.info.layerCount, 'layers').filter((layer) => layer < bestLayer);
  if (layers.length === 0) {
    throw new UsageError(`--layers: expected layers below ${bestLayer}, the dopamine probe's`);
  }
  const threads = given.threads ?? availableParallelism();
  const plan = await planArms(directory, { ...grid, layers }, { files: model.files, layerCount: model.info.layerCount, dModel: model.info.dModel }, workOptions({ threads }, io));
  io.progress.stop();
  await using session = openInterplaySession(model, prepared, given);
  io.summary(`${plural(plan.arms.length, 'arm')} × ${prepared.trajectories.length} held-out trajectories`);
  io.progress.start('reading', plan.arms.length * prepared.trajectories.length);
  const result = await runInterplay(session, prepared, plan, { signal: io.signal, threads, onProgress: (finished) => io.progress.update(finished) });
  io.progress.stop();
  printInterplay(result, join(directory, INTERPLAY_FILE), io);
}

const shown = (value: number | null): string => (value === null ? '–' : value.toFixed(3));

function printInterplay(result: Interplay, path: string, io: Io): void {
  const sets = result.arms.filter(({ role }) => role === 'set');
  if (io.json) {
    io.line({ summary: { path, layer: result.layer, base: result.base.score, arms: sets.map(({ name, score, agreement, trace }) => ({ name, score, agreement, trace })), comparisons: result.comparisons } });
    return;
  }
  const controls = [...new Set(result.comparisons.map(({ control }) => control))];
  io.out(`dopamine probe of layer ${result.layer}, ${result.steps.all} held-out steps, ${result.steps.large} with large δ; untouched: Spearman with δ ${shown(result.base.score.value)}`);
  io.out(`  ${'arm'.padEnd(30)} with δ   agreement with untouched, of the probe and of neurons; controls (p)`);
  for (const arm of sets) {
    const against = controls.map((control) => {
      const [probe, trace] = (['agreement', 'trace'] as const).map((measure) => result.comparisons.find((entry) => entry.arm === arm.name && entry.control === control && entry.measure === measure));
      return `${control} ${shown(probe?.meanControl ?? null)} (${probe?.p.toFixed(2) ?? '–'}), ${shown(trace?.meanControl ?? null)} (${trace?.p.toFixed(2) ?? '–'})`;
    });
    io.out(`  ${row(arm)}   ${against.join('; ')}`);
  }
  result.notes.forEach((note) => io.summary(note));
  io.out(`${path}, ${result.seconds.toFixed(1)} s`);
}

function row({ name, score, agreement, trace }: InterplayArm): string {
  return `${name.padEnd(30)} ${shown(score.value).padStart(6)}   ${shown(agreement.value).padStart(6)}, ${shown(trace).padStart(6)}`;
}
