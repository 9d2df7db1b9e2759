/** Short names of data sets, for folders, tables and ids. */
import { basename, dirname, extname, resolve } from 'node:path';

/** Names that say nothing without the folder they are in. */
const GENERIC = /^(data|datasets?|train|test|valid|validation|val|dev|eval|main|default|problems|questions|index|\d+|(train|test|validation)-\d+(-of-\d+)?)$/i;

function clean(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9._-]+/g, '-').replaceAll(/^[-.]+|[-.]+$/g, '') || 'dataset';
}

/** "data/chained-sums/test.jsonl" is chained-sums-test, "gsm8k.jsonl" is gsm8k: folders are told where the file's own name says nothing. */
export function nameOfFile(path: string): string {
  const full = resolve(path);
  const parts = [basename(full, extname(full))];
  let folder = dirname(full);
  while (GENERIC.test(parts[0] as string) && basename(folder) !== '') {
    const name = basename(folder);
    // A generic folder is left out, but not the file's own name: gsm8k/data/test.jsonl is gsm8k-test.
    if (!GENERIC.test(name)) {
      parts.unshift(name);
      break;
    }
    folder = dirname(folder);
  }
  return clean(parts.join('-'));
}

/** "hf:openai/gsm8k:main/test" is gsm8k-test, "hf:cais/mmlu:anatomy/test" is mmlu-anatomy-test. */
export function nameOfHub(repo: string, config: string | undefined, split: string): string {
  const parts = [repo.slice(repo.indexOf('/') + 1), ...(config === undefined || /^(main|default)$/.test(config) ? [] : [config]), split];
  return clean(parts.join('-'));
}
