/** SEEK_DATA and SEEK_HOLE from what the device tells of its extents, without reading data. */
import type { BlockDevice } from '../volume/block-device.ts';

/** So many bytes are asked about at first: few enough that the device's list stays short, however divided it is. */
const WINDOW_BLOCKS = 4096;
/** A window of no more runs than this was too small. */
const RUNS_FEW = 16;

/**
 * The first offset from `offset` on that is data (or, with `hole`, that reads as zeros by what is known of it). The end of
 * the device counts as a hole. Null where there is no more data. `offset` is within the device.
 */
export async function seekExtents(device: BlockDevice, offset: number, hole: boolean): Promise<number | null> {
  const { sizeBytes, blockSizePreferredBytes } = device.geometry;
  const windowBytesMin = WINDOW_BLOCKS * blockSizePreferredBytes;
  let windowBytes = windowBytesMin;
  for (let at = offset; at < sizeBytes; ) {
    const end = Math.min(at + windowBytes, sizeBytes);
    const extents = await device.extents(at, end - at);
    for (const { length, zero } of extents) {
      if (zero === hole && length > 0) return at;
      at += length;
    }
    if (at !== end) throw new Error(`the device's extents end at ${at}, not at ${end}`);
    // A disk of terabytes with nothing in it is told of in a few large steps.
    windowBytes = extents.length <= RUNS_FEW ? windowBytes * 2 : windowBytesMin;
  }
  return hole ? sizeBytes : null;
}
