/** Finding `\boxed{…}`. */

const BOX = /\\f?box(?:ed)?(?![A-Za-z])\s{0,20}/g;

/** Offset of the brace that closes the one at `open`, -1 when there is none. Escaped braces do not count. */
export function closingBrace(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i += 1) {
    const char = text[i];
    if (char === '\\') {
      i += 1;
    } else if (char === '{') {
      depth += 1;
    } else if (char === '}') {
      depth -= 1;
      if (depth === 0) {
        return i;
      }
    }
  }
  return -1;
}

/**
 * What the last `\boxed{…}` or `\fbox{…}` holds (the innermost of nested ones), or the number, letter or command after a `\boxed` without
 * braces. Undefined: no box, an empty one, or one that is not closed because the text was cut off.
 */
export function lastBox(text: string): string | undefined {
  const last = [...text.matchAll(BOX)].at(-1);
  if (last === undefined) {
    return undefined;
  }
  const start = last.index + last[0].length;
  if (text[start] !== '{') {
    return /^(?:-?[\d.,]*\d|\\?[A-Za-z]+)/.exec(text.slice(start, start + 100))?.[0];
  }
  const end = closingBrace(text, start);
  const inner = end < 0 ? '' : text.slice(start + 1, end).trim();
  return inner === '' ? undefined : inner;
}

/** Whether the text has a box at all, even a broken one. */
export function hasBox(text: string): boolean {
  return text.search(BOX) >= 0;
}
