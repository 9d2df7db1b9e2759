/** Problems with known answers, one JSON object a line. */
import { readFile } from 'node:fs/promises';
import { RewardLensError } from '../native/errors.js';
import type { CheckName } from './check.js';
import { CHECKS } from './check.js';

/** One problem. `prompt` is the exact text for the model; `check` names the answer checker. */
export interface Problem {
  readonly id: string;
  readonly prompt: string;
  readonly answer: string;
  readonly check: CheckName;
  /** Further fields of the line, as they are. */
  readonly [field: string]: unknown;
}

/** Reads a JSONL file of problems. Errors: IO; INVALID_ARGUMENT naming file, line and field. */
export async function loadProblems(path: string): Promise<Problem[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new RewardLensError('IO', `cannot read '${path}': ${(error as Error).message}`, { cause: error });
  }
  return text.split('\n').flatMap((line, i) => (line.trim() === '' ? [] : [parseProblem(line, `${path}:${i + 1}`)]));
}

function parseProblem(line: string, where: string): Problem {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new RewardLensError('INVALID_ARGUMENT', `${where}: not JSON: ${(error as Error).message}`, { cause: error });
  }
  const record = value as Record<string, unknown>;
  for (const field of ['id', 'prompt', 'answer', 'check']) {
    if (typeof record[field] !== 'string') {
      throw new RewardLensError('INVALID_ARGUMENT', `${where}: ${field}: expected a string, got ${JSON.stringify(record[field]) ?? 'nothing'}`);
    }
  }
  if (!Object.hasOwn(CHECKS, record.check as string)) {
    throw new RewardLensError('INVALID_ARGUMENT', `${where}: check: expected ${Object.keys(CHECKS).join(', ')}, got ${JSON.stringify(record.check)}`);
  }
  return record as unknown as Problem;
}
