/** JSON parsing whose errors say where, in every Node version. */
import { RewardLensError } from '../native/errors.js';

/** Reads a value at `at` and returns the offset behind it, or throws the offset at which no JSON can go on. */
class Scanner {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** Offset of the first character that is not JSON, or undefined when all is well. */
  fault(): number | undefined {
    try {
      const end = this.#space(this.#value(this.#space(0)));
      return end === this.#text.length ? undefined : end;
    } catch (offset) {
      return offset as number;
    }
  }

  #match(pattern: RegExp, at: number): number {
    pattern.lastIndex = at;
    const found = pattern.exec(this.#text);
    return found === null ? -1 : at + found[0].length;
  }

  #space(at: number): number {
    return this.#match(/[ \t\r\n]*/y, at);
  }

  #value(at: number): number {
    const first = this.#text[at];
    if (first === '[' || first === '{') {
      return this.#items(at, first === '{');
    }
    const end = first === '"' ? this.#string(at) : this.#match(/true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y, at);
    return end < 0 ? this.#stop(at) : end;
  }

  #items(at: number, keyed: boolean): number {
    const close = keyed ? '}' : ']';
    let here = this.#space(at + 1);
    if (this.#text[here] === close) {
      return here + 1;
    }
    for (;;) {
      if (keyed) {
        here = this.#space(this.#text[here] === '"' ? this.#string(here) : this.#stop(here));
        here = this.#space(this.#text[here] === ':' ? here + 1 : this.#stop(here));
      }
      here = this.#space(this.#value(here));
      if (this.#text[here] === close) {
        return here + 1;
      }
      here = this.#space(this.#text[here] === ',' ? here + 1 : this.#stop(here));
    }
  }

  #string(at: number): number {
     
    const body = this.#match(/"([^"\\\u0000-\u001f]|\\(["\\/bfnrt]|u[0-9a-fA-F]{4}))*/y, at);
    return this.#text[body] === '"' ? body + 1 : this.#stop(body);
  }

  #stop(at: number): never {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- caught in fault()
    throw at;
  }
}

/**
 * Parses `text`; `name` (a file) begins the error message, `firstLine` is the line in which the text begins. Errors:
 * INVALID_ARGUMENT with line and column, counted from 1, of the first character that is not JSON.
 */
export function parseJson(text: string, name: string, firstLine = 1): unknown {
  const source = text.startsWith('\ufeff') ? text.slice(1) : text;
  try {
    return JSON.parse(source) as unknown;
  } catch (cause) {
    const offset = new Scanner(source).fault() ?? source.length;
    const before = source.slice(0, offset).split('\n');
    const line = firstLine + before.length - 1;
    const column = (before.at(-1) ?? '').length + 1;
    const found = offset >= source.length ? 'the text ends too early' : `unexpected ${JSON.stringify([...source.slice(offset)][0])}`;
    throw new RewardLensError('INVALID_ARGUMENT', `${name}: not valid JSON: ${found} at line ${line}, column ${column}`, {
      cause,
      details: { name, line, column },
    });
  }
}
