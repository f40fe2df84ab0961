/**
 * Memory for slabs, kept for the next ones: where each was allocated and faulted in anew, a collector that was told of a gigabyte each second took half
 * a processor, and the faults a tenth of one. It is of the kind that pages are checked in where they lie, as far as there is such.
 */
import { allocateChecked } from '../../lib/checksum.ts';

/** A stretch in memory: two of the largest records, with their headers. */
export const SLAB_BYTES: number = 1024 * 1024 + 8 * 1024;
/** As many as are in use while one log is written to as fast as it takes it. With more, the others come from ordinary memory and go again. */
export const POOLED_SLABS: number = 40;

export interface SlabMemory {
  /** A buffer of at least `bytes`, which are SLAB_BYTES at most, with anything in it. */
  take(bytes: number): Buffer;
  /** The caller must know that nobody looks at `buffer` any more. */
  give(buffer: Buffer): void;
}

export class SlabPool implements SlabMemory {
  readonly #free: Buffer[] = [];
  readonly #pooled = new WeakSet<Buffer>();
  #made = 0;

  take(bytes: number): Buffer {
    return this.#free.pop() ?? this.#make(bytes);
  }

  give(buffer: Buffer): void {
    if (this.#pooled.has(buffer)) this.#free.push(buffer);
  }

  #make(bytes: number): Buffer {
    if (this.#made === POOLED_SLABS) return Buffer.allocUnsafeSlow(bytes);
    this.#made++;
    const buffer = allocateChecked(SLAB_BYTES) ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#pooled.add(buffer);
    return buffer;
  }
}

/** For all logs of the process: few are written to at a time. */
export const processSlabs: SlabMemory = new SlabPool();
