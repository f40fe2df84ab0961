/** What colour a cell of the map has: mixed of those of what is in it. */

export type Rgb = readonly [number, number, number];
export type Kind = 'dirty' | 'clean' | 'stored' | 'hole' | 'unknown';

/** Something that is there at all has at least this much of its colour. */
const LEAST = 0.45;
/** A single dirty page must be seen among thousands of cells. */
const DIRTY_SIDE_MIN = 0.45;

/** The colour that the style sheet has for an element. */
export function colorOf(element: Element): Rgb {
  const [red = 0, green = 0, blue = 0] = (getComputedStyle(element).color.match(/[\d.]+/g) ?? []).map(Number);
  return [red, green, blue];
}

export function mix(from: Rgb, to: Rgb, share: number): Rgb {
  return [0, 1, 2].map((at) => (from[at] ?? 0) + ((to[at] ?? 0) - (from[at] ?? 0)) * share) as unknown as Rgb;
}

/**
 * Of what is in the bucket and at hand, shares from 0 to 255. What is dirty lies on top, in a colour of its own: mixed with the
 * others it would be none that one knows.
 */
export function cellColor(
  colors: Readonly<Record<Kind, Rgb>>,
  shares: Readonly<Record<'clean' | 'stored' | 'unknown', number>>,
): Rgb {
  const layer = (below: Rgb, kind: 'clean' | 'stored' | 'unknown'): Rgb => {
    const share = shares[kind] / 255;
    return share === 0 ? below : mix(below, colors[kind], LEAST + (1 - LEAST) * share);
  };
  return layer(layer(layer(colors.hole, 'unknown'), 'stored'), 'clean');
}

/** How large a part of a cell's side the square of what is dirty in it has: its area tells how much. */
export function dirtySide(share: number): number {
  return share === 0 ? 0 : Math.max(DIRTY_SIDE_MIN, Math.sqrt(share / 255));
}
