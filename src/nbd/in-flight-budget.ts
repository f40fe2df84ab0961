/**
 * How much may be under way, so that memory is bounded and nobody is starved. Payload bytes are bounded over all connections;
 * volumes that have clients have equal parts of that, so that one whose bucket is stuck takes nothing from another. Within a
 * volume no connection may have more than it leaves to others: alone it gets half, one of two a third, so that whoever comes
 * finds room. A small part of each connection's bytes is its own and never waits. The same holds for requests that the
 * device has not answered.
 *
 * A connection's first request needs no more than room, and waits for that in a queue that nobody overtakes; one that
 * alone is larger than all there is goes when the volume is idle. So every request is served at last.
 */

/** What is each connection's own, where all of it together is not more than the bound itself. */
const RESERVE_BYTES_MAX = 256 * 1024;
const RESERVES = 256;
/** So many requests each connection may have with the device, whatever others have. */
const REQUESTS_MIN = 16;

/** One volume's part, for the connections to it. */
class VolumeBudget {
  readonly #shared: SharedBudget;
  readonly #key: object;
  #connections = 0;
  usedBytes = 0;
  /** Of these, what is not covered by the connections' own. */
  chargedBytes = 0;
  requests = 0;
  /** Connections whose first request waits for room; at most one entry for each. */
  readonly #queue: InFlightBudget[] = [];

  constructor(shared: SharedBudget, key: object) {
    this.#shared = shared;
    this.#key = key;
  }

  get freeBytes(): number {
    return this.#shared.volumeBytes - this.chargedBytes;
  }

  get freeRequests(): number {
    return this.#shared.volumeRequests - this.requests;
  }

  get hasQueue(): boolean {
    return this.#queue.length > 0;
  }

  enter(): void {
    this.#connections++;
  }

  leave(): void {
    this.#connections--;
    this.#removeIfIdle();
  }

  take(bytes: number, charge: number): void {
    this.usedBytes += bytes;
    this.chargedBytes += charge;
    this.#shared.usedBytes += bytes;
  }

  give(bytes: number, charge: number): void {
    this.usedBytes -= bytes;
    this.chargedBytes -= charge;
    this.#shared.usedBytes -= bytes;
    this.admit();
    this.#removeIfIdle();
  }

  enqueue(waiter: InFlightBudget): void {
    this.#queue.push(waiter);
  }

  cancel(waiter: InFlightBudget): void {
    const index = this.#queue.indexOf(waiter);
    if (index < 0) return;
    this.#queue.splice(index, 1);
    this.admit();
  }

  admit(): void {
    for (let head = this.#queue[0]; head?.fitsNow(); head = this.#queue[0]) {
      this.#queue.shift();
      head.grant();
    }
  }

  #removeIfIdle(): void {
    if (this.#connections === 0 && this.usedBytes === 0) this.#shared.remove(this.#key);
  }
}

/** What all connections of a server share. */
export class SharedBudget {
  readonly #limitBytes: number;
  readonly #volumes = new Map<object, VolumeBudget>();
  /** What of its bytes each connection has for itself. */
  readonly reserveBytes: number;
  /** Requests that the connections to one volume may have with its device, past the few that each may have. */
  readonly volumeRequests: number;
  usedBytes = 0;

  constructor(limitBytes: number, volumeRequests = Number.POSITIVE_INFINITY) {
    this.#limitBytes = limitBytes;
    this.reserveBytes = Math.min(RESERVE_BYTES_MAX, Math.floor(limitBytes / RESERVES));
    this.volumeRequests = volumeRequests;
  }

  /** The part of one volume. */
  get volumeBytes(): number {
    return this.#limitBytes / Math.max(1, this.#volumes.size);
  }

  /** The part of the volume that `key` stands for, for one more connection. */
  enter(key: object): VolumeBudget {
    let volume = this.#volumes.get(key);
    if (volume === undefined) {
      volume = new VolumeBudget(this, key);
      this.#volumes.set(key, volume);
    }
    volume.enter();
    return volume;
  }

