/**
 * Fuzzer of the model-loading path: mutated tiny GGUF files through the header check, the isolated load and one decoded
 * token. Every file must end in an error or a working model, never in a crash, a hang or an allocation beyond the budget
 * that a caller would see.
 *
 *   node test/fuzz/gguf.mjs [--seconds 60] [--seed 1] [--count N] [--jobs 2] [--recipe JSON] [--keep DIR] [--out FILE]
 *
 * First replays test/fuzz/regressions.json, then random recipes until the time or the count is over. Crashes of llama.cpp
 * that the isolation contained are listed with their recipe, so that the header check can learn them; they do not fail
 * the run. Exit code 1: the contract was broken, or a regression no longer ends as recorded.
 */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { splitGgufPath } from '../helpers/tiny-gguf.mjs';
import { createRecipeSource } from './generate.mjs';
import { findBackendDir, findLoadCheck, runLoadCheck } from './load-check.mjs';
import { buildRecipe, GROWN_BASES } from './mutate.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const VERDICTS = ['works', 'refused', 'rejected', 'contained', 'broken'];

function readOptions() {
  const args = process.argv.slice(2).filter((argument) => argument !== '--');
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: '1' }, count: { type: 'string' },
      jobs: { type: 'string', default: String(Math.min(4, availableParallelism())) }, recipe: { type: 'string' },
      keep: { type: 'string' }, out: { type: 'string' }, 'case-seconds': { type: 'string', default: '10' },
      'budget-bytes': { type: 'string', default: String(256 * 1024 * 1024) },
    },
  });
  const number = (name) => {
    const value = values[name] === undefined ? Infinity : Number(values[name]);
    if (Number.isNaN(value) || value < 0) throw new RangeError(`--${name}: expected a number, got ${values[name]}`);
    return value;
  };
  return {
    seconds: number('seconds'), seed: number('seed'), count: number('count'), jobs: Math.max(1, number('jobs')),
    caseSeconds: number('case-seconds'), budgetBytes: number('budget-bytes'), recipe: values.recipe, keep: values.keep,
    out: values.out,
  };
}

/** What a finding is called: the message without numbers and quoted names, so that equal causes count together. */
function causeOf(result) {
  const text = result.why ?? `${result.report.stage}: ${result.report.message.split('\n')[0]}`;
  return text.replace(/'[^']*'/g, "'…'").replace(/(?<!:)\b\d{2,}\b(?!:)/g, '#');
}

class Campaign {
  constructor(options) {
    this.options = options;
    this.program = findLoadCheck();
    this.limits = { backendDir: findBackendDir(), seconds: options.caseSeconds, budgetBytes: options.budgetBytes };
    this.folder = mkdtempSync(join(tmpdir(), 'rewardlens-fuzz-'));
    this.counts = Object.fromEntries(VERDICTS.map((verdict) => [verdict, 0]));
    this.findings = new Map();
    this.problems = [];
    this.slowestMs = 0;
    this.peakBytes = 0;
  }

  async run(recipe, slot) {
    const files = buildRecipe(recipe);
    const paths = files.map((_, part) => (files.length === 1
      ? join(this.folder, `case-${slot}.gguf`)
      : splitGgufPath(join(this.folder, `case-${slot}`), part, files.length)));
    files.forEach((bytes, part) => writeFileSync(paths[part], bytes));
    const path = paths[0];
    const result = await runLoadCheck(this.program, path, this.limits);
    this.counts[result.verdict] += 1;
    this.slowestMs = Math.max(this.slowestMs, result.ms);
    this.peakBytes = Math.max(this.peakBytes, result.report?.peakBytes ?? 0);
    if (result.verdict === 'contained' || result.verdict === 'broken') this.record(recipe, result, path);
    return result;
  }

  record(recipe, result, path) {
    const cause = `${result.verdict} ${causeOf(result)}`;
    const known = this.findings.get(cause);
    if (known) {
      known.count += 1;
      if (JSON.stringify(recipe).length >= JSON.stringify(known.recipe).length) return;
      known.recipe = recipe;
    } else {
      this.findings.set(cause, { count: 1, recipe, cause });
      process.stdout.write(`${cause}\n    ${JSON.stringify(recipe)}\n${result.verdict === 'broken' ? result.stderr : ''}`);
    }
    if (result.verdict === 'broken') this.problems.push(`${result.why}: ${JSON.stringify(recipe)}`);
    if (this.options.keep) copyFileSync(path, join(this.options.keep, `${result.verdict}-${this.findings.size}.gguf`));
  }

  /** Recorded cases and unchanged grown models: each must end as it says (`verdict`, and `message` where given must be contained). */
  async replay() {
    const recorded = JSON.parse(readFileSync(join(here, 'regressions.json'), 'utf8'));
    const grown = GROWN_BASES.map((base) => ({ name: `${base} works`, verdict: 'works', recipe: { base, ops: [] } }));
    const cases = [...recorded, ...grown];
    for (const expected of cases) {
      const result = await this.run(expected.recipe, 'replay');
      const message = result.report?.message ?? '';
      if (result.verdict !== expected.verdict || !message.includes(expected.message ?? '')) {
        this.problems.push(`regression '${expected.name}': expected ${expected.verdict} "${expected.message ?? ''}", ` +
          `got ${result.verdict} "${message}"`);
      }
    }
    process.stdout.write(`${cases.length} recorded cases replayed\n`);
  }

  async explore() {
    const next = createRecipeSource(this.options.seed);
    const end = Date.now() + this.options.seconds * 1000;
    let started = 0;
    const worker = async (slot) => {
      while (Date.now() < end && started < this.options.count) {
        started += 1;
        await this.run(next(), slot);
      }
    };
    await Promise.all(Array.from({ length: this.options.jobs }, (_, slot) => worker(slot)));
    return started;
  }

  close() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function main() {
  const options = readOptions();
  const campaign = new Campaign(options);
  try {
    if (options.recipe) {
      const result = await campaign.run(JSON.parse(options.recipe), 'one');
      process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    } else {
      await campaign.replay();
      const started = await campaign.explore();
      process.stdout.write(`${started} random files, seed ${options.seed}\n`);
    }
    const { counts, findings, problems, slowestMs, peakBytes } = campaign;
    process.stdout.write(`${JSON.stringify({ ...counts, distinctFindings: findings.size, slowestMs: Math.round(slowestMs), peakBytes })}\n`);
    if (options.out) writeFileSync(options.out, JSON.stringify([...findings.values()], null, 2));
    for (const problem of problems) process.stderr.write(`FAILED ${problem}\n`);
    process.exitCode = problems.length > 0 ? 1 : 0;
  } finally {
    campaign.close();
  }
}

await main();
