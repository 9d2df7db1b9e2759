/** An ablation sweep, all arms side by side, against one arm after the other in stock llama.cpp. */
import type { Session } from '../src/model/session.js';
import { assertEdited, greedyRequest, promptTokens, runToEnd, toSample, zeroEdit } from './engine.js';
import { usesAmx } from './hardware.js';
import type { Contender, Sample } from './measure.js';
import { compare, interleave } from './measure.js';
import type { Finding } from './rows.js';
import { finding } from './rows.js';
import type { Setup } from './setup.js';
import { openSession, openStock } from './setup.js';

const SHARED_TARGET = 8;
const BATCH_TARGET = { amx: 5, other: 3 };

interface Sharing {
  sharedTokens: number;
  promptTokens: number;
}

/** All arms on one prompt. Edits on the completion only leave the prompt alike, so its KV cells can be copied. */
function sweep(setup: Setup, session: Session, positions: 'all' | 'completion', sharing: Sharing): Contender {
  const { arms, prompt, completion } = setup.settings;
  const { shape } = setup.generated;
  const editLists = Array.from({ length: arms }, (_, arm) => zeroEdit(arm, shape.layerCount, shape.dModel, positions));
  const tokens = promptTokens(0, prompt, shape.vocabSize);
  const requests = editLists.map((_, arm) => greedyRequest(arm, tokens, completion, arm));
  return {
    name: positions,
    warm: async () => runToEnd(session, { editLists, promptOnly: false }, requests.slice(0, 2)),
    async run(): Promise<Sample> {
      const outcome = await runToEnd(session, { editLists, promptOnly: false }, requests);
      assertEdited(outcome.results);
      sharing.sharedTokens = outcome.sharedTokens;
      sharing.promptTokens = outcome.promptTokens;
      return { ...toSample(outcome, arms), hash: undefined };
    },
  };
}

/** The two rows of the sweep, and the second against a loop that is less naive. */
export async function sweepRows(setup: Setup): Promise<Finding[]> {
  const { settings, hardware } = setup;
  const { arms, loopArms, prompt, completion } = settings;
  const context = prompt + completion;
  const session = openSession(setup, Math.min(arms, settings.parallel), context);
  const stock = await openStock(setup, 1, context);
  const sharing: Sharing = { sharedTokens: 0, promptTokens: 0 };
  const samples = await interleave(
    [
      sweep(setup, session, 'all', { ...sharing }),
      sweep(setup, session, 'completion', sharing),
      { name: 'loop', run: async () => stock.arms(loopArms, prompt, completion, false), warm: async () => stock.arms(1, prompt, completion, false) },
      { name: 'keeping loop', run: async () => stock.arms(loopArms, prompt, completion, true), warm: async () => stock.arms(1, prompt, completion, true) },
    ],
    settings.repetitions,
    (round) => setup.report(`sweep of ${arms} arms: round ${round + 1} of ${settings.repetitions}`),
  );
  await Promise.all([session.dispose(), stock.close()]);
  const target = usesAmx(hardware) ? BATCH_TARGET.amx : BATCH_TARGET.other;
  const sizes = `${arms} arms, prompt ${prompt}, completion ${completion}`;
  const note = `Reference: stock llama.cpp, one sequence, prompt and greedy decode for each arm, without any edit (an edit would only slow it down); ${loopArms} arms timed.`;
  const shared = `${sharing.sharedTokens} prompt tokens copied, ${sharing.promptTokens} computed (prefix sharing; layers below the edit are not skipped).`;
  return [
    finding(`ablation sweep, ${sizes}`, 'arms/s', compare(samples, 'all', 'loop'), target, `${note} Edits at every position: nothing is shared, only batched. Target for ${usesAmx(hardware) ? 'AMX' : 'AVX2'}.`),
    finding('the same, edits on the completion: prompt shared', 'arms/s', compare(samples, 'completion', 'loop'), SHARED_TARGET, `Same loop. ${shared}`),
    finding('the same against a loop that keeps the prompt', 'arms/s', compare(samples, 'completion', 'keeping loop'), null, 'Reference: the loop, but the prompt\'s KV cells stay between arms and only its last token is read again.'),
  ];
}
