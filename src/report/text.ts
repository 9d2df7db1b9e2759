/** Texts of models made visible: white space, control characters, characters that reorder or hide what is around them. */

const hex = (code: number, digits: number): string => code.toString(16).toUpperCase().padStart(digits, '0');

/** C0 and C1 controls but tab and line feed; lone surrogates; the replacement character. */
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\ufffd/g;
/** Zero-width and bidirectional characters, line and paragraph separator, byte order mark, tags and other invisible ones. */
const INVISIBLE = /[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/gu;

/**
 * Text in which nothing is hidden: controls as ⟨0x1B⟩, invisible and bidirectional characters as ⟨U+202E⟩, U+FFFD (bytes that
 * were no UTF-8) as ⟨?⟩. Spaces, tabs and line feeds stay.
 */
export function visibleText(text: string): string {
  return text
    .replace(CONTROLS, (c) => (c === '\ufffd' ? '⟨?⟩' : `⟨0x${hex(c.charCodeAt(0), 2)}⟩`))
    .replace(INVISIBLE, (c) => `⟨U+${hex(c.codePointAt(0) as number, 4)}⟩`);
}

/**
 * {@link visibleText} of one token, white space too: space ·, tab ⇥, line feed ↵ followed by a line feed, no-break
 * space ⍽, nothing at all ∅.
 */
export function visibleToken(token: string): string {
  const shown = visibleText(token).replace(/ /g, '·').replace(/\t/g, '⇥').replace(/\n/g, '↵\n').replace(/\u00a0/g, '⍽');
  return shown === '' ? '∅' : shown;
}
