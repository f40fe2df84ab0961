/** Puts the replies to one connection's requests in its queue, framed as was negotiated. */
import { isAllZero } from '../lib/zeros.ts';
import type { DeviceExtent } from '../volume/block-device.ts';
import { Chunk, NbdErrno } from './constants.ts';
import type { MetaContext } from './meta-context.ts';
import { protocolString } from './option-wire.ts';
import type { ReplyQueue } from './reply-queue.ts';
import {
  CHUNK_HEADER_BYTES,
  DATA_HEAD_BYTES,
  ERROR_HEAD_BYTES,
  EXTENDED_CHUNK_HEADER_BYTES,
  encodeChunkHeader,
  encodeDataHead,
  encodeErrorHead,
  encodeExtendedChunkHeader,
  encodeHole,
  encodeSimpleReply,
  encodeStatusDescriptor,
  encodeStatusExtDescriptor,
  type Framing,
  HOLE_BYTES,
  type ReplyTarget,
  SIMPLE_REPLY_BYTES,
  STATUS_DESCRIPTOR_BYTES,
  STATUS_EXT_DESCRIPTOR_BYTES,
  STATUS_EXT_HEAD_BYTES,
  STATUS_HEAD_BYTES,
} from './wire.ts';

/** Below this a hole would not save what looking for it costs. */
const HOLE_BYTES_MIN = 4096;
const ERROR_TEXT_BYTES_MAX = 1024;
/** Descriptors of one block status chunk; the client asks again for the rest. */
export const DESCRIPTORS_MAX = 32_768;

export class Replier {
  readonly #queue: ReplyQueue;
  readonly #simple: boolean;
  readonly #extended: boolean;

  constructor(queue: ReplyQueue, framing: Framing) {
    this.#queue = queue;
    this.#simple = framing === 'simple';
    this.#extended = framing === 'extended';
  }

  /** Success without data. Beside structured replies a simple one is allowed here, and is the shorter one. */
  done(to: ReplyTarget): void {
    if (this.#extended) this.#chunk(to, Chunk.NONE, 0, 0, true);
    else this.#simpleReply(to, NbdErrno.NONE);
  }

  error(to: ReplyTarget, error: NbdErrno, text: string): void {
    if (this.#simple) {
      this.#simpleReply(to, error);
      return;
    }
    const message = protocolString(text, ERROR_TEXT_BYTES_MAX);
    const at = this.#chunk(to, Chunk.ERROR, ERROR_HEAD_BYTES, message.length, true);
    encodeErrorHead(this.#queue.slab, at, error, message.length);
    this.#queue.append(message);
  }

  /** Success of a READ. One chunk whatever the length, so DF holds always. `isLent`: see ReplyQueue.append. */
  data(to: ReplyTarget, data: Buffer, isLent = false): void {
    if (this.#simple) {
      this.#simpleReply(to, NbdErrno.NONE);
      this.#queue.append(data, isLent);
    } else if (data.length === 0) {
      this.#chunk(to, Chunk.NONE, 0, 0, true);
    } else if (data.length >= HOLE_BYTES_MIN && isAllZero(data)) {
      const at = this.#chunk(to, Chunk.OFFSET_HOLE, HOLE_BYTES, 0, true);
      encodeHole(this.#queue.slab, at, to, data.length);
      if (isLent) this.#queue.giveBack(data);
    } else {
      const at = this.#chunk(to, Chunk.OFFSET_DATA, DATA_HEAD_BYTES, data.length, true);
      encodeDataHead(this.#queue.slab, at, to);
      this.#queue.append(data, isLent);
    }
  }

  /**
   * The status of some extents in one context: a chunk of a BLOCK_STATUS reply, `last` on that of the last context. There is
   * at least one extent. At most `runsMax` runs are told of; what is beyond is for the client to ask again.
   */
  status(
    to: ReplyTarget,
    context: MetaContext,
    extents: readonly DeviceExtent[],
    runsMax: number,
    last: boolean,
  ): void {
    const headBytes = this.#extended ? STATUS_EXT_HEAD_BYTES : STATUS_HEAD_BYTES;
    const runBytes = this.#extended ? STATUS_EXT_DESCRIPTOR_BYTES : STATUS_DESCRIPTOR_BYTES;
    const encodeRun = this.#extended ? encodeStatusExtDescriptor : encodeStatusDescriptor;
    const descriptors = Buffer.allocUnsafe(Math.min(extents.length, runsMax) * runBytes);
    let bytes = 0;
    for (let i = 0; i < extents.length && bytes < descriptors.length; ) {
      const status = context.statusOf(extents[i] as DeviceExtent);
      let length = 0;
      for (; i < extents.length && context.statusOf(extents[i] as DeviceExtent) === status; i++) {
        length += (extents[i] as DeviceExtent).length;
      }
      encodeRun(descriptors, bytes, length, status);
      bytes += runBytes;
    }
    const type = this.#extended ? Chunk.BLOCK_STATUS_EXT : Chunk.BLOCK_STATUS;
    const at = this.#chunk(to, type, headBytes, bytes, last);
    this.#queue.slab.writeUInt32BE(context.id, at);
    if (this.#extended) this.#queue.slab.writeUInt32BE(bytes / runBytes, at + 4);
    this.#queue.append(descriptors.subarray(0, bytes));
  }

  #simpleReply(to: ReplyTarget, error: NbdErrno): void {
    const at = this.#queue.reserve(SIMPLE_REPLY_BYTES);
    encodeSimpleReply(this.#queue.slab, at, error, to);
  }

  /** A chunk's header, with room for `headBytes` behind it; returns where that begins. `bodyBytes` are for the caller to append. */
  #chunk(to: ReplyTarget, type: number, headBytes: number, bodyBytes: number, last: boolean): number {
    const headerBytes = this.#extended ? EXTENDED_CHUNK_HEADER_BYTES : CHUNK_HEADER_BYTES;
    const at = this.#queue.reserve(headerBytes + headBytes);
    const encode = this.#extended ? encodeExtendedChunkHeader : encodeChunkHeader;
    encode(this.#queue.slab, at, type, last, to, headBytes + bodyBytes);
    return at + headerBytes;
  }
}
