/**
 * Memory that both threads see, for the bodies of objects on their way to the bucket, used again and again: a new buffer for each would be
 * a MiB of garbage on either thread for every MiB that is uploaded.
 */

/** Smaller ones are sent as they are. */
const BODY_BYTES_MIN = 64 * 1024;
/** A body may lie in memory of up to so many times its size. */
const EXCESS_MAX = 2;

/**
 * The collector does not weigh such memory: what is left to it stays until it comes for other reasons, which may be after GiBs of bodies
 * of puts that fail. So all there is counts towards the bound until it is known to have been collected; beyond that there is none.
 */
export class SharedBodies {
  readonly #bytesMax: number;
  /** Those that are free, the one that was used last at the end. */
  readonly #free: SharedArrayBuffer[] = [];
  /** Of all that has been made and not been collected. */
  #bytes = 0;
  readonly #collected = new FinalizationRegistry<number>((bytes) => {
    this.#bytes -= bytes;
  });

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /**
   * A copy of the body, or null where it is too small to be worth it, or too much is in use. Whoever takes it gives its memory back, or
   * leaves it to the collector.
   */
  copyOf(body: Uint8Array): Uint8Array<SharedArrayBuffer> | null {
    const { length } = body;
    const memory = length < BODY_BYTES_MIN ? null : this.#take(length);
    if (memory === null) return null;
    const copy = new Uint8Array(memory, 0, length);
    copy.set(body);
    return copy;
  }

  /** Nobody reads from it any more. */
  giveBack(copy: Uint8Array<SharedArrayBuffer>): void {
    this.#free.push(copy.buffer);
  }

  #take(bytes: number): SharedArrayBuffer | null {
    const at = this.#free.findLastIndex(({ byteLength }) => byteLength >= bytes && byteLength <= bytes * EXCESS_MAX);
    const [free] = at === -1 ? [] : this.#free.splice(at, 1);
    if (free !== undefined) return free;
    if (this.#bytes + bytes > this.#bytesMax) {
      // The one that has been of no use for longest makes room for others of the size that is wanted now.
      this.#free.shift();
      return null;
    }
    const memory = new SharedArrayBuffer(bytes);
    this.#bytes += bytes;
    this.#collected.register(memory, bytes);
    return memory;
  }
}
