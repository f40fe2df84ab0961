/** Which parts of a volume are holes, told from what is known of its blocks. */
import type { Extent } from '../layout.ts';
import { ABSENT, type BlockStates } from './block-states.ts';

/**
 * The runs of [offset, offset + length), adjacent ones merged. A hole is a block known to have no object, unless it is one of
 * `written`: what is being written to it was asked for before this question was. Of more than `countMax` runs, the first.
 */
export function mapExtents(
  states: BlockStates,
  written: readonly number[],
  blockSizeBytes: number,
  offset: number,
  length: number,
  countMax = Number.POSITIVE_INFINITY,
): Extent[] {
  const end = offset + length;
  const endBlock = Math.ceil(end / blockSizeBytes);
  const data = written.filter((block) => states.get(block) === ABSENT).toSorted((a, b) => a - b);
  const extents: { length: number; hole: boolean; zero: boolean }[] = [];
  let at = offset;
  const addUpTo = (runEndBlock: number, hole: boolean): void => {
    const runEnd = Math.min(end, runEndBlock * blockSizeBytes);
    if (runEnd <= at) return;
    const last = extents.at(-1);
    if (last?.hole === hole) last.length += runEnd - at;
    else extents.push({ length: runEnd - at, hole, zero: hole });
    at = runEnd;
  };
  let next = 0;
  // The last run is complete once another has begun.
  for (let block = Math.floor(offset / blockSizeBytes); block < endBlock && extents.length <= countMax; ) {
    const absent = states.get(block) === ABSENT;
    const runEnd = states.next(ABSENT, !absent, block, endBlock);
    for (let dirty = data[next]; dirty !== undefined && dirty < runEnd; dirty = data[++next]) {
      addUpTo(dirty, true);
      addUpTo(dirty + 1, false);
    }
    addUpTo(runEnd, absent);
    block = runEnd;
  }
  return extents.length > countMax ? extents.slice(0, countMax) : extents;
}
