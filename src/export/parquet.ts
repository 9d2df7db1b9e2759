/** Tables as Parquet files, for pandas, DuckDB and the like. */
import { rename, writeFile } from 'node:fs/promises';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { RewardLensError } from '../native/errors.js';

/** Type of a column's values; null is allowed in every one. */
export type ColumnType = 'STRING' | 'DOUBLE' | 'INT32' | 'BOOLEAN';

/** A column: its name, type, and one value per row. */
export interface Column {
  readonly name: string;
  readonly type: ColumnType;
  readonly data: readonly (string | number | boolean | null)[];
}

/** What a table is read from: a column's name, type and value in a row. */
export type ColumnOf<Row> = readonly [name: string, type: ColumnType, value: (row: Row) => string | number | boolean | null];

/** Columns of a list of rows. */
export function columnsOf<Row>(rows: readonly Row[], columns: readonly ColumnOf<Row>[]): Column[] {
  return columns.map(([name, type, value]) => ({ name, type, data: rows.map(value) }));
}

/**
 * Writes a table (Snappy, all columns nullable) at once: beside itself, then swapped in. `metadata` goes into the file's
 * key-value metadata. Errors: IO. Memory: the whole table, twice.
 */
export async function writeParquet(path: string, columns: readonly Column[], metadata: Readonly<Record<string, string>> = {}): Promise<void> {
  const buffer = parquetWriteBuffer({
    columnData: columns.map(({ name, type, data }) => ({ name, type, data: [...data] })),
    kvMetadata: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    createdBy: 'rewardlens',
  });
  try {
    await writeFile(`${path}.tmp`, new Uint8Array(buffer));
    await rename(`${path}.tmp`, path);
  } catch (error) {
    throw new RewardLensError('IO', `cannot write '${path}': ${(error as Error).message}`, { cause: error, details: { path } });
  }
}
