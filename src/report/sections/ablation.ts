/** What happens when the neurons are taken away: verdicts, accuracy by layer against the controls, all arms, and the numbers. */
import type { Ablation, ModelResult, Verdict } from '../ablationSchema.js';
import { percent, seconds, significant } from '../format.js';
import type { Html } from '../html.js';
import { html } from '../html.js';
import { figure, pairs, panels } from '../parts.js';
import { MOST_PANES } from '../style.js';
import type { Setting } from '../sweepFacts.js';
import { VERDICT_NAMES, detectableText, groupName, isOf, orderedVerdicts, pText, settingLabel, settingText, settingsOf, sweepSentence } from '../sweepFacts.js';
import { accuracySpec, forestSpec } from '../sweepPlots.js';
import { renderSvg } from '../svg.js';
import { visibleText } from '../text.js';
import { accuracyTable, armTable, changeTable, drawTable } from './ablationTables.js';
import { valueText } from './rollout.js';

/** Verdicts that are shown at once. */
const SHOWN = 8;

function verdictItem({ kind, text, warnings }: Verdict): Html {
  const doubts = warnings.map((warning) => html`<li><span class="bad">⚠ Warning:</span> ${visibleText(warning)}</li>`);
  return html`<li><strong>${VERDICT_NAMES[kind]}.</strong> ${visibleText(text)}${doubts.length === 0 ? null : html`<ul>${doubts}</ul>`}</li>\n`;
}

function verdictList(model: ModelResult): Html {
  const verdicts = orderedVerdicts(model);
  const list = (some: readonly Verdict[]): Html => html`<ul class="findings">${some.map(verdictItem)}</ul>`;
  const rest = verdicts.slice(SHOWN);
  return html`<p><strong>${sweepSentence(model)}</strong></p>
${verdicts.length === 0 ? null : list(verdicts.slice(0, SHOWN))}
${rest.length === 0 ? null : html`<details><summary>The verdicts on ${rest.length} more value sets</summary>${list(rest)}</details>`}`;
}

function figuresText(model: ModelResult, setting: Setting): string {
  const sets = model.arms.filter((arm) => arm.role === 'set' && isOf(setting, arm));
  return sets.length > 12 ? `${sets.length} sets` : sets.map(({ layer, group, accuracy }) => `layer ${layer}, ${groupName(group)}: ${percent(accuracy.value)}`).join('; ');
}

async function settingFigures(model: ModelResult, setting: Setting, id: string): Promise<Html> {
  const name = settingText(setting);
  const base = percent(model.base.accuracy.value);
  const accuracy = figure({
    title: `Accuracy by layer: ${name}`,
    plot: await renderSvg(accuracySpec(model, setting), { id: `${id}-accuracy`, title: `Accuracy by layer, ${name}`, description: `Nothing edited: ${base}. ${figuresText(model, setting)}. The numbers follow as a table.` }),
    how: html`The dotted line is the model as it is (${base}). Points with bars are sets taken away, with 95 % intervals. Every dot on a coloured band is one draw of a control, the bar across it their mean, the band from the least to the greatest.
<strong>A set whose point lies among its controls shows no effect beyond them</strong>, however far it is below the dotted line.`,
    numbers: accuracyTable(model, setting),
  });
  const forest = figure({
    title: `Change of accuracy, arm by arm: ${name}`,
    plot: await renderSvg(forestSpec(model, setting), { id: `${id}-forest`, title: `Forest plot of the changes of accuracy, ${name}`, description: 'One row per set with its interval, then its controls. The numbers follow as a table.' }),
    how: 'Change against the same items with nothing edited (the line at 0), paired. Sets: bootstrap intervals of 95 %; an interval that contains 0 shows no change. Controls: every draw, their range and mean. L is the layer.',
    numbers: changeTable(model, setting),
  });
  return html`<div class="pair">${accuracy}${forest}</div>`;
}

