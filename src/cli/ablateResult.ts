/** What `rewardlens ablate` prints. */
import type { Ablation, ArmOutcome } from '../study/ablation.js';
import type { Io } from './command.js';

const percent = (value: number | null): string => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);

function row(arm: ArmOutcome, items: number): string {
  const { accuracy, change } = arm;
  const span = arm.group === 'base' ? '' : `${percent(change.value)} [${percent(change.low)}, ${percent(change.high)}]`;
  return `  ${arm.name.padEnd(30)} ${percent(accuracy.value).padStart(7)}  ${span.padEnd(28)} ${arm.pHolm === null ? '' : arm.pHolm.toPrecision(2).padStart(8)}  unparsable ${arm.unknown}, ended ${arm.ended}/${items}, ${arm.meanTokens.toFixed(1)} tokens`;
}

/** Prints the outcome of a sweep: a table, what could have been seen, verdicts. */
export function printAblation(result: Ablation, path: string, io: Io): void {
  if (io.json) {
    io.line({ summary: { path, items: result.items, sweep: result.sweep, comparisons: result.comparisons, verdicts: result.verdicts } });
    return;
  }
  io.out(`  ${'arm'.padEnd(30)} accuracy  change (paired, 95 %)         p (Holm)`);
  [result.base, ...result.arms.filter(({ pHolm }) => pHolm !== null)].forEach((arm) => io.out(row(arm, result.items)));
  io.out(`\nSmallest change that ${result.items} items show with 80 % power: ${percent(result.detectable)}\n`);
  result.verdicts.forEach((verdict) => io.out(verdict));
  io.out(`\n${result.sweep.made} pairs made, ${result.sweep.found} found, ${result.sweep.seconds.toFixed(1)} s; ${path}`);
}
