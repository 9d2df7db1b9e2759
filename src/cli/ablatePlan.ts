/** What `rewardlens ablate --plan` prints. */
import type { Session } from '../model/session.js';
import { estimateSweep } from '../study/armEstimate.js';
import type { ArmPlan } from '../study/armPlan.js';
import type { Prepared, RolloutSettings } from '../study/sample.js';
import { measureRate } from '../study/sweepRun.js';
import type { Io } from './command.js';
import { plural } from './options.js';

/** Neurons of an arm that are printed. */
const SHOWN = 12;

/** "40 s", "12 min", "3.4 h": two digits are all that an estimate is good for. */
export function duration(seconds: number): string {
  const [value, unit] = seconds < 90 ? [seconds, 's'] : seconds < 5400 ? [seconds / 60, 'min'] : [seconds / 3600, 'h'];
  return `${value < 10 ? Number(value.toPrecision(2)) : Math.round(value)} ${unit}`;
}

/** Prints arms, tokens and, measured on a few pairs, the time. Nothing is kept. Errors: those of the engine. */
export async function printPlan(session: Session, prepared: Prepared, { arms, notes, meanTokens }: ArmPlan, settings: RolloutSettings, io: Io): Promise<void> {
  for (const { name, neurons } of arms) {
    if (io.json) {
      io.line({ arm: name, neurons, items: prepared.problems.length });
    } else {
      const edit = neurons.length === 0 ? 'nothing is edited' : `${plural(neurons.length, 'neuron')}: ${neurons.slice(0, SHOWN).join(', ')}${neurons.length > SHOWN ? ', …' : ''}`;
      io.out(`${name.padEnd(40)} ${edit}`);
    }
  }
  io.progress.start('measuring', 1);
  const rate = await measureRate(session, prepared, arms, settings, io.signal);
  io.progress.stop();
  const estimate = estimateSweep(arms, {
    promptTokens: [...prepared.promptLengths],
    maxTokens: settings.maxTokens,
    layerCount: session.model.info.layerCount,
    meanTokens: meanTokens ?? rate?.meanTokens,
    ...(rate === undefined ? {} : { rate }),
  });
  if (io.json) {
    io.line({ summary: { ...estimate, notes } });
    return;
  }
  const { promptTokens, sampledTokens, seconds } = estimate;
  io.out(`\n${plural(estimate.arms, 'arm')} × ${plural(estimate.items, 'item')}: ${plural(estimate.sequences, 'sequence')}`);
  io.out(`prompts: ${plural(promptTokens.alone, 'token')}, ${plural(promptTokens.shared, 'token')} where arms share what they leave as it is`);
  io.out(`completions: at most ${plural(sampledTokens.most, 'token')}${sampledTokens.expected === undefined ? '' : `, about ${plural(Math.round(sampledTokens.expected), 'token')} expected`}`);
  if (seconds !== undefined) {
    io.out(`time: ${seconds.expected === undefined ? '' : `about ${duration(seconds.expected)}, `}at most ${duration(seconds.most)} (${seconds.source})`);
  }
  notes.forEach((note) => io.out(note));
}
