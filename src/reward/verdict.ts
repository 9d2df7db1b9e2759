/** Making verdicts. */
import type { Verdict } from './types.js';

/** Longest text that a reason quotes, in characters. */
const QUOTE = 60;

/** `text` for a reason: one line, shortened. */
export function quote(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length > QUOTE ? `${line.slice(0, QUOTE - 1)}…` : line;
}

/** A decided verdict: reward 1 or 0. */
export function decided(correct: boolean, extracted: string, reason: string): Verdict {
  return { verdict: correct ? 'correct' : 'wrong', extracted, reason, reward: correct ? 1 : 0 };
}

/** `unknown`, reward null. `extracted` when an answer was found but could not be judged. */
export function unknown(reason: string, extracted?: string): Verdict {
  return { verdict: 'unknown', extracted, reason, reward: null };
}
