/** The buffers that requests are read into: one at a time, unless a device keeps the data of a write for a while. */

/** So many are kept for later; preferred ones always. */
const SPARE_MAX = 16;

export class ReceiveBuffers {
  readonly sizeBytes: number;
  readonly #preferred: ReadonlySet<Buffer>;
  /** Preferred ones behind all others. */
  readonly #spare: Buffer[];
  #current: Buffer;

  /** `preferred`: buffers of that size which are to be used as long as one is free. */
  constructor(sizeBytes: number, preferred: readonly Buffer[] = []) {
    this.sizeBytes = sizeBytes;
    this.#preferred = new Set(preferred);
    this.#spare = [...preferred];
    this.#current = this.#take();
  }

  /** Where the next request goes. */
  get current(): Buffer {
    return this.#current;
  }

  /** The current buffer is the caller's from now on, and there is another. */
  keep(): Buffer {
    const kept = this.#current;
    this.#current = this.#take();
    return kept;
  }

  /** A buffer that was kept is free again. Another request may be on its way into the current one, which stays. */
  give(buffer: Buffer): void {
    if (this.#preferred.has(buffer)) this.#spare.push(buffer);
    else if (this.#spare.length < SPARE_MAX) this.#spare.unshift(buffer);
  }

  /** The current one from now on: a preferred one where one is free. Only while nobody reads, or is told to read, into what was. */
  choose(): Buffer {
    const best = this.#spare.at(-1);
    if (best !== undefined && this.#preferred.has(best) && !this.#preferred.has(this.#current)) {
      this.give(this.keep());
    }
    return this.#current;
  }

  #take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.sizeBytes);
  }
}
