/**
 * What is asked of a file's bytes: handed to its device, and answered as that answers. What the device answers at once is
 * answered without a promise or a closure, as that is most of what a busy disk does.
 */
import type { Clock } from '../lib/clock.ts';
import { describeError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { WriteOptions } from '../volume/block-device.ts';
import { Errno, FallocateMode, Opcode, OpenFlag, Whence } from './constants.ts';
import { errnoOf } from './errno.ts';
import type { FuseFile } from './files.ts';
import type { FuseLimits } from './limits.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';
import type { Replier } from './replier.ts';
import { seekExtents } from './seek.ts';
import {
  decodeFallocate,
  decodeSeek,
  encodeWritten,
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

/** A read that its device has not answered. */
interface PendingRead {
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

  /** True while no further request should be taken. */
  get full(): boolean {
    const { inFlightBytesMax, inFlightRequestsMax } = this.#options.limits;
    return this.#bytesInFlight >= inFlightBytesMax || this.#requestsInFlight >= inFlightRequestsMax;
  }

  read({ uniqueLow, uniqueHigh }: RequestHeader, { offset, size }: TransferRequest, { device }: FuseFile): void {
    const length = Math.min(size, device.geometry.sizeBytes - offset);
    if (length <= 0) {
      this.#replier.data(uniqueLow, uniqueHigh, NO_DATA);
      return;
    }
    let data: Buffer | Promise<Buffer>;
    try {
      // What is at hand goes straight into the reply, whose memory is the same for all of them.
      const { body } = this.#replier;
      if (length <= body.length && device.readInto?.(body.subarray(0, length), offset) === true) {
        this.#replier.succeed(uniqueLow, uniqueHigh, length);
        return;
      }
      data = device.read(offset, length);
    } catch (error) {
      this.#deviceFailed(uniqueLow, uniqueHigh, Opcode.READ, error);
      return;
    }
    if (data instanceof Buffer) this.#readDone(uniqueLow, uniqueHigh, length, data);
    else this.#readLater(uniqueLow, uniqueHigh, length, data);
  }

  /** `request` is the current receive buffer, of which `end` bytes are the request. */
  write(
    { uniqueLow, uniqueHigh }: RequestHeader,
    { offset, size, openFlags }: TransferRequest,
    { device }: FuseFile,
    request: Buffer,
    end: number,
  ): void {
    const { sizeBytes, readOnly } = device.geometry;
    if (WRITE_HEADER_BYTES + size > end) {
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.EINVAL);
      return;
    }
    if (readOnly) {
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.EROFS);
      return;
    }
    // As on a block device: what goes over the end is cut off, and from there on there is no space.
    const length = Math.min(size, sizeBytes - offset);
    if (length <= 0) {
      if (size > 0) this.#replier.fail(uniqueLow, uniqueHigh, Errno.ENOSPC);
      else this.#written(uniqueLow, uniqueHigh, 0);
      return;
    }
    const moved = this.#slowWrites && length <= MOVED_BYTES_MAX;
    const view = request.subarray(WRITE_HEADER_BYTES, WRITE_HEADER_BYTES + length);
    const data = moved ? Buffer.from(view) : view;
    let done: void | Promise<void>;
    try {
      done = device.write(offset, data, (openFlags & OpenFlag.DSYNC) === 0 ? PLAIN : FUA);
    } catch (error) {
      this.#deviceFailed(uniqueLow, uniqueHigh, Opcode.WRITE, error);
      return;
    }
    this.#slowWrites = done !== undefined;
    if (done === undefined) this.#written(uniqueLow, uniqueHigh, length);
    else this.#writeLater(uniqueLow, uniqueHigh, length, moved, done);
  }

  flush(header: RequestHeader, { device }: FuseFile): void {
    this.#plain(header, () => device.flush());
  }

  /** Only what takes bytes away, and they read as zeros for certain: room is there always. */
  fallocate(header: RequestHeader, { device }: FuseFile, request: Buffer): void {
    const { offset, length, mode } = decodeFallocate(request);
    const { uniqueLow, uniqueHigh } = header;
    const { PUNCH_HOLE, ZERO_RANGE, KEEP_SIZE } = FallocateMode;
    const punch = mode === (PUNCH_HOLE | KEEP_SIZE);
    const { sizeBytes, readOnly } = device.geometry;
    if (!punch && (mode & ~KEEP_SIZE) !== ZERO_RANGE) {
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.EOPNOTSUPP);
      return;
    }
    if (readOnly) {
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.EROFS);
      return;
    }
    if ((mode & KEEP_SIZE) === 0 && offset + length > sizeBytes) {
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.ENOSPC);
      return;
    }
    const clipped = Math.min(length, sizeBytes - offset);
    if (clipped <= 0) {
      this.#replier.succeed(uniqueLow, uniqueHigh);
      return;
    }
    this.#plain(header, () => device.zero(offset, clipped, { fua: false, mayTrim: punch, fastOnly: false }));
  }

  seek({ uniqueLow, uniqueHigh }: RequestHeader, { device }: FuseFile, request: Buffer): void {
    const { offset, whence } = decodeSeek(request);
    if (whence !== Whence.DATA && whence !== Whence.HOLE) {
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.EINVAL);
      return;
    }
    if (offset >= device.geometry.sizeBytes) {
      this.#replier.fail(uniqueLow, uniqueHigh, Errno.ENXIO);
      return;
    }
    this.#track(
      0,
      seekExtents(device, offset, whence === Whence.HOLE).then((found) => {
        if (found === null) {
          this.#replier.fail(uniqueLow, uniqueHigh, Errno.ENXIO);
          return;
        }
        writeUInt64(this.#replier.body, 0, found);
        this.#replier.succeed(uniqueLow, uniqueHigh, SEEK_REPLY_BYTES);
      }),
      (error) => this.#deviceFailed(uniqueLow, uniqueHigh, Opcode.LSEEK, error),
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
      this.#replier.fail(unique >>> 0, Math.floor(unique / 2 ** 32), Errno.EINTR);
    });
  }

  #readLater(uniqueLow: number, uniqueHigh: number, length: number, data: Buffer | Promise<Buffer>): void {
    const unique = uniqueHigh * 2 ** 32 + uniqueLow;
    const read: PendingRead = { interrupted: false, answered: false };
    this.#pendingReads.set(unique, read);
    const answer = (reply: () => void): void => {
      this.#pendingReads.delete(unique);
      if (read.answered) return;
      read.answered = true;
      reply();
    };
    this.#track(
      length,
      Promise.resolve(data).then((bytes) => answer(() => this.#readDone(uniqueLow, uniqueHigh, length, bytes))),
      (error) => answer(() => this.#deviceFailed(uniqueLow, uniqueHigh, Opcode.READ, error)),
    );
  }

  #readDone(uniqueLow: number, uniqueHigh: number, length: number, data: Buffer): void {
    if (data.length === length) this.#replier.data(uniqueLow, uniqueHigh, data);
    else {
      const error = new Error(`the device returned ${data.length} bytes instead of ${length}`);
      this.#deviceFailed(uniqueLow, uniqueHigh, Opcode.READ, error);
    }
  }

  #writeLater(uniqueLow: number, uniqueHigh: number, length: number, moved: boolean, done: Promise<void>): void {
    const kept = moved ? null : this.#buffers.keep();
    this.#track(
      kept === null ? length : kept.length,
      Promise.resolve(done).then(() => {
        if (kept !== null) this.#buffers.give(kept);
        this.#written(uniqueLow, uniqueHigh, length);
      }),
      // The buffer is not used again: a write that was given up may still be on its way out of the process somewhere.
      (error) => this.#deviceFailed(uniqueLow, uniqueHigh, Opcode.WRITE, error),
    );
  }

  #written(uniqueLow: number, uniqueHigh: number, length: number): void {
    encodeWritten(this.#replier.body, 0, length);
    this.#replier.succeed(uniqueLow, uniqueHigh, WRITE_REPLY_BYTES);
  }

  /** A request that is answered without data. */
  #plain({ uniqueLow, uniqueHigh, opcode }: RequestHeader, call: () => void | Promise<void>): void {
    let done: void | Promise<void>;
    try {
      done = call();
    } catch (error) {
      this.#deviceFailed(uniqueLow, uniqueHigh, opcode, error);
      return;
    }
    if (done === undefined) this.#replier.succeed(uniqueLow, uniqueHigh);
    else {
      this.#track(
        0,
        Promise.resolve(done).then(() => this.#replier.succeed(uniqueLow, uniqueHigh)),
        (error) => this.#deviceFailed(uniqueLow, uniqueHigh, opcode, error),
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

  #deviceFailed(uniqueLow: number, uniqueHigh: number, opcode: number, error: unknown): void {
    const { log } = this.#options;
    const fields = { opcode, error: describeError(error) };
    if (error instanceof StorageError) log.debug('a request failed', fields);
    else log.error('a request failed unexpectedly', fields);
    this.#replier.fail(uniqueLow, uniqueHigh, errnoOf(error));
  }
}
