/** What a sweep costs, before it runs. */
import type { Arm } from '../ablate/arms.js';

/** What is known beforehand. */
export interface EstimateFacts {
  /** Tokens of every item's prompt. */
  readonly promptTokens: readonly number[];
  readonly maxTokens: number;
  readonly layerCount: number;
  /** Mean tokens of a completion, such as {@link ArmPlan.meanTokens}; undefined when nothing is known. */
  readonly meanTokens?: number | undefined;
  /** Tokens, read and sampled together, per second, as measured by `source` ("the rollout in gsm8k"). */
  readonly rate?: { readonly tokensPerSecond: number; readonly source: string } | undefined;
}

/** Work of a sweep; tokens are tokens through the whole model. */
export interface SweepEstimate {
  readonly arms: number;
  readonly items: number;
  /** Arms × items. */
  readonly sequences: number;
  readonly promptTokens: {
    /** Every sequence reads its prompt. */
    readonly alone: number;
    /** Arms that leave the prompt as it is read it once per item, the others once each. Prefixes common to several items are not counted. */
    readonly shared: number;
    /** And the layers up to the edited one are taken from the base's pass: parts of passes, added up. */
    readonly skipped: number;
  };
  readonly sampledTokens: {
    readonly most: number;
    /** From `meanTokens`; ablated models may go on for longer or stop earlier. Undefined without it. */
    readonly expected: number | undefined;
  };
  /** Time at the given rate, with shared prompts: at most, and as expected. Undefined without a rate. */
  readonly seconds: { readonly most: number; readonly expected: number | undefined; readonly source: string } | undefined;
}

/** A sequence that takes over a prompt still reads its last tokens itself. */
const OWN_TOKENS = 2;

/** Counts the work of `arms` on items. Pure. */
export function estimateSweep(arms: readonly Arm[], { promptTokens, maxTokens, layerCount, meanTokens, rate }: EstimateFacts): SweepEstimate {
  const sequences = arms.length * promptTokens.length;
  const prompts = promptTokens.reduce((sum, tokens) => sum + tokens, 0);
  const reading = arms.filter(({ neurons, positions }) => neurons.length > 0 && positions !== 'completion');
  const untouched = arms.length - reading.length;
  const together = untouched === 0 ? 0 : prompts + (untouched - 1) * promptTokens.reduce((sum, tokens) => sum + Math.min(OWN_TOKENS, tokens), 0);
  const above = reading.reduce((sum, { layer }) => sum + (layerCount - 1 - layer) / layerCount, 0);
  const shared = together + reading.length * prompts;
  const most = sequences * maxTokens;
  const expected = meanTokens === undefined ? undefined : sequences * Math.min(meanTokens, maxTokens);
  const time = (sampled: number, tokensPerSecond: number): number => (shared + sampled) / tokensPerSecond;
  return {
    arms: arms.length,
    items: promptTokens.length,
    sequences,
    promptTokens: { alone: arms.length * prompts, shared, skipped: together + above * prompts },
    sampledTokens: { most, expected },
    seconds:
      rate === undefined
        ? undefined
        : { most: time(most, rate.tokensPerSecond), expected: expected === undefined ? undefined : time(expected, rate.tokensPerSecond), source: rate.source },
  };
}
