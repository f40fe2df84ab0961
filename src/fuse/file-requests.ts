/**
 * What is asked of a file's bytes: handed to its device, and answered as that answers. What the device answers at once is
 * answered without a promise or a closure, as that is most of what a busy disk does.
 */
import type { Clock } from '../lib/clock.ts';
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { BlockDevice, WriteOptions } from '../volume/block-device.ts';
import { Errno, FallocateMode, OpenFlag, Whence } from './constants.ts';
import { errnoOf } from './errno.ts';
import type { FuseFile } from './files.ts';
import type { FuseLimits } from './limits.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';
import { ASIDE_BYTES_MIN, type Replier } from './replier.ts';
import { FILE_COMMAND_NAMES, FileCommand, type FileStats } from './request-stats.ts';
import { seekExtents } from './seek.ts';
import {
  decodeFallocate,
  decodeSeek,
  encodeWritten,
  REPLY_HEADER_BYTES,
  type RequestHeader,
  SEEK_REPLY_BYTES,
  type TransferRequest,
  WRITE_HEADER_BYTES,
  WRITE_REPLY_BYTES,
  writeUInt64,
} from './wire.ts';

export interface FileRequestsOptions {
  readonly replier: Replier;
  readonly buffers: ReceiveBuffers;
  readonly limits: Pick<FuseLimits, 'inFlightBytesMax' | 'inFlightRequestsMax' | 'interruptGraceMs'>;
  readonly clock: Clock;
  /** Called when a request completes later than the call that began it. */
  readonly onProgress: () => void;
  readonly log: Log;
}

const PLAIN: WriteOptions = Object.freeze({ fua: false });
const FUA: WriteOptions = Object.freeze({ fua: true });
const NO_DATA: Buffer = Buffer.alloc(0);

/** Data of a slow write up to this size is moved out of the large buffer it came in. */
const MOVED_BYTES_MAX = 256 * 1024;

/** A request on its way: the kernel's header is used again before it may have ended. */
interface FileCall {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly command: FileCommand;
  /** What it is about, as far as it is in the file. */
  readonly bytes: number;
  readonly stats: FileStats;
  readonly startedMs: number;
}

/** A read that its device has not answered. */
interface PendingRead {
  readonly call: FileCall;
  interrupted: boolean;
  answered: boolean;
}

export class FileRequests {
  readonly #options: FileRequestsOptions;
  readonly #replier: Replier;
  readonly #buffers: ReceiveBuffers;
  readonly #pendingReads = new Map<number, PendingRead>();
  #requestsInFlight = 0;
  #bytesInFlight = 0;
  /** The last write was not answered at once, so that the next one had better leave its buffer. */
  #slowWrites = false;

  constructor(options: FileRequestsOptions) {
    this.#options = options;
    this.#replier = options.replier;
    this.#buffers = options.buffers;
  }

  /** Requests that devices have not answered. */
  get inFlight(): number {
    return this.#requestsInFlight;
  }

  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  /** True while nothing more should be asked of devices. */
  get full(): boolean {
    const { inFlightBytesMax, inFlightRequestsMax } = this.#options.limits;
    return this.#bytesInFlight >= inFlightBytesMax || this.#requestsInFlight >= inFlightRequestsMax;
  }

  read(
    { uniqueLow, uniqueHigh }: RequestHeader,
    { offset, size }: TransferRequest,
    { device }: FuseFile,
    stats: FileStats,
  ): void {
    const startedMs = stats.start(FileCommand.READ);
    const length = Math.min(size, device.geometry.sizeBytes - offset);
    if (length <= 0) {
      this.#replier.data(uniqueLow, uniqueHigh, NO_DATA);
      stats.succeeded(FileCommand.READ, 0, startedMs);
      return;
    }
    let data: Buffer | Promise<Buffer>;
    try {
      if (this.#readAtHand(uniqueLow, uniqueHigh, offset, length, device)) {
        stats.succeeded(FileCommand.READ, length, startedMs);
        return;
      }
      data = device.read(offset, length);
    } catch (error) {
      this.#deviceFailed({ uniqueLow, uniqueHigh, command: FileCommand.READ, bytes: length, stats, startedMs }, error);
      return;
    }
    const call: FileCall = { uniqueLow, uniqueHigh, command: FileCommand.READ, bytes: length, stats, startedMs };
    if (data instanceof Buffer) this.#readDone(call, data);
    else this.#readLater(call, data);
  }

