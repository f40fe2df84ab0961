/**
 * Memory for slabs, kept for the next ones: where each was allocated and faulted in anew, a collector that was told of a gigabyte each second took half
 * a processor, and the faults a tenth of one. It is of the kind that pages are checked in where they lie.
 */
import { allocateChecked } from '../../lib/checksum.ts';

/** A stretch in memory: two of the largest records, with their headers. */
export const SLAB_BYTES: number = 1024 * 1024 + 8 * 1024;
/** As many as are in use while one log is written to as fast as it takes it. With more, the others come from ordinary memory and go again. */
export const POOLED_SLABS: number = 40;

export class SlabPool {
  readonly #free: Buffer[] = [];
  readonly #pooled = new WeakSet<Buffer>();
  #made = 0;

  /** A buffer of at least `bytes`, which are SLAB_BYTES at most, with anything in it. */
  take(bytes: number): Buffer {
    // Logs this small are not for speed.
    if (bytes < SLAB_BYTES / 2) return Buffer.allocUnsafeSlow(bytes);
    return this.#free.pop() ?? this.#make();
  }

  /** The caller must know that nobody looks at `buffer` any more. */
  give(buffer: Buffer): void {
    if (this.#pooled.has(buffer)) this.#free.push(buffer);
  }

  #make(): Buffer {
    const kept = this.#made < POOLED_SLABS;
    const buffer = (kept ? allocateChecked(SLAB_BYTES) : null) ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
    if (kept) {
      this.#made++;
      this.#pooled.add(buffer);
    }
    return buffer;
  }
}
