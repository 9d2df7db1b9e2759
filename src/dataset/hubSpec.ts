/** The syntax `hf:owner/name[@revision][:config][/split]`, and which files of a repository it means. */
import { posix } from 'node:path';
import { RewardLensError, invalidArgument } from '../native/errors.js';
import { EXTENSIONS } from './records.js';

/** How the syntax is written, for messages. */
export const HUB_SYNTAX = 'hf:owner/name[@revision][:config][/split] or hf:owner/name[@revision]/path/to/file';

/** What a specification asks for; undefined: not said. */
export interface HubSpec {
  readonly repo: string;
  /** Branch, tag or commit. */
  readonly revision: string | undefined;
  readonly config: string | undefined;
  readonly split: string | undefined;
  /** One file of the repository, instead of config and split. */
  readonly path: string | undefined;
}

/** Choices that may be given beside the specification. */
export type HubChoices = Partial<Record<'revision' | 'config' | 'split', string | undefined>>;

const NAME = String.raw`[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?`;
const PATTERN = new RegExp(`^hf:(${NAME}/${NAME})(?:@([^/:@\\s]+))?(?::([^/:@\\s]+))?(?:/([^:@]+))?$`);

/** Whether a data set is named by this syntax. */
export function isHubSpec(spec: string): boolean {
  return spec.startsWith('hf:');
}

/** Reads a specification. Errors: INVALID_ARGUMENT for another form, or when `choices` and the specification disagree. */
export function parseHubSpec(spec: string, choices: HubChoices = {}): HubSpec {
  const match = PATTERN.exec(spec);
  const [, repo, revision, config, rest] = match ?? [];
  const isFile = rest !== undefined && EXTENSIONS.includes(posix.extname(rest).toLowerCase());
  if (repo === undefined || (rest !== undefined && !isFile && rest.includes('/')) || (isFile && config !== undefined) || rest?.split('/').includes('..') === true) {
    throw invalidArgument('spec', HUB_SYNTAX, spec);
  }
  const path = isFile ? rest : undefined;
  // A revision with a slash, such as refs/pr/1, is written refs%2Fpr%2F1.
  const written = { revision: revision?.replaceAll(/%2f/gi, '/'), config, split: isFile ? undefined : rest };
  const choose = (name: keyof HubChoices): string | undefined => {
    const beside = choices[name];
    const inside = path !== undefined && name !== 'revision' ? null : written[name];
    if (beside !== undefined && inside !== undefined && beside !== inside) {
      throw invalidArgument(name, inside === null ? `none, because '${spec}' names a file` : `${inside} as in '${spec}', or none`, beside);
    }
    return inside ?? beside;
  };
  return { repo, revision: choose('revision'), config: choose('config'), split: choose('split'), path };
}

/** Files that together are one split. */
export interface Selection {
  /** undefined: the repository has no configurations. */
  readonly config: string | undefined;
  readonly split: string;
  /** Paths in the repository, in order. */
  readonly files: readonly string[];
}

const SHARD = /^(.+?)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?$/;

/**
 * `[data/][config/]split.ext`, `[config/]split-00000-of-00003.ext`, or `config/split/0000.parquet` as in the branch that the
 * hub converts to Parquet.
 */
function placeOf(path: string): { config: string | undefined; split: string; shards: number } {
  const extension = posix.extname(path);
  const folders = posix.dirname(path).split('/').filter((folder) => folder !== '.');
  const stem = posix.basename(path, extension);
  const shard = SHARD.exec(stem);
  const split = shard?.[1] ?? (/^\d+$/.test(stem) ? (folders.pop() ?? stem) : stem);
  if (folders[0] === 'data') {
    folders.shift();
  }
  return { config: folders.length === 0 ? undefined : folders.join('/'), split, shards: shard === null ? 0 : Number(shard[3]) };
}

function group(paths: readonly string[]): { selection: Selection; shards: number }[] {
  const groups = new Map<string, { selection: Selection & { files: string[] }; shards: number }>();
  for (const path of paths.filter((name) => EXTENSIONS.includes(posix.extname(name).toLowerCase())).toSorted()) {
    const { config, split, shards } = placeOf(path);
    // A JSON file beside the data that is no split, such as dataset_infos.json, would make every choice ambiguous.
    if (config === undefined && /^(dataset_infos?|dataset_dict|state|package|config|metadata)$/.test(split)) {
      continue;
    }
    const key = JSON.stringify([config, split, posix.extname(path), shards]);
    const entry = groups.get(key) ?? { selection: { config, split, files: [] }, shards };
    entry.selection.files.push(path);
    groups.set(key, entry);
  }
  return [...groups.values()];
}

function listing(candidates: readonly { selection: Selection }[]): string {
  const lines = candidates.map(({ selection: { config, split, files } }) => `  ${config === undefined ? '' : `:${config}`}/${split}  (${files.join(', ')})`);
  return [...lines.slice(0, 60), ...(lines.length > 60 ? [`  and ${lines.length - 60} more`] : [])].join('\n');
}

/**
 * The files that `spec` means among `paths`. Errors: INVALID_ARGUMENT when none or several fit, listing configurations and splits; IO
 * when shards of a split are missing.
 */
export function selectFiles(spec: HubSpec, paths: readonly string[], where: string): Selection {
  if (spec.path !== undefined) {
    if (!paths.includes(spec.path)) {
      throw new RewardLensError('INVALID_ARGUMENT', `${where}: there is no file '${spec.path}'; data files:\n${listing(group(paths))}`, { details: { paths } });
    }
    const { config, split } = placeOf(spec.path);
    return { config, split, files: [spec.path] };
  }
  const all = group(paths);
  const fitting = all.filter(({ selection }) => (spec.config ?? selection.config) === selection.config && (spec.split ?? selection.split) === selection.split);
  const [only] = fitting;
  if (only === undefined || fitting.length > 1) {
    const asked = [spec.config === undefined ? '' : ` config '${spec.config}'`, spec.split === undefined ? '' : ` split '${spec.split}'`].filter((part) => part !== '').join(' and');
    const problem = only === undefined ? (all.length === 0 ? `no data files (${EXTENSIONS.join(', ')})` : `nothing has${asked}`) : `several data sets fit; say which (${HUB_SYNTAX})`;
    throw new RewardLensError('INVALID_ARGUMENT', `${where}: ${problem}${all.length === 0 ? '' : `:\n${listing(only === undefined ? all : fitting)}`}`, {
      details: { candidates: all.map(({ selection }) => selection) },
    });
  }
  if (only.shards > 0 && only.selection.files.length !== only.shards) {
    throw new RewardLensError('IO', `${where}: ${only.selection.files.length} of ${only.shards} parts of '${only.selection.split}' are there`, { details: { files: only.selection.files } });
  }
  return only.selection;
}