  /** The first `end` bytes of `request`: the current receive buffer, or memory of its own where it has waited. */
  write(
    { uniqueLow, uniqueHigh }: RequestHeader,
    { offset, size, openFlags }: TransferRequest,
    { device }: FuseFile,
    stats: FileStats,
    request: Buffer,
    end: number,
  ): void {
    const startedMs = stats.start(FileCommand.WRITE);
    const { sizeBytes, readOnly } = device.geometry;
    // As on a block device: what goes over the end is cut off, and from there on there is no space.
    const length = Math.max(0, Math.min(size, sizeBytes - offset));
    const call: FileCall = { uniqueLow, uniqueHigh, command: FileCommand.WRITE, bytes: length, stats, startedMs };
    if (WRITE_HEADER_BYTES + size > end) {
      this.#fail(call, Errno.EINVAL);
      return;
    }
    if (readOnly) {
      this.#fail(call, Errno.EROFS);
      return;
    }
    if (length === 0) {
      if (size > 0) this.#fail(call, Errno.ENOSPC);
      else this.#written(call);
      return;
    }
    const isCurrent = request === this.#buffers.current;
    const moved = isCurrent && this.#slowWrites && length <= MOVED_BYTES_MAX;
    const view = request.subarray(WRITE_HEADER_BYTES, WRITE_HEADER_BYTES + length);
    const data = moved ? Buffer.from(view) : view;
    let done: void | Promise<void>;
    try {
      done = device.write(offset, data, (openFlags & OpenFlag.DSYNC) === 0 ? PLAIN : FUA);
    } catch (error) {
      this.#deviceFailed(call, error);
      return;
    }
    this.#slowWrites = done !== undefined;
    if (done === undefined) this.#written(call);
    else this.#writeLater(call, isCurrent && !moved ? this.#buffers.keep() : null, done);
  }

  flush(header: RequestHeader, { device }: FuseFile, stats: FileStats): void {
    this.#plain(callOf(header, FileCommand.FLUSH, stats), () => device.flush());
  }

  /** Only what takes bytes away, and they read as zeros for certain: room is there always. */
  fallocate(header: RequestHeader, { device }: FuseFile, stats: FileStats, request: Buffer): void {
    const { offset, length, mode } = decodeFallocate(request);
    const { PUNCH_HOLE, ZERO_RANGE, KEEP_SIZE } = FallocateMode;
    const punch = mode === (PUNCH_HOLE | KEEP_SIZE);
    const { sizeBytes, readOnly } = device.geometry;
    const clipped = Math.max(0, Math.min(length, sizeBytes - offset));
    const call = callOf(header, FileCommand.ZERO, stats, clipped);
    if (!punch && (mode & ~KEEP_SIZE) !== ZERO_RANGE) {
      this.#fail(call, Errno.EOPNOTSUPP);
      return;
    }
    if (readOnly) {
      this.#fail(call, Errno.EROFS);
      return;
    }
    if ((mode & KEEP_SIZE) === 0 && offset + length > sizeBytes) {
      this.#fail(call, Errno.ENOSPC);
      return;
    }
    if (clipped === 0) {
      this.#succeed(call);
      return;
    }
    this.#plain(call, () => device.zero(offset, clipped, { fua: false, mayTrim: punch, fastOnly: false }));
  }

  seek(header: RequestHeader, { device }: FuseFile, stats: FileStats, request: Buffer): void {
    const { offset, whence } = decodeSeek(request);
    const call = callOf(header, FileCommand.SEEK, stats);
    if (whence !== Whence.DATA && whence !== Whence.HOLE) {
      this.#fail(call, Errno.EINVAL);
      return;
    }
    if (offset >= device.geometry.sizeBytes) {
      this.#fail(call, Errno.ENXIO);
      return;
    }
    this.#track(
      0,
      seekExtents(device, offset, whence === Whence.HOLE).then((found) => {
        if (found === null) {
          this.#fail(call, Errno.ENXIO);
          return;
        }
        writeUInt64(this.#replier.body, 0, found);
        this.#succeed(call, SEEK_REPLY_BYTES);
      }),
      (error) => this.#deviceFailed(call, error),
    );
  }

  /**
   * A signal has come to the program that waits for the request `unique`. Most signals mean nothing to a read, and one of a
   * disk's file is not expected to fail by them; but nobody should have to wait for a bucket that is down.
   */
  interrupt(unique: number): void {
    const read = this.#pendingReads.get(unique);
    if (read === undefined || read.interrupted) return;
    read.interrupted = true;
    const { clock, limits } = this.#options;
    void clock.sleep(limits.interruptGraceMs).then(() => {
      if (read.answered) return;
      read.answered = true;
      this.#fail(read.call, Errno.EINTR);
    });
  }

