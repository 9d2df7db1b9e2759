/** The tables of a sweep for data frames: one row per outcome, one per arm. */
import { join } from 'node:path';
import type { LedgerRecord } from '../ablate/sweep.js';
import type { ColumnOf } from '../export/parquet.js';
import { columnsOf, writeParquet } from '../export/parquet.js';
import type { ArmResult, Comparison, ModelResult } from '../report/ablationSchema.js';

/** Files of the tables inside the sweep's folder. */
export const OUTCOMES_TABLE = 'ablate.parquet';
export const ARMS_TABLE = 'arms.parquet';

/** A model's statistics and records. */
export interface TableSource {
  readonly result: ModelResult;
  readonly records: readonly { readonly arm: string; readonly records: readonly LedgerRecord[] }[];
}

interface OfArm {
  readonly model: string;
  readonly arm: ArmResult;
}

/** Columns that both tables begin with. */
const WHICH_ARM: readonly ColumnOf<OfArm>[] = [
  ['model', 'STRING', ({ model }) => model],
  ['arm', 'STRING', ({ arm }) => arm.name],
  ['role', 'STRING', ({ arm }) => arm.role],
  ['group', 'STRING', ({ arm }) => arm.group],
  ['draw', 'INT32', ({ arm }) => arm.draw],
  ['site', 'STRING', ({ arm }) => arm.site],
  ['layer', 'INT32', ({ arm }) => arm.layer],
  ['share', 'DOUBLE', ({ arm }) => arm.share],
  ['kind', 'STRING', ({ arm }) => arm.kind],
  ['positions', 'STRING', ({ arm }) => arm.positions],
];

interface OutcomeRow extends OfArm {
  readonly record: LedgerRecord;
  readonly base: LedgerRecord | undefined;
}

const OUTCOME_COLUMNS: readonly ColumnOf<OutcomeRow>[] = [
  ...WHICH_ARM,
  ['item', 'STRING', ({ record }) => record.item],
  ['reward', 'DOUBLE', ({ record }) => record.reward],
  ['verdict', 'STRING', ({ record }) => record.verdict],
  ['extracted', 'STRING', ({ record }) => record.extracted],
  ['text', 'STRING', ({ record }) => record.text],
  ['tokens', 'INT32', ({ record }) => record.tokens],
  ['finish_reason', 'STRING', ({ record }) => record.finishReason],
  ['edited', 'DOUBLE', ({ record }) => record.edited],
  ['expected', 'DOUBLE', ({ record }) => record.expected],
  ['base_reward', 'DOUBLE', ({ base }) => base?.reward ?? null],
  ['base_verdict', 'STRING', ({ base }) => base?.verdict ?? null],
  ['base_tokens', 'INT32', ({ base }) => base?.tokens ?? null],
];

interface ArmRow extends OfArm {
  readonly comparison: Comparison | undefined;
}

const ARM_COLUMNS: readonly ColumnOf<ArmRow>[] = [
  ...WHICH_ARM,
  ['neurons', 'INT32', ({ arm }) => arm.neurons.length],
  ['neuron_ids', 'STRING', ({ arm }) => JSON.stringify(arm.neurons)],
  ['status', 'STRING', ({ arm }) => arm.status],
  ['items', 'INT32', ({ arm }) => arm.items],
  ['accuracy', 'DOUBLE', ({ arm }) => arm.accuracy.value],
  ['accuracy_low', 'DOUBLE', ({ arm }) => arm.accuracy.low],
  ['accuracy_high', 'DOUBLE', ({ arm }) => arm.accuracy.high],
  ['change', 'DOUBLE', ({ arm }) => arm.change?.value ?? null],
  ['change_low', 'DOUBLE', ({ arm }) => arm.change?.low ?? null],
  ['change_high', 'DOUBLE', ({ arm }) => arm.change?.high ?? null],
  ['only_base', 'INT32', ({ arm }) => arm.discordant.b],
  ['only_arm', 'INT32', ({ arm }) => arm.discordant.c],
  ['p', 'DOUBLE', ({ arm }) => arm.p],
  ['p_holm', 'DOUBLE', ({ arm }) => arm.pHolm],
  ['unparsable', 'INT32', ({ arm }) => arm.unparsable.count],
  ['change_without_unparsable', 'DOUBLE', ({ arm }) => arm.withoutUnparsable?.change.value ?? null],
  ['p_without_unparsable', 'DOUBLE', ({ arm }) => arm.withoutUnparsable?.p ?? null],
  ['mean_tokens', 'DOUBLE', ({ arm }) => arm.tokens.mean],
  ['tokens_change', 'DOUBLE', ({ arm }) => arm.tokens.change?.value ?? null],
  ['ended', 'DOUBLE', ({ arm }) => arm.ended.share.value],
  ['edited', 'DOUBLE', ({ arm }) => arm.edits.edited],
  ['expected', 'DOUBLE', ({ arm }) => arm.edits.expected],
  ['kl', 'DOUBLE', ({ arm }) => arm.neutral?.kl ?? null],
  ['perplexity', 'DOUBLE', ({ arm }) => arm.neutral?.perplexity ?? null],
  ['control', 'STRING', ({ comparison }) => comparison?.control ?? null],
  ['control_draws', 'INT32', ({ comparison }) => comparison?.draws ?? null],
  ['control_mean', 'DOUBLE', ({ comparison }) => comparison?.spread.mean ?? null],
  ['rank_p', 'DOUBLE', ({ comparison }) => comparison?.rankP ?? null],
  ['rank_p_holm', 'DOUBLE', ({ comparison }) => comparison?.rankPHolm ?? null],
  ['effect', 'DOUBLE', ({ comparison }) => comparison?.effect ?? null],
];

/** The comparison that an arm's row shows: of the decisive ones, the one that it stands out least from. */
function hardest(arm: ArmResult, comparisons: readonly Comparison[]): Comparison | undefined {
  return comparisons.filter((entry) => entry.arm === arm.name && entry.decisive).reduce<Comparison | undefined>((a, b) => (a !== undefined && a.rankP >= b.rankP ? a : b), undefined);
}

/** Writes both tables into `directory` (docs/metrics.md). Errors: IO. Memory: a few times the ledger's. */
export async function writeTables(directory: string, models: readonly TableSource[]): Promise<void> {
  const outcomes = models.flatMap(({ result, records }): OutcomeRow[] => {
    const arms = new Map([result.base, ...result.arms].map((arm) => [arm.name, arm]));
    const base = new Map((records[0]?.records ?? []).map((record) => [record.item, record]));
    return records.flatMap((entry) => entry.records.map((record) => ({ model: result.name, arm: arms.get(entry.arm) as ArmResult, record, base: base.get(record.item) })));
  });
  const arms = models.flatMap(({ result }) => [result.base, ...result.arms].map((arm): ArmRow => ({ model: result.name, arm, comparison: hardest(arm, result.comparisons) })));
  await writeParquet(join(directory, OUTCOMES_TABLE), columnsOf(outcomes, OUTCOME_COLUMNS));
  await writeParquet(join(directory, ARMS_TABLE), columnsOf(arms, ARM_COLUMNS));
}
