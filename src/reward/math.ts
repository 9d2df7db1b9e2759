/** The check `math`: the last `\boxed{…}`, compared as mathematics. */
import { hasBox, lastBox } from './boxed.js';
import { compareAnswers } from './compare.js';
import type { Symbolic } from './compare.js';
import type { ScoreItem, Verdict } from './types.js';
import { decided, unknown } from './verdict.js';

/** Longest answer that is taken apart, in characters; a longer one is compared as text. */
const MAX_LENGTH = 2000;

const SENTENCE = /\b(?:final )?answer(?:\s+is|\s{0,3}:)\s{0,3}:?[ \t*]{0,5}([^\n]{1,500})/gi;
/** Two words at the start: "the number of apples, 7" may hold the right answer; it is not wrong for not being a number. */
const PROSE = /^(?:\\text\{)?[A-Za-z'’]{2,}\s+[A-Za-z'’]{2,}/;
const MARKED = /####[ \t]*([^\n]{1,500})/g;

/** Without a box: what follows the last "answer is" or "Answer:", or else the last `####`, to the end of its sentence. */
function fromSentence(text: string): string | undefined {
  const found = ([...text.matchAll(SENTENCE)].at(-1) ?? [...text.matchAll(MARKED)].at(-1))?.[1]?.trim();
  if (found === undefined) {
    return undefined;
  }
  const formula = /^(?:\$\$?([^$]+)\$|\\\((.*?)\\\)|\\\[(.*?)\\\])/.exec(found);
  const answer = formula?.[1] ?? formula?.[2] ?? formula?.[3] ?? found.split(/(?<=[\w)}\]%°$])\.(?=\s|\*|$)/)[0]?.replace(/\*+$/, '');
  return answer === undefined || /^[\s*.:$]*$/.test(answer) ? undefined : answer.trim();
}

/** The answer of a completion, undefined when there is none or it was cut off. */
export function extractMath(text: string): string | undefined {
  return hasBox(text) ? lastBox(text) : fromSentence(text);
}

/** Judges a completion; `gold` is an answer, or a solution with a box. */
export async function checkMath({ text, gold }: ScoreItem, symbolic: Symbolic): Promise<Verdict> {
  const right = (lastBox(gold) ?? gold).trim();
  if (right === '') {
    return unknown('the right answer is empty');
  }
  const answer = extractMath(text);
  if (answer === undefined) {
    return unknown(hasBox(text) ? 'the last \\boxed{…} is empty or cut off' : 'no \\boxed{…} and no "answer is"');
  }
  if (answer === right) {
    return decided(true, answer, 'the same text');
  }
  if (answer.length > MAX_LENGTH || right.length > MAX_LENGTH) {
    return unknown(`an answer of more than ${MAX_LENGTH} characters is not taken apart`, answer);
  }
  const { result, reason } = await compareAnswers(right, answer, symbolic);
  if (result === 'different' && !hasBox(text) && PROSE.test(answer) && !PROSE.test(right)) {
    return unknown('the answer is a sentence', answer);
  }
  return result === 'undecided' ? unknown(reason, answer) : decided(result === 'equal', answer, reason);
}