  /** What is at hand goes straight into the reply. False where it is not. */
  #readAtHand(uniqueLow: number, uniqueHigh: number, offset: number, length: number, device: BlockDevice): boolean {
    const { body } = this.#replier;
    if (device.readInto === undefined || length > body.length) return false;
    const aside = length >= ASIDE_BYTES_MIN ? this.#replier.takeAside() : null;
    if (aside === null) {
      // Its memory is the same for all of them.
      if (!device.readInto(body.subarray(0, length), offset)) return false;
      this.#replier.succeed(uniqueLow, uniqueHigh, length);
      return true;
    }
    let here = false;
    try {
      here = device.readInto(aside.subarray(REPLY_HEADER_BYTES, REPLY_HEADER_BYTES + length), offset);
    } finally {
      if (!here) this.#replier.giveAside(aside);
    }
    if (here) this.#replier.succeedAside(uniqueLow, uniqueHigh, aside, length);
    return here;
  }

  #readLater(call: FileCall, data: Buffer | Promise<Buffer>): void {
    const unique = call.uniqueHigh * 2 ** 32 + call.uniqueLow;
    const read: PendingRead = { call, interrupted: false, answered: false };
    this.#pendingReads.set(unique, read);
    const answer = (reply: () => void): void => {
      this.#pendingReads.delete(unique);
      if (read.answered) return;
      read.answered = true;
      reply();
    };
    this.#track(
      call.bytes,
      Promise.resolve(data).then((bytes) => answer(() => this.#readDone(call, bytes))),
      (error) => answer(() => this.#deviceFailed(call, error)),
    );
  }

  #readDone(call: FileCall, data: Buffer): void {
    const { uniqueLow, uniqueHigh, bytes, stats, startedMs } = call;
    if (data.length !== bytes) {
      this.#deviceFailed(call, new Error(`the device returned ${data.length} bytes instead of ${bytes}`));
      return;
    }
    this.#replier.data(uniqueLow, uniqueHigh, data);
    stats.succeeded(FileCommand.READ, bytes, startedMs);
  }

  /** `kept`: the buffer that the data lies in, where it was one to receive in. */
  #writeLater(call: FileCall, kept: Buffer | null, done: Promise<void>): void {
    const ended = Promise.resolve(done).finally(() => {
      if (kept !== null) this.#buffers.give(kept);
    });
    this.#track(
      kept === null ? call.bytes : kept.length,
      ended.then(() => this.#written(call)),
      (error) => this.#deviceFailed(call, error),
    );
  }

  #written(call: FileCall): void {
    encodeWritten(this.#replier.body, 0, call.bytes);
    this.#succeed(call, WRITE_REPLY_BYTES);
  }

  /** A request that is answered without data. */
  #plain(call: FileCall, ask: () => void | Promise<void>): void {
    let done: void | Promise<void>;
    try {
      done = ask();
    } catch (error) {
      this.#deviceFailed(call, error);
      return;
    }
    if (done === undefined) this.#succeed(call);
    else {
      this.#track(
        0,
        Promise.resolve(done).then(() => this.#succeed(call)),
        (error) => this.#deviceFailed(call, error),
      );
    }
  }

  /** Counts a request as in flight until it has been answered. */
  #track(bytes: number, answered: Promise<void>, fail: (error: unknown) => void): void {
    this.#requestsInFlight++;
    this.#bytesInFlight += bytes;
    const settled = (): void => {
      this.#requestsInFlight--;
      this.#bytesInFlight -= bytes;
      this.#options.onProgress();
    };
    answered.then(settled, (error: unknown) => {
      fail(error);
      settled();
    });
  }

  #deviceFailed(call: FileCall, error: unknown): void {
    const { log } = this.#options;
    const fields = { request: FILE_COMMAND_NAMES[call.command], error: describeError(error) };
    if (error instanceof StorageError) log.debug('a request failed', fields);
    else log.error('a request failed unexpectedly', fields);
    this.#fail(call, errnoOf(error));
  }

  #succeed({ uniqueLow, uniqueHigh, command, bytes, stats, startedMs }: FileCall, bodyBytes = 0): void {
    this.#replier.succeed(uniqueLow, uniqueHigh, bodyBytes);
    stats.succeeded(command, bytes, startedMs);
  }

  #fail({ uniqueLow, uniqueHigh, command, stats, startedMs }: FileCall, errno: Errno): void {
    this.#replier.fail(uniqueLow, uniqueHigh, errno);
    stats.failed(command, errno, startedMs);
  }
}

function callOf({ uniqueLow, uniqueHigh }: RequestHeader, command: FileCommand, stats: FileStats, bytes = 0): FileCall {
  return { uniqueLow, uniqueHigh, command, bytes, stats, startedMs: stats.start(command) };
}
