/** A process that does one thing, so that its peak memory means something. Takes a MemoryTask as JSON, prints a MemoryReport. */
import { readFileSync, writeFileSync } from 'node:fs';
import { native } from '../src/native/addon.js';
import { loadModel } from '../src/model/model.js';
import { captureLayers, greedyRequest, promptTokens, runToEnd } from './engine.js';

/** What to run. */
export interface MemoryTask {
  path: string;
  layerCount: number;
  vocabSize: number;
  parallel: number;
  ubatch: number;
  threads: number;
  contextLength: number;
  prompt: number;
  completion: number;
  /** Size of one piece of captured rows, and of all pieces handed out and not yet acknowledged. */
  chunkBytes: number;
  pendingBytes: number;
}

/** Resident bytes: before the model is loaded, the peak after `parallel` items, the peak after four times as many more. */
export interface MemoryReport {
  baselineBytes: number;
  peakBytes: number;
  laterPeakBytes: number;
}

/** Largest resident size seen so far: the kernel's own on Linux, elsewhere the largest of the samples taken by {@link sampler}. */
let sampledPeak = 0;

function peak(): number {
  sampledPeak = Math.max(sampledPeak, process.memoryUsage.rss());
  if (process.platform !== 'linux') {
    return sampledPeak;
  }
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(line?.[1] ?? 0) * 1024;
}

/** Forgets the peak of starting up (Linux), so that only what follows counts. */
function resetPeak(): void {
  if (process.platform === 'linux') {
    writeFileSync('/proc/self/clear_refs', '5');
  }
}

async function main(task: MemoryTask): Promise<MemoryReport> {
  native();
  resetPeak();
  const baselineBytes = process.memoryUsage.rss();
  const sampler = setInterval(peak, 5);
  await using model = await loadModel(task.path, { isolate: false, gpuLayers: 0 });
  const session = model.createSession(task);
  const layers = Array.from({ length: task.layerCount }, (_, layer) => layer);
  const params = { capture: captureLayers(layers), editLists: [], promptOnly: false, chunkBytes: task.chunkBytes, maxPendingBytes: task.pendingBytes };
  const items = async (count: number): Promise<void> => {
    const requests = Array.from({ length: count }, (_, id) => greedyRequest(id, promptTokens(id, task.prompt, task.vocabSize), task.completion));
    await runToEnd(session, params, requests);
  };
  await items(task.parallel);
  const peakBytes = peak();
  await items(task.parallel * 4);
  clearInterval(sampler);
  return { baselineBytes, peakBytes, laterPeakBytes: peak() };
}

process.stdout.write(JSON.stringify(await main(JSON.parse(process.argv[2] ?? '{}') as MemoryTask)));
