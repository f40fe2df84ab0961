/**
 * The checksum of bytes that clients have written, wherever we keep them on a disk. It is no CRC: much data carries a CRC of its
 * own, and whatever ends with its CRC-32 has the same CRC-32 as anything else that does. A stale page in place of another would pass.
 */
import xxhash from 'xxhash-wasm';
import { HASHED_PAGE_BYTES } from './page-hash/layout.ts';
import { PageHash } from './page-hash/page-hash.ts';
import { PortablePageHash } from './page-hash/portable-page-hash.ts';

const { create64, h64Raw } = await xxhash();
const PAGES = PageHash.isSupported ? new PageHash() : await PortablePageHash.load();

const LOW_WORD = 0xffff_ffffn;
/** The hash works on a copy in memory that only grows. */
const PIECE_BYTES = 64 * 1024;

/**
 * Of bytes [start, end), 32 bits, in which one bit of the bytes is as likely as any to change each: the lower ones of XXH3 for a whole
 * page, which is nearly all there is, and of XXH64 for anything else.
 */
export function checksumOf(bytes: Buffer, start = 0, end: number = bytes.length): number {
  if (end - start === HASHED_PAGE_BYTES) return PAGES.hash(bytes, start);
  return Number(h64Raw(bytes.subarray(start, end)) & LOW_WORD);
}

/** XXH64 of bytes of any number, as 16 hex digits. */
export function longChecksumOf(bytes: Uint8Array): string {
  const hash = create64();
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) hash.update(bytes.subarray(at, at + PIECE_BYTES));
  return hash.digest().toString(16).padStart(16, '0');
}

/**
 * A buffer in which pages are checked where they lie, for half the time; null where there is no such memory left. It is the caller's for
 * good: one that is not used again is lost. It begins at a whole page, too: the kernel's copying (Linux 6.18, AMD EPYC) to an address
 * 1 to 31 bytes behind that of a page, where large buffers of Node begin, was seen to take eight times as long.
 */
export function allocateChecked(length: number): Buffer | null {
  return PAGES.allocate(length);
}

/** Whether the buffer is one of `allocateChecked`. */
export function isChecked({ buffer }: Buffer): boolean {
  return buffer === PAGES.memory;
}
