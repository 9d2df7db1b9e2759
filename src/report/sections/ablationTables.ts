/** Tables of an ablation sweep. */
import type { ArmResult, Comparison, ModelResult } from '../ablationSchema.js';
import { NONE, fixed, percent, shareText, signed, significant, withInterval } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import type { Cell } from '../parts.js';
import { table } from '../parts.js';
import type { Setting } from '../sweepFacts.js';
import { drawnCells, groupName, isOf, pText, points } from '../sweepFacts.js';
import { visibleText } from '../text.js';

/** More draws than this are left to ablate.json. */
const MOST_DRAWS = 600;

const numberCell = (content: string, sort: number | null | undefined): Cell => ({ content, sort });
const shareCell = (value: number | null): Cell => numberCell(percent(value), value);

function armName(arm: ArmResult): Html {
  const part = { complete: '', decided: 'decided early', incomplete: 'incomplete' }[arm.status];
  return html`${visibleText(arm.name)}${part === '' ? null : html` <span class="mark">${part}, ${arm.items} items</span>`}`;
}

/** What every arm has, sets and draws alike. */
const COMMON = ['tokens', 'ended', 'unparsable', 'KL (nats)', 'perplexity'] as const;
function commonCells({ tokens, ended, unparsable, neutral }: ArmResult): Cell[] {
  return [
    numberCell(fixed(tokens.mean, 1), tokens.mean),
    shareCell(ended.share.value),
    shareCell(unparsable.share.value),
    numberCell(neutral === null ? NONE : significant(neutral.kl, 2), neutral?.kl),
    numberCell(neutral === null ? NONE : significant(neutral.perplexity), neutral?.perplexity),
  ];
}

function changeCell({ change }: ArmResult): Cell {
  return numberCell(change === null ? NONE : withInterval(change, points), change?.value);
}

function rankText({ rankP, rankPHolm }: Comparison): string {
  return rankPHolm === null || rankPHolm === rankP ? pText(rankP) : `${pText(rankP)} (${pText(rankPHolm)})`;
}

function comparisonCells(model: ModelResult, arm: ArmResult, control: string): Cell[] {
  const found = model.comparisons.find((entry) => entry.arm === arm.name && entry.control === control);
  return found === undefined ? [{ content: NONE }, { content: NONE }] : [numberCell(rankText(found), found.rankP), numberCell(signed(found.effect, 1), found.effect)];
}

/** One row per set, the base first. */
export function armTable(model: ModelResult): Html {
  const controls = [...new Set(model.comparisons.map(({ control }) => control))];
  const row = (arm: ArmResult): Cell[] => [
    { content: armName(arm), sort: arm.layer },
    numberCell(arm.role === 'base' ? '' : `${arm.neurons.length} (${shareText(arm.share)})`, arm.share),
    shareCell(arm.accuracy.value),
    changeCell(arm),
    numberCell(pText(arm.p), arm.p),
    numberCell(pText(arm.pHolm), arm.pHolm),
    ...controls.flatMap((control) => comparisonCells(model, arm, control)),
    ...commonCells(arm),
  ];
  return html`${table({
    caption: `Every set: accuracy; its change in points against the base on the same items, with bootstrap interval; exact McNemar p, and after Holm over ${model.detectable.sets} sets; rank p against each control (after Holm over the value sets), and the change in standard deviations of the control’s draws`,
    head: ['arm', 'neurons', 'accuracy', 'change', 'McNemar p', 'Holm p', ...controls.flatMap((control) => [`rank p: ${groupName(control)}`, 'effect (SD)']), ...COMMON],
    rows: [model.base, ...model.arms.filter(({ role }) => role === 'set')].map(row),
    sortable: true,
  })}
<p class="how">Tokens: mean length of a completion. Ended: completions that stopped by themselves. Unparsable: answers that could not be judged; they count as wrong. KL and perplexity: next tokens of a neutral text, against the model as it is.</p>`;
}

/** Every control draw. */
export function drawTable(model: ModelResult): Html {
  const draws = model.arms.filter(({ role }) => role === 'control');
  if (draws.length === 0) {
    return html`<p>No control draws.</p>`;
  }
  return html`<details><summary>Every control draw (${draws.length})</summary>
${table({
  caption: 'Control draws: accuracy, change in points with bootstrap interval, exact McNemar p',
  head: ['arm', 'neurons', 'accuracy', 'change', 'McNemar p', ...COMMON],
  rows: draws.slice(0, MOST_DRAWS).map((arm) => [{ content: armName(arm), sort: arm.layer }, numberCell(String(arm.neurons.length), arm.neurons.length), shareCell(arm.accuracy.value), changeCell(arm), numberCell(pText(arm.p), arm.p), ...commonCells(arm)]),
  sortable: true,
})}
${draws.length > MOST_DRAWS ? html`<p>${draws.length - MOST_DRAWS} more are in the sweep’s files.</p>` : null}</details>`;
}

const rangeText = (values: readonly (number | null | undefined)[], show: (x: number) => string): string => {
  const numbers = values.filter((value) => typeof value === 'number');
  const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  return numbers.length === 0 ? NONE : `${show(mean)} [${show(Math.min(...numbers))}, ${show(Math.max(...numbers))}]`;
};

/** The numbers of a plot: per layer its sets, then mean and range of its controls. */
function settingTable(model: ModelResult, setting: Setting, caption: string, cells: { set: (arm: ArmResult) => string; draws: (arms: readonly ArmResult[]) => string }): Html {
  const rows = [
    ...model.arms.filter((arm) => arm.role === 'set' && isOf(setting, arm)).map((arm) => ({ layer: arm.layer, cells: [groupName(arm.group), '', cells.set(arm)] })),
    ...drawnCells(model, setting).map(({ layer, group, arms }) => ({ layer, cells: [groupName(group), String(arms.length), cells.draws(arms)] })),
  ];
  return table({ caption, head: ['layer', 'neurons taken away', 'draws', 'value'], rows: rows.sort((a, b) => a.layer - b.layer).map(({ layer, cells: own }) => [String(layer), ...own]), numbersFrom: 2 });
}

/** Accuracy of a setting's arms. */
export function accuracyTable(model: ModelResult, setting: Setting): Html {
  const show = (x: number | null): string => percent(x);
  return settingTable(model, setting, 'Accuracy: sets with Wilson intervals, controls with mean and range of the draws', {
    set: ({ accuracy }) => withInterval(accuracy, show),
    draws: (arms) => rangeText(arms.map(({ accuracy }) => accuracy.value), show),
  });
}

/** Changes of a setting's arms. */
export function changeTable(model: ModelResult, setting: Setting): Html {
  return settingTable(model, setting, 'Change of accuracy in points: sets with bootstrap intervals, controls with mean and range of the draws', {
    set: ({ change }) => (change === null ? NONE : withInterval(change, points)),
    draws: (arms) => rangeText(arms.map(({ change }) => change?.value), points),
  });
}
