/** Runs the patches of pairs side by side in few batches; a ledger keeps every finished one, so that a stopped run goes on. */
import { join } from 'node:path';
import type { SiteTable } from '../intervene/compile.js';
import { siteTable } from '../intervene/compile.js';
import type { Session } from '../model/session.js';
import type { Site } from '../model/sites.js';
import { SITE_NAMES } from '../model/sites.js';
import { RewardLensError } from '../native/errors.js';
import { makeFolder } from '../util/makeFolder.js';
import { lockFolder } from '../rollout/lock.js';
import { captureActivations } from '../run/capture.js';
import type { RunProgress } from '../run/engine.js';
import { runSequences } from '../run/engine.js';
import type { SequenceRequest, SequenceResult } from '../run/request.js';
import { Journal } from '../store/journal.js';
import { contentHash } from '../util/hash.js';
import type { Cell, PatchMap } from './cells.js';
import { SourceRows, cellOf, changesNothing, columnCount } from './cells.js';
import type { CleanLogits, PairValues, PatchValues } from './metrics.js';
import { cleanLogits, measureLogits } from './metrics.js';
import type { PatchPair } from './pairs.js';

/** File of the ledger inside the output folder. */
export const PATCH_LEDGER = 'patch-ledger.jsonl';

/** Raised when the same inputs would give other numbers: records of other versions are left alone. */
const CODE_VERSION = 1;

/** Activations, and rows of edits, that are held at a time (bytes). One pair may need more. */
const SOURCE_BYTES = 128 << 20;
const EDIT_BYTES = 128 << 20;
/** Pairs whose cells are run together: the engine keeps the lower layers of that many prompts. */
const MOST_PAIRS = 16;
/** Records between two fsyncs. */
const SYNC_EVERY = 256;

/** What to run. */
export interface PatchRunOptions {
  readonly directory: string;
  readonly pairs: readonly PatchPair[];
  readonly maps: readonly PatchMap[];
  /** For every pair the index of another one whose activations are put in as a control. Undefined: no control. */
  readonly controls?: readonly number[] | undefined;
  /** Model hash, llama.cpp release, device, session: whatever else determines a number. */
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { finished: number; total: number; run: RunTotals }) => void) | undefined;
}

/** Totals over the runs of this process, by the names of {@link RunProgress}. */
export type RunTotals = Readonly<Record<string, number>>;

/** Values of one map and pair [layers × columns], row-major; undefined: the pair has no such cell. */
export interface PairMap {
  readonly own: (PatchValues | undefined)[];
  readonly control: (PatchValues | undefined)[];
}

/** What a patch run found. */
export interface PatchRunResult {
  /** The unedited runs, by pair. */
  readonly base: readonly PairValues[];
  /** By map, then by pair. */
  readonly maps: readonly (readonly PairMap[])[];
  /** Cells that were run now, found in the ledger, and known without a run because nothing can change. */
  readonly made: number;
  readonly found: number;
  readonly copied: number;
  readonly run: RunTotals;
  readonly seconds: number;
}

interface BaseRecord extends PairValues {
  readonly key: string;
  readonly pair: string;
}
interface CellRecord extends PatchValues {
  readonly key: string;
  readonly pair: string;
  readonly cell: string;
  readonly control: boolean;
  /** Values that the edit wrote. */
  readonly edited: number;
}

interface Job {
  key: string;
  cell: Cell;
  pair: number;
  control: boolean;
  /** What the record is called: "denoising/residPost.3/#5". */
  name: string;
  store: (values: PatchValues) => void;
}

/**
 * Runs every cell of every map on every pair that the ledger in `directory` does not have yet. Cells that cannot change anything are taken
 * from the unedited run. Errors: HOOK_NOT_FIRED when an edit wrote another number of values than its cell has; SITE_NOT_FOUND,
 * CONTEXT_FULL, BUSY, IO, ABORTED and others of the engine. Cost: two passes a pair for the sources, two for the unedited runs, one a cell,
 * less what sequences share; memory: about 256 MiB, and the logits of the clean run for each pair at work.
 */
