/** What zeroing a range comes to: parts of blocks at its ends, and whole blocks between. */
import type { Patch } from './block-queues.ts';

export interface ZeroPlan {
  readonly parts: readonly { readonly block: number; readonly patch: Patch }[];
  /** Whole blocks [firstWhole, endWhole). */
  readonly firstWhole: number;
  readonly endWhole: number;
}

export function planZero(offset: number, length: number, blockSizeBytes: number): ZeroPlan {
  const end = offset + length;
  const firstWhole = Math.ceil(offset / blockSizeBytes);
  const endWhole = Math.floor(end / blockSizeBytes);
  const parts: { block: number; patch: Patch }[] = [];
  const addPart = (from: number, to: number): void => {
    const block = Math.floor(from / blockSizeBytes);
    parts.push({ block, patch: { start: from - block * blockSizeBytes, length: to - from, data: null } });
  };
  if (firstWhole > endWhole) {
    addPart(offset, end);
    return { parts, firstWhole, endWhole: firstWhole };
  }
  if (offset < firstWhole * blockSizeBytes) addPart(offset, firstWhole * blockSizeBytes);
  if (endWhole * blockSizeBytes < end) addPart(endWhole * blockSizeBytes, end);
  return { parts, firstWhole, endWhole };
}
