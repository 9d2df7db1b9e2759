/** Sections of a study that are switched on by name: the results of other commands, as these write them. */
import { z } from 'zod';
import { confidenceSchema } from './confidenceSchema.js';
import { dopamineSchema } from './dopamineSchema.js';
import { interplaySchema } from './interplaySchema.js';
import { searchSchema } from './searchSchema.js';
import { valuesSchema } from './valuesSchema.js';

/** Names in the order in which they are made. */
export const SECTIONS = ['values', 'dopamine', 'interplay', 'confidence', 'search'] as const;
export type SectionName = (typeof SECTIONS)[number];
/** What `--sections` takes: the comparison of data sets with each other is one of the study, not of a data set. */
export const STUDY_SECTIONS = [...SECTIONS, 'transfer'] as const;

export const sectionsSchema = z.object({
  /** Each as in the file of its command; null when it was not made. */
  values: valuesSchema.nullable(),
  dopamine: dopamineSchema.nullable(),
  interplay: interplaySchema.nullable(),
  confidence: confidenceSchema.nullable(),
  search: searchSchema.nullable(),
  /** Sentences by section: what it left out, or why it could not be made. */
  notes: z.partialRecord(z.enum(SECTIONS), z.array(z.string())),
});
export type Sections = z.infer<typeof sectionsSchema>;

/** A study without any of them. */
export const NO_SECTIONS: Sections = { values: null, dopamine: null, interplay: null, confidence: null, search: null, notes: {} };