export async function runPatches(session: Session, options: PatchRunOptions): Promise<PatchRunResult> {
  const started = performance.now();
  await makeFolder(options.directory);
  const unlock = await lockFolder(options.directory);
  try {
    const table = siteTable(await session.sites(), session.model.info.layerCount);
    const runner = new Runner(session, options, table);
    await runner.recover();
    await runner.runAll();
    return { ...runner.result(), seconds: (performance.now() - started) / 1000 };
  } finally {
    await unlock();
  }
}

class Runner {
  readonly #session: Session;
  readonly #options: PatchRunOptions;
  readonly #table: SiteTable;
  readonly #base: (PairValues | undefined)[];
  readonly #baseKeys: string[];
  readonly #maps: PairMap[][];
  /** Cells that are still to be run, by pair. */
  #jobs: Job[][];
  readonly #copied: { pair: number; control: boolean; cell: Cell; store: (values: PatchValues) => void }[] = [];
  #found = 0;
  #made = 0;
  #total = 0;
  readonly #totals: Record<string, number> = {};
  #unsynced = 0;

  constructor(session: Session, options: PatchRunOptions, table: SiteTable) {
    this.#session = session;
    this.#options = options;
    this.#table = table;
    const { pairs, maps } = options;
    const shared = contentHash([CODE_VERSION, options.inputs]);
    this.#base = pairs.map(() => undefined);
    this.#baseKeys = pairs.map(({ clean, corrupted, answer, wrong }) => contentHash([shared, clean, corrupted, answer, wrong ?? null]));
    this.#maps = maps.map((map) => pairs.map(() => {
      const count = map.layers.length * columnCount(map);
      return { own: new Array<undefined>(count), control: new Array<undefined>(count) };
    }));
    this.#jobs = pairs.map((_, p) => this.#plan(p));
    this.#total = this.#jobs.reduce((sum, jobs) => sum + jobs.length, 0);
  }

  #plan(p: number): Job[] {
    const { pairs, controls } = this.#options;
    const pair = pairs[p] as PatchPair;
    const jobs: Job[] = [];
    for (const other of controls === undefined ? [undefined] : [undefined, controls[p]]) {
      const control = other === undefined ? undefined : pairs[other];
      const source = control === undefined ? '' : contentHash([control.clean, control.corrupted]);
      this.#eachCell(p, control, ({ cell, name, store }) => {
        if (changesNothing(cell, pair, this.#table.outputRowsOnly(cell.site, cell.layer))) {
          this.#copied.push({ pair: p, control: control !== undefined, cell, store });
          return;
        }
        const { positions, neurons } = cell;
        const key = contentHash([this.#baseKeys[p], source, cell.target === pair.clean, cell.site, cell.layer, neurons ?? null, positions]);
        jobs.push({ key, cell, pair: p, control: control !== undefined, name, store });
      });
    }
    return jobs;
  }

  #eachCell(p: number, control: PatchPair | undefined, visit: (entry: { cell: Cell; name: string; store: (values: PatchValues) => void }) => void): void {
    const pair = this.#options.pairs[p] as PatchPair;
    for (const [m, map] of this.#options.maps.entries()) {
      const values = this.#maps[m]?.[p] as PairMap;
      const into = control === undefined ? values.own : values.control;
      map.layers.forEach((layer, l) => {
        for (let column = 0; column < columnCount(map); column++) {
          const cell = cellOf(map, layer, column, pair, control);
          const label = map.kind === 'positions' ? map.offsets[column] : map.groups[column]?.name;
          if (cell !== undefined) {
            const at = l * columnCount(map) + column;
            visit({ cell, name: `${map.mode}/${map.site}.${layer}/${map.kind === 'positions' ? '@' : ''}${label ?? ''}`, store: (found) => (into[at] = found) });
          }
        }
      });
    }
  }

  /** Takes what the ledger has. */
  async recover(): Promise<void> {
    const path = join(this.#options.directory, PATCH_LEDGER);
    const known = new Map<string, BaseRecord | CellRecord>();
    const wanted = new Set([...this.#baseKeys, ...this.#jobs.flatMap((jobs) => jobs.map(({ key }) => key))]);
    await Journal.recover(path, (record) => {
      const entry = record as unknown as BaseRecord | CellRecord;
      if (wanted.has(entry.key)) {
        known.set(entry.key, entry);
      }
      return record.crc32 !== undefined;
    });
    this.#baseKeys.forEach((key, p) => {
      const record = known.get(key) as BaseRecord | undefined;
      this.#base[p] = record === undefined ? undefined : { clean: record.clean, corrupted: record.corrupted };
    });
    this.#jobs = this.#jobs.map((jobs) => jobs.filter((job) => {
      const record = known.get(job.key) as CellRecord | undefined;
      if (record !== undefined) {
        job.store(valuesOf(record));
        this.#found++;
      }
      return record === undefined;
    }));
  }

  async runAll(): Promise<void> {
    const todo = this.#jobs.flatMap((jobs, p) => (jobs.length > 0 || this.#base[p] === undefined ? [p] : []));
    if (todo.length === 0) {
      return;
    }
    const journal = await Journal.open(join(this.#options.directory, PATCH_LEDGER));
    try {
      for (const group of cut(todo, (p) => Math.max(this.#sourceBytes(p) / SOURCE_BYTES, 1 / MOST_PAIRS), 1)) {
        await this.#runGroup(group, journal);
      }
    } finally {
      await journal.close();
    }
  }

  #sourceBytes(p: number): number {
    const sites = new Set(this.#jobs[p]?.map(({ cell }) => `${cell.site} ${cell.layer}`));
    const width = [...sites].reduce((sum, name) => sum + this.#table.width(name.split(' ')[0] as Site, Number(name.split(' ')[1])), 0);
    return 4 * 2 * (this.#options.pairs[p]?.clean.length ?? 0) * width;
  }

  async #runGroup(group: readonly number[], journal: Journal): Promise<void> {
    const { pairs, signal } = this.#options;
    const clean = await this.#runBase(group, journal);
    const jobs = group.flatMap((p) => this.#jobs[p] ?? []).sort(byWork);
    if (jobs.length === 0) {
      return;
    }
    const prompts = [...new Map(jobs.map(({ cell }) => [cell.source.join(), cell.source])).values()];
    const plan = { site: [...new Set(jobs.map(({ cell }) => cell.site))], layers: [...new Set(jobs.map(({ cell }) => cell.layer))] };
    let last: RunProgress | undefined;
    const activations = await captureActivations(this.#session, prompts, plan, { signal, onProgress: (progress) => (last = progress) });
    this.#add(last);
    const rows = new SourceRows(activations, prompts);
    for (const part of cut(jobs, ({ cell }) => this.#cellSize(cell) * 4, EDIT_BYTES)) {
      // An unedited sequence of each prompt goes before the edited ones, which take prefixes and lower layers from it.
      const leaders = [...new Set(part.map(({ cell }) => cell.target))];
      const requests = [
        ...leaders.map((prompt): SequenceRequest => ({ prompt })),
        ...part.map(({ cell }): SequenceRequest => ({ prompt: cell.target, interventions: [rows.intervention(cell)] })),
      ];
      await this.#run(requests, async (index, logits, result) => {
        const job = part[index - leaders.length];
        if (job === undefined) {
          return;
        }
        const pair = pairs[job.pair] as PatchPair;
        await this.#finish(job, measureLogits(logits, clean.get(job.pair) as CleanLogits, pair.answer, pair.wrong), result, journal);
      });
    }
  }

  /** Values that a cell's edit writes: the last layer may have the row of the last position alone. */
  #cellSize({ site, layer, neurons, positions, target }: Cell): number {
    const rows = this.#table.outputRowsOnly(site, layer) ? positions.filter((position) => position === target.length - 1) : positions;
    return rows.length * (neurons?.length ?? this.#table.width(site, layer));
  }

  async #finish(job: Job, values: PatchValues, { edits }: SequenceResult, journal: Journal): Promise<void> {
    const { key, cell, control, name } = job;
    const pair = this.#options.pairs[job.pair]?.id as string;
    const edited = edits.reduce((sum, { changed, shared }) => sum + changed + shared, 0);
    if (edited !== this.#cellSize(cell)) {
      throw new RewardLensError('HOOK_NOT_FIRED', `pair '${pair}', ${name}: ${edited} values were written instead of ${this.#cellSize(cell)}`, { details: { pair, cell: name, edited } });
    }
    await journal.append({ key, pair, cell: name, control, ...values, edited } satisfies CellRecord);
    if (++this.#unsynced % SYNC_EVERY === 0) {
      await journal.sync();
    }
    job.store(values);
    this.#made++;
    this.#report();
  }

  /** The unedited runs of some pairs; keeps their clean logits. */
  async #runBase(group: readonly number[], journal: Journal): Promise<Map<number, CleanLogits>> {
    const pairs = group.map((p) => this.#options.pairs[p] as PatchPair);
    const logits: Float32Array[] = [];
    await this.#run(pairs.flatMap(({ clean, corrupted }) => [{ prompt: clean }, { prompt: corrupted }]), async (index, row) => {
      logits[index] = row;
    });
    const out = new Map<number, CleanLogits>();
    for (const [i, p] of group.entries()) {
      const { id, answer, wrong } = pairs[i] as PatchPair;
      const clean = cleanLogits(logits[2 * i] as Float32Array);
      out.set(p, clean);
      if (this.#base[p] === undefined) {
        const values = { clean: measureLogits(clean.logits, clean, answer, wrong), corrupted: measureLogits(logits[2 * i + 1] as Float32Array, clean, answer, wrong) };
        await journal.append({ key: this.#baseKeys[p] as string, pair: id, ...values } satisfies BaseRecord);
        this.#base[p] = values;
      }
    }
    return out;
  }

  /** Runs requests and hands out the logits [vocabulary] at the last position of each, with its result. */
  async #run(requests: readonly SequenceRequest[], take: (index: number, logits: Float32Array, result: SequenceResult) => Promise<void>): Promise<void> {
    const rows = new Map<number, Float32Array>();
    let last: RunProgress | undefined;
    const results = runSequences(this.#session, requests, {
      capture: { site: 'logits', layers: [-1], positions: 'last' },
      promptOnly: true,
      releaseRows: true,
      onRows: (chunk) => void rows.set(chunk.id, new Float32Array(chunk.blocks[0] as ArrayBuffer).slice()),
      onProgress: (progress) => (last = progress),
      signal: this.#options.signal,
    });
    for await (const result of results) {
      const logits = rows.get(result.index) as Float32Array;
      rows.delete(result.index);
      await take(result.index, logits, result);
    }
    this.#add(last);
  }

  #add(progress: RunProgress | undefined): void {
    const { active: _active, finished: _finished, completionTokens: _completionTokens, ...totals } = progress ?? ({} as Partial<RunProgress>);
    for (const [name, value] of Object.entries(totals)) {
      this.#totals[name] = (this.#totals[name] ?? 0) + value;
    }
  }

  #report(): void {
    this.#options.onProgress?.({ finished: this.#found + this.#made, total: this.#total, run: this.#totals });
  }

  result(): Omit<PatchRunResult, 'seconds'> {
    const base = this.#base as PairValues[];
    for (const { pair, cell, store } of this.#copied) {
      const values = base[pair] as PairValues;
      store(cell.target === this.#options.pairs[pair]?.clean ? values.clean : values.corrupted);
    }
    return { base, maps: this.#maps, made: this.#made, found: this.#found, copied: this.#copied.length, run: this.#totals };
  }
}

function valuesOf(record: CellRecord): PatchValues {
  return { 'logit-diff': record['logit-diff'], probability: record.probability, kl: record.kl };
}

/**
 * Cells that cost the same next to each other: sequences share a pass that begin above the same layer and have as many positions to compute.
 * High layers and late positions first, because the runs that leave most out are those for which the unedited ones are kept.
 */
function byWork({ cell: a }: Job, { cell: b }: Job): number {
  const rest = ({ target, positions }: Cell): number => target.length - (positions[0] as number);
  return b.layer - a.layer || SITE_NAMES.indexOf(b.site) - SITE_NAMES.indexOf(a.site) || rest(a) - rest(b);
}

/** Consecutive parts whose sizes add up to at most `most`, or of one item that is larger. */
function cut<T>(items: readonly T[], size: (item: T) => number, most: number): T[][] {
  const parts: T[][] = [];
  let filled = Infinity;
  for (const item of items) {
    const own = size(item);
    if (filled + own > most) {
      parts.push([]);
      filled = 0;
    }
    parts.at(-1)?.push(item);
    filled += own;
  }
  return parts;
}
