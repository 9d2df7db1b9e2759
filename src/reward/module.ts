/** A user's own reward function: a JavaScript or TypeScript module. */
import { extname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createJiti } from 'jiti';
import type { ScoreItem, Verdict, VerdictKind } from './types.js';
import { decided, unknown } from './verdict.js';

/** Imports the module and returns its default export; TypeScript is translated on the fly. Throws when it is not a function. */
export async function loadUserFunction(path: string): Promise<(item: ScoreItem) => unknown> {
  const exported: unknown = ['.ts', '.mts', '.cts'].includes(extname(path))
    ? await createJiti(import.meta.url, { fsCache: false }).import(path, { default: true })
    : ((await import(pathToFileURL(path).href)) as { default?: unknown }).default;
  if (typeof exported !== 'function') {
    const got: string = exported === null ? 'null' : typeof exported;
    throw new Error(`the default export must be a function (item) => verdict, got ${got}`);
  }
  return exported as (item: ScoreItem) => unknown;
}

const KINDS: readonly unknown[] = ['correct', 'wrong', 'unknown'] satisfies VerdictKind[];

const isReward = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 1;

/** A number in [0, 1] is a reward; from 0.5 on it counts as correct. */
function fromNumber(reward: number, extracted: string): Verdict {
  return { ...decided(reward >= 0.5, extracted, `reward ${reward}`), reward };
}

/**
 * What a user's function returned, as a verdict: true or false, "correct" | "wrong" | "unknown", a reward in [0, 1], or an object
 * {verdict, extracted?, reason?, reward?}. Anything else is `unknown` and says why.
 */
export function toVerdict(value: unknown, text: string): Verdict {
  const extracted = text.trim();
  if (typeof value === 'boolean') {
    return decided(value, extracted, value ? 'the function says true' : 'the function says false');
  }
  if (typeof value === 'number') {
    return isReward(value) ? fromNumber(value, extracted) : unknown(`the function returned ${String(value)}: expected a number in [0, 1]`);
  }
  if (typeof value === 'string') {
    return toVerdict({ verdict: value }, text);
  }
  if (typeof value !== 'object' || value === null) {
    return unknown(`the function returned ${String(value)}: expected a verdict, a boolean or a number`);
  }
  const fields = value as Record<string, unknown>;
  if (!KINDS.includes(fields['verdict'])) {
    return unknown(`the function returned the verdict ${JSON.stringify(fields['verdict'])}: expected "correct", "wrong" or "unknown"`);
  }
  const kind = fields['verdict'] as VerdictKind;
  if (fields['reward'] !== undefined && fields['reward'] !== null && !isReward(fields['reward'])) {
    return unknown(`the function returned the reward ${JSON.stringify(fields['reward'])}: expected a number in [0, 1]`);
  }
  return {
    verdict: kind,
    extracted: typeof fields['extracted'] === 'string' ? fields['extracted'] : kind === 'unknown' ? undefined : extracted,
    reason: typeof fields['reason'] === 'string' ? fields['reason'] : `the function says ${kind}`,
    reward: isReward(fields['reward']) ? fields['reward'] : kind === 'unknown' ? null : kind === 'correct' ? 1 : 0,
  };
}
