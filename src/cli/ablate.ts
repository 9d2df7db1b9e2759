/** `rewardlens ablate`: value neurons taken away, against matched controls, paired by item. */
import { basename, join } from 'node:path';
import type { Arm } from '../ablate/arms.js';
import { LEDGER_FILE } from '../ablate/ledger.js';
import { shownUrl } from '../ablate/queueConnection.js';
import { DEFAULT_TRIES } from '../ablate/queueFormat.js';
import type { Shard } from '../ablate/shard.js';
import { shardItems } from '../ablate/shard.js';
import type { ParkedPair } from '../ablate/source.js';
import type { SweepProgress } from '../ablate/sweep.js';
import { checkModelFile } from '../model/loadCheck.js';
import type { Session, SessionOptions } from '../model/session.js';
import { RewardLensError } from '../native/errors.js';
import { writeAblationReport } from '../report/ablationReport.js';
import type { ModelRun, SweepFacts } from '../study/ablation.js';
import { ABLATION_FILE, runAblation, saveAblation } from '../study/ablation.js';
import type { ArmGrid, ArmPlan } from '../study/armPlan.js';
import { planArms } from '../study/armPlan.js';
import type { DatasetSource, Prepared, RolloutSettings } from '../study/sample.js';
import { openDataset, openSession, prepareDataset } from '../study/sample.js';
import { STUDY_FILES } from '../study/studyFiles.js';
import { heldOutPart, seenNotes } from '../study/sweepStage.js';
import type { PairRunOptions } from '../study/sweepRun.js';
import { runPairs } from '../study/sweepRun.js';
import { duration, printPlan } from './ablatePlan.js';
import { printAblation } from './ablateResult.js';
import type { RunFlags } from './ablateRunFlags.js';
import { RUN_OPTIONS, readRunFlags } from './ablateRunFlags.js';
import { ARM_OPTIONS, readArmFlags } from './armFlags.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, openModel, plural, rate, readModelFlags, readSessionFlags } from './options.js';
import { STATISTICS_OPTIONS, printPower, readNeutralText, readPower } from './power.js';
import { DATASET_OPTIONS, ROLLOUT_OPTIONS, readRolloutSettings, readSources } from './rolloutFlags.js';

interface AblateFlags {
  from: string | undefined;
  /** The folder whose held-out problems are the items; undefined: all problems are. */
  heldOutFrom: string | undefined;
  models: readonly string[];
  model: ModelFlags;
  session: SessionOptions;
  source: DatasetSource;
  settings: RolloutSettings;
  grid: ArmGrid;
  run: RunFlags;
  plan: boolean;
  neutral: string | undefined;
  output: string;
}

const { samples: _samples, site: _site, layers: _layers, positions: _positions, dtype: _dtype, 'max-disk': _maxDisk, 'no-activations': _noActivations, ...SAMPLING_OPTIONS } = ROLLOUT_OPTIONS;

/** Runs a sweep of ablations. */
export const ablateCommand: Command = {
  name: 'ablate',
  resumes: true,
  describe: 'Take the top neurons of a probed rollout away, beside matched controls, and compare accuracy paired by item.',
  positionals: [{ name: 'dir', describe: 'folder of `rewardlens rollout` with probes: where the ranking comes from; not needed for --neurons with random controls' }],
  options: {
    ...ARM_OPTIONS,
    plan: { type: 'boolean', group: 'Arms:', describe: 'print the arms, the tokens, and the time as measured on a few pairs; keep nothing' },
    ...RUN_OPTIONS,
    ...STATISTICS_OPTIONS,
    ...DATASET_OPTIONS,
    'held-out': { type: 'boolean', group: 'Data set:', describe: "only problems that the folder's probes never saw: for the data set of the rollout, whose other problems chose the neurons; --limit then counts these" },
    ...SAMPLING_OPTIONS,
    output: { alias: 'o', type: 'string', group: 'Output:', describe: 'folder; pairs of arm and item in its ledger are not run again' },
    ...MODEL_OPTIONS,
    model: { ...MODEL_OPTIONS.model, array: true, describe: 'GGUF file; repeated or comma separated: one sweep per model (quantizations of one, say)' },
    ...SESSION_OPTIONS,
  },
  examples: [['rewardlens ablate gsm8k -m model.gguf --dataset hf:openai/gsm8k --held-out --layers 2-5 --temp 0 -o sweep', 'top 1 % and 5 % of four layers, greedy, on problems that chose no neuron']],
  prepare(flags: Flags) {
    const power = readPower(flags);
    if (power !== undefined) {
      return async (io) => printPower(power, io);
    }
    const sources = readSources(flags);
    if (sources.length > 1) {
      throw new UsageError(`--dataset: expected one data set, got ${sources.length}`);
    }
    const models = flags.list('model').flatMap((text) => text.split(',')).filter((path) => path !== '');
    if (new Set(models).size < models.length) {
      throw new UsageError(`--model: expected different files, got ${JSON.stringify(models.join(','))}`);
    }
    const parsed: AblateFlags = {
      from: flags.text('dir'),
      heldOutFrom: flags.on('held-out') ? flags.required('dir', 'the folder whose probes --held-out is about') : undefined,
      models,
      model: readModelFlags(flags),
      session: readSessionFlags(flags),
      source: sources[0] as DatasetSource,
      settings: readRolloutSettings(flags, { capture: false }),
      grid: readArmFlags(flags, { folder: flags.text('dir') !== undefined }),
      run: readRunFlags(flags),
      plan: flags.on('plan'),
      neutral: flags.text('neutral'),
      output: flags.on('plan') ? '' : flags.required('output', 'a folder (-o DIR)'),
    };
    return (io) => run(parsed, io);
  },
};

