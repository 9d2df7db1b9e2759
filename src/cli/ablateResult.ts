/** What `rewardlens ablate` prints when it is done. */
import type { Ablation, ArmResult, Comparison, ModelResult } from '../report/ablationSchema.js';
import { pText } from '../study/ablationVerdict.js';
import type { Io } from './command.js';

const percent = (value: number | null): string => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);
const signed = (value: number | null): string => (value === null ? '–' : `${value > 0 ? '+' : ''}${(100 * value).toFixed(1)}`);

const COLUMNS = ['accuracy', 'change [95 %], points', 'p', 'p Holm', 'tokens', 'ended', 'unparsable', 'KL'] as const;

function cells({ accuracy, change, p, pHolm, tokens, ended, unparsable, neutral }: ArmResult): string[] {
  return [
    percent(accuracy.value),
    change === null ? '' : `${signed(change.value)} [${signed(change.low)}, ${signed(change.high)}]`,
    p === null ? '' : pText(p),
    pHolm === null ? '' : pText(pHolm),
    tokens.mean === null ? '–' : tokens.mean.toFixed(1),
    percent(ended.share.value),
    String(unparsable.count),
    neutral === null ? '' : neutral.kl.toPrecision(2),
  ];
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, c) => Math.max(...rows.map((row) => row[c]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((cell, c) => (c === 0 ? cell.padEnd(widths[c] as number) : cell.padStart(widths[c] as number))).join('  ')}`.trimEnd());
}

function againstControls({ arm, control, draws, change, spread, rankP, rankPHolm, effect }: Comparison): string[] {
  return [arm, `${draws} ${control}`, signed(change), `${signed(spread.mean)} [${signed(spread.low)}, ${signed(spread.high)}]`, pText(rankP), rankPHolm === null ? '' : pText(rankPHolm), effect === null ? '–' : effect.toFixed(1)];
}

function printModel(model: ModelResult, io: Io): void {
  const { base, arms, comparisons, detectable, neutral, sweep } = model;
  const sets = arms.filter(({ role }) => role === 'set');
  io.out(`${model.name}: ${base.items} items`);
  table([['arm', ...COLUMNS], ...[base, ...sets].map((arm) => [arm.name, ...cells(arm)])]).forEach((line) => io.out(line));
  if (comparisons.length > 0) {
    io.out('\nAgainst draws of the same size (changes in points; mean and 95 % of the draws):');
    table([['arm', 'control', 'change', 'controls', 'rank p', 'Holm', 'sd away'], ...comparisons.map(againstControls)]).forEach((line) => io.out(line));
  }
  const partial = arms.filter(({ status }) => status !== 'complete');
  if (partial.length > 0) {
    io.out(`\n${partial.length} arms have not run all items (${partial.filter(({ status }) => status === 'decided').length} were decided early): ${partial.slice(0, 5).map(({ name, items }) => `${name} ${items}`).join(', ')}${partial.length > 5 ? ', …' : ''}`);
  }
  const { alone, sets: tested, holm, discordance } = detectable;
  io.out(`\nSmallest fall that ${detectable.items} items show with 80 % power when ${percent(discordance)} of them change outcome anyway: ${percent(alone)}${tested > 1 ? `; ${percent(holm)} for the first of ${tested} sets after Holm` : ''}`);
  if (model.neutralSkipped !== undefined) {
    io.out(`KL and perplexity were not measured: ${model.neutralSkipped}`);
  }
  if (model.parked !== undefined) {
    io.out(`${model.parked.length} pairs were given up and are in no number: ${model.parked.slice(0, 3).map(({ arm, item, reason }) => `${arm} on ${item} (${reason})`).join('; ')}${model.parked.length > 3 ? '; …' : ''}`);
  }
  if (neutral !== null) {
    io.out(`KL and perplexity: ${neutral.source}, ${neutral.tokens} tokens${neutral.cut ? ' (cut)' : ''}; the base's perplexity is ${base.neutral?.perplexity.toPrecision(3) ?? '–'}${neutral.foreign === true ? ': worse than guessing, so only KL says something' : ''}`);
  }
  io.out('');
  model.verdicts.forEach(({ text, warnings }) => {
    io.out(text);
    warnings.forEach((warning) => io.out(`  ! ${warning}`));
  });
  io.out(`\n${sweep.made} pairs made, ${sweep.found} found, ${sweep.seconds.toFixed(1)} s`);
}

/** Prints the outcome of a sweep: per model a table, the comparison with controls, what could have been seen, verdicts. */
export function printAblation({ items, models }: Ablation, path: string, io: Io): void {
  if (io.json) {
    const short = models.map(({ name, base, arms, comparisons, detectable, verdicts, neutral, sweep }) => ({
      name, sweep, detectable, neutral, verdicts, comparisons, arms: [base, ...arms.filter(({ role }) => role === 'set')],
    }));
    io.line({ summary: { path, items, models: short } });
    return;
  }
  models.forEach((model) => printModel(model, io));
  io.out(path);
}
