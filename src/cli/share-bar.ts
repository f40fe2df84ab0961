/** How full something is, in ten signs. */

const WIDTH = 10;

/** `share`: from 0 to 1. What is not empty does not look so, and what is not full neither. */
export function shareBar(share: number): string {
  const filled = share >= 1 ? WIDTH : Math.min(WIDTH - 1, Math.ceil(share * WIDTH));
  return `[${'#'.repeat(Math.max(0, filled))}${'.'.repeat(WIDTH - Math.max(0, filled))}]`;
}

/** `8.72%`; all of it is said only of all of it. */
export function percentText(share: number): string {
  const percent = share * 100;
  if (percent > 99.9 && percent < 100) return '99.9%';
  return percent > 0 && percent < 0.1 ? '<0.1%' : `${Number(percent.toPrecision(3))}%`;
}
