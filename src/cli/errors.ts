/** What a failed command prints, and its exit code. */
import { RewardLensError } from '../native/errors.js';

/** Exit codes: 0 done, 1 failed, 2 the command line is wrong, 128 + signal number when interrupted. */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/** The command line itself is wrong: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Runs `body`; an INVALID_ARGUMENT of the library is then about a flag: a usage error. */
export function asUsage<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw error instanceof RewardLensError && error.code === 'INVALID_ARGUMENT' ? new UsageError(error.message, { cause: error }) : error;
  }
}

/** An error as JSON for `--json`: `{"error": {"code", "message", "details"}}`. */
export function errorToJson(error: unknown): { error: Record<string, unknown> } {
  if (error instanceof RewardLensError) {
    return { error: { code: error.code, message: error.message, details: error.details } };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { error: { code: error instanceof UsageError ? 'USAGE' : 'INTERNAL', message } };
}

/** An error as text for stderr. With `verbose`: its code, stack and causes. `resumes`: see {@link Command}. */
export function errorToText(error: unknown, options: { command: string | undefined; verbose: boolean; resumes?: boolean | undefined }): string {
  const program = options.command === undefined ? 'rewardlens' : `rewardlens ${options.command}`;
  const message = error instanceof Error ? error.message : String(error);
  const lines = [`${program}: ${message}`];
  if (error instanceof UsageError) {
    lines.push(`Try '${program} --help'.`);
  } else if (options.resumes === true && error instanceof RewardLensError && error.code === 'ABORTED') {
    lines.push('The same command goes on where it stopped.');
  } else if (!options.verbose && !(error instanceof RewardLensError)) {
    lines.push('This is a bug in rewardlens; --verbose shows where.');
  }
  if (options.verbose) {
    lines.push(...stackLines(error));
  }
  return lines.join('\n');
}

function stackLines(error: unknown): string[] {
  const lines: string[] = [];
  for (let here = error; here instanceof Error; here = here.cause) {
    const code = 'code' in here ? ` [${String(here.code)}]` : '';
    lines.push(`${here === error ? '' : 'caused by '}${here.stack ?? here.message}${code}`);
  }
  return lines;
}
