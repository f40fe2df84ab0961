/**
 * Memory for the whole blocks of batches, which is used again: a new MiB for every MiB that is uploaded is what makes the collector run,
 * and the kernel clear pages. It is shared between threads, so that a body can be sent from it without being copied for the one that sends.
 */

/** Smaller ones cost little, and take a page or more each when they are shared. */
const BUFFER_BYTES_MIN = 16 * 1024;
/** Kept for the batches that follow: as much as two of them have. */
const KEPT_BYTES_MAX = 64 * 1024 * 1024;

export class BatchMemory {
  readonly #bufferBytes: number;
  #free: Buffer[] = [];

  /** `bufferBytes`: of a whole block. */
  constructor(bufferBytes: number) {
    this.#bufferBytes = bufferBytes;
  }

  /** Of any content. Of other lengths than a block's it is not kept when it is given back. */
  take(length: number): Buffer {
    if (!this.#keeps(length)) return Buffer.allocUnsafe(length);
    return this.#free.pop() ?? Buffer.from(new SharedArrayBuffer(length));
  }

  /** Nobody may use them any more, nor send what is in them. What is not given back is left to the collector. */
  giveBack(buffers: readonly Buffer[]): void {
    for (const buffer of buffers) {
      if (this.#keeps(buffer.length) && this.#free.length * this.#bufferBytes < KEPT_BYTES_MAX) this.#free.push(buffer);
    }
  }

  /** What is free goes to the system. */
  release(): void {
    this.#free = [];
  }

  #keeps(length: number): boolean {
    return length === this.#bufferBytes && length >= BUFFER_BYTES_MIN;
  }
}
