/** Puts the replies to one connection's requests in its queue, simple or structured as was negotiated. */
import { isAllZero } from '../lib/zeros.ts';
import { NbdErrno } from './constants.ts';
import type { StatusRun } from './meta-context.ts';
import { protocolString } from './option-wire.ts';
import type { ReplyQueue } from './reply-queue.ts';
import {
  CHUNK_HEADER_BYTES,
  DATA_CHUNK_HEADER_BYTES,
  ERROR_CHUNK_HEADER_BYTES,
  encodeDataChunkHeader,
  encodeDoneChunk,
  encodeErrorChunkHeader,
  encodeHoleChunk,
  encodeSimpleReply,
  encodeStatusChunkHeader,
  encodeStatusDescriptor,
  HOLE_CHUNK_BYTES,
  SIMPLE_REPLY_BYTES,
  STATUS_CHUNK_HEADER_BYTES,
  STATUS_DESCRIPTOR_BYTES,
} from './wire.ts';

/** Below this a hole would not save what looking for it costs. */
const HOLE_BYTES_MIN = 4096;
const ERROR_TEXT_BYTES_MAX = 1024;
/** Descriptors of one BLOCK_STATUS chunk; the client asks again for the rest. */
export const DESCRIPTORS_MAX = 32_768;

export class Replier {
  readonly #queue: ReplyQueue;
  readonly #structured: boolean;

  constructor(queue: ReplyQueue, structured: boolean) {
    this.#queue = queue;
    this.#structured = structured;
  }

  /** Success without data. A simple reply is allowed to all but READ and BLOCK_STATUS, and is the shorter one. */
  done(cookieHigh: number, cookieLow: number): void {
    const at = this.#queue.reserve(SIMPLE_REPLY_BYTES);
    encodeSimpleReply(this.#queue.slab, at, NbdErrno.NONE, cookieHigh, cookieLow);
  }

  error(cookieHigh: number, cookieLow: number, error: NbdErrno, text: string): void {
    if (!this.#structured) {
      const at = this.#queue.reserve(SIMPLE_REPLY_BYTES);
      encodeSimpleReply(this.#queue.slab, at, error, cookieHigh, cookieLow);
      return;
    }
    const message = protocolString(text, ERROR_TEXT_BYTES_MAX);
    const at = this.#queue.reserve(ERROR_CHUNK_HEADER_BYTES);
    encodeErrorChunkHeader(this.#queue.slab, at, cookieHigh, cookieLow, error, message.length);
    this.#queue.append(message);
  }

  /** Success of a READ. One chunk whatever the length, so DF holds always. */
  data(cookieHigh: number, cookieLow: number, offset: number, data: Buffer): void {
    if (!this.#structured) {
      this.done(cookieHigh, cookieLow);
      this.#queue.append(data);
    } else if (data.length === 0) {
      const at = this.#queue.reserve(CHUNK_HEADER_BYTES);
      encodeDoneChunk(this.#queue.slab, at, cookieHigh, cookieLow);
    } else if (data.length >= HOLE_BYTES_MIN && isAllZero(data)) {
      const at = this.#queue.reserve(HOLE_CHUNK_BYTES);
      encodeHoleChunk(this.#queue.slab, at, cookieHigh, cookieLow, offset, data.length);
    } else {
      const at = this.#queue.reserve(DATA_CHUNK_HEADER_BYTES);
      encodeDataChunkHeader(this.#queue.slab, at, cookieHigh, cookieLow, offset, data.length);
      this.#queue.append(data);
    }
  }

  /** One chunk of a BLOCK_STATUS reply; `done` on that of the last context. `runs` cover at most `length` bytes. */
  status(
    cookieHigh: number,
    cookieLow: number,
    contextId: number,
    runs: readonly StatusRun[],
    onlyFirst: boolean,
    done: boolean,
  ): void {
    const merged = mergeRuns(runs, onlyFirst ? 1 : DESCRIPTORS_MAX);
    const header = this.#queue.reserve(STATUS_CHUNK_HEADER_BYTES);
    encodeStatusChunkHeader(this.#queue.slab, header, done, cookieHigh, cookieLow, contextId, merged.length);
    const descriptors = Buffer.allocUnsafe(merged.length * STATUS_DESCRIPTOR_BYTES);
    merged.forEach(({ length, status }, i) => {
      encodeStatusDescriptor(descriptors, i * STATUS_DESCRIPTOR_BYTES, length, status);
    });
    this.#queue.append(descriptors);
  }
}

/** Joins neighbours of one status and keeps the first `countMax`. */
function mergeRuns(runs: readonly StatusRun[], countMax: number): StatusRun[] {
  const merged: StatusRun[] = [];
  let open: { length: number; status: number } | undefined;
  for (const { length, status } of runs) {
    if (length === 0) continue;
    if (open !== undefined && open.status === status) {
      open.length += length;
    } else {
      if (merged.length === countMax) break;
      open = { length, status };
      merged.push(open);
    }
  }
  return merged;
}
