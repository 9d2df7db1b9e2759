/** The shape of interventions in JSON (docs/interventions.md); mirrors types.ts. Messages complete "expected …". */
import { z } from 'zod';
import { RewardLensError } from '../native/errors.js';
import type { Layers } from '../model/sites.js';
import { SITE_NAMES, parseLayers } from '../model/sites.js';

/** A tensor of a safetensors file in place of inline numbers. */
export interface TensorReference {
  file: string;
  tensor: string;
  /** Only rows of this sequence, by the file's `sequence` tensor. */
  sequence?: number | undefined;
  /** This row of the (remaining) rows. */
  row?: number | undefined;
  /** The mean of the (remaining) rows. */
  reduce?: 'mean' | undefined;
}

/** A schema chosen by looking at the value, so that errors are about the form that was meant, not about every form. */
function choose<T>(pick: (value: unknown) => z.ZodType<T>): z.ZodType<T> {
  return z.unknown().transform((value, context): T => {
    const result = pick(value).safeParse(value);
    if (!result.success) {
      context.issues.push(...result.error.issues.map((issue) => ({ ...issue, input: value, path: [...issue.path] }) as never));
      return z.NEVER;
    }
    return result.data;
  });
}

const isList = Array.isArray;
const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !isList(value);
const isReference = (value: unknown): boolean => isObject(value) && ('file' in value || 'tensor' in value);

const number = z.number('a finite number');
const integer = z.number('an integer').int('an integer');
const count = z.number('an integer ≥ 0').int('an integer ≥ 0').min(0, 'an integer ≥ 0');
const vector = z.array(number, 'a list of numbers, numbers per layer, or {"file", "tensor"}').min(1, 'at least one number');
const matrix = z.array(z.array(number, 'a row of numbers').min(1, 'at least one number'), 'a list of rows, rows per layer, or {"file", "tensor"}').min(1, 'at least one row');

const reference: z.ZodType<TensorReference> = z.strictObject({
  file: z.string('the path of a safetensors file').min(1, 'the path of a safetensors file'),
  tensor: z.string('the name of a tensor').min(1, 'the name of a tensor'),
  sequence: count.optional(),
  row: count.optional(),
  reduce: z.literal('mean', '"mean"').optional(),
});

const layers: z.ZodType<Layers> = choose<Layers>((value) =>
  typeof value === 'string'
    ? (z.string().transform((text, context) => {
        try {
          return parseLayers(text);
        } catch (error) {
          const expected = error instanceof RewardLensError ? String(error.details.expected) : 'layers';
          context.addIssue({ code: 'custom', message: expected });
          return z.NEVER;
        }
      }))
    : z.array(integer, '"all", a list of layers or a text such as "0,3-5"').min(1, 'at least one layer'),
);

const POSITIONS = ['all', 'prompt', 'completion', 'response', 's0'] as const;
const positionNames = 'all, prompt, completion, response, s0 or a list of positions';
const positions = choose<(typeof POSITIONS)[number] | number[]>((value) =>
  isList(value) ? z.array(integer).min(1, 'at least one position') : z.enum(POSITIONS, positionNames),
);

/** One form for every layer, or an object keyed by layer. */
function perLayer<T>(one: z.ZodType<T>): z.ZodType<T | TensorReference | Record<string, T | TensorReference>> {
  const single = choose<T | TensorReference>((value) => (isReference(value) ? reference : one));
  return choose<T | TensorReference | Record<string, T | TensorReference>>((value) =>
    isObject(value) && !isReference(value) ? z.record(z.string().regex(/^\d+$/, 'layer numbers as keys'), single) : single,
  );
}

const scalarOrVector = choose<number | number[] | TensorReference>((value) =>
  isReference(value) ? reference : isList(value) ? vector : z.number('a number, a list of numbers, or {"file", "tensor"}'),
);
const rowPositions = choose<number[] | TensorReference>((value) =>
  isReference(value) ? reference : z.array(count, 'a list of positions, or {"file", "tensor"}').min(1, 'at least one position'),
);

const place = {
  site: z.enum(SITE_NAMES, `one of ${SITE_NAMES.join(', ')}`).optional(),
  layers,
  positions: positions.optional(),
  fromToken: count.optional(),
};
const target = { ...place, neurons: z.array(count, 'a list of neurons').min(1, 'at least one neuron (leave it out for the whole width)').optional() };

const KINDS = {
  zero: z.strictObject({ kind: z.literal('zero'), ...target }),
  set: z.strictObject({ kind: z.literal('set'), ...target, value: scalarOrVector }),
  scale: z.strictObject({ kind: z.literal('scale'), ...target, factor: scalarOrVector }),
  add: z.strictObject({ kind: z.literal('add'), ...target, direction: perLayer(vector), coefficient: number.optional() }),
  clamp: z.strictObject({ kind: z.literal('clamp'), ...target, min: number, max: number }),
  mean: z.strictObject({ kind: z.literal('mean'), ...target, means: perLayer(vector) }),
  resample: z.strictObject({ kind: z.literal('resample'), ...target, rows: perLayer(matrix), seed: count.optional() }),
  patch: z.strictObject({ kind: z.literal('patch'), ...target, rows: perLayer(matrix), rowPositions }),
  projectOut: z.strictObject({ kind: z.literal('projectOut'), ...place, direction: perLayer(vector) }),
};

/** One intervention as it stands in a file, tensors not read yet. */
export type FileIntervention = z.infer<(typeof KINDS)[keyof typeof KINDS]>;

const kindNames = `one of ${Object.keys(KINDS).join(', ')}`;
const intervention = choose<FileIntervention>((value) => {
  if (!isObject(value)) {
    return z.object({}, 'an object with "kind"') as unknown as z.ZodType<FileIntervention>;
  }
  const kind = (value as { kind?: unknown }).kind;
  return typeof kind === 'string' && Object.hasOwn(KINDS, kind)
    ? (KINDS[kind as keyof typeof KINDS] as z.ZodType<FileIntervention>)
    : (z.object({ kind: z.never(kindNames) }) as unknown as z.ZodType<FileIntervention>);
});

/** A whole file: a bare list, or {"version": 1, "interventions": […]}. */
export const interventionsFile = z.strictObject(
  { version: z.literal(1, '1, the only version of this format'), interventions: z.array(intervention, 'a list of interventions') },
  'a list of interventions, or {"version": 1, "interventions": […]}',
);
