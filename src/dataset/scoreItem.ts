/** From a problem and a completion to what a reward function is given. */
import type { ScoreItem } from '../reward/types.js';
import type { Problem } from './types.js';

/**
 * A completion to judge. The reward function sees the record's own fields, with `id`, and with `choices` as they were shown to
 * the model: a record may label its options in another way.
 */
export function toScoreItem(problem: Problem, text: string): ScoreItem {
  const { id, choices, answer, source } = problem;
  return { text, gold: answer, problem: { ...source, id, ...(choices === undefined ? {} : { choices }) } };
}
