/**
 * Makes the device's requests and queues the replies as they complete. What the device answers at once is answered without
 * a promise or a closure, as that is most of what a busy disk does.
 */
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { BlockDevice, DeviceExtent, WriteOptions, ZeroOptions } from '../volume/block-device.ts';
import { Command, CommandFlag, type NbdErrno } from './constants.ts';
import { errnoOf, errorText } from './errno.ts';
import type { Negotiated } from './handshake.ts';
import type { InFlightBudget } from './in-flight-budget.ts';
import type { MetaContext } from './meta-context.ts';
import type { PayloadPool } from './payload-pool.ts';
import { DESCRIPTORS_MAX, Replier } from './replier.ts';
import { COPIED_PAYLOAD_BYTES_MAX, type ReplyQueue } from './reply-queue.ts';
import type { RequestStats } from './request-stats.ts';
import type { RequestHeader } from './wire.ts';

export interface RequestRunnerOptions {
  readonly negotiated: Negotiated;
  readonly replies: ReplyQueue;
  readonly budget: InFlightBudget;
  readonly payloads: PayloadPool;
  readonly stats: RequestStats;
  /** Called when a request completes later than the call that began it. */
  readonly onProgress: () => void;
  readonly log: Log;
}

/** What a BLOCK_STATUS counts in the budget: about what its reply takes, with the device's list that it is made from. */
const STATUS_BYTES = 4 * 1024 * 1024;
/** For a reply of one run the device is asked for this many: of one context several may be one. */
const EXTENTS_FOR_ONE_RUN = 128;

/** What a request takes of the in-flight budget; 0 where it holds no memory worth counting. */
export function budgetBytes({ type, length }: RequestHeader): number {
  if (type === Command.BLOCK_STATUS) return STATUS_BYTES;
  return type === Command.READ || type === Command.WRITE ? length : 0;
}

const PLAIN: WriteOptions = Object.freeze({ fua: false });
const FUA: WriteOptions = Object.freeze({ fua: true });
const NO_DATA: Buffer = Buffer.alloc(0);

export class RequestRunner {
  readonly #device: BlockDevice;
  readonly #replies: ReplyQueue;
  readonly #replier: Replier;
  readonly #budget: InFlightBudget;
  readonly #payloads: PayloadPool;
  readonly #stats: RequestStats;
  /** Read into, and copied from at once. */
  readonly #small = Buffer.allocUnsafeSlow(COPIED_PAYLOAD_BYTES_MAX);
  readonly #onProgress: () => void;
  readonly #log: Log;
  readonly #abort = new AbortController();
  /** Ends prefetches, which may take as long as the bucket needs for all that the cache holds. */
  readonly #hints = new AbortController();
  #inFlight = 0;
  #readsAtHand = false;
  #abandoned = false;

  constructor(options: RequestRunnerOptions) {
    this.#device = options.negotiated.export.device;
    this.#replies = options.replies;
    this.#replier = new Replier(options.replies, options.negotiated.framing);
    this.#budget = options.budget;
    this.#payloads = options.payloads;
    this.#stats = options.stats;
    this.#onProgress = options.onProgress;
    this.#log = options.log;
  }

  /** Requests the device has not answered. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether the last read was a large one of what the device had at hand. */
  get readsAtHand(): boolean {
    return this.#readsAtHand;
  }

  /** What only was to be of use later is given up, so that nobody waits for it. */
  shutdown(): void {
    this.#hints.abort();
  }

  /** The client is gone: reads and prefetches are given up, the rest completes, and nothing is answered any more. */
  abandon(): void {
    this.#abandoned = true;
    this.#abort.abort();
    this.#hints.abort();
  }

  refuse(request: RequestHeader, errno: NbdErrno, text: string): void {
    this.#stats.refused(request.type, errno);
    this.#fail(request, errno, text);
  }

