/** Settings that programs give, refused by name before anything runs; the command line has checked its own. */
import { z } from 'zod';
import { invalidArgument } from '../native/errors.js';

/** An integer of at least `least`. */
export function whole(least: number): z.ZodNumber {
  const message = `an integer of at least ${least}`;
  return z.int(message).min(least, message);
}

/** A number in `low`..`high`. */
export function between(low: number, high: number): z.ZodNumber {
  const message = `a number in ${low}..${high}`;
  return z.number(message).min(low, message).max(high, message);
}

/** One of `names`. */
export function among(names: readonly [string, ...string[]]): z.ZodType {
  return z.enum(names, `one of ${names.join(', ')}`);
}

/** Errors: INVALID_ARGUMENT naming the field, what is expected and what came. */
export function checkSettings(schema: z.ZodType, settings: object): void {
  const issue = schema.safeParse(settings).error?.issues[0];
  if (issue !== undefined) {
    const received = issue.path.reduce<unknown>((here, key) => (here as Record<PropertyKey, unknown> | undefined)?.[key], settings);
    throw invalidArgument(issue.path.join('.'), issue.message, received);
  }
}
