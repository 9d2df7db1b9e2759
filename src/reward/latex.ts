/** One spelling for the many ways in which an answer is written, without changing what it means. */
import { closingBrace } from './boxed.js';

const UNICODE: Readonly<Record<string, string>> = {
  '−': '-', '–': '-', '—': '-', '×': '\\cdot ', '·': '\\cdot ', '⋅': '\\cdot ', '∗': '\\cdot ', '÷': '/', 'π': '\\pi ', '∞': '\\infty ',
  '≤': '\\le ', '≥': '\\ge ', '≠': '\\ne ', '°': '^\\circ ', '±': '\\pm ', '∓': '\\mp ', '∪': '\\cup ', '∩': '\\cap ', '∅': '\\emptyset ',
  '∈': '\\in ', 'θ': '\\theta ', 'α': '\\alpha ', 'β': '\\beta ', 'λ': '\\lambda ', '²': '^{2}', '³': '^{3}', '½': '\\frac{1}{2}',
  '¼': '\\frac{1}{4}', '¾': '\\frac{3}{4}', '％': '%', '\u00a0': ' ', '\u202f': ' ', '\u2009': ' ', '，': ',',
}; // prettier-ignore
const UNICODE_PATTERN = new RegExp(`[${Object.keys(UNICODE).join('')}]`, 'g');

