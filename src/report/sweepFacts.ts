/** What the numbers of an ablation sweep say, worked out once for the page, the terminal and the findings. */
import type { ArmResult, Comparison, ModelResult, Verdict, VerdictKind } from './ablationSchema.js';
import { fixed, percent, shareText, significant } from './format.js';

/** Names of the groups of arms for people; a group that is not here goes by its own name. */
const GROUP_NAMES: Readonly<Record<string, string>> = {
  base: 'nothing edited',
  top: 'best-ranked',
  bottom: 'worst-ranked',
  list: 'given neurons',
  random: 'random',
  'random-no-sinks': 'random, none massive',
  matched: 'matched magnitude',
  spread: 'matched deviation',
  largest: 'largest magnitude',
  wanda: 'Wanda score',
  'next-token': 'next-token probe',
  terminal: 'last-state probe',
};

/** Name of a group for people. */
export const groupName = (group: string): string => GROUP_NAMES[group] ?? group;

/** Verdicts in a few words, the strongest first. */
export const VERDICT_NAMES: Readonly<Record<VerdictKind, string>> = {
  beyond: 'An effect beyond the controls',
  beyondAlone: 'Beyond its own controls, but not after correction for all sets',
  raised: 'Accuracy rises',
  controlsCostAsMuch: 'No effect beyond matched controls: they cost as much',
  noEffect: 'No effect beyond matched controls',
  cannotTell: 'Cannot tell',
  noControls: 'No controls were run',
};
const ORDER = Object.keys(VERDICT_NAMES) as VerdictKind[];

/** Verdicts with the strongest first; equals stay in the order of the plan. */
export function orderedVerdicts({ verdicts }: ModelResult): Verdict[] {
  return [...verdicts].sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
}

/** A p-value for people: 0.0031, < 0.0001. */
export function pText(p: number | null | undefined): string {
  return p === null || p === undefined ? '–' : p < 1e-4 ? '< 0.0001' : significant(p, 2);
}

/** A change of a share in points: +1.0, −12.5. */
export function points(value: number | null | undefined): string {
  return value === null || value === undefined ? '–' : `${value > 0 ? '+' : ''}${fixed(100 * value, 1)}`;
}

/** What arms have in common that differ by layer and set alone. */
export interface Setting {
  readonly site: string;
  readonly share: number;
  readonly kind: string;
  readonly positions: string;
}

/** Whether an arm is of this setting. */
export function isOf(setting: Setting, arm: Setting): boolean {
  return arm.site === setting.site && arm.share === setting.share && arm.kind === setting.kind && arm.positions === setting.positions;
}

/** The settings of a model's arms, in the order of the plan. */
export function settingsOf({ arms }: ModelResult): Setting[] {
  const found: Setting[] = [];
  for (const arm of arms) {
    if (!found.some((setting) => isOf(setting, arm))) {
      found.push(arm);
    }
  }
  return found.map(({ site, share, kind, positions }) => ({ site, share, kind, positions }));
}

const POSITION_NAMES: Readonly<Record<string, string>> = { all: 'prompt and completion', prompt: 'prompt', completion: 'completion' };

/** A setting for people: "1 % of the neurons, zero, prompt and completion". */
export function settingText({ share, kind, positions }: Setting): string {
  return `${shareText(share)} of the neurons, ${kind}, ${POSITION_NAMES[positions] ?? positions}`;
}

/** The same where there is little room. */
export function settingLabel({ share, kind, positions }: Setting): string {
  return `${shareText(share)}, ${kind}, ${positions}`;
}

/** Draws of one control in one cell: their accuracy over all their items. */
export interface DrawnCell {
  readonly layer: number;
  readonly group: string;
  readonly arms: readonly ArmResult[];
}

/** Control draws of a setting by layer and group, in the order of the plan. */
export function drawnCells({ arms }: ModelResult, setting: Setting): DrawnCell[] {
  const cells = new Map<string, ArmResult[]>();
  arms.filter((arm) => arm.role === 'control' && isOf(setting, arm)).forEach((arm) => {
    const key = `${arm.layer} ${arm.group}`;
    cells.set(key, [...(cells.get(key) ?? []), arm]);
  });
  return [...cells.values()].map((own) => ({ layer: own[0]?.layer ?? 0, group: own[0]?.group ?? '', arms: own }));
}

