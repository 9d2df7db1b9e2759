/** Reads `study.json`, `ablate.json` and the results of other commands. */
import type { z } from 'zod';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import type { Ablation } from './ablationSchema.js';
import { ABLATION_FORMAT, ABLATION_VERSION, ablationSchema } from './ablationSchema.js';
import type { ExampleTrajectory, Study } from './schema.js';
import { STUDY_FORMAT, STUDY_VERSION, studySchema } from './schema.js';

type Issue = z.core.$ZodIssue;

function expectation(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'int' ? 'an integer' : `${/^[aeiou]/.test(issue.expected) ? 'an' : 'a'} ${issue.expected}`;
    case 'invalid_value':
      return issue.values.length === 1 ? JSON.stringify(issue.values[0]) : `one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    default:
      return issue.message;
  }
}

function pathText(path: readonly PropertyKey[]): string {
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`)).join('');
}

function checkExample(example: ExampleTrajectory, where: string): void {
  for (const key of ['logProbabilities', 'entropies', 'values', 'tdErrors'] as const) {
    if (example[key].length !== example.tokens.length) {
      throw invalidArgument(`${where}.${key}`, `${example.tokens.length} entries, one per token`, example[key]);
    }
  }
}

/** Refuses a file of another version before its fields are looked at: they would be missed one by one. Errors: INVALID_ARGUMENT. */
function checkVersion(json: unknown, name: string, { format, version, again }: ResultFormat): void {
  const found = json as { format?: unknown; version?: unknown } | null;
  if (found?.format === format && typeof found.version === 'number' && found.version !== version) {
    throw otherVersion(`${name}: version`, version, found.version, again);
  }
}

function otherVersion(where: string, expected: number, found: number, again: string): RewardLensError {
  const advice = found < expected ? `it was written by an older rewardlens; ${again}` : 'it was written by a newer rewardlens';
  return new RewardLensError('INVALID_ARGUMENT', `${where}: expected ${expected}, got ${found}: ${advice}`, { details: { version: found } });
}

/** Errors: INVALID_ARGUMENT naming the path, what was expected and what came. */
function parseWith<T>(schema: z.ZodType<T>, json: unknown, name: string, again: string): T {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0] as Issue;
    const received = issue.path.reduce<unknown>((here, key) => (here as Record<PropertyKey, unknown> | null | undefined)?.[key], json);
    const path = pathText(issue.path);
    if (issue.path.at(-1) === 'version' && issue.code === 'invalid_value' && typeof received === 'number') {
      throw otherVersion(`${name}: ${path}`, Number(issue.values[0]), received, again); // of a result within
    }
    throw invalidArgument(path === '' ? name : `${name}: ${path}`, expectation(issue), received);
  }
  return parsed.data;
}

/** What a file of results says of itself, and what to do about one of another version. */
export interface ResultFormat {
  readonly format: string;
  readonly version: number;
  readonly again: string;
}

/** Checks that `json` is a result of this format and version; `name` (a file) begins every message. Errors: INVALID_ARGUMENT naming the path, what was expected and what came. */
export function parseResult<T>(schema: z.ZodType<T>, json: unknown, name: string, format: ResultFormat): T {
  checkVersion(json, name, format);
  return parseWith(schema, json, name, format.again);
}

/** Checks that `json` is the contents of an `ablate.json` of this version; `name` (a file) begins every message. Errors: INVALID_ARGUMENT. */
export function parseAblation(json: unknown, name: string): Ablation {
  return parseResult(ablationSchema, json, name, { format: ABLATION_FORMAT, version: ABLATION_VERSION, again: 'run `rewardlens ablate` again with the same folder, what its ledger has is kept' });
}

/**
 * Checks that `json`, the contents of a `study.json`, is a study of this version (docs/study-format.md). `name` (a file)
 * begins every message. Errors: INVALID_ARGUMENT naming the path, what was expected and what came.
 */
export function parseStudy(json: unknown, name: string): Study {
  const study = parseResult(studySchema, json, name, { format: STUDY_FORMAT, version: STUDY_VERSION, again: 'run `rewardlens study` again with the same arguments, stages that are done are kept' });
  if (study.datasets.length === 0) {
    throw new RewardLensError('INVALID_ARGUMENT', `${name}: datasets: expected at least one data set, got none`);
  }
  study.datasets.forEach((dataset, d) => {
    const where = `${name}: datasets[${d}]`;
    if (dataset.layers[dataset.bestLayer] === undefined) {
      throw invalidArgument(`${where}.bestLayer`, `an index into ${dataset.layers.length} layers`, dataset.bestLayer);
    }
    dataset.layers.forEach((layer, l) => {
      if (layer.deciles.length !== 10) {
        throw invalidArgument(`${where}.layers[${l}].deciles`, 'ten estimates', layer.deciles);
      }
    });
    dataset.examples.forEach((example, e) => checkExample(example, `${where}.examples[${e}]`));
  });
  return study;
}

/** {@link parseStudy} without the results of other commands (sections, transfer), which may be of other versions: for a study whose results are read from their own files. Errors: as there. */
export function parseEarlierStudy(json: unknown, name: string): Study {
  const { datasets } = (json ?? {}) as { datasets?: unknown };
  const bare = (dataset: unknown): unknown => (typeof dataset === 'object' && dataset !== null ? { ...dataset, sections: undefined } : dataset);
  return parseStudy(Array.isArray(datasets) ? { ...(json as object), transfer: null, datasets: datasets.map(bare) } : json, name);
}
