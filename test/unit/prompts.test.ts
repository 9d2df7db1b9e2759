import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadDataset } from '../../src/dataset/load.js';
import type { PromptMessage, PromptOptions } from '../../src/dataset/prompts.js';
import { createPromptBuilder } from '../../src/dataset/prompts.js';
import { toScoreItem } from '../../src/dataset/scoreItem.js';
import { TEMPLATES, describeTemplates } from '../../src/dataset/templates.js';
import type { Dataset, Problem } from '../../src/dataset/types.js';
import { createScorer } from '../../src/reward/scorer.js';

const open = (name: string): Promise<Dataset> => loadDataset(fileURLToPath(new URL(`../fixtures/dataset/${name}`, import.meta.url)));
const renderChat = (messages: readonly PromptMessage[]): string => `${messages.map(({ role, content }) => `<${role}>${content}</${role}>`).join('')}<assistant>`;

/** The prompt of the last problem, which none of the tests makes an example. */
async function lastPrompt(options: PromptOptions): Promise<{ text: string; addSpecial: boolean }> {
  const { prompt } = await createPromptBuilder(options);
  return prompt(options.dataset.problems.at(-1) as Problem);
}

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rewardlens-prompts-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function file(text: string, name = 'template.jinja'): Promise<string> {
  await writeFile(join(folder, name), text);
  return join(folder, name);
}

describe('texts', () => {
  test.each<[string, string, string]>([
    ['gsm8k.jsonl', 'raw', 'A ticket costs $2.50. What do 3 tickets cost?'],
    ['gsm8k.jsonl', 'qa', 'Question: A ticket costs $2.50. What do 3 tickets cost?\nAnswer:'],
    ['gsm8k.jsonl', 'cot', "Q: A ticket costs $2.50. What do 3 tickets cost?\nA: Let's think step by step."],
    [
      'gsm8k.jsonl',
      'instruct',
      'A ticket costs $2.50. What do 3 tickets cost?\n\nPlease reason step by step, and put your final answer, a number, after "#### " on the last line.',
    ],
    ['math.jsonl', 'math-boxed', 'Problem:\nSolve $x^2=2$ for $x>0$.\n\nSolution:'],
    ['math.jsonl', 'instruct', 'Solve $x^2=2$ for $x>0$.\n\nPlease reason step by step, and put your final answer within \\boxed{}.'],
    ['arc.jsonl', 'raw', 'Which one is a solid?\n(A) ice\n(B) steam\n(C) rain'],
    ['arc.jsonl', 'choice', 'Which one is a solid?\n(A) ice\n(B) steam\n(C) rain\nAnswer:'],
    ['arc.jsonl', 'qa', 'Question: Which one is a solid?\n(A) ice\n(B) steam\n(C) rain\nAnswer:'],
    [
      'mmlu.jsonl',
      'instruct',
      'Which bone is in the leg?\n(A) ulna\n(B) tibia\n(C) radius\n(D) sternum\n\nThink step by step and then finish your answer with "the answer is (X)" where X is the correct letter choice.',
    ],
    ['plain.jsonl', 'raw', 'A word with a vowel: '],
  ])('%s with %s', async (name, template, text) => {
    expect(await lastPrompt({ dataset: await open(name), template })).toEqual({ text, addSpecial: true });
  });

  test('plain JSONL: the exact text, whatever it holds', async () => {
    const dataset = await open('plain.jsonl');
    const { prompt } = await createPromptBuilder({ dataset, renderChat });
    const odd = '  {{ question }} {% if %} {# c #}\n\n\t\\n';
    expect(prompt(dataset.problems[0] as Problem).text).toBe('2+2=?\n');
    expect(prompt({ ...(dataset.problems[0] as Problem), question: odd }).text).toBe(odd);
  });

  test.each<[string, string]>([
    ['gsm8k.jsonl', 'qa'],
    ['math.jsonl', 'math-boxed'],
    ['arc.jsonl', 'choice'],
    ['mmlu.jsonl', 'choice'],
    ['plain.jsonl', 'raw'],
  ])('the default for %s is chat where the model can, otherwise %s; plain JSONL is never wrapped', async (name, fallback) => {
    const dataset = await open(name);
    expect((await createPromptBuilder({ dataset })).describe().template).toBe(fallback);
    expect((await createPromptBuilder({ dataset, renderChat })).describe().template).toBe(name === 'plain.jsonl' ? 'raw' : 'chat');
  });

  test('chat: turns for system, examples and question', async () => {
    const dataset = await open('math.jsonl');
    expect(await lastPrompt({ dataset, template: 'chat', system: 'Be brief.', fewShot: 1, seed: 0, renderChat })).toEqual({
      text:
        '<system>Be brief.</system><user>Simplify $\\frac{6}{8}$.\n\nPlease reason step by step, and put your final answer within \\boxed{}.</user>' +
        '<assistant>Dividing by $2$ gives $\\boxed{\\frac{3}{4}}$.</assistant>' +
        '<user>Solve $x^2=2$ for $x>0$.\n\nPlease reason step by step, and put your final answer within \\boxed{}.</user><assistant>',
      addSpecial: false,
    });
    const plain = await open('plain.jsonl');
    const { prompt } = await createPromptBuilder({ dataset: plain, template: 'chat', renderChat });
    expect(prompt(plain.problems[0] as Problem)).toEqual({ text: '<user>2+2=?\n</user><assistant>', addSpecial: false });
  });

  test('a file, with all variables', async () => {
    const template = await file(
      '{% for e in fewshot %}{{ e.question }}|{{ e.options }}|{{ e.solution }}|{{ e.answer }}\n{% endfor %}\n' +
        '{{ system }}|{{ question }}|{% for c in choices %}{{ c.label }}={{ c.text }};{% endfor %}|{{ instruction[:5] }}\n',
    );
    const { text, addSpecial } = await lastPrompt({ dataset: await open('arc.jsonl'), template, system: 'S', fewShot: 1 });
    expect(text).toBe('Which of these is a planet?|(A) the Moon\n(B) Mars\n(C) the Sun\n(D) Halley|(B)|B\nS|Which one is a solid?|A=ice;B=steam;C=rain;|Think');
    expect(addSpecial).toBe(true);
  });
});

