/** The one error class of rewardlens, and the conversion of native failures into it. */

/** What went wrong, for programs. Messages are for people and may change; codes do not. */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'MODEL_LOAD'
  | 'UNSUPPORTED_ARCH'
  | 'SITE_NOT_FOUND'
  | 'SITE_AMBIGUOUS'
  | 'SHAPE_MISMATCH'
  | 'MEMORY_BUDGET'
  | 'CONTEXT_FULL'
  | 'DECODE_FAILED'
  | 'NON_FINITE'
  | 'HOOK_NOT_FIRED'
  | 'DISPOSED'
  | 'BUSY'
  | 'ABORTED'
  | 'BACKEND'
  | 'STORE_CORRUPT'
  | 'INCOMPLETE'
  | 'IO';

/**
 * Every failure of rewardlens. `code` says which kind, `details` carries the numbers of the message as data, `cause` the
 * underlying error.
 */
export class RewardLensError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: { details?: Record<string, unknown>; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'RewardLensError';
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** An INVALID_ARGUMENT that names the parameter, what was expected and what came. */
export function invalidArgument(parameter: string, expected: string, received: unknown): RewardLensError {
  return new RewardLensError('INVALID_ARGUMENT', `${parameter}: expected ${expected}, got ${describe(received)}`, {
    details: { parameter, expected, received },
  });
}

/** The ABORTED error of an `AbortSignal`, with the signal's reason as cause. */
export function aborted(what: string, signal?: AbortSignal): RewardLensError {
  return new RewardLensError('ABORTED', `${what} was aborted`, { cause: signal?.reason });
}

/** Throws {@link aborted} when the signal has fired. */
export function throwIfAborted(what: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) {
    throw aborted(what, signal);
  }
}

/** A native error (an `Error` with a `code`) as `RewardLensError`; anything else unchanged. */
export function fromNative(error: unknown): unknown {
  if (error instanceof Error && !(error instanceof RewardLensError) && 'code' in error && typeof error.code === 'string') {
    return new RewardLensError(error.code as ErrorCode, error.message, { cause: error });
  }
  return error;
}

/** Runs `body`, converting what the addon throws. */
export function guard<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw fromNative(error);
  }
}

/** Awaits `promise`, converting what the addon rejects with. */
export async function guardAsync<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw fromNative(error);
  }
}

function describe(value: unknown): string {
  if (typeof value === 'string') {
    return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
  }
  if (value === null || typeof value !== 'object') {
    return String(value);
  }
  return Array.isArray(value) ? `an array of ${value.length}` : (value.constructor?.name ?? 'an object');
}
