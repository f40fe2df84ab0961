/**
 * The checksum of bytes that clients have written, wherever we keep them on a disk. It is no CRC: much data carries a CRC of its
 * own, and whatever ends with its CRC-32 has the same CRC-32 as anything else that does. A stale page in place of another would pass.
 */
import xxhash from 'xxhash-wasm';

const { create64, h64Raw } = await xxhash();

const LOW_WORD = 0xffff_ffffn;
/** The hash works on a copy in memory that only grows. */
const PIECE_BYTES = 64 * 1024;

/** The lower 32 bits of XXH64, in which one bit of the bytes is as likely as any to change each. A page takes less time than by CRC-32. */
export function checksumOf(bytes: Uint8Array): number {
  return Number(h64Raw(bytes) & LOW_WORD);
}

/** XXH64 of bytes of any number, as 16 hex digits. */
export function longChecksumOf(bytes: Uint8Array): string {
  const hash = create64();
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) hash.update(bytes.subarray(at, at + PIECE_BYTES));
  return hash.digest().toString(16).padStart(16, '0');
}