async function run(flags: AblateFlags, io: Io): Promise<void> {
  const neutral = await readNeutralText(flags.neutral);
  const { limit, ...unlimited } = flags.source;
  const source = flags.heldOutFrom === undefined ? flags.source : unlimited; // --limit is then of the problems that are held out
  const dataset = await openDataset(source, io.signal);
  const names = distinctNames(flags.models);
  for (const path of flags.models) {
    await checkModelFile(path, { isolate: false, signal: io.signal }); // the last one's name may be wrong: not after hours with the first
  }
  const finished: ModelRun[] = [];
  let facts: SweepFacts | undefined;
  for (const [m, path] of flags.models.entries()) {
    await using model = await openModel({ ...flags.model, path }, io);
    const whole = await prepareDataset(model, dataset, source);
    const prepared = flags.heldOutFrom === undefined ? whole : (await heldOutPart(flags.heldOutFrom, whole, limit)).part;
    const plan = await planArms(flags.from, flags.grid, { files: model.files, ...model.info }, { threads: flags.session.threads ?? 0, signal: io.signal });
    const notes = [...plan.notes, ...(await chosenBy(flags, prepared))];
    facts ??= { prepared, grid: plan.grid, settings: flags.settings, notes };
    if (flags.models.length > 1) {
      io.summary(`model ${m + 1} of ${flags.models.length}: ${names[m]}`);
    }
    await using session = openSession(model, [prepared], { ...flags.settings, samples: plan.arms.length }, flags.session);
    if (flags.plan) {
      await printPlan(session, prepared, { ...plan, notes }, flags.settings, io);
      continue;
    }
    announce({ ...plan, notes }, prepared, flags, io);
    const work: Work = { session, prepared, arms: plan.arms, flags, io };
    if (flags.run.shard !== undefined) {
      await runPart(work, flags.run.shard);
    } else {
      finished.push(await keeping(work, async (options) => runAblation(session, prepared, plan.arms, flags.settings, { ...options, neutral, onNeutral: (done, total) => showNeutral(io, done, total), name: names[m] as string })));
    }
  }
  if (finished.length > 0 && facts !== undefined) {
    const result = await saveAblation(flags.output, finished, facts);
    await writeAblationReport(result, join(flags.output, STUDY_FILES.report));
    printAblation(result, join(flags.output, ABLATION_FILE), io);
    refuseParked(finished.flatMap(({ parked }) => parked), flags);
  }
}

/** What is to be said of problems that ranked the neurons. */
async function chosenBy({ from, heldOutFrom, grid }: AblateFlags, { problems }: Prepared): Promise<string[]> {
  const ranked = grid.groups.includes('top') || grid.groups.includes('bottom');
  return from === undefined || heldOutFrom !== undefined || !ranked ? [] : seenNotes(from, problems);
}

/** Base names of the files where they differ, else whole paths. */
function distinctNames(paths: readonly string[]): string[] {
  const names = paths.map((path) => basename(path));
  return new Set(names).size === paths.length ? names : [...paths];
}

