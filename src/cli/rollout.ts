/** `rewardlens rollout`: trajectories with rewards and activations, resumable. */
import type { SessionOptions } from '../model/session.js';
import { diskEstimate, planStore } from '../rollout/rollout.js';
import type { DatasetSource, Prepared, RolloutSettings } from '../study/sample.js';
import { openDataset, openSession, prepareDataset, sampleStage } from '../study/sample.js';
import { packageVersion } from '../util/version.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, formatBytes, openModel, plural, rate, readModelFlags, readSessionFlags } from './options.js';
import { DATASET_OPTIONS, ROLLOUT_OPTIONS, readRolloutSettings, readSources } from './rolloutFlags.js';

interface RolloutFlags {
  model: ModelFlags;
  session: SessionOptions;
  source: DatasetSource;
  settings: RolloutSettings;
  output: string;
}

/** Samples and judges a data set. */
export const rolloutCommand: Command = {
  name: 'rollout',
  resumes: true,
  describe: 'Sample a data set, judge the answers, store trajectories and activations.',
  options: {
    ...DATASET_OPTIONS,
    ...ROLLOUT_OPTIONS,
    output: { alias: 'o', type: 'string', group: 'Output:', describe: 'folder; one with earlier work of the same settings is gone on with' },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [
    ['rewardlens rollout -m model.gguf --dataset hf:openai/gsm8k --samples 4 --parallel 32 -o gsm8k', 'four trajectories per problem'],
    ['rewardlens rollout -m model.gguf --dataset problems.jsonl --layers 8-20 --max-disk 20G -o out', 'activations of some layers, at most 20 GiB'],
  ],
  prepare(flags: Flags) {
    const sources = readSources(flags);
    if (sources.length > 1) {
      throw new UsageError(`--dataset: expected one data set, got ${sources.length}; \`rewardlens study\` takes several`);
    }
    const parsed: RolloutFlags = {
      model: readModelFlags(flags),
      session: readSessionFlags(flags),
      source: sources[0] as DatasetSource,
      settings: readRolloutSettings(flags),
      output: flags.required('output', 'a folder (-o DIR)'),
    };
    return (io) => rollout(parsed, io);
  },
};

async function rollout(flags: RolloutFlags, io: Io): Promise<void> {
  const dataset = await openDataset(flags.source, io.signal);
  io.summary(`${dataset.name}: ${plural(dataset.problems.length, 'problem')}, format ${dataset.format}, ${dataset.source}`);
  dataset.skipped.forEach(({ line, message }) => io.warn(`${dataset.source}:${line}: left out: ${message}`));
  await using model = await openModel(flags.model, io);
  const prepared = await prepareDataset(model, dataset, flags.source);
  await using session = openSession(model, [prepared], flags.settings, flags.session);
  if (flags.settings.capture !== undefined) {
    const info = await planStore(session, flags.settings.capture, flags.settings.dtype);
    const most = diskEstimate(info, [...prepared.promptLengths], flags.settings.samples, flags.settings.maxTokens);
    io.summary(`activations: at most ${formatBytes(most)} if every trajectory takes ${plural(flags.settings.maxTokens, 'token')} (${info.sites.map(({ site, layers }) => `${site} × ${layers.length} layers`).join(', ')}, ${info.dtype})`);
  }
  await sample(session, prepared, flags, io);
}

async function sample(session: Parameters<typeof sampleStage>[0], prepared: Prepared, flags: RolloutFlags, io: Io): Promise<void> {
  const total = prepared.problems.length * flags.settings.samples;
  io.progress.start('sampling', total);
  const totals = await sampleStage(session, prepared, flags.settings, {
    directory: flags.output,
    signal: io.signal,
    onResume: ({ finished, damaged, torn }) => {
      if (finished > 0 || damaged > 0 || torn) {
        io.summary(`${flags.output}: ${finished} of ${total} trajectories found finished${damaged > 0 ? `, ${damaged} damaged and made again` : ''}${torn ? ', a write that was cut off removed' : ''}`);
      }
    },
    onProgress: ({ finished, run }) => io.progress.update(finished, `${finished}/${total} ${run === undefined ? '' : rate(run.promptTokens + run.completionTokens, run.busyMs)}`),
  });
  io.progress.stop();
  if (totals.beyond > 0) {
    io.summary(`${flags.output}: trajectories of other problems or samples than this command asks for: ${totals.beyond}; \`probe\` and \`rank\` use them too`);
  }
  const result = { made: totals.made, found: totals.found, beyond: totals.beyond, total, seconds: totals.seconds, directory: flags.output, rewardlens: packageVersion() };
  if (io.json) {
    io.line({ summary: result });
  } else {
    io.out(`${flags.output}: ${totals.made} trajectories made, ${totals.found} found finished, ${totals.seconds.toFixed(1)} s`);
  }
}
