/** What colour a cell of the map has: mixed of those of what is in it. */

export type Rgb = readonly [number, number, number];
export type Kind = 'dirty' | 'clean' | 'stored' | 'hole' | 'unknown';

/** A cell with a single dirty page must be seen among thousands: it has at least this much of the colour. */
const LEAST = 0.45;

/** The colour that the style sheet has for an element. */
export function colorOf(element: Element): Rgb {
  const [red = 0, green = 0, blue = 0] = (getComputedStyle(element).color.match(/[\d.]+/g) ?? []).map(Number);
  return [red, green, blue];
}

export function mix(from: Rgb, to: Rgb, share: number): Rgb {
  return [0, 1, 2].map((at) => (from[at] ?? 0) + ((to[at] ?? 0) - (from[at] ?? 0)) * share) as unknown as Rgb;
}

/** Shares from 0 to 255. What is nearer to the user lies on top: dirty over cached over what is in the bucket. */
export function cellColor(
  colors: Readonly<Record<Kind, Rgb>>,
  shares: Readonly<Record<Exclude<Kind, 'hole'>, number>>,
): Rgb {
  const layer = (below: Rgb, kind: Exclude<Kind, 'hole'>): Rgb => {
    const share = shares[kind] / 255;
    return share === 0 ? below : mix(below, colors[kind], LEAST + (1 - LEAST) * share);
  };
  return layer(layer(layer(layer(colors.hole, 'unknown'), 'stored'), 'clean'), 'dirty');
}
