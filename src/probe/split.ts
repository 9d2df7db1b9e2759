/** Training, validation and test trajectories that share no problem. */
import { createHash } from 'node:crypto';
import { invalidArgument } from '../native/errors.js';

/** What decides a split. */
export interface SplitOptions {
  seed: number;
  /** Share of the problems held out for the reported numbers, default 0.2. */
  test?: number;
  /** Share of the problems that early stopping and the choice of a layer see, default 0.15. */
  validation?: number;
}

/** Indices of trajectories, ascending; together every trajectory once. */
export interface Split {
  train: number[];
  validation: number[];
  test: number[];
}

/**
 * Splits trajectories by problem: `problemIds[i]` is the problem of trajectory i. Problems are ordered by a hash
 * (SHA-256 of seed and id), the first share of them goes to the test part, the next to validation, the rest to
 * training; so the part of a problem does not depend on the order of trajectories or on how many there are of each, and
 * more problems move only those at the borders. Shares are of problems, rounded, at least one each. Parts are not
 * balanced by reward. INVALID_ARGUMENT when a part would be empty (fewer than three problems).
 */
export function splitByProblem(problemIds: readonly string[], options: SplitOptions): Split {
  const { seed, test = 0.2, validation = 0.15 } = options;
  if (!(test > 0 && validation > 0 && test + validation < 1)) {
    throw invalidArgument('test, validation', 'shares above 0 that sum to less than 1', `${test} and ${validation}`);
  }
  const rank = (id: string): string => createHash('sha256').update(`${seed}\n${id}`).digest('hex');
  const problems = [...new Set(problemIds)]
    .map((id) => ({ id, rank: rank(id) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1));
  const tests = Math.max(1, Math.round(test * problems.length));
  const validations = Math.max(1, Math.round(validation * problems.length));
  if (tests + validations >= problems.length) {
    throw invalidArgument(
      'problemIds',
      `more than ${tests + validations} different problems, so that training, validation and test get one each`,
      problems.length,
    );
  }
  const part = new Map(
    problems.map(({ id }, i) => [id, i < tests ? 'test' : i < tests + validations ? 'validation' : 'train'] as const),
  );
  const split: Split = { train: [], validation: [], test: [] };
  problemIds.forEach((id, i) => split[part.get(id) ?? 'train'].push(i));
  return split;
}
