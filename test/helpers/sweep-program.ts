/** `rewardlens ablate` on the planted model in child processes, and its ledger read with plain file functions. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { SMALL, root } from './rollout-program.js';

export const plantedModel = join(root, 'models/planted.gguf');

/** Last letters after which the planted model is right in about 80 %. */
const GOOD = 'strukzb';

/** Writes a data set of `count` items that all ask for "y". */
export function writeItems(path: string, count: number): void {
  const lines = Array.from({ length: count }, (_, i) => {
    const prompt = `${'etaoinshrdlcu'[i % 13] ?? ''}${'mwfgypbvkxq'[i % 11] ?? ''}${GOOD[i % GOOD.length] ?? ''}`;
    return JSON.stringify({ id: `item-${i}`, prompt, answer: 'y' });
  });
  writeFileSync(path, `${lines.join('\n')}\n`);
}

/** Engine options of a worker, and of `ablate`. */
export const ENGINE = [...SMALL, '-np', '32'] as const;

/** A sweep of the planted neuron against `draws` random ones; later options come last. */
export function ablateArgs(data: string, output: string, draws: number, ...more: readonly string[]): string[] {
  const arms = ['--arms', 'list,random', '--neurons', '37', '--layers', '1', '--draws', String(draws), '--neutral', 'none'];
  return ['ablate', ...ENGINE, '-m', plantedModel, '--dataset', data, '--check', 'exact', '-n', '1', '--top-p', '1', ...arms, '-o', output, ...more];
}

/** A line of ledger.jsonl. */
export interface LedgerLine {
  key: string;
  arm: string;
  item: string;
  text: string;
  reward: number;
  edited: number;
  expected: number;
  crc32?: string;
}

const ledgerPath = (directory: string): string => join(directory, 'ledger.jsonl');

/** Whole lines of the ledger, as bytes; none without the file. */
export function wholeLedger(directory: string): Buffer {
  const bytes = existsSync(ledgerPath(directory)) ? readFileSync(ledgerPath(directory)) : Buffer.alloc(0);
  return bytes.subarray(0, bytes.lastIndexOf(0x0a) + 1);
}

export const ledgerLines = (directory: string): number => wholeLedger(directory).filter((byte) => byte === 0x0a).length;

/** Records of a ledger without their checksums, in the order of their keys; throws when a line is torn, damaged, or there twice. */
export function readLedger(directory: string): LedgerLine[] {
  const text = readFileSync(ledgerPath(directory), 'utf8');
  if (text !== '' && !text.endsWith('\n')) {
    throw new Error('the last line is torn');
  }
  const records = text.split('\n').slice(0, -1).map((line, i) => {
    const { crc32: seal, ...record } = JSON.parse(line) as LedgerLine;
    const body = line.replace(/,"crc32":"[0-9a-f]{8}"\}$/, '}');
    if (body === line || crc32(body).toString(16).padStart(8, '0') !== seal) {
      throw new Error(`line ${i + 1}: the checksum differs`);
    }
    return record;
  });
  if (new Set(records.map(({ key }) => key)).size !== records.length) {
    throw new Error('a pair is there twice');
  }
  return records.sort((a, b) => (a.key < b.key ? -1 : 1));
}
