/** `rewardlens rescore`: judges recorded trajectories again, without generating. */
import { rescore } from '../rollout/rescore.js';
import { Judge } from '../study/sample.js';
import type { Command, Io } from './command.js';
import type { Flags } from './flags.js';

/** Judges a rollout folder again. */
export const rescoreCommand: Command = {
  name: 'rescore',
  describe: 'Judge the trajectories of a rollout folder again, without generating.',
  positionals: [{ name: 'dir', describe: 'folder of `rewardlens rollout`' }],
  options: {
    check: { type: 'string', describe: "reward function: gsm8k, math, choice, exact, regex or a JS/TS module; default: every trajectory's own" },
  },
  examples: [['rewardlens rescore gsm8k --check ./my-check.ts', 'with a reward function of your own']],
  prepare(flags: Flags) {
    const directory = flags.required('dir', 'the folder of a rollout');
    const check = flags.text('check');
    return (io) => run(directory, check, io);
  },
};

async function run(directory: string, check: string | undefined, io: Io): Promise<void> {
  await using judge = new Judge();
  const totals = await rescore(
    directory,
    async (record) => {
      const name = check ?? record.check;
      const problem = { id: record.problem, ...(record.choices === undefined ? {} : { choices: record.choices }) };
      const { fingerprint } = await judge.scorer(name);
      return { ...(await judge.score(name, { text: record.text, gold: record.gold, problem })), check: name, checkFingerprint: fingerprint };
    },
    { signal: io.signal },
  );
  if (io.json) {
    io.line({ summary: totals });
    return;
  }
  const { correct, wrong, unknown } = totals.counts;
  io.out(`${correct} correct, ${wrong} wrong, ${unknown} unknown; ${totals.changed} changed`);
  totals.examples.forEach(({ problem, sample, before, after, reason }) => io.out(`  ${problem} #${sample}: ${before} → ${after} (${reason})`));
}
