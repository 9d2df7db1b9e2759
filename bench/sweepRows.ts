/** An ablation sweep, all arms side by side, against one arm after the other in stock llama.cpp. */
import type { Session } from '../src/model/session.js';
import type { NativeEditList, NativeRequest, NativeRunParams } from '../src/native/addon.js';
import type { Outcome } from './engine.js';
import { assertEdited, greedyRequest, hashTokens, promptTokens, runToEnd, toSample, zeroEdit } from './engine.js';
import { usesAmx } from './hardware.js';
import type { Contender, Sample, Samples } from './measure.js';
import { compare, interleave } from './measure.js';
import type { Finding } from './rows.js';
import { finding } from './rows.js';
import type { Setup } from './setup.js';
import { openSession, openStock } from './setup.js';
import { TransformersSweep, transformersNote } from './transformersSweep.js';

const SHARED_TARGET = 8;
const BATCH_TARGET = { amx: 5, other: 3 };
const SCORING_TARGET = 2;
const TRANSFORMERS_TARGET = 2;
/** Arms per layer of the scoring sweep: a set of neurons and three matched controls. */
const SCORING_ARMS = 4;

interface Variant {
  name: string;
  editLists: NativeEditList[];
  requests: NativeRequest[];
  params: Partial<NativeRunParams>;
  /** The last outcome. */
  outcome?: Outcome;
}

/** Arms on one prompt, spread over the layers in ascending order, after one request without edits. */
function armsOver(setup: Setup, count: number, completion: number, positions: 'all' | 'completion'): Pick<Variant, 'editLists' | 'requests'> {
  const { shape } = setup.generated;
  const layerOf = (arm: number): number => Math.floor((arm * shape.layerCount) / count);
  const editLists = Array.from({ length: count }, (_, arm) => zeroEdit(arm, shape.layerCount, shape.dModel, positions, layerOf(arm)));
  const tokens = promptTokens(0, setup.settings.prompt, shape.vocabSize);
  return { editLists, requests: [-1, ...editLists.keys()].map((arm) => greedyRequest(arm + 1, tokens, completion, arm)) };
}

/** One run over all arms; the unedited request is part of the work and not of the count. */
function contender(session: Session, variant: Variant): Contender {
  const { name, editLists, requests, params } = variant;
  const plan = { editLists, promptOnly: false, ...params };
  return {
    name,
    warm: async () => runToEnd(session, plan, requests.slice(0, 3)),
    async run(): Promise<Sample> {
      const outcome = await runToEnd(session, plan, requests);
      assertEdited(outcome.results.filter(({ id }) => id > 0));
      variant.outcome = outcome;
      return { ...toSample(outcome, editLists.length), hash: undefined };
    },
  };
}

/** Same tokens from runs that are to differ in speed only. */
function sameTokens(a: Variant, b: Variant): string {
  const equal = hashTokens(a.outcome?.results ?? []) === hashTokens(b.outcome?.results ?? []);
  return equal ? 'The same tokens as full passes.' : 'WARNING: other tokens than full passes.';
}

function skipped({ outcome }: Variant, layerCount: number): string {
  const share = (100 * (outcome?.skippedLayerTokens ?? 0)) / ((outcome?.promptTokens ?? 0) * layerCount);
  return `${share.toFixed(0)} % of the layers of ${outcome?.promptTokens ?? 0} prompt tokens not computed, ${outcome?.sharedTokens ?? 0} prompt tokens copied.`;
}

