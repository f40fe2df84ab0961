/**
 * Memory for the whole blocks of batches, which is used again: a new MiB for every MiB that is uploaded is what makes the collector run,
 * and the kernel clear pages. It is shared between threads, so that a body can be sent from it without being copied for the one that sends.
 */

/** Smaller ones cost little, and take a page or more each when they are shared. */
const BUFFER_BYTES_MIN = 16 * 1024;
/**
 * Of all volumes together: as much as two batches have. It is never left to the collector, which does not weigh shared memory: what
 * was dropped would pile up by the GiB. Beyond it a block takes memory as everything else does.
 */
const SHARED_BYTES_MAX = 64 * 1024 * 1024;

class SharedMemory {
  #bytes = 0;
  /** What nobody uses, by its length. */
  readonly #free = new Map<number, Buffer[]>();

  take(length: number): Buffer | null {
    const free = this.#free.get(length)?.pop();
    if (free !== undefined) return free;
    if (this.#bytes + length > SHARED_BYTES_MAX) return null;
    this.#bytes += length;
    return Buffer.from(new SharedArrayBuffer(length));
  }

  giveBack(buffer: Buffer): void {
    const free = this.#free.get(buffer.length);
    if (free === undefined) this.#free.set(buffer.length, [buffer]);
    else free.push(buffer);
  }
}

const sharedMemory = new SharedMemory();

/** Of one volume. */
export class BatchMemory {
  readonly #bufferBytes: number;
  /** Shared ones that have not been given back. */
  readonly #taken = new Set<Buffer>();

  /** `bufferBytes`: of a whole block. */
  constructor(bufferBytes: number) {
    this.#bufferBytes = bufferBytes;
  }

  /** Of any content. Of other lengths than a block's it is the collector's. */
  take(length: number): Buffer {
    const shared = length === this.#bufferBytes && length >= BUFFER_BYTES_MIN ? sharedMemory.take(length) : null;
    if (shared === null) return Buffer.allocUnsafe(length);
    this.#taken.add(shared);
    return shared;
  }

  /** Nobody may use them any more, nor send what is in them. */
  giveBack(buffers: Iterable<Buffer>): void {
    for (const buffer of buffers) if (this.#taken.delete(buffer)) sharedMemory.giveBack(buffer);
  }

  /** As `giveBack`, of everything that has been taken. */
  giveBackAll(): void {
    this.giveBack(this.#taken);
  }
}