/** The decisive comparison that a set stands out least from; undefined without controls. */
export function hardestComparison({ comparisons }: ModelResult, name: string): Comparison | undefined {
  return comparisons
    .filter(({ arm, decisive }) => arm === name && decisive)
    .reduce<Comparison | undefined>((hardest, one) => (hardest === undefined || one.rankP > hardest.rankP ? one : hardest), undefined);
}

/** The smallest fall of accuracy that the items show, in words. */
export function detectableText({ detectable }: ModelResult): string {
  const { items, power, alone, holm, sets } = detectable;
  const corrected = holm === null ? `after correction for ${sets} sets none` : `after correction for ${sets} sets one of ${fixed(100 * holm, 1)} points`;
  return alone === null
    ? `${items} items are too few to show any fall with probability ${percent(power, 0)}`
    : `${items} items show a fall of ${fixed(100 * alone, 1)} points with probability ${percent(power, 0)}${sets > 1 ? `, ${corrected}` : ''}`;
}

function strongest(model: ModelResult, verdicts: readonly Verdict[]): string {
  const arms = verdicts.map(({ arm }) => model.arms.find(({ name }) => name === arm)).filter((arm) => arm !== undefined);
  const arm = arms.reduce<ArmResult | undefined>((a, b) => (a === undefined || (b.change?.value ?? 0) < (a.change?.value ?? 0) ? b : a), undefined);
  const against = arm === undefined ? undefined : hardestComparison(model, arm.name);
  return arm === undefined || against === undefined
    ? ''
    : `${arm.neurons.length} ${groupName(arm.group)} of layer ${arm.layer} (${arm.kind}): ${points(arm.change?.value)} points [${points(arm.change?.low)}, ${points(arm.change?.high)}], ${groupName(against.control)} sets ${points(against.spread.mean)} on average, rank p ${pText(against.rankP)} of ${against.draws} draws`;
}

function counted(verdicts: readonly Verdict[]): string {
  return ORDER.map((kind) => ({ kind, count: verdicts.filter((verdict) => verdict.kind === kind).length }))
    .filter(({ count }) => count > 0)
    .map(({ kind, count }) => `${count}: ${VERDICT_NAMES[kind].replace(/^./, (letter) => letter.toLowerCase())}`)
    .join('; ');
}

/** The outcome of one model's sweep in one or two sentences, the plain truth first. */
export function sweepSentence(model: ModelResult): string {
  const { verdicts } = model;
  const of = (...kinds: VerdictKind[]): Verdict[] => verdicts.filter(({ kind }) => kinds.includes(kind));
  const sets = `${verdicts.length} ${verdicts.length === 1 ? 'value set' : 'value sets'}`;
  if (verdicts.length === 0) {
    return 'No value set was taken away, so there is no verdict.';
  }
  const beyond = of('beyond');
  if (beyond.length > 0) {
    const doubtful = beyond.filter(({ warnings }) => warnings.length > 0).length;
    const warning = doubtful === 0 ? '' : ` ${doubtful === beyond.length ? (doubtful === 1 ? 'It shows' : 'All of them show') : `${doubtful} of them show`} signs of completions that no longer end or parse, or of harm to language as such.`;
    return `Taking away value neurons costs accuracy beyond the controls in ${beyond.length} of ${sets} (most: ${strongest(model, beyond)}).${warning}`;
  }
  const alone = of('beyondAlone');
  if (alone.length > 0) {
    return `In ${alone.length} of ${sets} accuracy falls more than with the controls of the same layer and size, but not after correction for all of them (most: ${strongest(model, alone)}): more draws would tell.`;
  }
  const none = of('noEffect', 'controlsCostAsMuch');
  if (none.length === verdicts.length) {
    const costly = of('controlsCostAsMuch').length;
    const warned = none.filter(({ warnings }) => warnings.length > 0).length;
    const too = costly === 0 ? '' : `; ${verdicts.length === 1 ? 'it costs' : `${costly} cost`} accuracy, but so did the controls`;
    return `No effect beyond matched controls in ${verdicts.length === 1 ? 'the one value set' : `any of ${sets}`} (${verdicts.length === 1 ? '' : 'most: '}${strongest(model, verdicts)})${too}; ${detectableText(model)}.${warned === 0 ? '' : ` Read the ${warned === 1 ? 'warning' : 'warnings'} beside ${verdicts.length === 1 ? 'it' : `${warned} of them`}.`}`;
  }
  return `No effect beyond the controls was shown in any of ${sets} (${counted(verdicts)}); ${detectableText(model)}.`;
}
