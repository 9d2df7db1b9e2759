/** The passage on which a sweep measures what its edits do to plain language, when no other is given. */

/** A text, and what to call it. */
export interface NeutralText {
  /** Name in results: "bundled English passage", or a file's name. */
  readonly source: string;
  readonly text: string;
}

/** Written for this purpose: everyday English without questions, numbers to work out, or anything from a data set. */
export const NEUTRAL_TEXT: NeutralText = {
  source: 'bundled English passage',
  text: `The harbour lies in a narrow bay between two low hills. In the morning the fishing boats come back one after the other, and the gulls follow them as far as the wall. On the quay the nets are spread out to dry, and old men sit on upturned crates and mend what the rocks have torn. Behind the first row of houses a street climbs to the square, where a market is held twice a week. Farmers from the valley bring apples, cheese and honey; the baker opens his door early, and the smell of fresh bread drifts down to the water.

In winter the bay is quiet. Storms keep the boats at their moorings for days, and the waves throw pebbles and weed onto the road. People stay at home, read by the stove, and visit one another in the evening. When the wind drops, the children run to the beach to see what the sea has left: planks, bottles, sometimes a shoe. By the end of February the first light returns to the upper windows, and somebody begins to paint a hull. The colour is nearly always blue. Nobody remembers who chose it, but the village has kept to it, and from the hill one can tell its boats from all the others along the coast.`,
};