function factsTable(ablation: Ablation, model: ModelResult): Html {
  const { base, arms, sweep, neutral, detectable } = model;
  const sets = arms.filter(({ role }) => role === 'set').length;
  const draws = model.comparisons.length === 0 ? [0] : model.comparisons.map((entry) => entry.draws);
  const least = Math.min(...draws) === Math.max(...draws) ? String(draws[0]) : `${Math.min(...draws)} to ${Math.max(...draws)}`;
  const all = [base, ...arms];
  const [edited, expected] = [all.reduce((sum, { edits }) => sum + edits.edited, 0), all.reduce((sum, { edits }) => sum + edits.expected, 0)];
  const short = all.filter(({ status }) => status !== 'complete');
  return pairs('What the sweep rests on', [
    ['items', `${ablation.items} problems of ${visibleText(ablation.dataset.name)}, each in every arm with the same seed`],
    ['arms', `${sets} ${sets === 1 ? 'set' : 'sets'}, ${arms.length - sets} control draws, and one with nothing edited${short.length === 0 ? '' : `; ${short.length} without all items`}`],
    ['draws per control', `${least}; a rank p-value cannot be below 1 / (draws + 1)`],
    ['what could be seen', `${detectableText(model)} (when ${percent(detectable.discordance)} of them change outcome, as in the median set)`],
    ['edits', `${edited} values written, ${expected} demanded${edited === expected ? '' : ': THESE DIFFER'}`],
    ...(model.early === null || model.early === undefined ? [] : [['early decision', `a set ends when its p is at most ${model.early.levels.map((level) => pText(level)).join(', ')} after ${model.early.looks.join(', ')} items (${visibleText(model.early.spending)}, α ${model.early.alpha} over ${model.early.comparisons} sets)`] as const]),
    ...(model.parked === undefined || model.parked.length === 0 ? [] : [['given up', `${model.parked.length} pairs of arm and item failed again and again and are in no number: ${model.parked.slice(0, 5).map(({ arm, item, reason }) => `${visibleText(arm)} on ${visibleText(item)} (${visibleText(reason)})`).join('; ')}${model.parked.length > 5 ? '; …' : ''}`] as const]),
    ['sampling', `${Object.entries(ablation.sampling).map(([key, value]) => `${visibleText(key)} ${valueText(value)}`).join(', ')}; seed ${ablation.seed}; at most ${ablation.maxTokens} tokens`],
    ['neutral text', neutral === null ? (model.neutralSkipped === undefined ? 'none was run' : visibleText(model.neutralSkipped)) : `${visibleText(neutral.source)}, ${neutral.tokens} tokens; perplexity ${significant(base.neutral?.perplexity)} with nothing edited`],
    ['work', `${sweep.made} pairs of arm and item made in ${seconds(sweep.seconds)}, ${sweep.found} found in the ledger`],
  ]);
}

async function modelPart(ablation: Ablation, model: ModelResult, id: string): Promise<Html> {
  const settings = settingsOf(model);
  const options = [];
  for (const [i, setting] of settings.slice(0, MOST_PANES).entries()) {
    options.push({ label: settingLabel(setting), content: await settingFigures(model, setting, `${id}-${i}`) });
  }
  const left = settings.length - options.length;
  return html`${ablation.models.length === 1 ? null : html`<h4>${visibleText(model.name)}</h4>`}
${verdictList(model)}
<p class="how"><strong>How to read this.</strong> Taking neurons away may cost accuracy for reasons that have nothing to do with value: completions that no longer end or cannot be parsed count as wrong, and an edit may harm language as such.
Compare a set with controls of the same size and magnitude, not with the model as it is; and look at the columns on ended and unparsable completions, tokens, KL and perplexity before believing in an effect.</p>
${options.length === 1 ? options[0]?.content : options.length === 0 ? null : panels(`${id}-settings`, 'Share of the neurons, what is written, where', options, 0)}
${left > 0 ? html`<p>${left} more settings are in the table alone.</p>` : null}
${armTable(model)}
${drawTable(model)}
${factsTable(ablation, model)}`;
}

/** The section on a sweep; `notes` say what it left out. Cost: two plots per setting. */
export async function ablationSection(ablation: Ablation, id: string, notes: readonly string[] = []): Promise<Html> {
  const parts = [];
  for (const [i, model] of ablation.models.entries()) {
    parts.push(await modelPart(ablation, model, `${id}-ablation-${i}`));
  }
  return html`<section id="${id}-ablation"><h3>What happens when they are taken away: ablation</h3>
${notes.length === 0 ? null : html`<p>${notes.map(visibleText).join(' ')}</p>`}
${parts}</section>`;
}

/** The section where there was no sweep: why. */
export function noAblation(id: string, notes: readonly string[]): Html {
  return html`<section id="${id}-ablation"><h3>What happens when they are taken away: ablation</h3>
<p>No neurons were taken away here. ${notes.map(visibleText).join(' ')} Whether the model uses what the probe reads is open.</p></section>`;
}
