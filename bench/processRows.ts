/** What the process feels: event loop delay and memory while the engine runs. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { captureLayers, greedyRequest, promptTokens, runToEnd } from './engine.js';
import type { MemoryReport, MemoryTask } from './memoryChild.js';
import type { Finding } from './rows.js';
import { limitFinding } from './rows.js';
import type { Setup } from './setup.js';
import { openSession, openStock } from './setup.js';

const DELAY_LIMIT_MS = 20;
const MEMORY_TARGET = 1.1;
const GROWTH_TARGET = 1.02;
const CHUNK_BYTES = 1 << 20;
const PENDING_BYTES = 8 << 20;

/** Delay of a 1 ms timer while all sequences decode and every layer is captured. */
export async function eventLoopRow(setup: Setup): Promise<Finding> {
  const { settings, generated } = setup;
  const { shape } = generated;
  setup.report('event loop delay');
  const session = openSession(setup, settings.parallel, 256);
  const params = { capture: captureLayers(Array.from({ length: shape.layerCount }, (_, layer) => layer)), editLists: [], promptOnly: false };
  const requests = Array.from({ length: settings.parallel }, (_, id) => greedyRequest(id, promptTokens(id, 16, shape.vocabSize), settings.stepsAtMany));
  await runToEnd(session, params, requests.slice(0, 1));
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  await runToEnd(session, params, requests);
  histogram.disable();
  await session.dispose();
  const p99 = histogram.percentile(99) / 1e6;
  const note = `Reference: the limit. A 1 ms timer, decoding ${settings.parallel} sequences, capturing all layers; median ${(histogram.percentile(50) / 1e6).toFixed(1)} ms, worst ${(histogram.max / 1e6).toFixed(1)} ms.`;
  return limitFinding('event loop delay p99', 'ms', p99, DELAY_LIMIT_MS, 1, note);
}

/** Peak memory of a fresh process, and again after four times the items. */
export async function memoryRows(setup: Setup): Promise<Finding[]> {
  const { settings, generated } = setup;
  const { shape } = generated;
  setup.report('peak memory');
  const { parallel, ubatch, threads } = settings;
  const contextLength = 256;
  const task: MemoryTask = {
    path: generated.path, layerCount: shape.layerCount, vocabSize: shape.vocabSize, parallel, ubatch, threads, contextLength,
    prompt: 16, completion: 4, chunkBytes: CHUNK_BYTES, pendingBytes: PENDING_BYTES,
  };
  const report = await measureMemory(task);
  const stock = await openStock(setup, parallel, contextLength);
  const { kv, compute, output, model } = stock.buffers;
  await stock.close();
  const rowBytes = shape.layerCount * shape.dModel * 4;
  const openRows = Math.max(task.prompt, Math.min(Math.floor(CHUNK_BYTES / rowBytes), task.prompt + task.completion));
  const capture = PENDING_BYTES + parallel * openRows * rowBytes; // handed out, and one open piece per sequence
  const declared = model + kv + compute + output + capture;
  const mib = (bytes: number): number => bytes / 2 ** 20;
  const parts = `model ${mib(model).toFixed(0)} + KV ${mib(kv).toFixed(0)} + compute ${mib(compute).toFixed(0)} + logits ${mib(output).toFixed(0)} (llama.cpp's own figures) + captured rows ${mib(capture).toFixed(0)}`;
  const first = report.peakBytes - report.baselineBytes;
  const later = report.laterPeakBytes - report.baselineBytes;
  return [
    limitFinding('peak memory', 'MiB', mib(first), mib(declared), MEMORY_TARGET, `Reference: ${parts}. Resident memory above ${mib(report.baselineBytes).toFixed(0)} MiB of a process with the addon loaded and no model.`),
    limitFinding('peak memory after four times the items', 'MiB', mib(later), mib(first), GROWTH_TARGET, `Reference: the peak after ${parallel} items; flat means 1.`),
  ];
}

async function measureMemory(task: MemoryTask): Promise<MemoryReport> {
  const child = spawn(process.execPath, [...process.execArgv, join(import.meta.dirname, 'memoryChild.ts'), JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((done, fail) => child.on('error', fail).on('close', done));
  if (code !== 0) {
    throw new Error(`the process that measures memory ended with code ${code ?? 'none'}`);
  }
  return JSON.parse(output) as MemoryReport;
}