describe('few-shot examples', () => {
  test('published wording, worked solutions as they are', async () => {
    const { text } = await lastPrompt({ dataset: await open('gsm8k.jsonl'), template: 'qa', fewShot: 2, seed: 3 });
    expect(text).toBe(
      'Question: A truck carries 3 loads of 450 kg. How many kilograms is that?\nAnswer: 3*450 = <<3*450=1350>>1350 kg\n#### 1,350\n\n' +
        'Question: The temperature was 4 degrees and fell by 9. What is it now?\nAnswer: 4-9 = <<4-9=-5>>-5\n#### -5\n\n' +
        'Question: A ticket costs $2.50. What do 3 tickets cost?\nAnswer:',
    );
  });

  test('raw: a line break only where the prompt has none', async () => {
    const records = [1, 2, 3].map((n) => JSON.stringify({ prompt: n === 1 ? '1+1=?\n' : `${n}+1=?`, answer: String(n + 1), check: 'gsm8k' }));
    const dataset = await loadDataset(await file(records.join('\n'), 'raw.jsonl'));
    expect((await createPromptBuilder({ dataset, fewShot: 2, seed: 0 })).prompt(dataset.problems[2] as Problem).text).toMatch(/^(1\+1=\?\n#### 2|[23]\+1=\?\n#### [34])\n\n[23]\+1=\?\n#### [34]\n\n3\+1=\?$/);
  });

  test('examples leave the set, chosen by the seed', async () => {
    const dataset = await open('gsm8k.jsonl');
    const chosen = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const [one, two] = [await createPromptBuilder({ dataset, fewShot: 2, seed }), await createPromptBuilder({ dataset, fewShot: 2, seed })];
      const { fewShot, fewShotFrom } = one.describe();
      expect(two.describe().fewShot).toEqual(fewShot);
      expect(new Set([...fewShot, ...one.problems.map(({ id }) => id)]).size).toBe(4);
      expect(one.problems).toHaveLength(2);
      expect(fewShotFrom).toBe(dataset.source);
      chosen.add(fewShot.join());
    }
    expect(chosen.size).toBe(6); // all pairs of four
  });

  test('from another set: the same question is not asked again', async () => {
    const dataset = await open('gsm8k.jsonl');
    const copy = await file(`${JSON.stringify({ id: 'x', ...dataset.problems[1]?.source })}\n`, 'train.jsonl');
    const builder = await createPromptBuilder({ dataset, fewShot: 1, fewShotFrom: copy });
    expect(builder.describe()).toMatchObject({ fewShot: ['x'], fewShotFrom: copy });
    expect(builder.problems.map(({ id }) => id)).toEqual(['gsm8k-1', 'gsm8k-3', 'gsm8k-4']);
    const other = await file(JSON.stringify({ question: 'New?', answer: 'Yes.\n#### 1' }), 'other.jsonl');
    expect((await createPromptBuilder({ dataset, fewShot: 1, fewShotFrom: await loadDataset(other) })).problems).toEqual(dataset.problems);
  });

  test('every example ends in the form that its checker reads', async () => {
    for (const name of ['gsm8k.jsonl', 'math.jsonl', 'math500.jsonl', 'arc.jsonl', 'mmlu.jsonl']) {
      const { problems: loaded, ...dataset } = await open(name);
      const problems = [...loaded];
      if (dataset.format === 'math') {
        problems.push({ ...(problems[0] as Problem), id: 'no solution', question: 'Another?', source: {} });
      }
      for (const [i, problem] of problems.entries()) {
        const asked = problems[(i + 1) % problems.length] as Problem;
        const builder = await createPromptBuilder({ dataset: { ...dataset, problems: [asked] }, template: await file('{{ question }}{{ fewshot[0].solution }}'), fewShot: 1, fewShotFrom: { ...dataset, problems: [problem] } });
        await using scorer = await createScorer(problem.check);
        const shown = builder.prompt(asked).text.slice(asked.question.length);
        expect([problem.id, (await scorer.score(toScoreItem(problem, shown))).verdict]).toEqual([problem.id, 'correct']);
      }
    }
  });

  test('what is asked for too much', async () => {
    const dataset = await open('gsm8k.jsonl');
    await expect(createPromptBuilder({ dataset, fewShot: 5 })).rejects.toThrow(/fewShot: expected at most 4, the problems of .*gsm8k.jsonl, got 5/);
    await expect(createPromptBuilder({ dataset, fewShot: 4 })).rejects.toThrow('all 4 problems are among the few-shot examples');
    await expect(createPromptBuilder({ dataset, fewShot: -1 })).rejects.toThrow('fewShot: expected an integer ≥ 0, got -1');
    await expect(createPromptBuilder({ dataset, fewShotFrom: dataset })).rejects.toThrow('fewShotFrom: expected nothing without fewShot ≥ 1, got "gsm8k"');
    await expect(createPromptBuilder({ dataset, fewShot: 1, fewShotFrom: await open('math.jsonl') })).rejects.toThrow(/fewShotFrom: expected a data set of the format gsm8k, as .*math.jsonl \(math\)/);
  });
});

describe('templates', () => {
  test('names, of which an unknown one is told', async () => {
    const dataset = await open('gsm8k.jsonl');
    expect(describeTemplates().map(([name]) => name)).toEqual(['chat', ...Object.keys(TEMPLATES)]);
    await expect(createPromptBuilder({ dataset, template: 'QA' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'template: expected one of chat, raw, qa, cot, choice, math-boxed, instruct, or a file with a Jinja template, got "QA"',
    });
    await expect(createPromptBuilder({ dataset, template: 'constructor' })).rejects.toThrow('expected one of chat, raw');
    await expect(createPromptBuilder({ dataset, template: 'chat' })).rejects.toThrow('the model carries no chat template; expected one of raw, qa');
    await expect(createPromptBuilder({ dataset, template: 'qa', system: 'x' })).rejects.toThrow("system: expected none, because the template 'qa' has no place for it");
  });

  test('files that are no templates', async () => {
    const dataset = await open('gsm8k.jsonl');
    await expect(createPromptBuilder({ dataset, template: join(folder, 'missing.jinja') })).rejects.toMatchObject({ code: 'IO' });
    await expect(createPromptBuilder({ dataset, template: await file('{% if %}') })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/^template '.*template.jinja': /) });
    await expect(createPromptBuilder({ dataset, template: await file('{{ qestion }} Answer:') })).rejects.toThrow(/does not use the question; variables are question, choices, options, fewshot/);
    await expect(createPromptBuilder({ dataset, template: await file('{{ question | no_such_filter }}') })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('fingerprints tell prompts apart', async () => {
    const dataset = await open('gsm8k.jsonl');
    const print = async (options: Partial<PromptOptions>): Promise<string> => (await createPromptBuilder({ dataset, ...options })).fingerprint;
    expect(await print({})).toMatch(/^qa-[0-9a-f]{16}$/);
    expect(await print({ template: 'qa' })).toBe(await print({}));
    expect(await print({ template: await file('{{ question }}', 'a.jinja') })).toBe(await print({ template: await file('{{ question }}', 'b.jinja') }));
    const all = [
      {},
      { template: 'cot' },
      { template: await file('{{ question }}!') },
      { template: await file('{{ question }}?', 'c.jinja') },
      { renderChat },
      { renderChat, system: 's' },
      { fewShot: 1 },
      { fewShot: 1, seed: 1 },
      { fewShot: 2 },
    ];
    expect(new Set(await Promise.all(all.map(print))).size).toBe(all.length);
  });
});
