/** The buffers that requests are read into: one at a time, unless a device keeps the data of a write for a while. */

/** Those that are kept for later, beside the one in use. */
const SPARE_MAX = 16;

export class ReceiveBuffers {
  readonly sizeBytes: number;
  readonly #spare: Buffer[] = [];
  #current: Buffer;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.#current = Buffer.allocUnsafeSlow(sizeBytes);
  }

  /** Where the next request goes. */
  get current(): Buffer {
    return this.#current;
  }

  /** The current buffer is the caller's from now on, and there is another. */
  keep(): Buffer {
    const kept = this.#current;
    this.#current = this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.sizeBytes);
    return kept;
  }

  /** A buffer that was kept is free again. */
  give(buffer: Buffer): void {
    if (this.#spare.length < SPARE_MAX) this.#spare.push(buffer);
  }
}