/** Spellings of the same thing, in order. */
const SPELLINGS: readonly (readonly [RegExp, string])[] = [
  // Layout.
  [/\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?(?=[^A-Za-z]|$)/g, ''],
  [/\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|nonumber|hfill)(?![A-Za-z])/g, ' '],
  [/(\d)(?:(?<!\\)\\[,;: ]|~|\{,\})(?=\d{3}(?!\d))/g, '$1,'],
  [/(?<!\\)\\!/g, ''],
  [/(?<!\\)\\(?:[,;:> ]|q?quad(?![A-Za-z]))|~|\\[hv]space\*?\{[^{}]*\}/g, ' '],
  [/\{,\}/g, ','],
  // Commands with several names.
  [/\\[dtc]frac(?![A-Za-z])/g, '\\frac'],
  [/\\[dt]binom(?![A-Za-z])/g, '\\binom'],
  [/\\(?:textbf|textit|textrm|textsf|texttt|textnormal|mathrm|mathit|mathsf|mbox|hbox|emph|text)\s*\{/g, '\\text{'],
  [/\\(?:mathbf|boldsymbol|bm)\s*\{([^{}]*)\}/g, '$1'],
  [/\\lbrace(?![A-Za-z])/g, '\\{'],
  [/\\rbrace(?![A-Za-z])/g, '\\}'],
  [/\\[lr]?vert(?![A-Za-z])/g, '|'],
  [/\\(?:leq|leqslant)(?![A-Za-z])|<=/g, '\\le '],
  [/\\(?:geq|geqslant)(?![A-Za-z])|>=/g, '\\ge '],
  [/\\neq(?![A-Za-z])|\\not\s*=|!=/g, '\\ne '],
  [/\\lt(?![A-Za-z])/g, '<'],
  [/\\gt(?![A-Za-z])/g, '>'],
  [/\\varnothing(?![A-Za-z])|\\\{\s*\\\}/g, '\\emptyset '],
  [/\\infin(?![A-Za-z])/g, '\\infty '],
  [/\\(?:times|ast)(?![A-Za-z])/g, '\\cdot '],
  [/\*\*/g, '^'],
  [/\*/g, '\\cdot '],
  [/\\div(?![A-Za-z])/g, '/'],
  [/(?:\{\})?\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])/g, '°'],
  [/°\s*([CF])(?![A-Za-z])/g, '°\\text{$1}'],
  [/\\%/g, '%'],
  [/\{:\}/g, ':'],
  // "x ≈ 3" gives 3; "√2 ≈ 1.41" gives √2.
  [/^(\\?[A-Za-z]+)\s*(?:\\approx(?![A-Za-z])|≈)/g, '$1='],
  [/(?<=\S)\s*(?:\\approx(?![A-Za-z])|≈)[\s\S]*$|^\s*(?:\\approx(?![A-Za-z])|≈)/g, ''],
  // Words for symbols, outside commands.
  [/(?<![\\A-Za-z])(?:infinity|infty|inf)(?![A-Za-z])/g, '\\infty '],
  [/(?<![\\A-Za-z])pi(?![A-Za-z])/g, '\\pi '],
  [/(?<![\\A-Za-z])(sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp)(?=\s*[({^\d]|\s+[a-z](?![a-z]))/g, '\\$1'],
  [/√/g, '\\sqrt'],
  // Braces that TeX does not need: \frac12, \sqrt2, x^10 (which people mean as x^{10}).
  [/\\frac\s*(?:(\d)|\{([^{}]*)\})\s*(?:(\d)|\{([^{}]*)\})/g, '\\frac{$1$2}{$3$4}'],
  [/\\frac\s*([A-Za-z\d])\s*(?=\{|[A-Za-z\d])/g, '\\frac{$1}'],
  [/\\sqrt\s*(\d|[A-Za-z](?![A-Za-z]))/g, '\\sqrt{$1}'],
  [/\^\s*(-?\d{2,}|-\d)/g, '^{$1}'],
];

/** `\sqrt(…)` and `^(…)` of plain text, with braces. */
function bracesForParentheses(text: string): string {
  let out = text;
  for (const match of [...text.matchAll(/(?:\\sqrt|\^)\s*\(/g)].reverse()) {
    const open = match.index + match[0].length - 1;
    let depth = 0;
    let end = open;
    for (; end < out.length; end += 1) {
      depth += out[end] === '(' ? 1 : out[end] === ')' ? -1 : 0;
      if (depth === 0) {
        break;
      }
    }
    if (end < out.length) {
      out = `${out.slice(0, open)}{${out.slice(open + 1, end)}}${out.slice(end + 1)}`;
    }
  }
  return out;
}

/** Removes what surrounds an answer: dollar signs, \( \), \[ \], markdown stars, a final full stop. */
function unwrap(text: string): string {
  let out = text.trim();
  for (;;) {
    const before = out;
    out = out.replace(/^\*\*([\s\S]*)\*\*$/, '$1').replace(/(?<![.\\])[.;,]$/, '').trim();
    out = out.replace(/^\$\$?([^$]*)\$?\$$/, '$1').replace(/^\\\(([\s\S]*)\\\)$/, '$1').replace(/^\\\[([\s\S]*)\\\]$/, '$1').trim();
    if (out.startsWith('{') && closingBrace(out, 0) === out.length - 1) {
      out = out.slice(1, -1).trim();
    }
    if (out === before) {
      return out;
    }
  }
}

/**
 * The answer in one spelling: no layout commands, one name per command, braces where TeX lets them out, `°` and `%` as characters,
 * `\text{…}` for every kind of upright text, dollars as the unit `\text{dollars}`. Spaces are single.
 */
export function normalise(answer: string): string {
  const whole = unwrap(answer);
  const dollars = /^[+-]?\s*\\?\$\s*[\d.]/.test(whole);
  let text = whole.replaceAll(/\\?\$/g, '');
  text = text.replaceAll(UNICODE_PATTERN, (char) => UNICODE[char] ?? char);
  for (const [pattern, replacement] of SPELLINGS) {
    text = text.replaceAll(pattern, replacement);
  }
  text = unwrap(bracesForParentheses(text).replaceAll(/\s+/g, ' '));
  return dollars ? text.replace(/^([+-]? ?[\d.,]*\d)(?! ?\\text)/, '$1\\text{dollars}') : text;
}

const OPENING: Readonly<Record<string, string>> = { '(': ')', '[': ')', '{': '}' };

/** Calls `visit` at every offset of depth 0: outside brackets, braces, \{ \}, \left-less delimiters and environments. */
function* topLevel(text: string): Generator<number> {
  let depth = 0;
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i] as string;
    const command = char === '\\' ? (/^\\(?:[A-Za-z]+|[^A-Za-z])/.exec(text.slice(i, i + 20))?.[0] ?? char) : char;
    if (depth === 0 && !(char in OPENING)) {
      yield i;
    }
    if (char in OPENING || command === '\\{' || command === '\\langle' || command === '\\begin') {
      depth += 1;
    } else if (char === ')' || char === ']' || char === '}' || command === '\\}' || command === '\\rangle' || command === '\\end') {
      depth = Math.max(0, depth - 1);
    }
    i += command.length - 1;
  }
}

/** Splits at every match of `separator` (sticky) outside brackets. */
export function splitTopLevel(text: string, separator: RegExp): { parts: string[]; separators: string[] } {
  const sticky = new RegExp(separator.source, 'y');
  const parts: string[] = [];
  const separators: string[] = [];
  let start = 0;
  for (const at of topLevel(text)) {
    sticky.lastIndex = at;
    const match = at < start ? null : sticky.exec(text);
    if (match !== null && match[0] !== '') {
      parts.push(text.slice(start, at).trim());
      separators.push(match[0]);
      start = at + match[0].length;
    }
  }
  parts.push(text.slice(start).trim());
  return { parts, separators };
}

/** The text without any space, for comparing. */
export function compact(text: string): string {
  return text.replaceAll(/\s+/g, '').replaceAll('\\cdot', '*');
}
