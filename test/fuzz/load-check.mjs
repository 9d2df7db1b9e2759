/** Runs rewardlens-load-check on one file and says what a caller would see. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Path of the built program: the environment variable REWARDLENS_LOAD_CHECK, or a build folder. Throws otherwise. */
export function findLoadCheck() {
  const name = process.platform === 'win32' ? 'rewardlens-load-check.exe' : 'rewardlens-load-check';
  const candidates = [
    process.env.REWARDLENS_LOAD_CHECK, join(root, 'build', 'Release', name), join(root, 'build', name),
    join(root, 'build', 'asan', 'Release', name),
  ];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error('rewardlens-load-check is not built: run npm run build:native, or set REWARDLENS_LOAD_CHECK');
  return found;
}

/** Directory of the ggml backends: REWARDLENS_BACKEND_DIR, or the one of the installed node-llama-cpp package. */
export function findBackendDir() {
  if (process.env.REWARDLENS_BACKEND_DIR) return process.env.REWARDLENS_BACKEND_DIR;
  const platform = { linux: 'linux', darwin: 'mac', win32: 'win' }[process.platform];
  const name = process.platform === 'darwin' && process.arch === 'arm64' ? 'mac-arm64-metal' : `${platform}-${process.arch}`;
  const require = createRequire(join(root, 'package.json'));
  const candidates = [join(root, 'node_modules', '@node-llama-cpp', name, 'bins', name)];
  try {
    candidates.push(join(dirname(require.resolve(`@node-llama-cpp/${name}/package.json`)), 'bins', name));
  } catch {
    // the package hides its package.json; the folder above is where npm puts it
  }
  const found = candidates.find((path) => existsSync(path));
  if (!found) throw new Error(`the backends of @node-llama-cpp/${name} are not installed; set REWARDLENS_BACKEND_DIR`);
  return found;
}

/**
 * Runs the check. Resolves to `{ verdict, report, exitCode, signal, ms }`, where `report` is the JSON line or null and
 * `verdict` is one of 'works', 'refused' (header check), 'rejected' (llama.cpp reports an error), 'contained' (it would
 * have crashed or hung, and was reported) or 'broken' (no proper report: what must never happen; `why` says why).
 */
export function runLoadCheck(program, path, { backendDir, seconds, budgetBytes, extraArgs = ['--decode'] }) {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const args = [path, '--backend-dir', backendDir, '--seconds', String(seconds), '--budget-bytes', String(budgetBytes), ...extraArgs];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let killed = false;
    const timer = setTimeout(() => {
      killed = true;
      child.kill('SIGKILL');
    }, (seconds + 3) * 1000);
    child.stdout.on('data', (chunk) => { stdout += chunk; });
    child.stderr.on('data', (chunk) => { stderr = (stderr + chunk).slice(-4000); });
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(new Error(`cannot run ${program}: is it being rebuilt?`, { cause }));
    });
    child.on('close', (exitCode, signal) => {
      clearTimeout(timer);
      const result = { exitCode, signal, ms: performance.now() - start, stderr, report: null };
      try {
        result.report = JSON.parse(stdout);
      } catch {
        // no line, or a broken one: judged below
      }
      resolve({ ...result, ...judge(result, killed, budgetBytes) });
    });
  });
}

// Memory that a process of this kind needs before it has read anything (libraries, stacks), generously.
const BASELINE_BYTES = 192 * 1024 * 1024;

function judge({ report, exitCode, signal }, killed, budgetBytes) {
  if (killed) return { verdict: 'broken', why: 'it hangs: the time limit did not end it' };
  if (!report) return { verdict: 'broken', why: `no report (exit code ${exitCode}, signal ${signal})` };
  const expectedCode = { OK: 0, CRASH: 3, TIMEOUT: 4 }[report.kind] ?? 1;
  if (exitCode !== expectedCode) return { verdict: 'broken', why: `kind ${report.kind} with exit code ${exitCode}` };
  if (report.peakBytes > budgetBytes + BASELINE_BYTES) {
    return { verdict: 'broken', why: `${report.peakBytes} bytes resident, the budget is ${budgetBytes}` };
  }
  if (report.ok) return { verdict: 'works' };
  if (report.kind === 'CRASH' || report.kind === 'TIMEOUT') {
    const early = report.stage === 'start' || report.stage === 'check' || report.stage === 'backend';
    return early ? { verdict: 'broken', why: `${report.kind} in our own stage ${report.stage}` } : { verdict: 'contained' };
  }
  return { verdict: report.stage === 'check' ? 'refused' : 'rejected' };
}
