import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HubSpec } from '../../src/dataset/hubSpec.js';
import { parseHubSpec, selectFiles } from '../../src/dataset/hubSpec.js';
import type { LoadOptions } from '../../src/dataset/load.js';
import { loadDataset } from '../../src/dataset/load.js';
import type { FakeHub } from '../helpers/hub.js';
import { startHub } from '../helpers/hub.js';

const REPO = 'someone/sums';
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const fixture = (name: string): Promise<Buffer> => readFile(new URL(`../fixtures/dataset/${name}`, import.meta.url));

describe('hf: specifications', () => {
  const none = { revision: undefined, config: undefined, split: undefined, path: undefined };
  test.each<[string, Partial<HubSpec>]>([
    ['hf:openai/gsm8k', {}],
    ['hf:openai/gsm8k:main', { config: 'main' }],
    ['hf:openai/gsm8k/test', { split: 'test' }],
    ['hf:openai/gsm8k:main/test', { config: 'main', split: 'test' }],
    ['hf:openai/gsm8k@v1.0:main/test', { revision: 'v1.0', config: 'main', split: 'test' }],
    ['hf:openai/gsm8k@refs%2Fconvert%2Fparquet:main/test', { revision: 'refs/convert/parquet', config: 'main', split: 'test' }],
    ['hf:openai/gsm8k@abc/main/test-00000-of-00001.parquet', { revision: 'abc', path: 'main/test-00000-of-00001.parquet' }],
    ['hf:openai/gsm8k/test.jsonl', { path: 'test.jsonl' }],
  ])('%s', (text, expected) => {
    expect(parseHubSpec(text)).toEqual({ repo: 'openai/gsm8k', ...none, ...expected });
  });

  test.each(['hf:', 'hf:gsm8k', 'hf:/gsm8k', 'hf:a/b/c/d', 'hf://datasets/a/b', 'hf:a/b:c/d.jsonl', 'hf:a/b@/x', 'hf:a/../x/y.jsonl', 'hf:a/b/../../x.jsonl', 'hf:a/b:', 'hf: a/b'])('refuses %j', (text) => {
    expect(() => parseHubSpec(text)).toThrow(/^spec: expected hf:owner\/name\[@revision\]\[:config\]\[\/split\] or .*, got "hf:/);
  });

  test('choices beside the specification fill gaps and may not contradict it', () => {
    expect(parseHubSpec('hf:a/b:main', { split: 'test', config: 'main' })).toMatchObject({ config: 'main', split: 'test' });
    expect(() => parseHubSpec('hf:a/b/test', { split: 'train' })).toThrow("split: expected test as in 'hf:a/b/test', or none, got \"train\"");
    expect(() => parseHubSpec('hf:a/b/x.jsonl', { split: 'train' })).toThrow('names a file');
  });
});

describe('files of a repository', () => {
  const select = (text: string, paths: string[]): unknown => selectFiles(parseHubSpec(text), paths, 'here');
  const gsm8k = ['README.md', 'main/test-00000-of-00001.parquet', 'main/train-00000-of-00001.parquet', 'socratic/test-00000-of-00001.parquet'];

  test('by configuration and split', () => {
    expect(select('hf:a/b:main/test', gsm8k)).toEqual({ config: 'main', split: 'test', files: ['main/test-00000-of-00001.parquet'] });
    expect(select('hf:a/b/train', gsm8k)).toMatchObject({ config: 'main', split: 'train' });
    expect(select('hf:a/b', ['test.jsonl', 'README.md', 'dataset_infos.json'])).toEqual({ config: undefined, split: 'test', files: ['test.jsonl'] });
    expect(select('hf:a/b/test', ['data/train-00000-of-00001.parquet', 'data/test-00000-of-00001-0a1b2c.parquet'])).toMatchObject({ config: undefined, split: 'test' });
    expect(select('hf:a/b:main/test', ['main/test/0001.parquet', 'main/test/0000.parquet', 'main/train/0000.parquet'])).toMatchObject({ files: ['main/test/0000.parquet', 'main/test/0001.parquet'] });
    expect(select('hf:a/b/socratic/test-00000-of-00001.parquet', gsm8k)).toMatchObject({ config: 'socratic', split: 'test' });
  });

  test('several, none, and missing parts are errors that list what there is', () => {
    expect(() => select('hf:a/b/test', gsm8k)).toThrow(/several data sets fit.*\n {2}:main\/test {2}\(main\/test-00000-of-00001.parquet\)\n {2}:socratic\/test .*$/s);
    expect(() => select('hf:a/b:other/test', gsm8k)).toThrow(/nothing has config 'other' and split 'test':\n.*:main\/train/s);
    expect(() => select('hf:a/b', ['README.md'])).toThrow('no data files (.jsonl, .ndjson, .json, .parquet)');
    expect(() => select('hf:a/b/nope.jsonl', gsm8k)).toThrow("no file 'nope.jsonl'");
    expect(() => select('hf:a/b', ['test-00000-of-00002.parquet'])).toThrow("1 of 2 parts of 'test' are there");
  });
});

describe('downloading', () => {
  let cacheDir = '';
  let hub: FakeHub | undefined;
  const environment = { ...process.env };

  beforeEach(async () => {
    cacheDir = await mkdtemp(join(tmpdir(), 'rewardlens-hub-'));
    for (const name of ['HF_TOKEN', 'HF_ENDPOINT', 'HF_HOME', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE']) {
      delete process.env[name];
    }
  });
  afterEach(async () => {
    process.env = { ...environment };
    await hub?.close();
    hub = undefined;
    await rm(cacheDir, { recursive: true });
  });

  async function serve(options: { cut?: boolean } = {}): Promise<LoadOptions> {
    const files = { 'main/test-00000-of-00001.parquet': await fixture('gsm8k.parquet'), 'main/train.jsonl': await fixture('gsm8k.jsonl'), 'README.md': Buffer.from('hello') };
    hub = await startHub(REPO, COMMIT, files, options);
    return { cacheDir, hubUrl: hub.url };
  }

  test('Parquet, through the library into the cache, then from the cache without network', async () => {
    const options = await serve();
    const progress: number[] = [];
    const printed = [jest.spyOn(console, 'debug').mockImplementation(() => undefined), jest.spyOn(console, 'info').mockImplementation(() => undefined)];
    const dataset = await loadDataset(`hf:${REPO}/test`, { ...options, onProgress: ({ doneBytes }) => progress.push(doneBytes) });
    printed.forEach((spy) => expect(spy).not.toHaveBeenCalled()); // stdout belongs to the caller
    jest.restoreAllMocks();
    expect(dataset).toMatchObject({ name: 'sums-test', format: 'gsm8k', source: `hf:${REPO}@${COMMIT}:main/test` });
    expect(dataset.problems.map(({ id, answer }) => [id, answer])).toEqual([['sums-test-1', '36'], ['sums-test-2', '1350'], ['sums-test-3', '-5'], ['sums-test-4', '7.50']]);
    expect(progress.at(-1)).toBe((await fixture('gsm8k.parquet')).length);
    const downloads = (hub as FakeHub).requests.filter((line) => line.includes('/resolve/'));
    expect(new Set(downloads)).toEqual(new Set([`GET /datasets/${REPO}/resolve/${COMMIT}/main/test-00000-of-00001.parquet`]));

    // Once more: the file is not fetched again.
    await loadDataset(`hf:${REPO}/test`, options);
    expect((hub as FakeHub).requests.filter((line) => line.includes('/resolve/'))).toEqual(downloads);

    await (hub as FakeHub).close();
    const offline = await loadDataset(`hf:${REPO}/test`, options);
    expect(offline).toEqual(dataset);
    process.env['HF_HUB_OFFLINE'] = '1';
    expect(await loadDataset(`hf:${REPO}@${COMMIT}:main/test`, { cacheDir, fetch: () => Promise.reject(new Error('not to be called')) })).toEqual(dataset);
    await expect(loadDataset(`hf:${REPO}:main/train`, { cacheDir })).rejects.toThrow(/the copy in .*nothing has config 'main' and split 'train'/s);
  });

  test('JSONL; environment variables name endpoint, cache and token', async () => {
    const { hubUrl } = await serve();
    process.env['HF_ENDPOINT'] = `${hubUrl}/`;
    process.env['HF_HOME'] = cacheDir;
    process.env['HF_TOKEN'] = 'hf_secret';
    const dataset = await loadDataset(`hf:${REPO}`, { config: 'main', split: 'train', revision: COMMIT, limit: 2 });
    expect(dataset).toMatchObject({ name: 'sums-train', problems: [{ id: 'sums-train-1' }, { id: 'sums-train-2' }] });
    expect(new Set((hub as FakeHub).tokens)).toEqual(new Set(['Bearer hf_secret']));
    await expect(readFile(join(cacheDir, 'hub', 'datasets--someone--sums', 'snapshots', COMMIT, 'main', 'train.jsonl'))).resolves.toEqual(await fixture('gsm8k.jsonl'));
  });

  test('the parts of a split are read in order and counted through', async () => {
    const part = (n: number): Buffer => Buffer.from(`${JSON.stringify({ prompt: `${n}=`, answer: String(n), check: 'exact' })}\n\n`.repeat(2));
    hub = await startHub(REPO, COMMIT, { 'data/test-00001-of-00002.jsonl': part(2), 'data/test-00000-of-00002.jsonl': part(1) });
    const { problems } = await loadDataset(`hf:${REPO}`, { cacheDir, hubUrl: hub.url });
    expect(problems.map(({ id, answer }) => [id, answer])).toEqual([['sums-test-1', '1'], ['sums-test-3', '1'], ['sums-test-4', '2'], ['sums-test-6', '2']]);
  });

  test('a token of another kind is refused without being shown', async () => {
    process.env['HF_TOKEN'] = 'sk-secret';
    const error = await loadDataset(`hf:${REPO}`, await serve()).catch((thrown: unknown) => thrown as Error);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('HF_TOKEN') });
    expect(JSON.stringify([(error as Error).message, error])).not.toContain('sk-secret');
  });

  test('an endpoint that cannot be reached: what was tried, and what helps', async () => {
    const options = await serve();
    await (hub as FakeHub).close();
    await expect(loadDataset(`hf:${REPO}`, options)).rejects.toMatchObject({
      code: 'IO',
      message: expect.stringMatching(/^hf:someone\/sums: cannot download from http:\/\/127\.0\.0\.1:\d+ \(fetch failed: .*ECONNREFUSED.*\), and .*datasets--someone--sums holds no copy of revision 'main'.*or give a file\.$/),
    });
  });

  test('a data set that is not there, and a server that is broken', async () => {
    const options = await serve();
    await expect(loadDataset('hf:someone/else', options)).rejects.toMatchObject({ code: 'IO', message: expect.stringMatching(/no such data set, or it needs permission \(status 404: Repository not found/) });
    const broken = (): Promise<Response> => Promise.resolve(new Response('oops', { status: 503 }));
    await expect(loadDataset(`hf:${REPO}`, { ...options, fetch: broken })).rejects.toMatchObject({ code: 'IO', message: expect.stringMatching(/cannot download from .*status 503/) });
  });

  test('a download that is cut short is no data set, and does not stay in the cache', async () => {
    const options = await serve({ cut: true });
    await expect(loadDataset(`hf:${REPO}/train`, options)).rejects.toMatchObject({ code: 'IO', message: expect.stringMatching(/'main\/train.jsonl' has \d+ bytes instead of \d+/) });
    await (hub as FakeHub).close();
    const again = await loadDataset(`hf:${REPO}/train`, await serve());
    expect(again.problems).toHaveLength(4);
  });

  test('an aborted download', async () => {
    const options = await serve();
    const controller = new AbortController();
    const slow: typeof fetch = (_, init) => {
      setTimeout(() => controller.abort(new Error('enough')), 20);
      return new Promise((_resolve, reject) => init?.signal?.addEventListener('abort', () => reject(init.signal?.reason as Error)));
    };
    await expect(loadDataset(`hf:${REPO}`, { ...options, fetch: slow, signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test('code from a download is not run: a record may not name a module', async () => {
    const body = Buffer.from('{"prompt": "2+2=", "answer": "4", "check": "./evil.js"}\n');
    hub = await startHub(REPO, COMMIT, { 'test.jsonl': body });
    await expect(loadDataset(`hf:${REPO}`, { cacheDir, hubUrl: hub.url })).rejects.toThrow('line 1: check: expected one of gsm8k, math, choice, exact, regex, got "./evil.js"');
    const file = join(cacheDir, 'test.jsonl');
    await writeFile(file, body);
    expect((await loadDataset(file)).problems[0]?.check).toBe('./evil.js');
  });
});
