/**
 * Requests that came while devices had as much to do as they may have. They wait in the order they came, so that what comes after them is still
 * read: the kernel tells of signals before anything else, and whoever waits for a bucket that is away must be able to end.
 */

/** What each takes beside its bytes. */
const OVERHEAD_BYTES = 512;

export class WaitingRequests {
  /** By their identity, in the order they came. */
  readonly #requests = new Map<number, Buffer>();
  #bytes = 0;

  get count(): number {
    return this.#requests.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps a copy of the request. */
  add(unique: number, request: Buffer): void {
    this.#requests.set(unique, Buffer.from(request));
    this.#bytes += request.length + OVERHEAD_BYTES;
  }

  has(unique: number): boolean {
    return this.#requests.has(unique);
  }

  /** The first, which waits no more; undefined where none does. */
  take(): Buffer | undefined {
    const [first] = this.#requests.keys();
    return first === undefined ? undefined : this.remove(first);
  }

  /** Undefined where it does not wait. */
  remove(unique: number): Buffer | undefined {
    const request = this.#requests.get(unique);
    if (request === undefined) return undefined;
    this.#requests.delete(unique);
    this.#bytes -= request.length + OVERHEAD_BYTES;
    return request;
  }
}
