/** What a command is made of, and what it may use to talk. */
import type { OptionTable } from './argv.js';
import type { Flags } from './flags.js';
import type { Progress } from './progress.js';

/** Where a running command prints. */
export interface Io {
  /** `--json`: stdout carries JSON lines only, and nothing is drawn. */
  readonly json: boolean;
  readonly verbose: boolean;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** The result, to stdout, with a line break. */
  out(text: string): void;
  /** One JSON line to stdout. */
  line(value: unknown): void;
  /** A line to stderr that is part of the answer (totals, seeds); silent with `--json`. */
  summary(text: string): void;
  /** A line to stderr for a person who waits: only on a terminal, or with `--verbose`. */
  note(text: string): void;
  /** A line to stderr about something that looks wrong; never silent. */
  warn(text: string): void;
}

/** One command: `prepare` reads the flags (a UsageError costs nothing yet), the function it returns does the work. */
export interface Command {
  readonly name: string;
  readonly describe: string;
  /** Words after the command that are not flags, in order; read like flags, by name. `many`: the last one takes all that follow. */
  readonly positionals?: readonly { readonly name: string; readonly describe: string; readonly many?: boolean }[];
  /** The same command line goes on where an interrupted one stopped. */
  readonly resumes?: boolean;
  readonly options: OptionTable;
  readonly examples: readonly (readonly [command: string, meaning: string])[];
  prepare(flags: Flags): (io: Io) => Promise<void>;
}
