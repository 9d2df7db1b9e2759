/** The question of P(True), on made-up vocabularies and templates. */
import { describe, expect, test } from '@jest/globals';
import { QUESTION_TEXT, prepareQuestion } from '../../src/apply/pTrue.js';
import type { ChatMessage, Model } from '../../src/model/model.js';

/** A model whose tokens are characters (their codes) for texts, and `pieces` for words. */
function stub(pieces: readonly string[], template?: (messages: readonly ChatMessage[]) => string): Model {
  const model = {
    info: { vocabSize: pieces.length, path: 'stub.gguf' },
    tokenPiece: (token: number) => Buffer.from(pieces[token] ?? ''),
    tokenize: (text: string) => Int32Array.from(text, (letter) => letter.codePointAt(0) ?? 0),
    applyChatTemplate: template,
  };
  return model as unknown as Model;
}

const WORDS = ['Y', 'Yes', ' Yes', 'No', 'N', ' No', 'Yesterday', 'Not', ' ', ''];
const chatml = (messages: readonly ChatMessage[]): string => `${messages.map(({ role, content }) => `<|${role}|>${content.trim()}<|end|>\n`).join('')}<|assistant|>`;
const textOf = (tokens: Int32Array): string => String.fromCodePoint(...tokens);

describe('prepareQuestion', () => {
  test('whole words where the vocabulary has them, after a space or not; longer words do not count', () => {
    expect(prepareQuestion(stub(WORDS), { text: '?', yes: 'Yes', no: 'No' }, false)).toMatchObject({ yesTokens: [1, 2], noTokens: [3, 5] });
  });

  test('their beginnings where it does not', () => {
    expect(prepareQuestion(stub([...'abnoY y']), { text: '?', yes: 'yes', no: 'no' }, false)).toMatchObject({ yesTokens: [6], noTokens: [2] });
  });

  test.each([
    [[...'yep'], 'yes', 'yep?'],
    [[...'abc'], 'yes', 'no'],
  ])('words of %j that cannot be told apart are refused', (pieces, yes, no) => {
    expect(() => prepareQuestion(stub(pieces), { text: '?', yes, no }, false)).toThrow('yes, no: expected words that begin with different tokens of the model');
  });

  test('a raw question follows the answer as it is; the default is on lines of its own', () => {
    expect(textOf(prepareQuestion(stub(WORDS), { text: ' right?', yes: 'Yes', no: 'No' }, false).tokens)).toBe(' right?');
    expect(textOf(prepareQuestion(stub(WORDS), { yes: 'Yes', no: 'No' }, false).tokens)).toBe(`\n\n${QUESTION_TEXT}\nAnswer:`);
  });

  test('in a chat it is the next turn, with what ends the answer', () => {
    const asked = prepareQuestion(stub(WORDS, chatml), { yes: 'Yes', no: 'No' }, true);
    expect(textOf(asked.tokens)).toBe(`<|end|>\n<|user|>${QUESTION_TEXT}<|end|>\n<|assistant|>`);
    expect(asked.text).toBe(QUESTION_TEXT);
  });

  test('a template that hides the answer is refused', () => {
    const forgetful = (messages: readonly ChatMessage[]): string => chatml(messages.filter(({ role }) => role === 'user'));
    expect(() => prepareQuestion(stub(WORDS, forgetful), { yes: 'Yes', no: 'No' }, true)).toThrow("does not show the assistant's turn");
  });
});
