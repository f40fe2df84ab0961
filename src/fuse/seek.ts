/** SEEK_DATA and SEEK_HOLE from what the device tells of its extents, without reading data. */
import type { BlockDevice } from '../volume/block-device.ts';

/** So many runs are asked for at a time. Mostly the first few settle it. */
const RUNS_MAX = 256;

/**
 * The first offset from `offset` on that is data (or, with `hole`, that reads as zeros by what is known of it). The end of
 * the device counts as a hole. Null where there is no more data. `offset` is within the device.
 */
export async function seekExtents(device: BlockDevice, offset: number, hole: boolean): Promise<number | null> {
  const { sizeBytes } = device.geometry;
  for (let at = offset; at < sizeBytes; ) {
    const startedAt = at;
    for (const { length, zero } of await device.extents(at, sizeBytes - at, RUNS_MAX)) {
      if (zero === hole && length > 0) return at;
      at += length;
    }
    if (at === startedAt) throw new Error(`the device tells of no extents from ${at} on`);
  }
  return hole ? sizeBytes : null;
}
