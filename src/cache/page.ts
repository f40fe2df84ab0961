/** The unit the cache keeps data in: what filesystems write, and what one checksum covers. */

export const PAGE_BYTES = 4096;

/** The page that holds the byte at `offset`. Not by shifting: offsets are larger than 32 bits. */
export function pageOf(offset: number): number {
  return Math.floor(offset / PAGE_BYTES);
}

/** The first page that begins at `offset` or later. */
export function pageAfter(offset: number): number {
  return Math.ceil(offset / PAGE_BYTES);
}