function announce({ arms, notes }: ArmPlan, { problems }: Prepared, { settings, run: { shard, queue } }: AblateFlags, io: Io): void {
  const items = shard === undefined ? problems : shardItems(problems, shard);
  const sequences = arms.length * items.length;
  const part = shard === undefined ? '' : `part ${shard.index}/${shard.count} of ${plural(problems.length, 'item')}: `;
  io.summary(`${part}${plural(arms.length, 'arm')} × ${plural(items.length, 'item')}: ${plural(sequences, 'sequence')}, at most ${plural(sequences * settings.maxTokens, 'sampled token')}`);
  notes.forEach((note) => io.summary(note));
  if (queue !== undefined) {
    const url = shownUrl(queue.url);
    io.summary(`the pairs wait at ${url} for workers: rewardlens worker --queue ${url} -m MODEL`);
  }
}

interface Work {
  readonly session: Session;
  readonly prepared: Prepared;
  readonly arms: readonly Arm[];
  readonly flags: AblateFlags;
  readonly io: Io;
}

/** Runs `body` with progress; when it fails, says what is kept. */
async function keeping<T>({ flags, io }: Work, body: (options: PairRunOptions) => Promise<T>): Promise<T> {
  const ledger = join(flags.output, LEDGER_FILE);
  let last: SweepProgress | undefined;
  try {
    return await body({
      directory: flags.output,
      early: flags.run.early,
      queue: flags.run.queue,
      signal: io.signal,
      onDamage: ({ damaged, torn }) => io.warn(`${ledger}: ${[...(damaged.length > 0 ? [`${plural(damaged.length, 'damaged line')} taken out (${damaged.slice(0, 5).join(', ')}${damaged.length > 5 ? ', …' : ''})`] : []), ...(torn ? ['a write that was cut off removed'] : [])].join(', ')}; their pairs run again`),
      onProgress: (progress) => {
        if (last === undefined) {
          io.progress.start(flags.run.queue === undefined ? 'ablating' : 'waiting for workers', progress.total);
        }
        last = progress;
        io.progress.update(progress.finished, progressNote(progress));
      },
    });
  } catch (error) {
    if (last !== undefined) {
      io.progress.stop();
      io.summary(`${last.finished} of ${plural(last.total, 'pair')} are kept in ${ledger}; the same command goes on from there`);
    }
    throw error;
  } finally {
    io.progress.stop();
  }
}

function showNeutral(io: Io, finished: number, total: number): void {
  if (finished === 0) {
    io.progress.start('neutral text', total);
  }
  io.progress.update(finished, `${finished}/${total} edits`);
}

/** "120/360, 41 pairs/s, about 6 s left, 1,234 tokens/s" */
function progressNote({ finished, total, made, seconds, run: engine }: SweepProgress): string {
  const parts = [`${finished}/${total}`];
  if (made > 0 && seconds > 0) {
    const speed = made / seconds;
    parts.push(`${speed.toPrecision(2)} pairs/s`, `about ${duration((total - finished) / speed)} left`);
  }
  const tokens = engine === undefined ? '' : rate(engine.promptTokens + engine.completionTokens, engine.busyMs);
  return [...parts, ...(tokens === '' ? [] : [tokens])].join(', ');
}

/** A part writes its ledger and compares nothing. */
async function runPart(work: Work, shard: Shard): Promise<void> {
  const { session, prepared, arms, flags, io } = work;
  const { sweep } = await keeping(work, async (options) => runPairs(session, prepared, arms, flags.settings, { ...options, shard }));
  const path = join(flags.output, LEDGER_FILE);
  const { made, found, seconds } = sweep;
  if (io.json) {
    io.line({ summary: { path, shard: `${shard.index}/${shard.count}`, sweep: { made, found, seconds } } });
    return;
  }
  io.out(`${path}: part ${shard.index}/${shard.count}, ${made} pairs made, ${found} found, ${seconds.toFixed(1)} s. Nothing is compared yet:`);
  io.out(`rewardlens merge DIR… -o SWEEP, with the folders of all ${shard.count} parts, then this command with -o SWEEP and without --shard`);
}

/** Errors: INCOMPLETE naming the items that workers gave up. */
function refuseParked(parked: readonly ParkedPair[], { output, run: { queue } }: AblateFlags): void {
  if (parked.length === 0) {
    return;
  }
  const reasons = new Map(parked.map(({ item, reason }) => [item, reason]));
  const shown = [...reasons].slice(0, 10).map(([item, reason]) => `'${item}' (${reason})`);
  throw new RewardLensError(
    'INCOMPLETE',
    `${plural(parked.length, 'pair')} of ${plural(reasons.size, 'item')} failed ${queue?.tries ?? DEFAULT_TRIES} times and were left out: ${shown.join(', ')}${reasons.size > shown.length ? ', …' : ''}. The others are finished, and compared in '${output}'; the same command tries again`,
    { details: { parked } },
  );
}
