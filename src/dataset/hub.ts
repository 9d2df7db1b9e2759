/** Data sets of the Hugging Face hub, through Hugging Face's own library and its cache folder. */
import type { Dirent } from 'node:fs';
import { readFile, readdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { RewardLensError, aborted, throwIfAborted } from '../native/errors.js';
import type { HubSpec, Selection } from './hubSpec.js';
import { selectFiles } from './hubSpec.js';
import { makeFolder } from '../util/makeFolder.js';

/** How far a download is. */
export interface DownloadProgress {
  /** Path in the repository. */
  readonly file: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** Options of {@link openHub}. */
export interface HubOptions {
  /** Folder of the cache. Default: HF_HUB_CACHE, or `hub` in HF_HOME, or ~/.cache/huggingface/hub. */
  readonly cacheDir?: string | undefined;
  /** Default: HF_ENDPOINT, or https://huggingface.co. */
  readonly hubUrl?: string | undefined;
  /** Default: the global one. */
  readonly fetch?: typeof fetch | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

/** A data set on this machine. */
export interface HubFiles {
  readonly selection: Selection;
  /** Commit, 40 hex digits. */
  readonly commit: string;
  /** Paths in the cache, in the order of `selection.files`. */
  readonly paths: readonly string[];
}

const COMMIT = /^[0-9a-f]{40}$/;

/** What every call of the library takes. */
interface Access {
  repo: { type: 'dataset'; name: string };
  hubUrl: string;
  cacheDir: string;
  accessToken?: string;
  fetch: typeof fetch;
}

/** The library writes a line to stdout for every file; stdout belongs to the caller. */
async function quietly<T>(body: () => Promise<T>): Promise<T> {
  const { debug, info } = console;
  const filtered = (print: typeof debug): typeof debug => (...words: unknown[]) => {
    if (!/^(Downloading .*\.incomplete$|Symlink not supported)/.test(String(words[0]))) {
      print(...words);
    }
  };
  Object.assign(console, { debug: filtered(debug), info: filtered(info) });
  try {
    return await body();
  } finally {
    Object.assign(console, { debug, info });
  }
}

function readToken(): { accessToken?: string } {
  const token = process.env['HF_TOKEN'];
  if (token === undefined || token === '') {
    return {};
  }
  if (!token.startsWith('hf_')) {
    // The token itself stays out of the message.
    throw new RewardLensError('INVALID_ARGUMENT', 'HF_TOKEN: expected a token of Hugging Face, which begins with "hf_"');
  }
  return { accessToken: token };
}

/** Requests end with the signal; downloads are counted. */
function watchedFetch(options: HubOptions, onBytes: (count: number) => void): typeof fetch {
  const base = options.fetch ?? fetch;
  const { signal } = options;
  return async (input, init) => {
    const response = await base(input, { ...init, ...(signal === undefined ? {} : { signal }) });
    const data = new Headers(init?.headers).get('range') !== 'bytes=0-0' && response.headers.get('content-type')?.includes('json') !== true;
    if (options.onProgress === undefined || response.body === null || !data) {
      return response;
    }
    const counter = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        onBytes(chunk.byteLength);
        controller.enqueue(chunk);
      },
    });
    return new Response(response.body.pipeThrough(counter), { status: response.status, headers: response.headers });
  };
}

/** Files of a commit that are in the cache. */
async function cachedFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((): Dirent[] => []);
  const paths = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  const present = await Promise.all(paths.map((path) => stat(path).then((found) => found.isFile(), () => false)));
  return paths.filter((_, i) => present[i]).map((path) => relative(folder, path).replaceAll(sep, '/'));
}

/** What the cache holds of a revision; undefined: nothing. */
async function openCached(spec: HubSpec, storage: string): Promise<HubFiles | undefined> {
  const revision = spec.revision ?? 'main';
  const commit = COMMIT.test(revision) ? revision : (await readFile(join(storage, 'refs', revision), 'utf8').catch(() => '')).trim();
  const folder = join(storage, 'snapshots', commit);
  const files = COMMIT.test(commit) ? await cachedFiles(folder) : [];
  if (files.length === 0) {
    return undefined;
  }
  const selection = selectFiles(spec, files, `hf:${spec.repo} (the copy in ${folder})`);
  return { selection, commit, paths: selection.files.map((file) => join(folder, file)) };
}

