/** Puts replies together and hands them to whoever writes them to the device. */
import { allocateChecked } from '../lib/checksum.ts';
import type { Errno } from './constants.ts';
import { encodeReplyHeader, REPLY_HEADER_BYTES, TRANSFER_BYTES_MAX } from './wire.ts';

/** Takes one whole reply at a time. The buffers are used again, or changed by others, once the call has returned. */
export interface ReplySink {
  /** The first `length` bytes of `bytes`. */
  send(bytes: Buffer, length: number): void;
  sendWithData(header: Buffer, data: Buffer): void;
  /** As `send`, on another thread where that pays: `sent` is called once the buffer is free again. Left out, or false: use `send`. */
  sendAside?(bytes: Buffer, length: number, sent: () => void): boolean;
}

const PAGE_BYTES = 4096;

/** Up to here copying data behind its header costs less than handing the system two pieces. */
const COPIED_BYTES_MAX = 32 * 1024;

/** From here on handing a reply to the kernel takes so long that another thread should do it while we go on. */
export const ASIDE_BYTES_MIN = 256 * 1024;
/** Buffers for that. Where all of them are on their way, we do it ourselves. */
const ASIDE_MAX = 3;

/** The memory of replies, for all mounts of the process: of the kind that pages are checked in there is only so much, and none comes back. */
class ReplyBuffers {
  #slab: Buffer | undefined;
  readonly #aside: Buffer[] = [];
  #asideMade = 0;

  /** For a reply that is put together and sent before anything else is done. */
  get slab(): Buffer {
    this.#slab ??= allocateReply();
    return this.#slab;
  }

  takeAside(): Buffer | null {
    const spare = this.#aside.pop();
    if (spare !== undefined) return spare;
    if (this.#asideMade === ASIDE_MAX) return null;
    this.#asideMade++;
    return allocateReply();
  }

  giveAside(buffer: Buffer): void {
    this.#aside.push(buffer);
  }
}

const PROCESS_BUFFERS = new ReplyBuffers();

export class Replier {
  readonly #sink: ReplySink;
  readonly #slab: Buffer;
  readonly #header: Buffer;
  /** Where the body of the next reply is put, with offsets of its own, right before that is sent. */
  readonly body: Buffer;

  constructor(sink: ReplySink) {
    this.#sink = sink;
    this.#slab = PROCESS_BUFFERS.slab;
    this.#header = this.#slab.subarray(0, REPLY_HEADER_BYTES);
    this.body = this.#slab.subarray(REPLY_HEADER_BYTES);
  }

  /** Success, with the first `bodyBytes` of `body`. */
  succeed(uniqueLow: number, uniqueHigh: number, bodyBytes = 0): void {
    this.#send(uniqueLow, uniqueHigh, 0, bodyBytes);
  }

  /** A buffer for a large reply of its own, header and all: for `succeedAside`, or given back. Null where there is none. */
  takeAside(): Buffer | null {
    return this.#sink.sendAside === undefined ? null : PROCESS_BUFFERS.takeAside();
  }

  giveAside(buffer: Buffer): void {
    PROCESS_BUFFERS.giveAside(buffer);
  }

  /** Success, with `bodyBytes` of data that lie in the buffer behind the room for the header. */
  succeedAside(uniqueLow: number, uniqueHigh: number, buffer: Buffer, bodyBytes: number): void {
    const length = REPLY_HEADER_BYTES + bodyBytes;
    encodeReplyHeader(buffer, length, 0, uniqueLow, uniqueHigh);
    if (this.#sink.sendAside?.(buffer, length, () => this.giveAside(buffer)) === true) return;
    this.#sink.send(buffer, length);
    this.giveAside(buffer);
  }

  fail(uniqueLow: number, uniqueHigh: number, errno: Errno): void {
    this.#send(uniqueLow, uniqueHigh, errno, 0);
  }

  data(uniqueLow: number, uniqueHigh: number, data: Buffer): void {
    if (data.length <= COPIED_BYTES_MAX) {
      data.copy(this.#slab, REPLY_HEADER_BYTES);
      this.#send(uniqueLow, uniqueHigh, 0, data.length);
      return;
    }
    encodeReplyHeader(this.#slab, REPLY_HEADER_BYTES + data.length, 0, uniqueLow, uniqueHigh);
    this.#sink.sendWithData(this.#header, data);
  }

  #send(uniqueLow: number, uniqueHigh: number, errno: number, bodyBytes: number): void {
    const length = REPLY_HEADER_BYTES + bodyBytes;
    encodeReplyHeader(this.#slab, length, errno, uniqueLow, uniqueHigh);
    this.#sink.send(this.#slab, length);
  }
}

/**
 * For the largest reply. Its data begins with a page: where it began behind the header, 16 bytes after the beginning of one, reading 1 MiB from the
 * page cache took 117 us in place of 50 (see allocateChecked).
 */
function allocateReply(): Buffer {
  const bytes = PAGE_BYTES + TRANSFER_BYTES_MAX;
  return (allocateChecked(bytes) ?? Buffer.allocUnsafeSlow(bytes)).subarray(PAGE_BYTES - REPLY_HEADER_BYTES);
}
