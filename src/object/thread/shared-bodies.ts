/**
 * Memory that both threads see, for the bodies of objects on their way to the bucket, used again and again: a new buffer for each would be
 * a MiB of garbage on either thread for every MiB that is uploaded.
 */

/** Smaller ones are sent as they are. */
const BODY_BYTES_MIN = 64 * 1024;
/** A body may lie in memory of up to so many times its size. */
const EXCESS_MAX = 2;

export class SharedBodies {
  readonly #keptBytesMax: number;
  /** Those that are free, the one that was used last at the end. */
  readonly #free: SharedArrayBuffer[] = [];
  #freeBytes = 0;

  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax;
  }

  /** A copy of the body, or null where it is too small to be worth it. Whoever takes it gives its memory back, or leaves it to the collector. */
  copyOf(body: Uint8Array): Uint8Array<SharedArrayBuffer> | null {
    const { length } = body;
    if (length < BODY_BYTES_MIN) return null;
    const copy = new Uint8Array(this.#take(length), 0, length);
    copy.set(body);
    return copy;
  }

  /** Nobody reads from it any more. */
  giveBack(copy: Uint8Array<SharedArrayBuffer>): void {
    const memory = copy.buffer;
    if (this.#freeBytes + memory.byteLength > this.#keptBytesMax) return;
    this.#free.push(memory);
    this.#freeBytes += memory.byteLength;
  }

  #take(bytes: number): SharedArrayBuffer {
    const at = this.#free.findLastIndex(({ byteLength }) => byteLength >= bytes && byteLength <= bytes * EXCESS_MAX);
    const [memory] = at === -1 ? [] : this.#free.splice(at, 1);
    if (memory === undefined) return new SharedArrayBuffer(bytes);
    this.#freeBytes -= memory.byteLength;
    return memory;
  }
}
