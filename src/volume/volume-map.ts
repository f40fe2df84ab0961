/** A picture of a volume: a range of it in equal cells, and how much of each is dirty, cached, in the bucket, or nowhere. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CachedVolume } from '../cache/cached-volume.ts';
import { PAGE_BYTES } from '../cache/page.ts';
import type { BlocksLayout } from '../layout/blocks/blocks-layout.ts';
import { StorageError } from '../lib/errors.ts';
import { RangeCells, type Tally } from '../lib/range-cells.ts';

export const MAP_CELLS_MAX = 8192;
/** What a cell is full of. Something that is there at all is at least 1. */
const FULL = 255;

export interface MapRange {
  readonly offset: number;
  /** Null: to the end of the volume. */
  readonly length: number | null;
  readonly cells: number;
}

/**
 * Shares of each cell, from 0 to 255. They do not add up: what is dirty may be cached and in the bucket too, in an older
 * version. Counted a part at a time, while the volume goes on: of no single moment.
 */
export interface VolumeMap {
  readonly sizeBytes: number;
  readonly offset: number;
  readonly length: number;
  /** Of each cell; the last one may be shorter. */
  readonly cellBytes: number;
  /** Written, and not in the bucket yet. */
  readonly dirty: Uint8Array;
  /** At hand, and in the bucket. */
  readonly clean: Uint8Array;
  /** Blocks with an object in the bucket. */
  readonly stored: Uint8Array;
  /** Nobody has looked yet whether there is an object. */
  readonly unknown: Uint8Array;
  readonly dirtyBytes: number;
  readonly cleanBytes: number;
  readonly storedBytes: number;
  readonly unknownBytes: number;
}

/** Takes a step for each entry of the tables behind it, and gives others their turn in between. */
export async function drawMap(
  { offset, length, cells }: MapRange,
  layout: BlocksLayout,
  cached: CachedVolume | null,
): Promise<VolumeMap> {
  const { sizeBytes } = layout;
  const end = length === null ? sizeBytes : offset + length;
  if (offset >= end || end > sizeBytes) {
    throw new StorageError('INVALID', `there is no range from ${offset} to ${end} in a volume of ${sizeBytes} bytes`);
  }
  if (cells < 1 || cells > MAP_CELLS_MAX) {
    throw new StorageError('INVALID', `a map has 1 to ${MAP_CELLS_MAX} cells, not ${cells}`);
  }
  const blank = (): RangeCells => new RangeCells(offset, end, cells, PAGE_BYTES);
  const [dirty, clean, stored, unknown] = [blank(), blank(), blank(), blank()];
  if (cached !== null) await run(cached.tally(dirty, clean));
  await run(layout.tally(stored, unknown));
  return {
    ...{ sizeBytes, offset, length: end - offset, cellBytes: dirty.cellBytes },
    ...{ dirty: shares(dirty), clean: shares(clean), stored: shares(stored), unknown: shares(unknown) },
    ...{ dirtyBytes: total(dirty), cleanBytes: total(clean), storedBytes: total(stored), unknownBytes: total(unknown) },
  };
}

async function run(tally: Tally): Promise<void> {
  while (tally.next().done !== true) await nextTurn();
}

function shares(cells: RangeCells): Uint8Array {
  return Uint8Array.from(cells.counts, (bytes, cell) => Math.ceil(FULL * Math.min(1, bytes / cells.bytesOf(cell))));
}

/** A cell has no more than it is of: what was counted twice counts once. */
function total(cells: RangeCells): number {
  return cells.counts.reduce((sum, bytes, cell) => sum + Math.min(bytes, cells.bytesOf(cell)), 0);
}
