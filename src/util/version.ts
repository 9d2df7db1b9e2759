/** The package's own version. */
import { readFileSync } from 'node:fs';

let version: string | undefined;

/** Version in package.json, two folders up from src/util and dist/util alike. */
export function packageVersion(): string {
  version ??= (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;
  return version;
}
