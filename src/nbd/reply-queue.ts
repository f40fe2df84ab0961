/**
 * What a connection has yet to send. Headers and small payloads are copied into slabs, so that the replies of one turn
 * leave in one write; large payloads are sent from where they are. Slabs are used again once they have been written.
 */

export const SLAB_BYTES = 128 * 1024;
/** Up to this length copying a payload is cheaper than one more piece to a write. */
export const COPIED_PAYLOAD_BYTES_MAX = 16 * 1024;

/** Slabs for all connections of a server. */
export class SlabPool {
  readonly #keptMax: number;
  readonly #free: Buffer[] = [];

  constructor(keptMax: number) {
    this.#keptMax = keptMax;
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  give(slab: Buffer): void {
    if (this.#free.length < this.#keptMax) this.#free.push(slab);
  }
}

const NO_SLAB: Buffer = Buffer.alloc(0);

/** A piece of the outgoing stream. */
interface Part {
  data: Buffer;
  /** Goes back to the pool once this part has been written. */
  slab: Buffer | undefined;
  /** Given back once this part has been written. */
  lent: Buffer | undefined;
  /** In-flight bytes whose replies have been written once this part has. */
  heldBytes: number;
}

export class ReplyQueue {
  readonly #pool: SlabPool;
  readonly #giveBack: (lent: Buffer) => void;
  #slab = NO_SLAB;
  /** The open part is the slab's bytes from `#start` to `#end`. */
  #start = 0;
  #end = 0;
  #openHeldBytes = 0;
  readonly #parts: Part[] = [];
  /** The parts that leave with the write now under way. */
  #batch: Part[] = [];
  #batchBytes = 0;
  #queuedBytes = 0;

  /** `giveBack` gets what was lent, as soon as nobody looks at it any more. */
  constructor(pool: SlabPool, giveBack: (lent: Buffer) => void = () => {}) {
    this.#pool = pool;
    this.#giveBack = giveBack;
  }

  /** Bytes not known to be written: waiting, and in the write under way. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Bytes that are in no write yet. */
  get waitingBytes(): number {
    return this.#queuedBytes - this.#batchBytes;
  }

  /** Where the room that `reserve` made is. */
  get slab(): Buffer {
    return this.#slab;
  }

  /** Makes room for `bytes` (at most SLAB_BYTES) at the end of the stream and tells where in `slab` it begins. */
  reserve(bytes: number): number {
    if (this.#end + bytes > this.#slab.length) {
      this.#retireSlab();
      this.#slab = this.#pool.take();
    }
    const at = this.#end;
    this.#end += bytes;
    this.#queuedBytes += bytes;
    return at;
  }

  /** Adds `data` to the stream. It must not change until it has been written. `isLent`: whoever lent it gets it back then. */
  append(data: Buffer, isLent = false): void {
    if (data.length === 0) return;
    if (data.length <= COPIED_PAYLOAD_BYTES_MAX) {
      const at = this.reserve(data.length);
      this.#slab.set(data, at);
      if (isLent) this.#giveBack(data);
      return;
    }
    this.#closePart();
    this.#parts.push({ data, slab: undefined, lent: isLent ? data : undefined, heldBytes: 0 });
    this.#queuedBytes += data.length;
  }

  /** What was lent turned out not to be needed. */
  giveBack(lent: Buffer): void {
    this.#giveBack(lent);
  }

  /** `written` will count these `bytes` once all that has been added so far has been written. */
  hold(bytes: number): void {
    const last = this.#end > this.#start ? undefined : this.#parts.at(-1);
    if (last === undefined) this.#openHeldBytes += bytes;
    else last.heldBytes += bytes;
  }

  /**
   * The next pieces to write, in order, about `bytesMax` in all; empty where nothing waits. They are in the write under
   * way until `written` is called, which must be before the next batch.
   */
  nextBatch(bytesMax: number): Buffer[] {
    this.#retireSlab();
    const pieces: Buffer[] = [];
    let bytes = 0;
    let whole = 0;
    for (const part of this.#parts) {
      if (bytes >= bytesMax) break;
      const room = bytesMax - bytes;
      if (part.data.length > room + COPIED_PAYLOAD_BYTES_MAX) {
        pieces.push(part.data.subarray(0, room));
        part.data = part.data.subarray(room);
        bytes += room;
        break;
      }
      pieces.push(part.data);
      bytes += part.data.length;
      whole++;
    }
    this.#batch = this.#parts.splice(0, whole);
    this.#batchBytes = bytes;
    return pieces;
  }

  /** The batch has been written. Returns the in-flight bytes that were held for it. */
  written(): number {
    let heldBytes = 0;
    for (const part of this.#batch) {
      heldBytes += part.heldBytes;
      if (part.slab !== undefined) this.#pool.give(part.slab);
      if (part.lent !== undefined) this.#giveBack(part.lent);
    }
    this.#queuedBytes -= this.#batchBytes;
    this.#batch = [];
    this.#batchBytes = 0;
    return heldBytes;
  }

  /** Nothing is written any more, as the connection has closed: forgets everything, and returns all bytes held. */
  discard(): number {
    let heldBytes = this.#openHeldBytes;
    for (const { heldBytes: held, lent } of [...this.#batch, ...this.#parts]) {
      heldBytes += held;
      if (lent !== undefined) this.#giveBack(lent);
    }
    this.#slab = NO_SLAB;
    this.#start = this.#end = this.#openHeldBytes = 0;
    this.#parts.length = 0;
    this.#batch = [];
    this.#batchBytes = this.#queuedBytes = 0;
    return heldBytes;
  }

  /** Ends the open part, so that something that is not in the slab can follow it. */
  #closePart(): void {
    if (this.#end === this.#start) return;
    const data = this.#slab.subarray(this.#start, this.#end);
    this.#parts.push({ data, slab: undefined, lent: undefined, heldBytes: this.#openHeldBytes });
    this.#start = this.#end;
    this.#openHeldBytes = 0;
  }

  /** Leaves the slab to the last part, which returns it: by then all of it has been written. */
  #retireSlab(): void {
    if (this.#slab === NO_SLAB) return;
    this.#closePart();
    const last = this.#parts.at(-1);
    if (last !== undefined && last.slab === undefined) last.slab = this.#slab;
    this.#slab = NO_SLAB;
    this.#start = this.#end = 0;
  }
}
