/** What capture and edits cost: the engine against stock llama.cpp with the same batch. */
import type { NativeRequest, NativeRunParams } from '../src/native/addon.js';
import type { Session } from '../src/model/session.js';
import { assertEdited, captureLayers, greedyRequest, promptTokens, runToEnd, toSample, zeroEdit } from './engine.js';
import type { Contender } from './measure.js';
import { compare, interleave } from './measure.js';
import type { Finding } from './rows.js';
import { finding } from './rows.js';
import type { Setup } from './setup.js';
import { openSession, openStock } from './setup.js';

const TARGET = 0.98;
const CONTEXT = 1024;

const allLayers = ({ generated }: Setup): number[] => Array.from({ length: generated.shape.layerCount }, (_, layer) => layer);

/** One-token prompts: every pass, the first included, is then a decode of one row per sequence. */
function decodeRequests({ generated }: Setup, sequences: number, steps: number, edited: boolean): NativeRequest[] {
  return Array.from({ length: sequences }, (_, id) => greedyRequest(id, promptTokens(id, 1, generated.shape.vocabSize), steps, edited ? id : -1));
}

function ours(name: string, session: Session, params: NativeRunParams, requests: readonly NativeRequest[]): Contender {
  return {
    name,
    async run() {
      const outcome = await runToEnd(session, params, requests);
      if (params.editLists.length > 0) {
        assertEdited(outcome.results);
        return { ...toSample(outcome), hash: undefined };
      }
      return toSample(outcome);
    },
  };
}

const plan = (layers: readonly number[]): NativeRunParams => ({ capture: captureLayers(layers), editLists: [], promptOnly: false });
const noPlan: NativeRunParams = { editLists: [], promptOnly: false };

/** Decoding one sequence, where a pass is shortest and the hook weighs most. */
export async function oneSequenceRows(setup: Setup): Promise<Finding[]> {
  const { settings } = setup;
  const layers = allLayers(setup);
  const plain = openSession(setup, 1, CONTEXT); // a context with a hook is another context: one session each
  const hooked = openSession(setup, 1, CONTEXT);
  const stock = await openStock(setup, 1, CONTEXT);
  const bare = await openStock(setup, 1, CONTEXT, false);
  const requests = decodeRequests(setup, 1, settings.stepsAtOne, false);
  const samples = await interleave(
    [
      ours('none', plain, noPlan, requests),
      ours('one', hooked, plan([layers.length >> 1]), requests),
      ours('all', hooked, plan(layers), requests),
      { name: 'stock', run: async () => stock.decode(settings.stepsAtOne) },
      { name: 'bare', run: async () => bare.decode(settings.stepsAtOne) },
    ],
    settings.repetitions * 2,
    (round) => setup.report(`decode, 1 sequence: round ${round + 1} of ${settings.repetitions * 2}`),
  );
  await Promise.all([plain.dispose(), hooked.dispose(), stock.close(), bare.close()]);
  const unit = 'tokens/s';
  const note = 'Reference: stock llama.cpp with a persistent threadpool.';
  return [
    finding('no plan, decode, 1 sequence', unit, compare(samples, 'none', 'stock'), null, `${note} What the engine costs without a hook.`),
    finding('capture 1 layer, decode, 1 sequence', unit, compare(samples, 'one', 'stock'), TARGET, note),
    finding('capture all layers, decode, 1 sequence', unit, compare(samples, 'all', 'stock'), TARGET, note),
    finding('capture all layers, decode, 1 sequence, default threads', unit, compare(samples, 'all', 'bare'), null, 'Reference: stock llama.cpp without a threadpool of its own, as it comes.'),
  ];
}

/** Decoding a full batch: capture, and a different edit in every sequence. */
export async function batchRows(setup: Setup): Promise<Finding[]> {
  const { settings, generated } = setup;
  const { shape } = generated;
  const count = settings.parallel;
  const session = openSession(setup, count, 256);
  const stock = await openStock(setup, count, 256);
  const editLists = Array.from({ length: count }, (_, arm) => zeroEdit(arm, shape.layerCount, shape.dModel, 'all'));
  const samples = await interleave(
    [
      ours('capture', session, plan(allLayers(setup)), decodeRequests(setup, count, settings.stepsAtMany, false)),
      ours('edits', session, { editLists, promptOnly: false }, decodeRequests(setup, count, settings.stepsAtMany, true)),
      { name: 'stock', run: async () => stock.decode(settings.stepsAtMany) },
    ],
    settings.repetitions * 2,
    (round) => setup.report(`decode, ${count} sequences: round ${round + 1} of ${settings.repetitions * 2}`),
  );
  await Promise.all([session.dispose(), stock.close()]);
  const note = 'Reference: stock llama.cpp, same batch, persistent threadpool.';
  const edits = { ...compare(samples, 'edits', 'stock'), sameTokens: undefined };
  return [
    finding(`capture all layers, decode, ${count} sequences`, 'tokens/s', compare(samples, 'capture', 'stock'), TARGET, note),
    finding(`per-sequence edits, decode, ${count} sequences`, 'tokens/s', edits, TARGET, `${note} Every sequence sets 1 % of another layer's neurons to zero.`),
  ];
}

/** Reading a prompt while capturing every layer: no target of its own, but it is what probe training waits for. */
export async function prefillRows(setup: Setup): Promise<Finding[]> {
  const { settings, generated } = setup;
  const { shape } = generated;
  const tokens = settings.prefillTokens;
  const session = openSession(setup, 1, CONTEXT);
  const stock = await openStock(setup, 1, CONTEXT);
  const request = greedyRequest(0, promptTokens(0, tokens, shape.vocabSize), 0);
  const layers = allLayers(setup);
  const reader = (name: string, which: readonly number[]): Contender => ({
    name,
    run: async () => toSample(await runToEnd(session, plan(which), [request]), tokens),
  });
  const samples = await interleave(
    [reader('most', layers.slice(0, -1)), reader('all', layers), { name: 'stock', run: async () => stock.prefill(tokens) }],
    settings.repetitions,
    (round) => setup.report(`prompt of ${tokens} tokens: round ${round + 1} of ${settings.repetitions}`),
  );
  await Promise.all([session.dispose(), stock.close()]);
  const note = 'Reference: stock llama.cpp, logits of the last token only.';
  return [
    finding('capture all layers but the last, prompt', 'tokens/s', compare(samples, 'most', 'stock'), null, note),
    finding('capture all layers, prompt', 'tokens/s', compare(samples, 'all', 'stock'), null, `${note} llama.cpp keeps rows of the last layer only where it computes logits, so every row has to ask for them.`),
  ];
}
