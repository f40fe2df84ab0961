/**
 * Buffers for the payloads of writes, kept for the next write of the same length: allocating and faulting in fresh memory
 * costs more than the rest of a request. Only powers of two are kept, as that is what nearly every client sends.
 */

const POOLED_BYTES_MIN = 512;

export class PayloadPool {
  readonly #keptBytesMax: number;
  #keptBytes = 0;
  /** Free buffers by the binary logarithm of their length. */
  readonly #free: Buffer[][] = Array.from({ length: 32 }, () => []);

  /** At most `keptBytesMax` bytes are kept while nobody uses them. */
  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** A buffer of exactly `length` bytes, with anything in it. */
  take(length: number): Buffer {
    const kept = isPooled(length) ? this.#free[31 - Math.clz32(length)]?.pop() : undefined;
    if (kept === undefined) return Buffer.allocUnsafeSlow(length);
    this.#keptBytes -= length;
    return kept;
  }

  /** The caller must know that nobody looks at `buffer` any more. */
  give(buffer: Buffer): void {
    const length = buffer.length;
    if (!isPooled(length) || this.#keptBytes + length > this.#keptBytesMax) return;
    this.#free[31 - Math.clz32(length)]?.push(buffer);
    this.#keptBytes += length;
  }
}

function isPooled(length: number): boolean {
  return length >= POOLED_BYTES_MIN && (length & (length - 1)) === 0;
}
