/**
 * Makes the device's requests and queues the replies as they complete. What the device answers at once is answered without
 * a promise or a closure, as that is most of what a busy disk does.
 */
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { BlockDevice, WriteOptions, ZeroOptions } from '../volume/block-device.ts';
import { Command, CommandFlag, type NbdErrno } from './constants.ts';
import { errnoOf, errorText } from './errno.ts';
import type { Negotiated } from './handshake.ts';
import type { InFlightBudget } from './in-flight-budget.ts';
import type { MetaContext, StatusRun } from './meta-context.ts';
import type { PayloadPool } from './payload-pool.ts';
import { DESCRIPTORS_MAX, Replier } from './replier.ts';
import type { ReplyQueue } from './reply-queue.ts';
import type { RequestHeader } from './wire.ts';

export interface RequestRunnerOptions {
  readonly negotiated: Negotiated;
  readonly replies: ReplyQueue;
  readonly budget: InFlightBudget;
  readonly payloads: PayloadPool;
  /** Called when a request completes later than the call that began it. */
  readonly onProgress: () => void;
  readonly log: Log;
}

/** What a BLOCK_STATUS counts in the budget: about what its reply takes, with the device's list that it is made from. */
const STATUS_BYTES = 2 * 1024 * 1024;

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
  readonly #blockSizePreferredBytes: number;
  readonly #contexts: readonly MetaContext[];
  readonly #replies: ReplyQueue;
  readonly #replier: Replier;
  readonly #budget: InFlightBudget;
  readonly #payloads: PayloadPool;
  readonly #onProgress: () => void;
  readonly #log: Log;
  readonly #abort = new AbortController();
  #inFlight = 0;
  #abandoned = false;

  constructor(options: RequestRunnerOptions) {
    this.#device = options.negotiated.export.device;
    this.#blockSizePreferredBytes = options.negotiated.geometry.blockSizePreferredBytes;
    this.#contexts = options.negotiated.contexts;
    this.#replies = options.replies;
    this.#replier = new Replier(options.replies, options.negotiated.structuredReplies);
    this.#budget = options.budget;
    this.#payloads = options.payloads;
    this.#onProgress = options.onProgress;
    this.#log = options.log;
  }

  /** Requests the device has not answered. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** The client is gone: reads are given up, the rest completes, and nothing is answered any more. */
  abandon(): void {
    this.#abandoned = true;
    this.#abort.abort();
  }

  refuse(request: RequestHeader, errno: NbdErrno, text: string): void {
    this.#fail(request.cookieHigh, request.cookieLow, errno, text);
  }

  /** Runs a request that was found good and is neither DISC nor a WRITE with a payload, and has its bytes of the budget. */
  run(request: RequestHeader): void {
    const { type, flags, offset, length } = request;
    if (type === Command.READ) this.#read(request);
    else if (type === Command.FLUSH) this.#plain(request, () => this.#device.flush());
    else if (type === Command.BLOCK_STATUS) this.#blockStatus(request);
    // A request for nothing does not trouble the device, which may assume that there is something to do.
    else if (length === 0) this.#succeed(request.cookieHigh, request.cookieLow);
    else if (type === Command.TRIM) this.#plain(request, () => this.#device.trim(offset, length, writeOptions(flags)));
    else if (type === Command.CACHE) this.#plain(request, () => this.#device.prefetch(offset, length));
    else if (type === Command.WRITE_ZEROES) {
      this.#plain(request, () => this.#device.zero(offset, length, zeroOptions(flags)));
    }
  }

  /** Runs a WRITE. `data` is from the payload pool, has its bytes of the budget, and is the runner's from now on. */
  write(request: RequestHeader, data: Buffer): void {
    const { cookieHigh, cookieLow, flags, offset } = request;
    let done: void | Promise<void>;
    try {
      done = this.#device.write(offset, data, writeOptions(flags));
    } catch (error) {
      this.#writeFailed(cookieHigh, cookieLow, offset, data, error);
      return;
    }
    if (done === undefined) this.#writeDone(cookieHigh, cookieLow, data);
    else {
      this.#track(
        Promise.resolve(done).then(() => this.#writeDone(cookieHigh, cookieLow, data)),
        (error) => this.#writeFailed(cookieHigh, cookieLow, offset, data, error),
      );
    }
  }

  #writeDone(cookieHigh: number, cookieLow: number, data: Buffer): void {
    this.#payloads.give(data);
    this.#budget.give(data.length);
    this.#succeed(cookieHigh, cookieLow);
  }

  #writeFailed(cookieHigh: number, cookieLow: number, offset: number, data: Buffer, error: unknown): void {
    // The buffer is not used again: a write that was given up may still be on its way out of the process somewhere.
    this.#budget.give(data.length);
    this.#deviceFailed(cookieHigh, cookieLow, Command.WRITE, offset, data.length, error);
  }

  #read(request: RequestHeader): void {
    const { cookieHigh, cookieLow, offset, length } = request;
    if (length === 0) {
      this.#replier.data(cookieHigh, cookieLow, offset, NO_DATA);
      return;
    }
    let data: Buffer | Promise<Buffer>;
    try {
      data = this.#device.read(offset, length, this.#abort.signal);
    } catch (error) {
      this.#readFailed(cookieHigh, cookieLow, offset, length, error);
      return;
    }
    if (data instanceof Buffer) this.#readDone(cookieHigh, cookieLow, offset, length, data);
    else {
      this.#track(
        Promise.resolve(data).then((bytes) => this.#readDone(cookieHigh, cookieLow, offset, length, bytes)),
        (error) => this.#readFailed(cookieHigh, cookieLow, offset, length, error),
      );
    }
  }

  #readDone(cookieHigh: number, cookieLow: number, offset: number, length: number, data: Buffer): void {
    if (data.length !== length) {
      const error = new Error(`the device returned ${data.length} bytes`);
      this.#readFailed(cookieHigh, cookieLow, offset, length, error);
    } else if (this.#abandoned) {
      this.#budget.give(length);
    } else {
      this.#replier.data(cookieHigh, cookieLow, offset, data);
      // Given back once the reply has been sent: until then the bytes are in memory.
      this.#replies.hold(length);
    }
  }

  #readFailed(cookieHigh: number, cookieLow: number, offset: number, length: number, error: unknown): void {
    this.#budget.give(length);
    this.#deviceFailed(cookieHigh, cookieLow, Command.READ, offset, length, error);
  }

  /** A request that is answered without data. */
  #plain(request: RequestHeader, call: () => void | Promise<void>): void {
    const { cookieHigh, cookieLow, type, offset, length } = request;
    let done: void | Promise<void>;
    try {
      done = call();
    } catch (error) {
      this.#deviceFailed(cookieHigh, cookieLow, type, offset, length, error);
      return;
    }
    if (done === undefined) this.#succeed(cookieHigh, cookieLow);
    else {
      this.#track(
        Promise.resolve(done).then(() => this.#succeed(cookieHigh, cookieLow)),
        (error) => this.#deviceFailed(cookieHigh, cookieLow, type, offset, length, error),
      );
    }
  }

  #blockStatus(request: RequestHeader): void {
    const { cookieHigh, cookieLow, flags, type, offset, length } = request;
    const contexts = this.#contexts;
    const onlyFirst = (flags & CommandFlag.REQ_ONE) !== 0;
    // A reply may cover less than was asked: so much that the device's list, too, stays short, however finely it is divided.
    const covered = Math.min(length, DESCRIPTORS_MAX * this.#blockSizePreferredBytes);
    const runsOfAll = Promise.all(contexts.map((context) => runsOf(context, this.#device, offset, covered)));
    this.#track(
      runsOfAll.then((runs) => {
        if (this.#abandoned) {
          this.#budget.give(STATUS_BYTES);
          return;
        }
        contexts.forEach(({ id }, i) => {
          this.#replier.status(cookieHigh, cookieLow, id, runs[i] ?? [], onlyFirst, i === contexts.length - 1);
        });
        this.#replies.hold(STATUS_BYTES);
      }),
      (error) => {
        this.#budget.give(STATUS_BYTES);
        this.#deviceFailed(cookieHigh, cookieLow, type, offset, length, error);
      },
    );
  }

  /** Counts a request as in flight until it has been answered. */
  #track(answered: Promise<void>, fail: (error: unknown) => void): void {
    this.#inFlight++;
    const settled = () => {
      this.#inFlight--;
      this.#onProgress();
    };
    answered.then(settled, (error: unknown) => {
      fail(error);
      settled();
    });
  }

  #succeed(cookieHigh: number, cookieLow: number): void {
    if (!this.#abandoned) this.#replier.done(cookieHigh, cookieLow);
  }

  #fail(cookieHigh: number, cookieLow: number, errno: NbdErrno, text: string): void {
    if (!this.#abandoned) this.#replier.error(cookieHigh, cookieLow, errno, text);
  }

  #deviceFailed(
    cookieHigh: number,
    cookieLow: number,
    command: number,
    offset: number,
    length: number,
    error: unknown,
  ): void {
    const fields = { command, offset, length, error: describeError(error) };
    if (!(error instanceof StorageError)) this.#log.error('a request failed unexpectedly', fields);
    else if (!this.#abandoned) this.#log.debug('a request failed', fields);
    this.#fail(cookieHigh, cookieLow, errnoOf(error), errorText(error));
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

/** A context's runs, checked: a client told of no run, or of more than it asked about, would go astray. */
async function runsOf(context: MetaContext, device: BlockDevice, offset: number, length: number): Promise<StatusRun[]> {
  const runs = await context.status(device, offset, length);
  const covered = runs.reduce((sum, run) => sum + run.length, 0);
  if (covered < 1 || covered > length) throw new Error(`${context.name} covers ${covered} bytes`);
  return runs;
}
