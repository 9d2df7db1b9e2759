/** Rollout folders of the planted model and its null twin, with probes: the signal is known, and made in seconds. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Problem } from '../../src/dataset/types.js';
import { loadModel } from '../../src/model/model.js';
import { createScorer } from '../../src/reward/scorer.js';
import { runRollout } from '../../src/rollout/rollout.js';
import { hashFiles } from '../../src/run/manifest.js';
import { probeStage } from '../../src/study/analyse.js';
import type { ProbeSettings } from '../../src/study/options.js';
import { PROBE_DEFAULTS } from '../../src/study/options.js';

/** Coordinate that carries correctness in models/planted.gguf. */
export const CARRIER = 37;

export const PLANTED_MODELS = { planted: 'models/planted.gguf', null: 'models/planted-null.gguf' } as const;

const LETTERS = 'abcdefghijklmopqrstuvwxz';

/** Three letters that the model answers with `y` (right) or `n`: which is likelier, the last letter decides. `answer`, `check`: of one letter, unless given. */
export function plantedProblems(count: number, { answer, check }: Pick<Problem, 'answer' | 'check'> = { answer: 'y', check: 'exact' }): Problem[] {
  return Array.from({ length: count }, (_, i) => {
    const question = [i, 7 * i + 3, 5 * i + Math.floor(i / 24)].map((at) => LETTERS[at % LETTERS.length]).join('');
    return { id: `item-${String(i).padStart(4, '0')}`, question, answer, check, source: {} };
  });
}

const PROBES: ProbeSettings = { ...PROBE_DEFAULTS, hidden: 16, learningRate: 3e-3, maxEpochs: 20, targets: ['mc'], variants: [], test: 0.3, validation: 0.2 };

/** Answers of several letters, right when they end in `y`. */
export const LAST_LETTER = { answer: 'y$', check: 'regex' } as const;

/** Answers of several letters, right when the last but one, which the model still reads, is `y`. */
export const LAST_BUT_ONE = { answer: 'y.$', check: 'regex' } as const;

/** A rollout with probes of all layers: one-letter answers, or `maxTokens` letters, of which the last one counts unless `task` says otherwise. `seed`: of the sampling. Returns the folder. */
export async function plantedFolder(
  which: keyof typeof PLANTED_MODELS,
  options: { count: number; maxTokens?: number; task?: Pick<Problem, 'answer' | 'check'>; seed?: number; settings?: Partial<ProbeSettings> },
): Promise<string> {
  const { maxTokens = 1 } = options;
  const task = options.task ?? (maxTokens === 1 ? undefined : LAST_LETTER);
  const directory = await mkdtemp(join(tmpdir(), `rewardlens-${which}-`));
  const path = PLANTED_MODELS[which];
  await using model = await loadModel(path, { gpuLayers: 0, isolate: false });
  await using session = model.createSession({ parallel: 64, contextLength: 64, threads: 1 });
  await using scorer = await createScorer(task?.check ?? 'exact');
  await runRollout(session, {
    directory,
    problems: plantedProblems(options.count, task),
    prompt: ({ question }) => ({ text: question, tokens: model.tokenize(question) }),
    samples: 1,
    maxTokens,
    sampling: { temperature: 1 },
    stop: [],
    seed: options.seed ?? 3,
    judge: async (problem, text) => scorer.score({ text, gold: problem.answer }),
    checkFingerprint: () => scorer.fingerprint,
    capture: { site: 'residPost', layers: 'all', positions: 'response' },
    dtype: 'f16',
    inputs: { model: await hashFiles([path]), template: 'raw-test' },
    about: {},
  });
  await probeStage(directory, { ...PROBES, ...options.settings }, { threads: 1 });
  return directory;
}