  /** The parts of the others become larger. */
  remove(key: object): void {
    if (this.#volumes.delete(key)) for (const volume of this.#volumes.values()) volume.admit();
  }
}

/** One connection's part. A connection handles its requests in order, so at most one of them waits here. */
export class InFlightBudget {
  readonly #shared: SharedBudget;
  readonly #limitBytes: number;
  readonly #onGranted: () => void;
  #volume: VolumeBudget | undefined;
  #usedBytes = 0;
  #requests = 0;
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

  /** Says which volume it is that the connection uses, before anything is taken. */
  join(volume: object): void {
    this.#volume ??= this.#shared.enter(volume);
  }

  /** Whether one more request may be handed to the device. Where not, one of this connection's own is there, and ends. */
  get hasSlot(): boolean {
    return this.#requests < REQUESTS_MIN || this.#requests < this.#part.freeRequests;
  }

  /** The device has not answered a request at once. */
  began(): void {
    this.#requests++;
    this.#part.requests++;
  }

  ended(): void {
    this.#requests--;
    this.#part.requests--;
  }

  /** True where `bytes` (at least 1) are taken now. False: they are taken later, and `onGranted` tells when. */
  take(bytes: number): boolean {
    this.#wantedBytes = bytes;
    if (this.#chargeOf(bytes) > 0 && (this.#part.hasQueue || !this.fitsNow())) {
      this.#queueIfItMay();
      return false;
    }
    if (!this.#withinLimit()) return false;
    this.#takeWanted();
    return true;
  }

  /** Gives back bytes that were taken. */
  give(bytes: number): void {
    const charge = chargedBytes(this.#usedBytes, this.#shared.reserveBytes);
    this.#usedBytes -= bytes;
    this.#part.give(bytes, charge - chargedBytes(this.#usedBytes, this.#shared.reserveBytes));
    if (this.#wantedBytes === 0 || this.#queued) return;
    if (this.#withinLimit() && this.#chargeOf(this.#wantedBytes) === 0) this.grant();
    else if (!this.#part.hasQueue && this.fitsNow()) this.grant();
    else this.#queueIfItMay();
  }

  /** Nothing more is asked for. What is still held is given back by whoever holds it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#wantedBytes = 0;
    if (this.#queued) this.#part.cancel(this);
    this.#queued = false;
    this.#volume?.leave();
  }

  /** For the volume's part: whether what is waited for may be taken. */
  fitsNow(): boolean {
    if (!this.#withinLimit()) return false;
    const charge = this.#chargeOf(this.#wantedBytes);
    const { freeBytes, chargedBytes: charged } = this.#part;
    const own = chargedBytes(this.#usedBytes, this.#shared.reserveBytes);
    if (own === 0) return charge <= freeBytes || charged === 0;
    return own + charge <= freeBytes - charge;
  }

  /** For the volume's part: it has room for what is waited for. */
  grant(): void {
    const bytes = this.#wantedBytes;
    this.#takeWanted();
    this.#queued = false;
    // In a turn of its own: whoever gave the bytes back may be deep in another connection's work.
    process.nextTick(() => {
      if (this.#closed) this.give(bytes);
      else this.#onGranted();
    });
  }

  get #part(): VolumeBudget {
    this.#volume ??= this.#shared.enter(this.#shared);
    return this.#volume;
  }

  #takeWanted(): void {
    const bytes = this.#wantedBytes;
    this.#part.take(bytes, this.#chargeOf(bytes));
    this.#usedBytes += bytes;
    this.#wantedBytes = 0;
  }

  /** What `bytes` more would take of the volume's part. */
  #chargeOf(bytes: number): number {
    const { reserveBytes } = this.#shared;
    return chargedBytes(this.#usedBytes + bytes, reserveBytes) - chargedBytes(this.#usedBytes, reserveBytes);
  }

  #withinLimit(): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + this.#wantedBytes <= this.#limitBytes;
  }

  /** Whoever has something under way waits for that first. */
  #queueIfItMay(): void {
    if (!this.#withinLimit() || chargedBytes(this.#usedBytes, this.#shared.reserveBytes) > 0) return;
    this.#queued = true;
    this.#part.enqueue(this);
  }
}

function chargedBytes(usedBytes: number, reserveBytes: number): number {
  return Math.max(0, usedBytes - reserveBytes);
}
