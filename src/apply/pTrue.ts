/** P(True): the model is asked whether its answer is right, and the probability of "yes" is read off (Kadavath et al. 2022). */
import type { Model } from '../model/model.js';
import type { Session } from '../model/session.js';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import type { RunProgress } from '../run/engine.js';
import { runSequences } from '../run/engine.js';

/** What to ask, and which words mean yes and no. */
export interface Question {
  /** As the user's turn of a chat, or exactly what follows the completion of a raw prompt. Default {@link QUESTION_TEXT}. */
  readonly text?: string | undefined;
  readonly yes: string;
  readonly no: string;
}

/** A question ready for one model. */
export interface AskedQuestion {
  readonly text: string;
  /** Tokens that follow a completion. */
  readonly tokens: Int32Array;
  /** Tokens with which the two words begin, after a space or not. */
  readonly yesTokens: readonly number[];
  readonly noTokens: readonly number[];
}

export const QUESTION_TEXT = 'Is the answer above right? Reply with Yes or No.';

/** Stands for the completion while the question's place in a conversation is found out; no template changes such a text. */
const MARK = 'QXZANSWERXZQ';

/** The next turn of a conversation, as the model's own template writes it, what ends the completion's turn included. */
function nextTurn(model: Model, text: string): string {
  const whole = model.applyChatTemplate([{ role: 'user', content: '?' }, { role: 'assistant', content: MARK }, { role: 'user', content: text }]);
  const at = whole.lastIndexOf(MARK);
  if (at < 0) {
    throw new RewardLensError('INVALID_ARGUMENT', "P(True): the chat template does not show the assistant's turn before the question; leave it out (--no-ask)");
  }
  return whole.slice(at + MARK.length);
}

/**
 * Tokens with which each word can begin, after a space or not: the longest there are, whole words in most vocabularies. Cost: looks at
 * the text of every token.
 */
function beginnings(model: Model, words: readonly string[]): number[][] {
  const longest = words.map(() => 1);
  const out = words.map((): number[] => []);
  for (let token = 0; token < model.info.vocabSize; token++) {
    const piece = model.tokenPiece(token).toString('utf8').trimStart();
    words.forEach((word, i) => {
      if (piece.length >= (longest[i] as number) && word.startsWith(piece)) {
        out[i] = piece.length > (longest[i] as number) ? [token] : [...(out[i] as number[]), token];
        longest[i] = piece.length;
      }
    });
  }
  return out;
}

/**
 * Tokens of the question; `chat`: the completions are turns of a chat. Errors: INVALID_ARGUMENT when the model
 * cannot tell the beginnings of yes and no apart, or the template fails.
 */
export function prepareQuestion(model: Model, question: Question, chat: boolean): AskedQuestion {
  const [yesTokens, noTokens] = beginnings(model, [question.yes, question.no]) as [number[], number[]];
  if (yesTokens.length === 0 || noTokens.length === 0 || yesTokens.some((token) => noTokens.includes(token))) {
    throw invalidArgument('yes, no', 'words that begin with different tokens of the model', `${question.yes}, ${question.no}`);
  }
  const text = question.text ?? (chat ? QUESTION_TEXT : `\n\n${QUESTION_TEXT}\nAnswer:`);
  const tokens = model.tokenize(chat ? nextTurn(model, text) : text, { addSpecial: false });
  return { text, tokens, yesTokens, noTokens };
}

/** What the model said of one completion. */
export interface Belief {
  /** P(yes) / (P(yes) + P(no)). */
  readonly pTrue: number;
  /** P(yes) + P(no): how far the model took the question as one at all. */
  readonly mass: number;
}

/** Softmax mass of some tokens of one row of logits. */
function shares(logits: Float32Array, groups: readonly (readonly number[])[]): number[] {
  const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = logits.reduce((sum, value) => sum + Math.exp(value - highest), 0);
  return groups.map((tokens) => tokens.reduce((sum, token) => sum + Math.exp((logits[token] as number) - highest), 0) / total);
}

/**
 * Asks the question after every text (tokens of prompt and completion, the end-of-generation token left out). Returns beliefs
 * in their order and the run's totals. Cost: one forward row per token that no other text shares; the output projection once a
 * text. Errors: those of the engine; SITE_NOT_FOUND where the model's graph has no `logits`.
 */
export async function askWhetherTrue(
  session: Session,
  texts: readonly Int32Array[],
  question: AskedQuestion,
  options: { signal?: AbortSignal | undefined; onProgress?: ((done: number, total: number) => void) | undefined } = {},
): Promise<{ beliefs: Belief[]; run: RunProgress }> {
  const beliefs = new Array<Belief>(texts.length);
  const requests = texts.map((text) => ({ prompt: Int32Array.of(...text, ...question.tokens) }));
  let done = 0;
  const run = runSequences(session, requests, {
    capture: { site: 'logits', layers: [-1], positions: 'last' },
    promptOnly: true,
    releaseRows: true,
    signal: options.signal,
    onRows: (chunk) => {
      const width = session.model.info.vocabSize;
      const rows = new Float32Array(chunk.blocks[0] as ArrayBuffer);
      const [yes, no] = shares(rows.subarray((chunk.rowCount - 1) * width), [question.yesTokens, question.noTokens]) as [number, number];
      beliefs[chunk.id] = { pTrue: yes + no > 0 ? yes / (yes + no) : 0.5, mass: yes + no };
      options.onProgress?.(++done, texts.length);
    },
  });
  for (let step = await run.next(); ; step = await run.next()) {
    if (step.done === true) {
      return { beliefs, run: step.value };
    }
  }
}
