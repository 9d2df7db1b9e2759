/** Inputs of the command line: escapes, prompt lists, token lists. */
import { describe, expect, test } from '@jest/globals';
import { contextFor, parsePromptLines, parseTokenLists, processEscapes } from '../../src/cli/inputs.js';

describe('escapes, as llama.cpp reads -p', () => {
  test.each([
    ['a\\nb\\tc\\r', 'a\nb\tc\r'],
    ['\\"x\\" \\\'y\\\'', '"x" \'y\''],
    ['\\\\n', '\\n'],
    ['\\x41\\x7a', 'Az'],
    ['\\xe2\\x82\\xac', '€'],
    ['\\xZZ \\q \\', '\\xZZ \\q \\'],
    ['grüße €', 'grüße €'],
  ])('%j', (text, expected) => {
    expect(processEscapes(text)).toBe(expected);
  });
});

describe('--prompts', () => {
  test('strings and objects; empty lines and other keys do not matter', () => {
    const text = '"one"\n\n{"id": "b", "prompt": "two", "answer": 4}\r\n{"tokens": [1, 2]}\n{"id": 7, "messages": [{"role": "user", "content": "hi"}]}\n';
    expect(parsePromptLines(text, 'p.jsonl')).toEqual([
      { source: 'p.jsonl:1', id: undefined, text: 'one', tokens: undefined, messages: undefined },
      { source: 'p.jsonl:3', id: 'b', text: 'two', tokens: undefined, messages: undefined },
      { source: 'p.jsonl:4', id: undefined, text: undefined, tokens: [1, 2], messages: undefined },
      { source: 'p.jsonl:5', id: 7, text: undefined, tokens: undefined, messages: [{ role: 'user', content: 'hi' }] },
    ]);
  });

  test.each([
    ['"a"\n{"prompt": 5}', 'p.jsonl:2: prompt: expected a string, got 5'],
    ['"a"\n\n{"promt": "x"}', 'p.jsonl:3: expected one of "prompt", "tokens", "messages", got "promt"'],
    ['{"prompt": "x", "tokens": [1]}', 'p.jsonl:1: expected one of "prompt", "tokens", "messages", got "prompt", "tokens"'],
    ['"a"\n{"prompt": "x"', 'p.jsonl: not valid JSON: the text ends too early at line 2, column 15'],
    ['[1, 2]', 'p.jsonl:1: expected a string or an object, got an array of 2'],
    ['{"tokens": [1, -2]}', 'p.jsonl:1: tokens[1]: expected a token id ≥ 0, got -2'],
    ['{"messages": [{"role": "user"}]}', 'p.jsonl:1: messages[0].content: expected a string, got undefined'],
    ['\n \n', 'p.jsonl: expected at least one prompt, got "none"'],
  ])('%j', (text, expected) => {
    expect(() => parsePromptLines(text, 'p.jsonl')).toThrow(expected);
  });
});

describe('--tokens', () => {
  test('sequences', () => {
    expect(parseTokenLists('[[1, 2], [3]]', 't.json')).toEqual([
      { source: 't.json: [0]', tokens: [1, 2] },
      { source: 't.json: [1]', tokens: [3] },
    ]);
  });

  test.each([
    ['[1, 2]', 't.json: [0]: expected an array of token ids, got 1'],
    ['[[1], [2, 1.5]]', 't.json: [1][1]: expected a token id, got 1.5'],
    ['[[1], []]', 't.json: [1]: expected at least one token id, got an array of 0'],
    ['[]', 't.json: expected at least one sequence, got an array of 0'],
    ['{}', 't.json: expected an array of arrays of token ids'],
    ['[[1]', 'line 1, column 5'],
  ])('%s', (text, expected) => {
    expect(() => parseTokenLists(text, 't.json')).toThrow(expected);
  });
});

test('the context is what the longest input needs, or what -c says', () => {
  const input = (length: number): Parameters<typeof contextFor>[0][number] => ({ source: `of ${length}`, id: undefined, text: undefined, tokens: new Int32Array(length) });
  expect(contextFor([input(3), input(9)], 4, undefined)).toBe(13);
  expect(contextFor([input(3), input(9)], 4, 9)).toBe(9);
  expect(() => contextFor([input(3), input(9)], 4, 8)).toThrow('of 9: the prompt has 9 tokens, -c 8 holds fewer');
});
