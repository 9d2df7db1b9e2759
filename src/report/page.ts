/** The frame of every page: one HTML file that needs nothing else. */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { RewardLensError } from '../native/errors.js';
import type { Html } from './html.js';
import { Html as Raw, html } from './html.js';
import { SCRIPT } from './script.js';
import { STYLE } from './style.js';

const sha256 = (text: string): string => createHash('sha256').update(text, 'utf8').digest('base64');

/** Nothing is loaded from anywhere, and no script runs but the page's own: texts of models are not trusted. */
const POLICY = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${sha256(SCRIPT)}'; base-uri 'none'; form-action 'none'`;

/** A page: title (visible text), what it is of ("study"), its table of contents and its sections. */
export interface Page {
  readonly title: string;
  readonly kind: string;
  readonly contents: Html;
  readonly body: Html;
}

/** The page as text: no network, no other files. Equal parts give equal bytes. */
export function renderPage({ title, kind, contents, body }: Page): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${title} – RewardLens ${kind}</title>
<style>${new Raw(STYLE)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the findings</a>
<header><h1>${title}</h1>${contents}</header>
<main id="main">
${body}
</main>
<script>${new Raw(SCRIPT)}</script>
</body>
</html>
`.text;
}

/** Writes a page. Errors: IO. */
export async function writePage(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch (error) {
    throw new RewardLensError('IO', `cannot write '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
  }
}