  /**
   * Runs a request that was found good and is neither DISC nor a WRITE with a payload, and has its bytes of the budget.
   * `contexts`: what a BLOCK_STATUS is about. The header is the caller's again once this returns.
   */
  run(request: RequestHeader, contexts: readonly MetaContext[]): void {
    const { type, flags, offset, length } = request;
    request.startedMs = this.#stats.start(request.type);
    if (type === Command.READ) this.#read(request);
    else if (type === Command.FLUSH) this.#plain(request, () => this.#device.flush());
    else if (type === Command.BLOCK_STATUS) this.#blockStatus(request, contexts);
    // A request for nothing does not trouble the device, which may assume that there is something to do.
    else if (length === 0) this.#succeed(request);
    else if (type === Command.TRIM) this.#plain(request, () => this.#device.trim(offset, length, writeOptions(flags)));
    else if (type === Command.CACHE) {
      this.#plain(request, () => this.#device.prefetch(offset, length, this.#hints.signal));
    } else if (type === Command.WRITE_ZEROES) {
      this.#plain(request, () => this.#device.zero(offset, length, zeroOptions(flags)));
    }
  }

  /** Runs a WRITE. `data` is from the payload pool, has its bytes of the budget, and is the runner's from now on. */
  write(request: RequestHeader, data: Buffer): void {
    let done: void | Promise<void>;
    request.startedMs = this.#stats.start(request.type);
    try {
      done = this.#device.write(request.offset, data, writeOptions(request.flags));
    } catch (error) {
      this.#giveBack(data);
      this.#deviceFailed(request, error);
      return;
    }
    if (done === undefined) {
      this.#giveBack(data);
      this.#succeed(request);
      return;
    }
    const kept = request.copy();
    // Once, whatever becomes of the answer: given back twice, the buffer would be that of two requests.
    const ended = Promise.resolve(done).finally(() => this.#giveBack(data));
    this.#track(
      ended.then(() => this.#succeed(kept)),
      (error) => this.#deviceFailed(kept, error),
    );
  }

  /** The device has done with it. */
  #giveBack(data: Buffer): void {
    this.#payloads.give(data);
    this.#budget.give(data.length);
  }

  #read(request: RequestHeader): void {
    const { offset, length } = request;
    if (length === 0) {
      this.#replier.data(request, NO_DATA);
      this.#stats.succeeded(request.type, 0, request.startedMs);
      return;
    }
    let data: Buffer | Promise<Buffer>;
    try {
      if (this.#device.readInto !== undefined && this.#readAtHand(request)) return;
      data = this.#device.read(offset, length, this.#abort.signal);
    } catch (error) {
      this.#readFailed(request, error);
      return;
    }
    if (data instanceof Buffer) {
      this.#readDone(request, data);
      return;
    }
    const kept = request.copy();
    this.#track(
      Promise.resolve(data).then((bytes) => this.#readDone(kept, bytes)),
      (error) => this.#readFailed(kept, error),
    );
  }

