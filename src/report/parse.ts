/** Reads `study.json`. */
import type { z } from 'zod';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import type { ExampleTrajectory, Study } from './schema.js';
import { studySchema } from './schema.js';

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

/**
 * Checks that `json`, the contents of a `study.json`, is a study of this version (docs/study-format.md). `name` (a file)
 * begins every message. Errors: INVALID_ARGUMENT naming the path, what was expected and what came.
 */
export function parseStudy(json: unknown, name: string): Study {
  const parsed = studySchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0] as Issue;
    const received = issue.path.reduce<unknown>((here, key) => (here as Record<PropertyKey, unknown> | null | undefined)?.[key], json);
    const path = pathText(issue.path);
    throw invalidArgument(path === '' ? name : `${name}: ${path}`, expectation(issue), received);
  }
  const study = parsed.data;
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
