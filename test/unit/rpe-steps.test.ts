/** Steps cover a completion's tokens exactly, however tokens cut the text. */
import { describe, expect, test } from '@jest/globals';
import type { Splitter } from '../../src/rpe/steps.js';
import { formatSplitter, parseSplitter, splitSteps } from '../../src/rpe/steps.js';
import { mulberry32 } from '../../src/util/random.js';

const bytes = (...texts: string[]): Uint8Array[] => texts.map((text) => new TextEncoder().encode(text));
const ranges = (pieces: readonly Uint8Array[], steps: string): [number, number, string][] => splitSteps(pieces, parseSplitter(steps)).map(({ begin, end, text }) => [begin, end, text]);

describe('borders', () => {
  test('a step ends after its separator; the end-of-generation token belongs to the last step', () => {
    expect(ranges(bytes('a', '\n', 'b', 'c', '\n', 'd', ''), 'line')).toEqual([[0, 2, 'a\n'], [2, 5, 'bc\n'], [5, 7, 'd']]);
    expect(ranges(bytes('a', '\n', ''), 'line')).toEqual([[0, 3, 'a\n']]);
  });

  test('a border inside a token belongs to the token that holds the last character of the separator', () => {
    expect(ranges(bytes('one', '.\n\nTwo', ' is', '.\n', '\n', 'Three'), 'blank-line')).toEqual([[0, 2, 'one.\n\nTwo'], [2, 5, ' is.\n\n'], [5, 6, 'Three']]);
    expect(ranges(bytes('a\nb\nc', 'd'), 'line')).toEqual([[0, 1, 'a\nb\nc'], [1, 2, 'd']]);
    expect(ranges(bytes('a\nb\nc'), 'line')).toEqual([[0, 1, 'a\nb\nc']]);
  });

  test('white space alone is no step', () => {
    expect(ranges(bytes('\n', '\n', 'a', '\n', '\n', '\n', ' ', 'b', '\n', ' '), 'line')).toEqual([[0, 4, '\n\na\n'], [4, 10, '\n\n b\n ']]);
    expect(ranges(bytes('\n', ' '), 'line')).toEqual([[0, 2, '\n ']]);
    expect(ranges(bytes('a', ' \n \n\n', 'b'), 'blank-line')).toEqual([[0, 2, 'a \n \n\n'], [2, 3, 'b']]);
  });

  test('sentences: a decimal point is no end', () => {
    expect(ranges(bytes('So x', ' is 2', '.5. ', 'Then', ' y! ', 'End'), 'sentence').map(([, , text]) => text)).toEqual(['So x is 2.5. ', 'Then y! ', 'End']);
  });

  test('a pattern, which may match nothing, and a number of tokens', () => {
    expect(ranges(bytes('Step', ' 1', 'a', 'Step', ' 2'), 'regex:(?=Step)')).toEqual([[0, 3, 'Step 1a'], [3, 5, 'Step 2']]);
    expect(ranges(bytes('a', 'b', 'c', 'd', 'e'), 'tokens:2').map(([begin, end]) => [begin, end])).toEqual([[0, 2], [2, 4], [4, 5]]);
    expect(ranges([], 'tokens:2')).toEqual([]);
    expect(ranges([], 'line')).toEqual([]);
  });

  test.each(['blank', 'line:3', 'regex:', 'regex:(', 'tokens:0', 'tokens:x', 'tokens'])('%s is refused by name', (text) => {
    expect(() => parseSplitter(text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('steps') }));
  });
});

/** Random bytes of random texts, cut anywhere: inside characters, with empty tokens, with bytes that are no text. */
function randomPieces(random: () => number): Uint8Array[] {
  const alphabet = ['a', 'B', '.', ' ', '\n', '\n\n', '\r\n', 'é', '漢', '🙂', '!', '3.5', '\ufeff'];
  let text = '';
  for (let length = Math.floor(random() * 40); length > 0; length--) {
    text += alphabet[Math.floor(random() * alphabet.length)] ?? '';
  }
  const all = [...new TextEncoder().encode(text)];
  if (random() < 0.2) {
    all.splice(Math.floor(random() * all.length), 0, 0xff);
  }
  const pieces: Uint8Array[] = [];
  while (all.length > 0) {
    pieces.push(Uint8Array.from(all.splice(0, Math.floor(random() * 4))));
  }
  return random() < 0.5 ? pieces : [...pieces, new Uint8Array(0)];
}

describe('properties, over random cuts of random texts', () => {
  const splitters: Splitter[] = ['blank-line', 'line', 'sentence', 'regex:\\s', 'regex:(?=[A-Z])', 'tokens:1', 'tokens:3'].map(parseSplitter);
  test.each(splitters.map((splitter) => [formatSplitter(splitter), splitter] as const))('%s', (name, splitter) => {
    expect(parseSplitter(name)).toEqual(splitter);
    const random = mulberry32(7);
    for (let round = 0; round < 300; round++) {
      const pieces = randomPieces(random);
      const steps = splitSteps(pieces, splitter);
      // a partition in order, and no step is empty
      expect(steps.map(({ begin }) => begin)).toEqual([...(pieces.length > 0 ? [0] : []), ...steps.slice(0, -1).map(({ end }) => end)]);
      expect(steps.at(-1)?.end ?? 0).toBe(pieces.length);
      expect(steps.every(({ begin, end }) => end > begin)).toBe(true);
      const whole = new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(pieces));
      expect(steps.map(({ text }) => text).join('')).toBe(whole);
      // a border in the text is after the last character of some separator, or that separator's token goes on behind it
      if (splitter.kind === 'line') {
        for (const { text } of steps.slice(0, -1)) {
          expect(text).toMatch(/\n/);
        }
      }
    }
  });
});
