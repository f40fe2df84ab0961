/**
 * How much may be under way, so that memory is bounded and nobody is starved. Payload bytes are bounded over all connections.
 * Volumes that have clients have equal parts of that, so that one whose bucket is away takes nothing from another. Within a
 * volume no connection may have more than it leaves free: alone it gets half, one of two a third, so that whoever comes
 * finds room. The first few bytes of each connection are its own: they are not counted and never wait, so that a small request is
 * answered from the cache while large ones wait for the bucket. The same holds for requests that the device has not answered.
 *
 * Who has nothing under way but what is its own needs no more than room, and waits for that in a line that nobody passes. One
 * that is larger than all there is goes once nothing else is counted. So every request is served at last.
 */

/** What is each connection's own: so much, or less where all of it together would be more than the bound itself. */
const OWN_BYTES_MAX = 256 * 1024;
const OWN_PARTS_MIN = 256;
/** So many requests each connection may have with the device, whatever others have. */
const OWN_REQUESTS = 16;

/** What the connections to one volume share. */
class VolumeBudget {
  /** Bytes under way, without what is the connections' own. */
  countedBytes = 0;
  /** Requests with the device. */
  requests = 0;
  connections = 0;
  /** Connections that wait for room; at most one entry for each. */
  readonly #line: InFlightBudget[] = [];

  get hasLine(): boolean {
    return this.#line.length > 0;
  }

  enqueue(waiter: InFlightBudget): void {
    this.#line.push(waiter);
  }

  cancel(waiter: InFlightBudget): void {
    const index = this.#line.indexOf(waiter);
    if (index < 0) return;
    this.#line.splice(index, 1);
    this.admit();
  }

  admit(): void {
    for (let head = this.#line[0]; head?.hasRoom(); head = this.#line[0]) {
      this.#line.shift();
      head.grant();
    }
  }
}

/** The budget that all connections of a server share. */
export class SharedBudget {
  readonly #limitBytes: number;
  readonly #volumes = new Map<object, VolumeBudget>();
  /** What of its bytes is each connection's own. */
  readonly ownBytes: number;
  /** Requests that the connections to one volume may have with its device, past the few that each may have. */
  readonly requestsPerVolume: number;
  /** Over all connections, their own included. */
  usedBytes = 0;

  constructor(limitBytes: number, requestsPerVolume = Number.POSITIVE_INFINITY) {
    this.#limitBytes = limitBytes;
    this.ownBytes = Math.min(OWN_BYTES_MAX, Math.floor(limitBytes / OWN_PARTS_MIN));
    this.requestsPerVolume = requestsPerVolume;
  }

  /** The part of one volume, as many as have clients now. */
  get bytesPerVolume(): number {
    return this.#limitBytes / this.#volumes.size;
  }

  /** For one more connection to `volume`. */
  enter(volume: object): VolumeBudget {
    const budget = this.#volumes.get(volume) ?? new VolumeBudget();
    this.#volumes.set(volume, budget);
    budget.connections++;
    return budget;
  }

  /** A connection has gone, and nothing of it is under way any more. */
  leave(volume: object, budget: VolumeBudget): void {
    if (--budget.connections > 0) return;
    this.#volumes.delete(volume);
    for (const other of this.#volumes.values()) other.admit();
  }
}

/** One connection's part. A connection handles its requests in order, so at most one of them waits here. */
export class InFlightBudget {
  readonly #shared: SharedBudget;
  readonly #limitBytes: number;
  readonly #onGranted: () => void;
  #volume: object | undefined;
  #part = new VolumeBudget();
  #usedBytes = 0;
  #requests = 0;
  #wantedBytes = 0;
  #inLine = false;
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

  /** Says which volume the connection uses: once, and before anything else. */
  join(volume: object): void {
    if (this.#volume !== undefined || this.#closed) throw new Error('a connection stays with its volume');
    this.#volume = volume;
    this.#part = this.#shared.enter(volume);
  }

  /** Whether one more request may be handed to the device. Where not, one of this connection's own is there, and will end. */
  get hasSlot(): boolean {
    return this.#requests < OWN_REQUESTS || this.#requests < this.#shared.requestsPerVolume - this.#part.requests;
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
    if (this.#mayTake()) {
      this.#takeWanted();
      return true;
    }
    this.#enqueue();
    return false;
  }

  /** Gives back bytes that were taken. */
  give(bytes: number): void {
    this.#use(-bytes);
    this.#part.admit();
    if (this.#wantedBytes > 0) {
      if (this.#mayTake()) {
        // What has become its own needs no place in the line any more.
        if (this.#inLine) this.#part.cancel(this);
        this.grant();
      } else if (!this.#inLine) this.#enqueue();
    }
    this.#leaveIfDone();
  }

  /** Nothing more is asked for. What is still held is given back by whoever holds it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#wantedBytes = 0;
    if (this.#inLine) this.#part.cancel(this);
    this.#inLine = false;
    this.#leaveIfDone();
  }

  /** For the volume's part: whether there is room for what this connection waits for. */
  hasRoom(): boolean {
    if (!this.#withinLimit()) return false;
    const counted = this.#counted(this.#usedBytes);
    const more = this.#counted(this.#usedBytes + this.#wantedBytes) - counted;
    const free = this.#shared.bytesPerVolume - this.#part.countedBytes;
    if (counted === 0) return more <= free || this.#part.countedBytes === 0;
    return counted + more <= free - more;
  }

  /** For the volume's part: there is room for what this connection waits for. */
  grant(): void {
    const bytes = this.#wantedBytes;
    this.#takeWanted();
    this.#inLine = false;
    // In a turn of its own: whoever gave the bytes back may be deep in another connection's work.
    process.nextTick(() => {
      if (this.#closed) this.give(bytes);
      else this.#onGranted();
    });
  }

  #mayTake(): boolean {
    if (this.#counted(this.#usedBytes + this.#wantedBytes) === 0) return this.#withinLimit();
    return !this.#part.hasLine && this.hasRoom();
  }

  /** Who has something under way that counts waits for that first. */
  #enqueue(): void {
    if (!this.#withinLimit() || this.#counted(this.#usedBytes) > 0) return;
    this.#inLine = true;
    this.#part.enqueue(this);
  }

  #withinLimit(): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + this.#wantedBytes <= this.#limitBytes;
  }

  #takeWanted(): void {
    this.#use(this.#wantedBytes);
    this.#wantedBytes = 0;
  }

  #use(bytes: number): void {
    const before = this.#counted(this.#usedBytes);
    this.#usedBytes += bytes;
    this.#shared.usedBytes += bytes;
    this.#part.countedBytes += this.#counted(this.#usedBytes) - before;
  }

  /** What of so many bytes under way is not the connection's own. */
  #counted(usedBytes: number): number {
    return Math.max(0, usedBytes - this.#shared.ownBytes);
  }

  #leaveIfDone(): void {
    if (!this.#closed || this.#usedBytes > 0 || this.#volume === undefined) return;
    this.#shared.leave(this.#volume, this.#part);
    this.#volume = undefined;
  }
}
