/** Connections to the Redis server of a queue; nothing of it is loaded without a queue. */
import type { Queue, QueueOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { PREFIX } from './queueFormat.js';

/** A server that does not answer by then is not there, ms. */
const CONNECT_MS = 5000;
/** A server that was there and is gone is waited for this long, s: time for a restart. */
const GONE_S = 60;
/** Oldest release that is tested. */
const OLDEST: readonly [number, number] = [6, 2];

const isRedisUrl = (text: string): boolean => URL.canParse(text) && ['redis:', 'rediss:'].includes(new URL(text).protocol);

/** The URL without user and password, for messages. Errors: INVALID_ARGUMENT. */
export function shownUrl(url: string): string {
  if (!isRedisUrl(url)) {
    throw invalidArgument('--queue', 'redis://host:port or rediss://host:port', url);
  }
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

/** A connection that has once been established comes back by itself; see {@link openRedis}. */
export interface QueueConnection extends AsyncDisposable {
  readonly redis: Redis;
  /** The URL for messages. */
  readonly shown: string;
  /** For BullMQ. */
  readonly options: Pick<QueueOptions, 'connection' | 'prefix'>;
  /** Rejects (IO) when the server has been gone for too long; never resolves. */
  readonly lost: Promise<never>;
}

/**
 * Connects. Errors: INVALID_ARGUMENT for another URL; IO when there is no server (at once, or after 5 s), when it is older
 * than 6.2, or refuses. Later a lost connection is tried again for 60 s; commands wait for it.
 */
export async function openRedis(url: string): Promise<QueueConnection> {
  const shown = shownUrl(url);
  const { Redis: Client } = await import('ioredis');
  let established = false;
  const redis = new Client(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    maxRetriesPerRequest: null,
    retryStrategy: (times) => (established && times <= GONE_S ? (times < 5 ? 200 : 1000) : null),
  });
  let last: Error | undefined;
  redis.on('error', (error) => (last = error));
  try {
    await redis.connect();
    await checkVersion(redis, shown);
  } catch (error) {
    redis.disconnect();
    throw error instanceof RewardLensError ? error : new RewardLensError('IO', `cannot use Redis at ${shown}: ${(last ?? (error as Error)).message}`, { cause: error, details: { url: shown } });
  }
  established = true;
  let closing = false;
  const lost = new Promise<never>((_, reject) => {
    redis.on('end', () => {
      if (!closing) {
        reject(new RewardLensError('IO', `Redis at ${shown} has been gone for about ${GONE_S} s (${last?.message ?? 'connection closed'}); start again when it is back`, { cause: last, details: { url: shown } }));
      }
    });
  });
  lost.catch(() => undefined);
  return {
    redis,
    shown,
    options: { connection: redis, prefix: PREFIX },
    lost,
    [Symbol.asyncDispose]: async () => {
      closing = true;
      redis.disconnect();
    },
  };
}

/** Awaits Redis; what it refuses (no memory, read-only) is an IO error of its own words. */
export async function fromRedis<T>({ lost, shown }: QueueConnection, work: Promise<T>): Promise<T> {
  try {
    return await Promise.race([work, lost]);
  } catch (error) {
    throw error instanceof RewardLensError ? error : new RewardLensError('IO', `Redis at ${shown}: ${(error as Error).message}`, { cause: error, details: { url: shown } });
  }
}

async function checkVersion(redis: Redis, shown: string): Promise<void> {
  const version = /redis_version:(\d+)\.(\d+)[^\r\n]*/.exec(await redis.info('server'));
  const [major, minor] = [Number(version?.[1] ?? 0), Number(version?.[2] ?? 0)];
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw new RewardLensError('IO', `Redis at ${shown} is release ${version?.[0].split(':')[1] ?? 'unknown'}, at least ${OLDEST.join('.')} is needed`, { details: { url: shown } });
  }
}

/** BullMQ's queue of a sweep. Its errors are those of the connection, which is watched itself. */
export async function openQueue(connection: QueueConnection, sweep: string): Promise<Queue> {
  const { Queue: BullQueue } = await import('bullmq');
  const queue = new BullQueue(sweep, connection.options);
  queue.on('error', () => undefined);
  return queue;
}
