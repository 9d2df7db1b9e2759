/** The activation store against plain files: the same bytes written and read one after the other. */
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Segment, StoreInfo } from '../src/store/format.js';
import { siteRowBytes } from '../src/store/format.js';
import { ActivationStore } from '../src/store/reader.js';
import { ShardWriter } from '../src/store/shards.js';
import type { Contender, Sample } from './measure.js';
import { compare, interleave, median, rate } from './measure.js';
import type { Finding } from './rows.js';
import type { Setup } from './setup.js';

/** Half floats of four layers of a 7B model; a trajectory is appended and read at once. */
const BLOCK = { site: 'residPost', layers: [7, 14, 21, 27], width: 3584 };
const INFO: StoreInfo = { format: 'rewardlens.store', version: 1, dtype: 'f16', sites: [BLOCK], positions: 'response' };
const ROWS = 256;
const TRAJECTORIES = 48;
const CHUNK = ROWS * siteRowBytes(INFO, BLOCK);
/** Small enough that shards are closed and opened on the way. */
const SHARD_BYTES = TRAJECTORIES * CHUNK / 2;

async function timed(body: () => Promise<void>): Promise<Sample> {
  const started = performance.now();
  await body();
  const seconds = (performance.now() - started) / 1000;
  return { seconds, busySeconds: seconds, units: (TRAJECTORIES * CHUNK) / 1e6 };
}

/** Appends every trajectory; the sync to disk at the end is inside the time. */
async function writeStore(folder: string, chunk: Uint8Array): Promise<Segment[]> {
  const writer = await ShardWriter.open(folder, INFO, undefined, SHARD_BYTES);
  const segments: Segment[] = [];
  for (let i = 0; i < TRAJECTORIES; i++) {
    segments.push(await writer.append([chunk], ROWS));
  }
  await writer.close();
  return segments;
}

async function writePlain(path: string, chunk: Uint8Array): Promise<void> {
  const file = await open(path, 'w');
  for (let i = 0; i < TRAJECTORIES; i++) {
    await file.write(chunk);
  }
  await file.sync();
  await file.close();
}

/** Reads every piece into an array of its own, or all into the same one. */
async function readPlain(path: string, reuse: boolean): Promise<void> {
  let buffer = new Uint8Array(CHUNK);
  const file = await open(path, 'r');
  for (let i = 0; i < TRAJECTORIES; i++) {
    buffer = reuse ? buffer : new Uint8Array(CHUNK);
    await file.read(buffer, 0, CHUNK, null);
  }
  await file.close();
}

function contenders(folder: string, chunk: Uint8Array): Record<'write' | 'read', Contender[]> {
  const store = join(folder, 'store');
  const plain = join(folder, 'plain');
  let segments: Segment[] = [];
  const fresh = async (path: string): Promise<void> => {
    await rm(path, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
  };
  return {
    write: [
      {
        name: 'store',
        run: async () => {
          await fresh(store);
          return timed(async () => void (segments = await writeStore(store, chunk)));
        },
      },
      {
        name: 'plain',
        run: async () => {
          await fresh(plain);
          return timed(async () => writePlain(plain, chunk));
        },
      },
    ],
    read: [
      {
        name: 'store',
        run: async () =>
          timed(async () => {
            await using reader = ActivationStore.forRows(store, INFO);
            for (const segment of segments) {
              await reader.readRows([segment], BLOCK.site);
            }
          }),
      },
      { name: 'plain', run: async () => timed(async () => readPlain(plain, false)) },
      { name: 'one buffer', run: async () => timed(async () => readPlain(plain, true)) },
    ],
  };
}

/** Two rows: writing, with the sync at the end, and reading from the page cache. Cost: 700 MB in the temporary directory. */
export async function storeRows(setup: Setup): Promise<Finding[]> {
  const folder = await mkdtemp(join(tmpdir(), 'rewardlens-store-'));
  try {
    const chunk = new Uint8Array(CHUNK).map((_, i) => (i * 31) & 0xff);
    const findings: Finding[] = [];
    for (const [kind, pair] of Object.entries(contenders(folder, chunk))) {
      const samples = await interleave(pair, 2 * setup.settings.repetitions, (round) => setup.report(`store, ${kind}, round ${round + 1} of ${2 * setup.settings.repetitions}`));
      const { ours, reference, ratio, spread } = compare(samples, 'store', 'plain');
      const reused = median((samples.get('one buffer') ?? []).map(rate));
      const notes: Record<string, string> = {
        write: 'written and synced to disk',
        read: `read piece by piece into arrays of their own, as the store gives them, from the page cache (all into one buffer: ${reused.toFixed(0)} MB/s)`,
      };
      findings.push({
        name: `activation store, ${kind}`,
        unit: 'MB/s',
        target: 0.8,
        comparison: '>=',
        ours,
        reference,
        ratio,
        spread,
        decodeRatio: null,
        note: `A plain file, ${notes[kind]}; ${TRAJECTORIES} pieces of ${(CHUNK / 1e6).toFixed(1)} MB.`,
      });
    }
    return findings;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