async function download(spec: HubSpec, access: Access, storage: string, track: (file: string, size: number) => void): Promise<HubFiles> {
  const hub = await import('@huggingface/hub');
  const revision = spec.revision ?? 'main';
  const { sha: commit } = await hub.datasetInfo({ ...access, name: spec.repo, revision, additionalFields: ['sha'] });
  const sizes = new Map<string, number>();
  for await (const { type, path, size } of hub.listFiles({ ...access, recursive: true, revision: commit })) {
    if (type === 'file') {
      sizes.set(path, size);
    }
  }
  const selection = selectFiles(spec, [...sizes.keys()], `hf:${spec.repo}`);
  const paths: string[] = [];
  for (const file of selection.files) {
    track(file, sizes.get(file) ?? 0);
    const path = await quietly(() => hub.downloadFileToCacheDir({ ...access, path: file, revision: commit }));
    const { size } = await stat(path);
    if (size !== sizes.get(file)) {
      await rm(await realpath(path)); // the blob that the link leads to
      await rm(path, { force: true });
      throw new RewardLensError('IO', `hf:${spec.repo}: '${file}' has ${size} bytes instead of ${String(sizes.get(file))}; run again`, { details: { file } });
    }
    paths.push(path);
  }
  if (revision !== commit) {
    // As the library's snapshotDownload does: by this, the revision is found again without network.
    const ref = join(storage, 'refs', revision);
    await makeFolder(dirname(ref));
    await writeFile(ref, commit);
  }
  return { selection, commit, paths };
}

/** The innermost reason: fetch says only "fetch failed" itself. */
function reasonOf(error: unknown): string {
  const parts: string[] = [];
  for (let here = error; typeof here === 'object' && here !== null; here = (here as { cause?: unknown }).cause) {
    const { message, code } = here as { message?: string; code?: string };
    parts.push(message || code || '');
  }
  return [...new Set(parts)].filter((part) => part !== '').join(': ') || String(error);
}

/** Answers of the hub about this data set, as opposed to a hub that cannot be reached. */
function refusal(error: unknown, spec: HubSpec, hubUrl: string): RewardLensError | undefined {
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 0;
  if (status < 400 || status >= 500 || status === 408 || status === 429) {
    return undefined;
  }
  const at = spec.revision === undefined ? '' : ` at revision '${spec.revision}'`;
  return new RewardLensError(
    'IO',
    `hf:${spec.repo}: ${hubUrl} has no such data set${at}, or it needs permission (status ${status}: ${reasonOf(error)}); ` +
      'for a private or gated one set HF_TOKEN',
    { cause: error, details: { status } },
  );
}

/**
 * Brings a data set's files into Hugging Face's cache folder and says where they are. The hub is asked first; when it cannot be
 * reached, or HF_HUB_OFFLINE is 1, what the cache holds of the revision is used. The token comes from HF_TOKEN.
 *
 * Errors: IO when there is neither network nor a copy, or the hub refuses; INVALID_ARGUMENT when no files or several fit; ABORTED.
 */
export async function openHub(spec: HubSpec, options: HubOptions = {}): Promise<HubFiles> {
  const { getHFHubCachePath, getRepoFolderName, HUB_URL } = await import('@huggingface/hub');
  const hubUrl = (options.hubUrl ?? (process.env['HF_ENDPOINT'] || HUB_URL)).replace(/\/+$/, '');
  const cacheDir = options.cacheDir ?? getHFHubCachePath();
  const storage = join(cacheDir, getRepoFolderName({ type: 'dataset', name: spec.repo }));
  const offline = /^(1|on|yes|true)$/i.test(process.env['HF_HUB_OFFLINE'] ?? '');
  let progress = { file: '', doneBytes: 0, totalBytes: 0 };
  const onBytes = (count: number): void => {
    progress = { ...progress, doneBytes: Math.min(progress.totalBytes, progress.doneBytes + count) };
    options.onProgress?.(progress);
  };
  const track = (file: string, totalBytes: number): void => {
    progress = { file, doneBytes: 0, totalBytes };
  };
  let failure: unknown = new Error('HF_HUB_OFFLINE is set');
  if (!offline) {
    const access: Access = { repo: { type: 'dataset', name: spec.repo }, hubUrl, cacheDir, ...readToken(), fetch: watchedFetch(options, onBytes) };
    try {
      throwIfAborted('downloading a data set', options.signal);
      return await download(spec, access, storage, track);
    } catch (error) {
      if (options.signal?.aborted === true) {
        throw aborted('downloading a data set', options.signal);
      }
      if (error instanceof RewardLensError) {
        throw error;
      }
      failure = refusal(error, spec, hubUrl) ?? error;
      if (failure instanceof RewardLensError) {
        throw failure;
      }
    }
  }
  const cached = await openCached(spec, storage);
  if (cached === undefined) {
    throw new RewardLensError(
      'IO',
      `hf:${spec.repo}: cannot download from ${hubUrl} (${reasonOf(failure)}), and ${storage} holds no copy of revision '${spec.revision ?? 'main'}'. ` +
        'Download it on a machine with network (`hf download --repo-type dataset`) and copy that folder here, or give a file.',
      { cause: failure, details: { hubUrl, storage } },
    );
  }
  return cached;
}
