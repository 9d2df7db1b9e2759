/** Problems with known answers, whatever file they came from. */

/** One problem. */
export interface Problem {
  /** Unique within the data set. */
  readonly id: string;
  /** The question; for plain JSONL, the exact text for the model. */
  readonly question: string;
  /** Labels and texts of the options of a multiple-choice problem, in order. */
  readonly choices?: readonly { readonly label: string; readonly text: string }[];
  /** The right answer, as the checker wants it: a number, LaTeX, a letter, a text. */
  readonly answer: string;
  /** Name of the reward function: gsm8k, math, choice, exact, regex, or a module path. */
  readonly check: string;
  /** The record as it was in the file. */
  readonly source: Readonly<Record<string, unknown>>;
}

/** Shapes of record that are recognised. */
export type DatasetFormat = 'gsm8k' | 'math' | 'arc' | 'mmlu' | 'jsonl';

/** A line that could not be read. */
export interface BadLine {
  /** Counted from 1. */
  readonly line: number;
  readonly message: string;
}

/** A loaded data set. */
export interface Dataset {
  /** Short name for folders and tables: "gsm8k-test", "chained-sums". Letters, digits, dot, dash, underscore. */
  readonly name: string;
  /** Path, or hf:owner/name with config, split and revision. */
  readonly source: string;
  readonly format: DatasetFormat;
  /** SHA-256 of the problems as loaded, in hex. */
  readonly sha256: string;
  readonly problems: readonly Problem[];
  /** Empty unless bad lines were skipped on request. */
  readonly skipped: readonly BadLine[];
}
