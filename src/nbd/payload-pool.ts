/**
 * Buffers for the payloads of reads and writes, kept for the next of the same length: allocating and faulting in fresh memory
 * costs more than the rest of a request. Only powers of two are kept, as that is what nearly every client sends.
 */
import { allocateChecked, isChecked } from '../lib/checksum.ts';

const POOLED_BYTES_MIN = 512;
/** From here on they are of memory in which what is read is checked faster. It is never given back, and there is only so much of it. */
const CHECKED_BYTES_MIN = 32 * 1024;
/** For each length: as no part of that memory changes its length, many writes of one would leave none for reads of another. */
const CHECKED_BYTES_PER_LENGTH = 4 * 1024 * 1024;

/** The buffers of one length. */
interface Kept {
  /** Nobody uses these. */
  readonly free: Buffer[];
  /** Nor these, of checked memory. */
  readonly checked: Buffer[];
  /** Of checked memory, in use or not. */
  checkedBytes: number;
}

export class PayloadPool {
  readonly #keptBytesMax: number;
  #keptBytes = 0;
  /** Of checked memory, in use or not. */
  #checkedBytes = 0;
  readonly #lengths: readonly Kept[] = Array.from({ length: 32 }, () => ({ free: [], checked: [], checkedBytes: 0 }));

  /** At most `keptBytesMax` bytes are kept while nobody uses them, and as many of checked memory. */
  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** A buffer of exactly `length` bytes, with anything in it. */
  take(length: number): Buffer {
    const kept = this.#keptOf(length);
    if (kept === undefined) return Buffer.allocUnsafeSlow(length);
    const checked = kept.checked.pop() ?? this.#allocateChecked(length, kept);
    if (checked !== null) return checked;
    const free = kept.free.pop();
    if (free === undefined) return Buffer.allocUnsafeSlow(length);
    this.#keptBytes -= length;
    return free;
  }

  /** The caller must know that nobody looks at `buffer` any more. */
  give(buffer: Buffer): void {
    const { length } = buffer;
    const kept = this.#keptOf(length);
    if (kept === undefined) return;
    if (isChecked(buffer)) {
      kept.checked.push(buffer);
    } else if (this.#keptBytes + length <= this.#keptBytesMax) {
      kept.free.push(buffer);
      this.#keptBytes += length;
    }
  }

  /** By the binary logarithm of the length. */
  #keptOf(length: number): Kept | undefined {
    return isPooled(length) ? this.#lengths[31 - Math.clz32(length)] : undefined;
  }

  #allocateChecked(length: number, kept: Kept): Buffer | null {
    if (length < CHECKED_BYTES_MIN || kept.checkedBytes + length > CHECKED_BYTES_PER_LENGTH) return null;
    if (this.#checkedBytes + length > this.#keptBytesMax) return null;
    const checked = allocateChecked(length);
    if (checked === null) return null;
    kept.checkedBytes += length;
    this.#checkedBytes += length;
    return checked;
  }
}

function isPooled(length: number): boolean {
  return length >= POOLED_BYTES_MIN && (length & (length - 1)) === 0;
}
