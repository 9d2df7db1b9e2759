/** From an argument list to an exit code: parsing, dispatch, errors, interrupts. */
import yargs from 'yargs';
import type { Argv } from 'yargs';
import { packageVersion } from '../util/version.js';
import { ablateCommand } from './ablate.js';
import { normalizeArgv } from './argv.js';
import { captureCommand } from './capture.js';
import { confidenceCommand } from './confidence.js';
import type { Command, Io } from './command.js';
import { EXIT, UsageError, errorToJson, errorToText } from './errors.js';
import { Flags } from './flags.js';
import { generateCommand } from './generate.js';
import { datasetCommand } from './dataset.js';
import { dopamineCommand } from './dopamine.js';
import { infoCommand } from './info.js';
import { interplayCommand } from './interplay.js';
import { listenForInterrupt } from './interrupt.js';
import { mergeCommand } from './merge.js';
import { GENERAL_OPTIONS } from './options.js';
import { patchCommand } from './patch.js';
import { probeCommand, rankCommand, reportCommand } from './probe.js';
import { Progress } from './progress.js';
import { quantizeCommand } from './quantize.js';
import { rescoreCommand } from './rescore.js';
import { rolloutCommand } from './rollout.js';
import { scoreCommand } from './score.js';
import { searchCommand } from './search.js';
import { studyCommand } from './study.js';
import { workerCommand } from './worker.js';
import { transferCommand } from './transfer.js';
import { valuesCommand } from './values.js';

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  infoCommand,
  captureCommand,
  generateCommand,
  datasetCommand,
  rolloutCommand,
  scoreCommand,
  rescoreCommand,
  probeCommand,
  rankCommand,
  reportCommand,
  studyCommand,
  ablateCommand,
  mergeCommand,
  workerCommand,
  patchCommand,
  valuesCommand,
  dopamineCommand,
  interplayCommand,
  confidenceCommand,
  searchCommand,
  transferCommand,
  quantizeCommand,
];

/** What a command line means: text to print, or a command with its flags. */
export type Invocation = { kind: 'print'; text: string } | { kind: 'run'; command: Command; flags: Flags };

/** In yargs, missing in its types. */
type WithUsageConfiguration = Argv & { usageConfiguration(settings: { 'hide-types': boolean }): Argv };

/** The command of an argument list: its first word. General options, which take no values, may come before it. */
function findCommand(argv: readonly string[], commands: readonly Command[]): Command | undefined {
  const word = argv.find((entry) => !entry.startsWith('-'));
  const command = commands.find(({ name }) => name === word);
  const names = commands.map(({ name }) => name).join(', ');
  if (word !== undefined && command === undefined) {
    throw new UsageError(`unknown command ${JSON.stringify(word)}: expected one of ${names}`);
  }
  if (word === undefined && !argv.some((entry) => ['-h', '--help', '--version'].includes(entry))) {
    throw new UsageError(`expected a command: ${names}`);
  }
  return command;
}

/** Parses a command line without running anything. Errors: UsageError. */
export async function parseCommandLine(argv: readonly string[], commands: readonly Command[] = COMMANDS): Promise<Invocation> {
  const command = findCommand(argv, commands);
  let selected: { command: Command; flags: Flags } | undefined;
  const parser = (yargs() as WithUsageConfiguration)
    .usageConfiguration({ 'hide-types': true })
    .scriptName('rewardlens')
    .usage('$0 <command> [options]\n\nFinds, ablates and reads the value neurons of language models that run on llama.cpp.')
    .parserConfiguration({ 'boolean-negation': false, 'dot-notation': false, 'greedy-arrays': false, 'parse-numbers': false, 'camel-case-expansion': false })
    .locale('en')
    .options(GENERAL_OPTIONS)
    .help('help', 'show this help')
    .alias('h', 'help')
    .version('version', 'print the version', packageVersion())
    .group(['help', 'version'], 'General:')
    .epilogue('Exit codes: 0 done, 1 failed, 2 the command line is wrong, 130 interrupted. A second Ctrl-C leaves at once.')
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .strict()
    .exitProcess(false)
    .fail((message, error) => {
      throw error instanceof UsageError ? error : new UsageError((message ?? error.message).replace(/^Unknown arguments?/, 'unexpected'));
    });
  for (const entry of commands) {
    const words = entry.positionals ?? [];
    const describe = `${entry.describe}${entry.resumes === true ? ' Resumes.' : ''}`;
    const usage = [entry.name, ...words.map(({ name, many }) => `[${name}${many === true ? '..' : ''}]`)].join(' ');
    parser.command(
      usage,
      describe,
      (sub) => {
        words.forEach(({ name, describe }) => sub.positional(name, { type: 'string', describe }));
        return sub.usage(`$0 ${usage} [options]\n\n${describe}`).options(entry.options);
      },
      (values) => {
        selected = { command: entry, flags: new Flags(values, words.map(({ name }) => name)) };
      },
    );
  }
  let printed = '';
  await parser.parseAsync(normalizeArgv(argv, { ...command?.options, ...GENERAL_OPTIONS }), {}, (_error, _values, output) => {
    printed = output;
  });
  if (selected === undefined || printed !== '') {
    const examples = argv.includes('--version') ? [] : (command?.examples ?? []);
    return { kind: 'print', text: [printed, ...examples.map(([line, meaning]) => `# ${meaning}\n${line}`)].join('\n\n') };
  }
  return { kind: 'run', ...selected };
}

function createIo(flags: Flags, signal: AbortSignal): Io {
  const json = flags.on('json');
  const verbose = flags.on('verbose');
  const terminal = process.stderr.isTTY === true;
  const progress = new Progress(process.stderr, terminal && !json);
  const write = (stream: NodeJS.WriteStream, text: string): void => progress.aside(() => void stream.write(`${text}\n`));
  return {
    json,
    verbose,
    signal,
    progress,
    out: (text) => write(process.stdout, text),
    line: (value) => write(process.stdout, JSON.stringify(value)),
    summary: (text) => (json ? undefined : write(process.stderr, text)),
    note: (text) => ((terminal && !json) || verbose ? write(process.stderr, text) : undefined),
    warn: (text) => write(process.stderr, `rewardlens: warning: ${text}`),
  };
}

/** Runs a command line and returns the exit code. Never throws. */
export async function runCommandLine(argv: readonly string[]): Promise<number> {
  const beforeRest = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  const verbose = beforeRest.some((word) => word === '-v' || word === '--verbose');
  const json = beforeRest.includes('--json');
  const command = argv.map((word) => COMMANDS.find(({ name }) => name === word)).find((own) => own !== undefined);
  let io: Io | undefined;
  const interrupt = listenForInterrupt(() => {
    io?.progress.stop();
    process.stderr.write('rewardlens: stopping; Ctrl-C again leaves at once\n');
  });
  try {
    const invocation = await parseCommandLine(argv);
    if (invocation.kind === 'print') {
      process.stdout.write(`${invocation.text}\n`);
      return EXIT.ok;
    }
    io = createIo(invocation.flags, interrupt.signal);
    await invocation.command.prepare(invocation.flags)(io);
    return EXIT.ok;
  } catch (error) {
    io?.progress.stop();
    if (json) {
      process.stdout.write(`${JSON.stringify(errorToJson(error))}\n`);
    }
    process.stderr.write(`${errorToText(error, { command: command?.name, verbose, resumes: command?.resumes })}\n`);
    return interrupt.exitCode() ?? (error instanceof UsageError ? EXIT.usage : EXIT.failure);
  } finally {
    io?.progress.stop();
    interrupt.dispose();
  }
}
