/** `rewardlens confidence`: value neurons against other ways to tell that an answer is right. */
import { join } from 'node:path';
import { QUESTION_TEXT } from '../apply/pTrue.js';
import type { Confidence } from '../report/confidenceSchema.js';
import type { Estimate } from '../stats/estimate.js';
import type { ConfidenceModel, ConfidenceSettings } from '../study/confidence.js';
import { CONFIDENCE_FILE, runConfidence } from '../study/confidence.js';
import { requireFolder } from './checks.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import { processEscapes } from './inputs.js';
import { MODEL_OPTIONS, SESSION_OPTIONS, readModelFlags, readSessionFlags } from './options.js';
import { PROBE_RANKINGS, workOptions } from './studyFlags.js';

const GROUP = 'Confidence:';
const SAMPLES = 8;
const YES = 'Yes';
const NO = 'No';

/** Compares ways to be confident. */
export const confidenceCommand: Command = {
  name: 'confidence',
  resumes: true,
  describe: 'How well V(s_0) from a few neurons tells right answers from wrong ones before the first word, beside what else is in use.',
  positionals: [{ name: 'dir', describe: 'folder of `rewardlens rollout` with probes' }],
  options: {
    neurons: { type: 'string', group: GROUP, describe: 'numbers of value neurons, such as 4,16; default 1 % and 5 %' },
    ranking: { type: 'string', group: GROUP, describe: `${PROBE_RANKINGS.join(', ')}; default l1-zscore` },
    layer: { type: 'string', group: GROUP, describe: 'default: the layer whose probe is best at s_0 on validation trajectories' },
    samples: { type: 'string', group: GROUP, describe: `answers per held-out problem for self-consistency, 0 for none; default ${SAMPLES}` },
    ask: { type: 'string', group: GROUP, describe: `question of P(True), exactly as it follows the answer of a raw prompt (\\n is a line break), or the next turn of a chat; default: ${QUESTION_TEXT}` },
    'no-ask': { type: 'boolean', group: GROUP, describe: 'no P(True)' },
    yes: { type: 'string', group: GROUP, describe: `word for yes; default ${YES}` },
    no: { type: 'string', group: GROUP, describe: `word for no; default ${NO}` },
    ...MODEL_OPTIONS,
    ...SESSION_OPTIONS,
  },
  examples: [['rewardlens confidence study/gsm8k -m model.gguf --neurons 8,36', 'on the held-out problems of a rollout']],
  prepare(flags: Flags) {
    const directory = flags.required('dir', 'the folder of a rollout with probes');
    const settings = readSettings(flags);
    const { path, load } = readModelFlags(flags);
    const session = readSessionFlags(flags);
    return (io) => run(directory, settings, { model: path, load, session }, io);
  },
};

function readSettings(flags: Flags): ConfidenceSettings {
  const neurons = flags.text('neurons')?.split(',').map(Number) ?? [];
  const wrong = neurons.find((count) => !Number.isInteger(count) || count < 1);
  if (wrong !== undefined) {
    throw new UsageError(`--neurons: expected numbers of neurons such as 4,16, got ${JSON.stringify(flags.text('neurons'))}`);
  }
  const ask = flags.text('ask');
  return {
    neurons: [...new Set(neurons)].sort((a, b) => a - b),
    method: flags.choice('ranking', PROBE_RANKINGS) ?? 'l1-zscore',
    layer: flags.integer('layer', 0),
    samples: flags.integer('samples', 0, 10000) ?? SAMPLES,
    question: flags.on('no-ask') ? undefined : { text: ask === undefined ? undefined : processEscapes(ask), yes: flags.text('yes') ?? YES, no: flags.text('no') ?? NO },
  };
}

async function run(directory: string, settings: ConfidenceSettings, target: ConfidenceModel, io: Io): Promise<void> {
  await requireFolder(directory);
  const result = await runConfidence(directory, settings, target, workOptions({ threads: target.session.threads }, io));
  io.progress.stop();
  const path = join(directory, CONFIDENCE_FILE);
  if (io.json) {
    io.line({ summary: { path, layer: result.layer, findings: result.findings } });
  } else {
    confidenceTable(result).forEach((line) => io.out(line));
    io.out(`\n${result.findings.join('\n')}\n\n${path}`);
  }
}

const figure = (value: number | null): string => (value === null ? '–' : value.toFixed(3));
const cell = ({ value, low, high }: Estimate): string => `${figure(value)} [${figure(low)}, ${figure(high)}]`;

/** The result as a table. */
export function confidenceTable({ scores, heldOut, errorRate, bestAurc, layer, site, pTrue }: Confidence): string[] {
  const width = Math.max(...scores.map(({ name }) => name.length));
  return [
    `${heldOut.trajectories} held-out answers to ${heldOut.problems} problems, ${(100 * (1 - errorRate)).toFixed(1)} % right; ${site} of layer ${layer}`,
    `${''.padEnd(width)}  known   AUC                   AURC                  Brier  ECE    tokens   extra`,
    ...scores.map(({ name, known, auc, aurc, brier, expectedError, cost }) =>
      `${name.padEnd(width)}  ${known.padEnd(6)}  ${cell(auc).padEnd(20)}  ${cell(aurc).padEnd(20)}  ${figure(brier)}  ${figure(expectedError)}  ${cost.tokens.toFixed(1).padStart(6)}  ${cost.extra.toFixed(1).padStart(6)}`),
    `AURC is ${errorRate.toFixed(3)} for a score that says nothing and ${bestAurc.toFixed(3)} at best; Brier score and calibration error (ECE) of scores as probabilities`,
    ...(pTrue === null ? [] : [`P(True): yes and no together took ${(100 * pTrue.mass).toFixed(1)} % of the probability`]),
  ];
}
