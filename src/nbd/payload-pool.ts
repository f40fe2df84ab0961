/**
 * Buffers for the payloads of reads and writes, kept for the next of the same length: allocating and faulting in fresh memory
 * costs more than the rest of a request. Only powers of two are kept, as that is what nearly every client sends.
 */
import { allocateChecked, isChecked } from '../lib/checksum.ts';

const POOLED_BYTES_MIN = 512;
/** Those of such lengths are of memory in which what is read is checked faster. It is never given back, and there is only so much of it. */
const CHECKED_BYTES_MIN = 32 * 1024;
const CHECKED_BYTES_MAX = 4 * 1024 * 1024;

export class PayloadPool {
  readonly #keptBytesMax: number;
  #keptBytes = 0;
  /** Of checked memory, in use or not. */
  #checkedBytes = 0;
  /** Free buffers by the binary logarithm of their length. */
  readonly #free: Buffer[][] = Array.from({ length: 32 }, () => []);

  /** At most `keptBytesMax` bytes are kept while nobody uses them, and as many of checked memory. */
  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** A buffer of exactly `length` bytes, with anything in it. */
  take(length: number): Buffer {
    const kept = isPooled(length) ? this.#free[31 - Math.clz32(length)]?.pop() : undefined;
    if (kept === undefined) return this.#allocate(length);
    if (!isChecked(kept)) this.#keptBytes -= length;
    return kept;
  }

  /** The caller must know that nobody looks at `buffer` any more. */
  give(buffer: Buffer): void {
    const length = buffer.length;
    if (!isChecked(buffer)) {
      if (!isPooled(length) || this.#keptBytes + length > this.#keptBytesMax) return;
      this.#keptBytes += length;
    }
    this.#free[31 - Math.clz32(length)]?.push(buffer);
  }

  #allocate(length: number): Buffer {
    const lasts =
      isPooled(length) &&
      length >= CHECKED_BYTES_MIN &&
      length <= CHECKED_BYTES_MAX &&
      this.#checkedBytes + length <= this.#keptBytesMax;
    const checked = lasts ? allocateChecked(length) : null;
    if (checked === null) return Buffer.allocUnsafeSlow(length);
    this.#checkedBytes += length;
    return checked;
  }
}

function isPooled(length: number): boolean {
  return length >= POOLED_BYTES_MIN && (length & (length - 1)) === 0;
}
