/**
 * `npm run demo`: the bundled model answers problems, its activations at s_0 are saved, and three arms run side by side in
 * one batch: no edit, an identity edit (which must change nothing), and a random 1 % of one layer set to zero.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { concatActivations } from '../capture/activations.js';
import { saveActivations } from '../capture/save.js';
import type { Intervention } from '../intervene/types.js';
import type { Model } from '../model/model.js';
import { loadModel } from '../model/model.js';
import type { Session } from '../model/session.js';
import { checkAnswer } from '../rollout/check.js';
import type { Problem } from '../rollout/dataset.js';
import { loadProblems } from '../rollout/dataset.js';
import type { RunProgress } from '../run/engine.js';
import { generate } from '../run/generate.js';
import { createManifest } from '../run/manifest.js';
import type { SequenceRequest } from '../run/request.js';
import { pickRandom } from '../util/random.js';
import type { Answer, ArmSummary } from './report.js';
import { printArms, printAnswers, summarise } from './report.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DATA_SETS = ['chained-sums', 'multiple-choice', 'feedback-search'];
const PROBLEM_COUNT = 200;
const PARALLEL = 32;
const SEED = 1;
const MAX_TOKENS = 96;

async function chooseProblems(): Promise<{ dataSet: string; problem: Problem }[]> {
  const sets = await Promise.all(DATA_SETS.map((name) => loadProblems(resolve(ROOT, 'data', name, 'test.jsonl'))));
  return Array.from({ length: PROBLEM_COUNT }, (_, i) => {
    const set = i % DATA_SETS.length;
    const problem = sets[set]?.[Math.floor(i / DATA_SETS.length)];
    if (problem === undefined) {
      throw new Error(`data set ${DATA_SETS[set] ?? ''} has too few problems`);
    }
    return { dataSet: DATA_SETS[set] ?? '', problem };
  });
}

/** The three arms. One layer in the middle, one hundredth of its neurons (at least one), drawn with a fixed seed. */
function makeArms(model: Model): Record<string, Intervention[]> {
  const layer = Math.floor(model.info.layerCount / 2);
  const count = Math.max(1, Math.round(model.info.dModel * 0.01));
  const neurons = pickRandom(model.info.dModel, count, SEED);
  return {
    'no edit': [],
    'identity edit': [{ kind: 'scale', layers: [layer], factor: 1 }],
    [`zero ${count} of ${model.info.dModel}, layer ${layer}`]: [{ kind: 'zero', layers: [layer], neurons }],
  };
}

/** A line on stderr that rewrites itself on a terminal; nothing in a pipe. */
function showProgress(total: number): (progress: RunProgress) => void {
  return (progress) => {
    if (process.stderr.isTTY) {
      process.stderr.write(`\r  ${progress.finished}/${total} answers, ${progress.completionTokens} tokens   `);
      if (progress.finished === total) {
        process.stderr.write('\r\x1b[K');
      }
    }
  };
}

async function answer(
  session: Session,
  items: readonly { dataSet: string; problem: Problem }[],
  arms: Record<string, Intervention[]>,
  options: { capture: boolean },
): Promise<{ answers: Answer[]; progress: RunProgress; seconds: number }> {
  const jobs = Object.keys(arms).flatMap((arm) => items.map((item, i) => ({ ...item, arm, seed: SEED + i })));
  const requests = jobs.map(({ problem, arm, seed }): SequenceRequest => ({ prompt: problem.prompt, maxTokens: MAX_TOKENS, seed, arm }));
  const started = performance.now();
  const run = generate(session, requests, {
    arms,
    onProgress: showProgress(requests.length),
    ...(options.capture ? { capture: { site: 'residPost', layers: 'all', positions: 's0' } as const } : {}),
  });
  const answers: Answer[] = [];
  for (let step = await run.next(); ; step = await run.next()) {
    if (step.done === true) {
      answers.sort((a, b) => a.result.index - b.result.index);
      return { answers, progress: step.value, seconds: (performance.now() - started) / 1000 };
    }
    const job = jobs[step.value.index];
    if (job !== undefined) {
      const { verdict } = checkAnswer(job.problem.check, step.value.text, job.problem.answer);
      answers.push({ problem: job.problem, dataSet: job.dataSet, arm: job.arm, result: step.value, verdict });
    }
  }
}

async function saveAnswers(path: string, answers: readonly Answer[]): Promise<void> {
  const lines = answers.map(({ problem, arm, result, verdict }) =>
    JSON.stringify({
      id: problem.id,
      arm,
      prompt: problem.prompt,
      text: result.text,
      answer: problem.answer,
      verdict,
      finishReason: result.finishReason,
      tokens: [...result.tokens],
      edits: result.edits,
    }),
  );
  await writeFile(path, lines.join('\n') + '\n');
}

async function main(): Promise<void> {
  const out = resolve('demo-output');
  await mkdir(out, { recursive: true });
  await using model = await loadModel(resolve(ROOT, 'models/reasoner-base.gguf'));
  const { info } = model;
  console.log(`${relative(process.cwd(), info.path)}: ${info.architecture} ${(info.parameterCount / 1e6).toFixed(1)} M ${info.quantization}, ${info.layerCount} layers of ${info.dModel} neurons\n`);
  await using session = model.createSession({ parallel: PARALLEL, contextLength: 256 });
  const items = await chooseProblems();

  const first = await answer(session, items, { 'no edit': [] }, { capture: true });
  printAnswers(first.answers, first.progress, first.seconds);
  const activations = concatActivations(first.answers.flatMap(({ result }) => result.activations ?? []));
  const manifest = await createManifest(session, { hashModel: true });
  const activationsPath = resolve(out, 'activations.safetensors');
  await saveActivations(activationsPath, activations, { ...manifest, problems: items.map(({ problem }) => problem.id) });

  const arms = makeArms(model);
  const second = await answer(session, items, arms, { capture: false });
  const summaries: ArmSummary[] = summarise(Object.keys(arms), second.answers);
  printArms(summaries, second.progress, second.seconds);

  const answersPath = resolve(out, 'answers.jsonl');
  const summaryPath = resolve(out, 'summary.json');
  await saveAnswers(answersPath, [...first.answers, ...second.answers]);
  await writeFile(summaryPath, JSON.stringify({ manifest, arms: summaries }, undefined, 2) + '\n');
  console.log(`\nactivations at s_0  ${relative(process.cwd(), activationsPath)}   [${activations.rowCount} rows × ${info.dModel}] × ${info.layerCount} layers`);
  console.log(`answers             ${relative(process.cwd(), answersPath)}`);
  console.log(`summary             ${relative(process.cwd(), summaryPath)}`);
}

await main();
