/** Keys as every bucket takes them: their order, their bounds, and what they must be made of. */
import { StorageError } from '../lib/errors.ts';

/** The longest key, in bytes of UTF-8 (S3 API). */
export const KEY_BYTES_MAX = 1024;

/** Rejects with INVALID what no bucket takes as a key. */
export function checkKey(key: string): void {
  if (key === '') throw new StorageError('INVALID', 'an object key must not be empty');
  if (!key.isWellFormed())
    throw new StorageError('INVALID', `the object key ${JSON.stringify(key)} is not valid Unicode`);
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) {
    throw new StorageError('INVALID', `the object key ${key.slice(0, 40)}... is over ${KEY_BYTES_MAX} bytes long`);
  }
}

/**
 * Compares keys by their UTF-8 bytes: negative, zero or positive. That is the order of code points, which JavaScript's
 * own comparison of UTF-16 units gets wrong where surrogates meet U+E000 to U+FFFF.
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

/** Moves surrogates, which stand for code points above U+FFFF, above all other units. */
function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
