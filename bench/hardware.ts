/** What the numbers were measured on, and whether the machine was quiet. */
import { existsSync, readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, loadavg, platform, totalmem } from 'node:os';

/** Facts about the machine that change what a ratio means. */
export interface Hardware {
  cpu: string;
  cores: number;
  memoryGiB: number;
  platform: string;
  /** Instruction sets that matter to llama.cpp's CPU backend. */
  features: string[];
  /** File of the CPU plugin that this process has loaded, e.g. "haswell" (AVX2); empty when it cannot be known. */
  variant: string;
}

const FEATURES = ['avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_int8', 'asimddp', 'i8mm', 'sve'];

/** Reads the machine's facts. Call it after the backends have been loaded, or `variant` is empty. */
export function readHardware(): Hardware {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${platform()}-${arch()}`,
    features: cpuFeatures(),
    variant: loadedVariant(),
  };
}

function cpuFeatures(): string[] {
  if (!existsSync('/proc/cpuinfo')) {
    return [];
  }
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
  const flags = new Set(line.trim().split(/\s+/));
  return FEATURES.filter((feature) => flags.has(feature));
}

function loadedVariant(): string {
  if (!existsSync('/proc/self/maps')) {
    return '';
  }
  return /libggml-cpu-([a-z0-9_]+)\.so/.exec(readFileSync('/proc/self/maps', 'utf8'))?.[1] ?? '';
}

/**
 * Does llama.cpp compute with AMX here? Batches gain far more from it, so the sweep's target is higher. AMX needs both the
 * processor and the one plugin that was compiled for it.
 */
export function usesAmx(hardware: Hardware): boolean {
  return hardware.features.includes('amx_int8') && (hardware.variant === 'sapphirerapids' || hardware.variant === '');
}

/** One line for tables: processor, cores, instruction sets, plugin. */
export function describeHardware(hardware: Hardware): string {
  const features = hardware.features.length > 0 ? hardware.features.join(' ') : hardware.platform;
  const variant = hardware.variant === '' ? '' : `, llama.cpp CPU plugin ${hardware.variant}`;
  return `${hardware.cpu}, ${hardware.cores} cores, ${hardware.memoryGiB} GiB, ${features}${variant}`;
}

/** Load above which the numbers of a run cannot be trusted: another process is computing. */
export const QUIET_LOAD = 0.5;

/** One-minute load average; 0 on Windows, which has none. */
export function loadAverage(): number {
  return loadavg()[0] ?? 0;
}
