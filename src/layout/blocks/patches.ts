/** Pieces of one block put together into its bytes. */
import { isAllZero } from '../../lib/zeros.ts';
import type { Patch } from './block-queues.ts';

/** Whether the patches together replace every byte of the block. */
export function coverBlock(patches: readonly Patch[], blockSizeBytes: number): boolean {
  let covered = 0;
  const ascending = patches.length < 2 ? patches : patches.toSorted((a, b) => a.start - b.start);
  for (const patch of ascending) {
    if (patch.start > covered) return false;
    covered = Math.max(covered, patch.start + patch.length);
  }
  return covered >= blockSizeBytes;
}

/** Whether the block already holds what each of the patches would put there. */
export function changeNothing(base: Buffer, patches: readonly Patch[]): boolean {
  return patches.every(({ start, length, data }) => {
    const piece = base.subarray(start, start + length);
    return data === null ? isAllZero(piece) : piece.equals(data);
  });
}

/** The block's bytes: `base` (zeros where null) with the patches applied in order. `base` may be changed. */
export function composeBlock(base: Buffer | null, patches: readonly Patch[], blockSizeBytes: number): Buffer {
  const only = patches.length === 1 ? patches[0] : undefined;
  if (only?.data?.length === blockSizeBytes) return only.data;
  const image = base ?? Buffer.alloc(blockSizeBytes);
  for (const { start, length, data } of patches) {
    if (data === null) image.fill(0, start, start + length);
    else data.copy(image, start);
  }
  return image;
}
