/** `rewardlens dataset`: what a data set holds, and how its problems are put to a model. */
import { loadDataset } from '../dataset/load.js';
import type { PromptBuilder } from '../dataset/prompts.js';
import { createPromptBuilder } from '../dataset/prompts.js';
import { describeTemplates } from '../dataset/templates.js';
import type { Dataset, DatasetFormat } from '../dataset/types.js';
import type { ChatMessage } from '../model/model.js';
import type { Command, Io } from './command.js';
import type { Flags } from './flags.js';
import type { ModelFlags } from './options.js';
import { MODEL_OPTIONS, formatBytes, openModel, plural, readModelFlags } from './options.js';
import { DATASET_OPTIONS } from './rolloutFlags.js';

interface DatasetFlags {
  spec: string;
  format: DatasetFormat | undefined;
  limit: number | undefined;
  check: string | undefined;
  template: string | undefined;
  system: string | undefined;
  fewShot: number | undefined;
  fewShotFrom: string | undefined;
  show: number;
  model: ModelFlags | undefined;
}

// Bad lines are what the command shows: it needs no permission to go on.
const { dataset: _dataset, 'skip-bad': _skipBad, ...SHARED } = DATASET_OPTIONS;

/** Shows a data set before it is used. */
export const datasetCommand: Command = {
  name: 'dataset',
  describe: `Show format, bad lines and first prompts of a data set. Templates: ${describeTemplates().map(([name]) => name).join(', ')}, or a Jinja file.`,
  positionals: [{ name: 'spec', describe: 'a file (JSONL, JSON, Parquet) or hf:owner/name[@revision][:config][/split]; see docs/datasets.md' }],
  options: {
    ...SHARED,
    show: { type: 'string', group: 'Data set:', describe: 'prompts to print; default 2' },
    ...MODEL_OPTIONS,
    model: { ...MODEL_OPTIONS['model'], describe: 'GGUF file whose chat template is used' },
  },
  examples: [
    ['rewardlens dataset gsm8k.jsonl --few-shot 2', 'a file, with two solved examples in front'],
    ['rewardlens dataset hf:openai/gsm8k:main/test -m model.gguf', "from the Hugging Face hub, in the model's chat template"],
  ],
  prepare(flags: Flags) {
    const parsed: DatasetFlags = {
      spec: flags.required('spec', 'a data set file or hf:owner/name'),
      format: flags.choice('format', ['gsm8k', 'math', 'arc', 'mmlu', 'jsonl']),
      limit: flags.integer('limit', 1),
      check: flags.text('check'),
      template: flags.text('template'),
      system: flags.text('system'),
      fewShot: flags.integer('few-shot', 0, 100),
      fewShotFrom: flags.text('few-shot-from'),
      show: flags.integer('show', 0) ?? 2,
      model: flags.text('model') === undefined ? undefined : readModelFlags(flags),
    };
    return (io) => run(parsed, io);
  },
};

async function run(flags: DatasetFlags, io: Io): Promise<void> {
  const { spec, format, limit, check } = flags;
  let file = '';
  const dataset = await loadDataset(spec, {
    format,
    limit,
    check,
    skipBad: true,
    signal: io.signal,
    onProgress: (progress) => {
      if (file !== progress.file) {
        file = progress.file;
        io.progress.start(`downloading ${file}`, progress.totalBytes);
      }
      io.progress.update(progress.doneBytes, formatBytes(progress.doneBytes));
    },
  });
  io.progress.stop();
  await using model = flags.model === undefined ? undefined : await openModel({ ...flags.model, load: { gpuLayers: 0, ...flags.model.load } }, io);
  if (model === undefined && flags.template === undefined && dataset.format !== 'jsonl') {
    io.note('without -m: the template for models that carry no chat template');
  }
  const { template, system, fewShot, fewShotFrom } = flags;
  const hasChat = model !== undefined && model.info.chatTemplate !== '';
  const renderChat = hasChat ? (messages: readonly ChatMessage[]): string => model.applyChatTemplate(messages) : undefined;
  const builder = await createPromptBuilder({ dataset, template, system, fewShot, fewShotFrom, renderChat, signal: io.signal });
  if (io.json) {
    printJson(dataset, builder, flags.show, io);
    return;
  }
  io.out([...facts(dataset, builder), ...badLines(dataset, io.verbose)].join('\n'));
  for (const problem of builder.problems.slice(0, flags.show)) {
    io.out(`\n--- ${problem.id} (right answer: ${problem.answer})\n${builder.prompt(problem).text}`);
  }
  if (dataset.skipped.length > 0) {
    io.warn(`${plural(dataset.skipped.length, 'bad line')}; other commands stop at them unless --skip-bad is given`);
  }
}

function facts(dataset: Dataset, builder: PromptBuilder): string[] {
  const { template, fewShot, fewShotFrom } = builder.describe();
  const checks = [...new Set(dataset.problems.map(({ check }) => check))];
  const examples = fewShot.length === 0 ? 'none' : `${fewShot.join(', ')} of ${String(fewShotFrom)}`;
  const left = dataset.problems.length - builder.problems.length;
  const rows: [string, string][] = [
    ['name', dataset.name],
    ['source', dataset.source],
    ['format', dataset.format],
    ['problems', plural(builder.problems.length, 'problem') + (left === 0 ? '' : `, and ${left} kept for examples`)],
    ['check', checks.join(', ')],
    ['template', `${template} (${builder.fingerprint})`],
    ['examples', examples],
    ['sha256', dataset.sha256],
    ['bad lines', dataset.skipped.length === 0 ? 'none' : String(dataset.skipped.length)],
  ];
  return rows.map(([label, text]) => label.padEnd(11) + text);
}

/** The first twenty, or all. */
function badLines({ skipped }: Dataset, all: boolean): string[] {
  const listed = all ? skipped : skipped.slice(0, 20);
  const rest = skipped.length > listed.length ? [`  and ${skipped.length - listed.length} more; --verbose lists all`] : [];
  return [...listed.map(({ line, message }) => `  line ${line}: ${message}`), ...rest];
}

function printJson(dataset: Dataset, builder: PromptBuilder, show: number, io: Io): void {
  const { problems, ...about } = dataset;
  const prompts = builder.problems.slice(0, show).map((problem) => ({ id: problem.id, answer: problem.answer, check: problem.check, ...builder.prompt(problem) }));
  io.line({ ...about, problemCount: builder.problems.length, loadedCount: problems.length, fingerprint: builder.fingerprint, ...builder.describe(), prompts });
}