  /** Answers a read from memory that is used again and again, where the device has all of it at hand. */
  #readAtHand(request: RequestHeader): boolean {
    const { offset, length } = request;
    const isSmall = length <= COPIED_PAYLOAD_BYTES_MAX;
    const target = isSmall ? this.#small.subarray(0, length) : this.#payloads.take(length);
    let here = false;
    try {
      here = this.#device.readInto?.(target, offset) === true;
    } finally {
      if (!here && !isSmall) this.#payloads.give(target);
      this.#readsAtHand = here && !isSmall;
    }
    if (!here) return false;
    this.#replier.data(request, target, !isSmall);
    this.#replies.hold(length);
    this.#stats.succeeded(request.type, length, request.startedMs);
    return true;
  }

  #readDone(request: RequestHeader, data: Buffer): void {
    const { length } = request;
    if (data.length !== length) {
      this.#readFailed(request, new Error(`the device returned ${data.length} bytes`));
    } else if (this.#abandoned) {
      this.#budget.give(length);
      this.#stats.abandoned(request.type, request.startedMs);
    } else {
      this.#replier.data(request, data);
      this.#stats.succeeded(request.type, length, request.startedMs);
      // Given back once the reply has been sent: until then the bytes are in memory.
      this.#replies.hold(length);
    }
  }

  #readFailed(request: RequestHeader, error: unknown): void {
    this.#budget.give(request.length);
    this.#deviceFailed(request, error);
  }

  /** A request that is answered without data. */
  #plain(request: RequestHeader, call: () => void | Promise<void>): void {
    let done: void | Promise<void>;
    try {
      done = call();
    } catch (error) {
      this.#deviceFailed(request, error);
      return;
    }
    if (done === undefined) {
      this.#succeed(request);
      return;
    }
    const kept = request.copy();
    this.#track(
      Promise.resolve(done).then(() => this.#succeed(kept)),
      (error) => this.#deviceFailed(kept, error),
    );
  }

  #blockStatus(request: RequestHeader, contexts: readonly MetaContext[]): void {
    const { flags, offset, length } = request;
    const onlyFirst = (flags & CommandFlag.REQ_ONE) !== 0;
    let extents: DeviceExtent[] | Promise<DeviceExtent[]>;
    try {
      extents = this.#device.extents(offset, length, onlyFirst ? EXTENTS_FOR_ONE_RUN : DESCRIPTORS_MAX);
      if (Array.isArray(extents)) {
        this.#statusDone(request, contexts, extents);
        return;
      }
    } catch (error) {
      this.#statusFailed(request, error);
      return;
    }
    const kept = request.copy();
    this.#track(
      Promise.resolve(extents).then((list) => this.#statusDone(kept, contexts, list)),
      (error) => this.#statusFailed(kept, error),
    );
  }

  #statusDone(request: RequestHeader, contexts: readonly MetaContext[], extents: readonly DeviceExtent[]): void {
    checkExtents(extents, request.length);
    if (this.#abandoned) {
      this.#budget.give(STATUS_BYTES);
      this.#stats.abandoned(request.type, request.startedMs);
      return;
    }
    const runsMax = (request.flags & CommandFlag.REQ_ONE) !== 0 ? 1 : DESCRIPTORS_MAX;
    const last = contexts.at(-1);
    for (const context of contexts) this.#replier.status(request, context, extents, runsMax, context === last);
    this.#replies.hold(STATUS_BYTES);
    this.#stats.succeeded(request.type, request.length, request.startedMs);
  }

  #statusFailed(request: RequestHeader, error: unknown): void {
    this.#budget.give(STATUS_BYTES);
    this.#deviceFailed(request, error);
  }

  /** Counts a request as in flight until it has been answered. */
  #track(answered: Promise<void>, fail: (error: unknown) => void): void {
    this.#inFlight++;
    this.#budget.began();
    const settled = () => {
      this.#inFlight--;
      this.#budget.ended();
      this.#onProgress();
    };
    answered.then(settled, (error: unknown) => {
      fail(error);
      settled();
    });
  }

  #succeed(to: RequestHeader): void {
    if (this.#abandoned) {
      this.#stats.abandoned(to.type, to.startedMs);
      return;
    }
    this.#replier.done(to);
    this.#stats.succeeded(to.type, to.length, to.startedMs);
  }

  #fail(to: RequestHeader, errno: NbdErrno, text: string): void {
    if (!this.#abandoned) this.#replier.error(to, errno, text);
  }

  #deviceFailed(request: RequestHeader, error: unknown): void {
    const { type: command, offset, length } = request;
    const fields = { command, offset, length, error: describeError(error) };
    if (!(error instanceof StorageError)) this.#log.error('a request failed unexpectedly', fields);
    else if (!this.#abandoned) this.#log.debug('a request failed', fields);
    const errno = errnoOf(error);
    if (this.#abandoned) this.#stats.abandoned(command, request.startedMs);
    else this.#stats.failed(command, errno, request.startedMs);
    this.#fail(request, errno, errorText(error));
  }
}

function writeOptions(flags: number): WriteOptions {
  return (flags & CommandFlag.FUA) !== 0 ? FUA : PLAIN;
}

function zeroOptions(flags: number): ZeroOptions {
  return {
    fua: (flags & CommandFlag.FUA) !== 0,
    mayTrim: (flags & CommandFlag.NO_HOLE) === 0,
    fastOnly: (flags & CommandFlag.FAST_ZERO) !== 0,
  };
}

/** Throws where a device tells of no run, or of more than was asked about: a client told that would go astray. */
function checkExtents(extents: readonly DeviceExtent[], length: number): void {
  const coveredBytes = extents.reduce((sum, extent) => {
    if (extent.length < 1) throw new Error(`the device tells of an extent of ${extent.length} bytes`);
    return sum + extent.length;
  }, 0);
  if (coveredBytes < 1 || coveredBytes > length) throw new Error(`the device's extents cover ${coveredBytes} bytes`);
}
