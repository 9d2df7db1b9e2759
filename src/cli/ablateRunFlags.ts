/** Flags that say how a sweep's pairs are run: by whom, which, and for how long. */
import type { QueueOptions } from '../ablate/queue.js';
import { shownUrl } from '../ablate/queueConnection.js';
import type { Shard } from '../ablate/shard.js';
import type { OptionTable } from './argv.js';
import { UsageError, asUsage } from './errors.js';
import type { Flags } from './flags.js';

const RUN = 'Running:';

/** Options of {@link readRunFlags}. */
export const RUN_OPTIONS: OptionTable = {
  shard: { type: 'string', group: RUN, describe: 'i/n: only every n-th item from the i-th on, into a folder of its own; `rewardlens merge` puts the parts together' },
  queue: { type: 'string', group: RUN, describe: 'redis://host:port: let `rewardlens worker` processes run the pairs' },
  tries: { type: 'string', group: RUN, describe: 'with --queue: how often an item is tried before it is left out; default 3' },
  early: { type: 'boolean', group: RUN, describe: 'stop comparisons that are decided (group-sequential, docs/sweeps.md); off by default' },
};

/** How pairs are run. */
export interface RunFlags {
  readonly shard: Shard | undefined;
  readonly queue: QueueOptions | undefined;
  readonly early: boolean;
}

/** URL of --queue. Errors: UsageError. */
export function readQueueUrl(flags: Flags): string | undefined {
  const url = flags.text('queue');
  if (url !== undefined) {
    asUsage(() => shownUrl(url));
  }
  return url;
}

/** Reads {@link RUN_OPTIONS}. Errors: UsageError naming the flag. */
export function readRunFlags(flags: Flags): RunFlags {
  const url = readQueueUrl(flags);
  const tries = flags.integer('tries', 1, 1000);
  const [shard, early] = [readShard(flags), flags.on('early')];
  if (tries !== undefined && url === undefined) {
    throw new UsageError('--tries: expected --queue beside it');
  }
  if (shard !== undefined && url !== undefined) {
    throw new UsageError('--shard: expected no --queue beside it: workers share the items by themselves');
  }
  if (shard !== undefined && early) {
    throw new UsageError('--early: expected no --shard beside it: a part of the items decides nothing');
  }
  return { shard, early, queue: url === undefined ? undefined : { url, tries } };
}

function readShard(flags: Flags): Shard | undefined {
  const text = flags.text('shard');
  if (text === undefined) {
    return undefined;
  }
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const [index, count] = [Number(match?.[1]), Number(match?.[2])];
  if (!(index >= 1 && index <= count)) {
    throw new UsageError(`--shard: expected i/n with 1 ≤ i ≤ n, such as 3/8, got ${JSON.stringify(text)}`);
  }
  return { index, count };
}
