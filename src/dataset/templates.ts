/** Prompt templates: named texts, or files, in Jinja. */
import { readFile } from 'node:fs/promises';
import { Template } from '@huggingface/jinja';
import { RewardLensError, invalidArgument } from '../native/errors.js';

/** One problem as templates see it. Only examples have `solution` and `answer`. */
export interface TemplateProblem {
  readonly question: string;
  readonly choices: readonly { readonly label: string; readonly text: string }[];
  /** The options as "(A) text", a line each; "" when there are none. */
  readonly options: string;
}

/** A solved example. */
export interface TemplateExample extends TemplateProblem {
  /** Worked out where the data set has that, otherwise the answer alone; ends in the form that the checker reads. */
  readonly solution: string;
  readonly answer: string;
}

/** The variables of a template. */
export interface TemplateVariables extends TemplateProblem {
  readonly fewshot: readonly TemplateExample[];
  /** A sentence that asks for the form of answer that the checker reads; "" where there is none. */
  readonly instruction: string;
  /** "" when there is none. */
  readonly system: string;
}

interface Named {
  readonly describe: string;
  readonly text: string;
}

// Jinja drops a line break right after a {% %} tag, so what must keep one stands in {{ }}.
const QUESTION = "{{ @question }}{{ '\\n' ~ @options if @options else '' }}";
const INSTRUCTION = "{{ '\\n\\n' ~ instruction if instruction else '' }}";

/** Examples and problem written alike, an empty line between them. `@` stands for the one that is written. */
function alike(body: string, between = ' '): string {
  return `{% for e in fewshot %}${body.replaceAll('@', 'e.')}${between}{{ e.solution }}\n\n{% endfor %}${body.replaceAll('@', '')}`;
}

/** Named templates. The wordings follow lm-evaluation-harness where a source is given, with options as "(A) text". */
export const TEMPLATES: Readonly<Record<string, Named>> = {
  raw: {
    describe: 'the question alone, exactly as it is, and its options',
    text: alike(QUESTION, "{{ '' if e.question.endswith('\\n') and not e.options else '\\n' }}"),
  },
  qa: { describe: '"Question: …", "Answer:"; lm-evaluation-harness, gsm8k', text: alike(`Question: ${QUESTION}\nAnswer:`) },
  cot: {
    describe: '"Q: …", "A: Let\'s think step by step."; Kojima et al. 2022 (arXiv:2205.11916)',
    text: alike(`Q: ${QUESTION}\nA: Let's think step by step.`),
  },
  choice: { describe: 'question, options, "Answer:"; lm-evaluation-harness, mmlu', text: alike(`${QUESTION}\nAnswer:`) },
  'math-boxed': {
    describe: '"Problem:", question, "Solution:"; Lewkowycz et al. 2022 (arXiv:2206.14858), lm-evaluation-harness, minerva_math',
    text: alike(`Problem:\n${QUESTION}\n\nSolution:`),
  },
  instruct: {
    describe: 'question, options and the request for the form of answer that the checker reads; what `chat` says as the user',
    text: alike(QUESTION + INSTRUCTION, '\n\n'),
  },
};

/** Names for `template`, and what each is. */
export function describeTemplates(): [name: string, describe: string][] {
  return [['chat', "the model's chat template"], ...Object.entries(TEMPLATES).map(([name, { describe }]): [string, string] => [name, describe])];
}

/** A template ready to render. */
export interface LoadedTemplate {
  readonly name: string;
  /** Its Jinja text. */
  readonly text: string;
  /** Errors: INVALID_ARGUMENT when the template fails. */
  render(variables: TemplateVariables): string;
}

function compile(name: string, text: string): LoadedTemplate {
  const fail = (cause: unknown): never => {
    throw new RewardLensError('INVALID_ARGUMENT', `template '${name}': ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  };
  let template: Template;
  try {
    template = new Template(text);
  } catch (error) {
    return fail(error);
  }
  const render = (variables: TemplateVariables): string => {
    try {
      return template.render({ ...variables });
    } catch (error) {
      return fail(error);
    }
  };
  return { name, text, render };
}

const PROBE: TemplateVariables = { question: '', choices: [], options: '', fewshot: [], instruction: '', system: '' };

/**
 * A named template, or one from a Jinja file (a name with a slash or an extension). Errors: INVALID_ARGUMENT for an unknown name, a
 * template that does not parse, or that does not use the question; IO for a file that cannot be read.
 */
export async function loadTemplate(template: string): Promise<LoadedTemplate> {
  const named = Object.hasOwn(TEMPLATES, template) ? TEMPLATES[template] : undefined;
  if (named !== undefined) {
    return compile(template, named.text);
  }
  if (!/[\\/.]/.test(template)) {
    throw invalidArgument('template', `one of ${describeTemplates().map(([name]) => name).join(', ')}, or a file with a Jinja template`, template);
  }
  let text: string;
  try {
    text = await readFile(template, 'utf8');
  } catch (cause) {
    throw new RewardLensError('IO', `cannot read the template '${template}': ${(cause as Error).message}`, { cause, details: { path: template } });
  }
  const loaded = compile(template, text);
  if (loaded.render({ ...PROBE, question: 'first' }) === loaded.render({ ...PROBE, question: 'second' })) {
    throw new RewardLensError('INVALID_ARGUMENT', `template '${template}': does not use the question; variables are ${Object.keys(PROBE).join(', ')}`);
  }
  return loaded;
}
