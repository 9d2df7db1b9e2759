/** A local server that answers as the Hugging Face hub does for one data set repository. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the server saw and how to stop it. */
export interface FakeHub {
  readonly url: string;
  /** "METHOD path", in order. */
  readonly requests: string[];
  /** Authorization headers, in order. */
  readonly tokens: (string | undefined)[];
  close(): Promise<void>;
}

/** The endpoints that the library calls: revision, tree, paths-info, resolve. `cut`: answers bodies with bytes missing. */
export async function startHub(repo: string, commit: string, files: Readonly<Record<string, Buffer>>, options: { cut?: boolean } = {}): Promise<FakeHub> {
  const requests: string[] = [];
  const tokens: (string | undefined)[] = [];
  const entries = Object.entries(files).map(([path, body]) => ({ type: 'file', path, size: body.length, oid: createHash('sha1').update(body).digest('hex') }));
  const json = (response: ServerResponse, value: unknown, status = 200): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
  const resolve = (request: IncomingMessage, response: ServerResponse, path: string): void => {
    const body = files[path];
    if (body === undefined) {
      response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
    } else if (request.headers.range === 'bytes=0-0') {
      response.writeHead(206, { 'content-range': `bytes 0-0/${body.length}`, etag: `"${createHash('sha1').update(body).digest('hex')}"` }).end(body.subarray(0, 1));
    } else {
      response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(options.cut === true ? body.subarray(0, body.length - 5) : body);
    }
  };
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '').split('?')[0] ?? '');
    requests.push(`${request.method} ${path}`);
    tokens.push(request.headers.authorization);
    const api = `/api/datasets/${repo}`;
    const raw = `/datasets/${repo}/resolve/${commit}/`;
    if (path === `${api}/revision/main` || path === `${api}/revision/${commit}`) {
      json(response, { _id: '1', id: repo, sha: commit, private: false, gated: false, downloads: 0, likes: 0, lastModified: '2024-01-01T00:00:00.000Z' });
    } else if (path === `${api}/tree/${commit}`) {
      json(response, entries);
    } else if (path === `${api}/paths-info/${commit}`) {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => json(response, entries.filter((entry) => (JSON.parse(body) as { paths: string[] }).paths.includes(entry.path))));
    } else if (path.startsWith(raw)) {
      resolve(request, response, path.slice(raw.length));
    } else {
      json(response, { error: 'Repository not found' }, 404);
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const close = (): Promise<void> =>
    new Promise((done) => {
      server.close(() => done());
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, tokens, close };
}
