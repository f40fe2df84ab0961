/** Zero bytes: recognising runs of them at memory speed. */

const ZEROS = Buffer.alloc(64 * 1024);

/** Whether every byte is zero. `Buffer.equals` is a memcmp: over 10 GB/s where a loop does 1. */
export function isAllZero(bytes: Buffer): boolean {
  if (bytes.length === 0) return true;
  if (bytes[0] !== 0 || bytes[bytes.length - 1] !== 0) return false;
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const piece = bytes.subarray(at, Math.min(at + ZEROS.length, bytes.length));
    if (!piece.equals(piece.length === ZEROS.length ? ZEROS : ZEROS.subarray(0, piece.length))) return false;
  }
  return true;
}
