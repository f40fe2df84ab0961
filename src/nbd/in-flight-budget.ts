/**
 * How many payload bytes may be under way: per connection, and over all of them. A request waits until it fits; one that
 * is alone always fits, so a request larger than what is left can never wait for ever. Connections that wait are served
 * in the order they came, one request each, and nobody overtakes, so a large request is not starved by small ones.
 */

/** The budget that all connections of a server share. */
export class SharedBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;
  /** At most one entry for each connection. */
  readonly #queue: InFlightBudget[] = [];

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  take(bytes: number): boolean {
    if (this.#queue.length > 0 || !this.#fits(bytes)) return false;
    this.#usedBytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
    this.#admit();
  }

  enqueue(waiter: InFlightBudget): void {
    this.#queue.push(waiter);
  }

  cancel(waiter: InFlightBudget): void {
    const index = this.#queue.indexOf(waiter);
    if (index < 0) return;
    this.#queue.splice(index, 1);
    this.#admit();
  }

  #admit(): void {
    for (let head = this.#queue[0]; head !== undefined && this.#fits(head.wantedBytes); head = this.#queue[0]) {
      this.#queue.shift();
      this.#usedBytes += head.wantedBytes;
      head.granted();
    }
  }

  #fits(bytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + bytes <= this.#limitBytes;
  }
}

/** One connection's part of it. A connection handles its requests in order, so at most one of them waits here. */
export class InFlightBudget {
  readonly #shared: SharedBudget;
  readonly #limitBytes: number;
  readonly #onGranted: () => void;
  #usedBytes = 0;
  #wantedBytes = 0;
  #queued = false;
  #closed = false;

  /** `onGranted` is called, never from within a call made here, once a request that had to wait has its bytes. */
  constructor(shared: SharedBudget, limitBytes: number, onGranted: () => void) {
    this.#shared = shared;
    this.#limitBytes = limitBytes;
    this.#onGranted = onGranted;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** What the waiting request asks for; 0 where none waits. */
  get wantedBytes(): number {
    return this.#wantedBytes;
  }

  /** True where `bytes` (at least 1) are taken now. False: they are taken later, and `onGranted` tells when. */
  take(bytes: number): boolean {
    if (this.#fits(bytes) && this.#shared.take(bytes)) {
      this.#usedBytes += bytes;
      return true;
    }
    this.#wantedBytes = bytes;
    this.#queueIfItFits();
    return false;
  }

  /** Gives back bytes that were taken. */
  give(bytes: number): void {
    this.#usedBytes -= bytes;
    this.#shared.give(bytes);
    if (this.#wantedBytes === 0 || this.#queued || !this.#fits(this.#wantedBytes)) return;
    if (this.#shared.take(this.#wantedBytes)) this.granted();
    else this.#queueIfItFits();
  }

  /** Nothing more is asked for. What is still held is given back by whoever holds it. */
  close(): void {
    this.#closed = true;
    this.#wantedBytes = 0;
    if (this.#queued) this.#shared.cancel(this);
    this.#queued = false;
  }

  /** For the shared budget: it has set our bytes aside. */
  granted(): void {
    const bytes = this.#wantedBytes;
    this.#usedBytes += bytes;
    this.#wantedBytes = 0;
    this.#queued = false;
    // In a turn of its own: whoever gave the bytes back may be deep in another connection's work.
    process.nextTick(() => {
      if (this.#closed) this.give(bytes);
      else this.#onGranted();
    });
  }

  #queueIfItFits(): void {
    if (!this.#fits(this.#wantedBytes)) return;
    this.#queued = true;
    this.#shared.enqueue(this);
  }

  #fits(bytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + bytes <= this.#limitBytes;
  }
}
