/** Agreement of several answers to one question (self-consistency, Wang et al. 2022). */

/** One sampled answer. */
export interface SampledAnswer {
  /** As the reward function read it; null when it found none. */
  readonly extracted: string | null;
}

/** Are two answers the same? Asked only of different texts. */
export type SameAnswer = (a: string, b: string) => Promise<boolean>;

/** Answers that are the same, most frequent group first, then in order of first appearance. */
export interface AnswerGroup {
  /** The answer as it was first given. */
  readonly answer: string;
  /** Indices of the samples. */
  readonly members: readonly number[];
}

/**
 * Groups samples by answer. Samples without an answer are in no group. Each new text is compared with the first answer of
 * every group so far. Cost: at most different texts × groups comparisons.
 */
export async function groupAnswers(samples: readonly SampledAnswer[], same: SameAnswer): Promise<AnswerGroup[]> {
  const groups: { answer: string; members: number[] }[] = [];
  const byText = new Map<string, (typeof groups)[number]>();
  for (const [i, { extracted }] of samples.entries()) {
    if (extracted === null) {
      continue;
    }
    const text = extracted.trim();
    let group = byText.get(text);
    for (const other of group === undefined ? groups : []) {
      if (await same(text, other.answer)) {
        group = other;
        break;
      }
    }
    if (group === undefined) {
      group = { answer: text, members: [] };
      groups.push(group);
    }
    byText.set(text, group);
    group.members.push(i);
  }
  return groups.sort((a, b) => b.members.length - a.members.length || (a.members[0] as number) - (b.members[0] as number));
}

/** Share of all samples, those without an answer included, that agree with the most frequent answer; 0 when there is none. */
export function majorityShare(groups: readonly AnswerGroup[], samples: number): number {
  return samples === 0 ? 0 : (groups[0]?.members.length ?? 0) / samples;
}

/** Share of all samples that give `answer`; 0 when it is none. `same` as in {@link groupAnswers}. */
export async function agreementShare(groups: readonly AnswerGroup[], samples: number, answer: string | null, same: SameAnswer): Promise<number> {
  if (answer === null || samples === 0) {
    return 0;
  }
  const text = answer.trim();
  for (const group of groups) {
    if (group.answer === text || (await same(text, group.answer))) {
      return group.members.length / samples;
    }
  }
  return 0;
}
