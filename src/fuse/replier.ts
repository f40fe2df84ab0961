/** Puts replies together and hands them to whoever writes them to the device. */
import type { Errno } from './constants.ts';
import { processReplyBuffers } from './reply-buffers.ts';
import { encodeReplyHeader, REPLY_HEADER_BYTES } from './wire.ts';

/** Takes one whole reply at a time. The buffers are used again, or changed by others, once the call has returned. */
export interface ReplySink {
  /** The first `length` bytes of `bytes`. */
  send(bytes: Buffer, length: number): void;
  sendWithData(header: Buffer, data: Buffer): void;
  /** As `send`, on another thread where that pays: `sent` is called once the buffer is free again. Left out, or false: use `send`. */
  sendAside?(bytes: Buffer, length: number, sent: () => void): boolean;
}

/** Up to here copying data behind its header costs less than handing the system two pieces. */
const COPIED_BYTES_MAX = 32 * 1024;

/** From here on handing a reply to the kernel takes so long that another thread should do it while we go on. */
export const ASIDE_BYTES_MIN = 256 * 1024;

export class Replier {
  readonly #sink: ReplySink;
  readonly #slab: Buffer;
  readonly #header: Buffer;
  /** Where the body of the next reply is put, with offsets of its own, right before that is sent. */
  readonly body: Buffer;

  constructor(sink: ReplySink) {
    this.#sink = sink;
    this.#slab = processReplyBuffers.slab;
    this.#header = this.#slab.subarray(0, REPLY_HEADER_BYTES);
    this.body = this.#slab.subarray(REPLY_HEADER_BYTES);
  }

  /** Success, with the first `bodyBytes` of `body`. */
  succeed(uniqueLow: number, uniqueHigh: number, bodyBytes = 0): void {
    this.#send(uniqueLow, uniqueHigh, 0, bodyBytes);
  }

  /** A buffer for a large reply of its own, header and all: for `succeedAside`, or given back. Null where there is none. */
  takeAside(): Buffer | null {
    return this.#sink.sendAside === undefined ? null : processReplyBuffers.takeAside();
  }

  giveAside(buffer: Buffer): void {
    processReplyBuffers.giveAside(buffer);
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
