/** `rewardlens quantize`: a smaller copy of a model. */
import type { QuantizeOptions } from '../model/quantize.js';
import { QUANTIZATION_TYPES, quantizeModel } from '../model/quantize.js';
import { checkOutput } from './checks.js';
import type { Command, Io } from './command.js';
import { UsageError } from './errors.js';
import type { Flags } from './flags.js';
import { MODEL_OPTIONS, formatBytes, plural } from './options.js';
import { THREAD_OPTIONS } from './studyFlags.js';

/** Quantizes a model. */
export const quantizeCommand: Command = {
  name: 'quantize',
  describe: "Write a smaller copy of a model by llama.cpp's own quantizer, without importance matrix.",
  options: {
    ...(MODEL_OPTIONS.model === undefined ? {} : { model: MODEL_OPTIONS.model }),
    type: { type: 'string', group: 'Quantizing:', describe: QUANTIZATION_TYPES.join(', ') },
    'allow-requantize': { type: 'boolean', group: 'Quantizing:', describe: 'also quantize what is quantized already, which loses more' },
    output: { alias: 'o', type: 'string', group: 'Output:', describe: 'file; appears when it is complete' },
    force: { type: 'boolean', group: 'Output:', describe: 'replace the file if it exists' },
    ...THREAD_OPTIONS,
  },
  examples: [['rewardlens quantize -m model-f16.gguf --type Q4_K_M -o model-q4.gguf', 'for a comparison by `rewardlens transfer`']],
  prepare(flags: Flags) {
    const type = QUANTIZATION_TYPES.find((name) => name === flags.text('type')?.toUpperCase()) ?? flags.choice('type', QUANTIZATION_TYPES);
    if (type === undefined) {
      throw new UsageError(`--type: expected one of ${QUANTIZATION_TYPES.join(', ')}, but it is missing`);
    }
    const parsed = {
      input: flags.required('model', 'a GGUF file (-m FILE)'),
      output: flags.required('output', 'a file (-o FILE)'),
      force: flags.on('force'),
      options: { type, threads: flags.integer('threads', 1, 1024), allowRequantize: flags.on('allow-requantize') },
    };
    return (io) => run(parsed, io);
  },
};

async function run({ input, output, force, options }: { input: string; output: string; force: boolean; options: QuantizeOptions }, io: Io): Promise<void> {
  await checkOutput(output, force);
  io.progress.start(`quantizing to ${options.type}`, 1000);
  const result = await quantizeModel(input, output, { ...options, signal: io.signal, onProgress: (done, total) => io.progress.update(Math.round((1000 * done) / total), `${done}/${total} tensors`) });
  io.progress.stop();
  if (io.json) {
    io.line({ summary: { path: output, ...result } });
    return;
  }
  io.out(`${output}: ${formatBytes(result.outputBytes)}, ${((100 * result.outputBytes) / result.inputBytes).toFixed(0)} % of ${formatBytes(result.inputBytes)}`);
  result.tensors.forEach(({ type, count, bytes }) => io.out(`  ${type.padEnd(6)} ${plural(count, 'tensor').padStart(12)}  ${formatBytes(bytes)}`));
  if (result.fallbacks > 0) {
    io.warn(`${plural(result.fallbacks, 'tensor')} got another type than ${options.type} wants: their rows are no multiple of its block size (256 for K-quants)`);
  }
}
