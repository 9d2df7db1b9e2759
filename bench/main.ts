/** `npm run bench`: the engine against stock llama.cpp and a one-at-a-time loop, in one run. See bench/README.md. */
import { availableParallelism } from 'node:os';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { buildInfo } from '../src/native/addon.js';
import { loadModel } from '../src/model/model.js';
import { QUIET_LOAD, describeHardware, loadAverage, readHardware } from './hardware.js';
import { batchRows, oneSequenceRows, prefillRows } from './hookRows.js';
import { probeRows } from './probe.js';
import { eventLoopRow, memoryRows } from './processRows.js';
import type { Finding, Row } from './rows.js';
import { complete, formatTable } from './rows.js';
import type { Settings, Setup } from './setup.js';
import type { GeneratedModel, WeightType } from './shape.js';
import { SHAPES, generateModel } from './shape.js';
import { buildStock } from './stock.js';
import { storeRows } from './store.js';
import { sweepRows } from './sweepRows.js';

const GROUPS = {
  one: oneSequenceRows,
  batch: batchRows,
  prefill: prefillRows,
  sweep: sweepRows,
  loop: async (setup: Setup): Promise<Finding[]> => [await eventLoopRow(setup)],
  memory: memoryRows,
  probe: probeRows,
  store: storeRows,
};
type Group = keyof typeof GROUPS;
const GROUP_NAMES = Object.keys(GROUPS) as Group[];

function parseCommandLine() {
  return yargs(hideBin(process.argv))
    .scriptName('npm run bench --')
    .usage('$0 [options]\n\nMeasures the engine against stock llama.cpp with a model of random weights.')
    .option('shape', { choices: Object.keys(SHAPES), default: '0.5b', describe: 'shape of the generated model' })
    .option('type', { choices: ['q8_0', 'f16', 'f32'] as const, default: 'q8_0' as const, describe: 'type of its weights' })
    .option('threads', { alias: 't', type: 'number', default: availableParallelism(), describe: 'compute threads of both sides' })
    .option('parallel', { type: 'number', default: 32, describe: 'sequences side by side' })
    .option('ubatch-size', { alias: 'ub', type: 'number', default: 512, describe: 'most rows of one pass, both sides' })
    .option('arms', { type: 'number', default: 32, describe: 'arms of the sweep' })
    .option('prompt', { type: 'number', default: 64, describe: 'prompt tokens of the sweep' })
    .option('completion', { type: 'number', default: 32, describe: 'completion tokens of the sweep' })
    .option('repetitions', { type: 'number', default: 3, describe: 'interleaved rounds' })
    .option('quick', { type: 'boolean', default: false, describe: 'a fraction of the work, to see that it runs: not for numbers' })
    .option('only', { type: 'string', array: true, choices: GROUP_NAMES, describe: 'some groups of rows only' })
    .option('json', { type: 'boolean', default: false, describe: 'one JSON array on standard output' })
    .check((args) => {
      for (const name of ['threads', 'parallel', 'ubatch-size', 'arms', 'prompt', 'completion', 'repetitions'] as const) {
        if (!Number.isInteger(args[name]) || args[name] < 1) {
          throw new Error(`--${name}: expected an integer from 1 on, got ${args[name]}`);
        }
      }
      return true;
    })
    .strict()
    .version(false)
    .parseSync();
}

type Arguments = ReturnType<typeof parseCommandLine>;

function toSettings(args: Arguments): Settings {
  return {
    shape: args.shape,
    type: args.type,
    threads: args.threads,
    parallel: args.parallel,
    ubatch: args.ubatchSize,
    repetitions: args.quick ? 1 : args.repetitions,
    stepsAtOne: args.quick ? 8 : 32,
    stepsAtMany: args.quick ? 4 : 12,
    prefillTokens: args.quick ? 64 : 256,
    arms: args.arms,
    loopArms: Math.min(args.arms, args.quick ? 2 : 4),
    prompt: args.quick ? Math.min(args.prompt, 32) : args.prompt,
    completion: args.quick ? Math.min(args.completion, 8) : args.completion,
  };
}

async function measure(args: Arguments, settings: Settings, generated: GeneratedModel, report: (text: string) => void): Promise<Row[]> {
  const stockProgram = buildStock();
  await using model = await loadModel(generated.path, { gpuLayers: 0 });
  const hardware = readHardware();
  const loadAtStart = loadAverage();
  report(`${describeHardware(hardware)}; load average ${loadAtStart.toFixed(2)}`);
  if (loadAtStart > QUIET_LOAD) {
    report(`WARNING: the machine is busy (load average ${loadAtStart.toFixed(2)} > ${QUIET_LOAD}): these numbers cannot be trusted`);
  }
  const setup: Setup = { settings, hardware, generated, model, stockProgram, report };
  const findings: Finding[] = [];
  for (const group of GROUP_NAMES) {
    if (args.only === undefined || args.only.includes(group)) {
      findings.push(...(await GROUPS[group](setup)));
    }
  }
  return complete(findings, hardware, {
    ...settings,
    llama: buildInfo(),
    modelBytes: generated.bytes,
    quick: args.quick,
    loadAtStart,
    loadAtEnd: loadAverage(),
  });
}

async function main(): Promise<void> {
  const args = parseCommandLine();
  const settings = toSettings(args);
  const started = performance.now();
  const report = (text: string): void => {
    process.stderr.write(`[${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s] ${text}\n`);
  };
  report(`model of shape ${args.shape}, ${args.type}, random weights`);
  const generated = generateModel(args.shape, args.type satisfies WeightType);
  report(`${generated.path} (${(generated.bytes / 2 ** 20).toFixed(0)} MiB, ${generated.seconds === 0 ? 'was there' : `${generated.seconds.toFixed(1)} s`})`);
  const rows = await measure(args, settings, generated, report);
  report('done');
  if (args.json) {
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    return;
  }
  const first = rows[0];
  const facts = first === undefined ? '' : `${describeHardware(first.hardware)}\n${JSON.stringify(first.settings)}\n\n`;
  process.stdout.write(`\n${facts}${formatTable(rows)}\n`);
}

await main();
