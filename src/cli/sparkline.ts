/** A line of blocks that shows how something has gone. */

const BLOCKS = '▁▂▃▄▅▆▇█';

/** The last values, the newest on the right, as many as `width`; a blank where nothing is known. */
export function sparkline(values: readonly (number | null)[], width: number): string {
  const shown = values.slice(-width);
  const top = Math.max(0, ...shown.filter((value) => value !== null));
  const blocks = shown.map((value) => {
    if (value === null) return ' ';
    const step = top === 0 ? 0 : Math.round((value / top) * (BLOCKS.length - 1));
    return BLOCKS[step] ?? ' ';
  });
  return blocks.join('').padStart(width);
}

/** Every so many samples as their largest, so that a longer time fits: what stood out is still seen. */
export function condense(values: readonly (number | null)[], samples: number): (number | null)[] {
  const condensed: (number | null)[] = [];
  // From the newest on, so that the last one is of as many as all others.
  for (let end = values.length; end > 0; end -= samples) {
    const known = values.slice(Math.max(0, end - samples), end).filter((value) => value !== null);
    condensed.unshift(known.length === 0 ? null : Math.max(...known));
  }
  return condensed;
}