async function generating(setup: Setup, session: Session): Promise<Finding[]> {
  const { settings, hardware, generated } = setup;
  const { arms, loopArms, prompt, completion } = settings;
  const everywhere = armsOver(setup, arms, completion, 'all');
  const full: Variant = { name: 'full passes', ...everywhere, params: { skipLayers: false } };
  const layers: Variant = { name: 'layers', ...everywhere, params: {} };
  const behind: Variant = { name: 'completion', ...armsOver(setup, arms, completion, 'completion'), params: {} };
  const stock = await openStock(setup, 1, prompt + completion);
  const python = await TransformersSweep.start(setup);
  const loop = (name: string, keep: boolean): Contender => ({
    name,
    run: async () => stock.arms(loopArms, prompt, completion, keep),
    warm: async () => stock.arms(1, prompt, completion, keep),
  });
  const samples: Samples = await interleave(
    [...[full, layers, behind].map((variant) => contender(session, variant)), loop('loop', false), loop('keeping loop', true), ...python.contenders()],
    settings.repetitions,
    (round) => setup.report(`sweep of ${arms} arms: round ${round + 1} of ${settings.repetitions}`),
  );
  await stock.close();
  python.close();
  const amx = usesAmx(hardware);
  const note = `Reference: stock llama.cpp, one sequence, prompt and greedy decode for each arm, without any edit (an edit would only slow it down); ${loopArms} arms timed.`;
  const saved = skipped(layers, generated.shape.layerCount);
  const rows = [
    finding(`ablation sweep, ${arms} arms, prompt ${prompt}, completion ${completion}`, 'arms/s', compare(samples, 'full passes', 'loop'), amx ? BATCH_TARGET.amx : BATCH_TARGET.other, `${note} Edits at every position, all layers computed: nothing is shared, only batched. Target for ${amx ? 'AMX' : 'AVX2'}.`),
    finding('the same, arms over all layers: layers below the edit shared', 'arms/s', compare(samples, 'layers', 'loop'), SHARED_TARGET, `Same loop. ${saved} ${sameTokens(layers, full)}`),
    finding('the same against full passes of the engine', 'arms/s', compare(samples, 'layers', 'full passes'), null, 'Reference: the first row.'),
    finding('the same, edits on the completion: prompt shared', 'arms/s', compare(samples, 'completion', 'loop'), SHARED_TARGET, `Same loop. ${skipped(behind, generated.shape.layerCount)}`),
    finding('the same against a loop that keeps the prompt', 'arms/s', compare(samples, 'completion', 'keeping loop'), null, 'Reference: the loop, but the prompt\'s KV cells stay between arms and only its last token is read again.'),
  ];
  for (const name of python.names) {
    rows.push(finding('sweep over all layers against transformers with forward hooks', 'arms/s', compare(samples, 'layers', name), TRANSFORMERS_TARGET, transformersNote(python)));
  }
  return rows;
}

/** What a sweep asks that only scores: the logits behind the prompt under every arm. Nothing is sampled. */
async function scoring(setup: Setup, session: Session): Promise<Finding> {
  const { settings, generated } = setup;
  const { layerCount } = generated.shape;
  const count = SCORING_ARMS * layerCount;
  const capture = { sites: [{ site: 'logits' as const, layer: layerCount - 1 }], positions: { kind: 's0' as const }, halfPrecision: false };
  const params = { capture, promptOnly: true };
  const full: Variant = { name: 'full passes', ...armsOver(setup, count, 0, 'all'), params: { ...params, skipLayers: false } };
  const layers: Variant = { name: 'layers', ...armsOver(setup, count, 0, 'all'), params };
  const samples = await interleave(
    [full, layers].map((variant) => contender(session, variant)),
    settings.repetitions,
    (round) => setup.report(`scoring sweep of ${count} arms: round ${round + 1} of ${settings.repetitions}`),
  );
  const note = `${count} arms, ${SCORING_ARMS} at every layer, prompt ${settings.prompt}, logits of its last token captured. Reference: full passes of the engine, batched. ${skipped(layers, layerCount)}`;
  return finding('prompt-only scoring sweep over layers', 'arms/s', compare(samples, 'layers', 'full passes'), SCORING_TARGET, note);
}

/** The rows of the sweep. */
export async function sweepRows(setup: Setup): Promise<Finding[]> {
  const { arms, prompt, completion, parallel } = setup.settings;
  const session = openSession(setup, Math.min(arms, parallel) + 1, prompt + completion);
  try {
    return [...(await generating(setup, session)), await scoring(setup, session)];
  } finally {
    await session.dispose();
  }
}
