/**
 * The transmission phase on the wire: requests in, replies out. Pure functions over a buffer the caller gives, all
 * big-endian. Cookies are opaque 64-bit numbers and travel as two 32-bit words, so that no BigInt is made per request; so do
 * offsets that are sent back as they came.
 */
import {
  CHUNK_DONE,
  Command,
  CommandFlag,
  EXTENDED_REPLY_MAGIC,
  EXTENDED_REQUEST_MAGIC,
  type NbdErrno,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from './constants.ts';

/**
 * How both sides frame their messages. `simple` and `structured`: compact requests, and the replies of that name.
 * `extended`: extended requests and replies, with 64-bit lengths.
 */
export type Framing = 'simple' | 'structured' | 'extended';

export const REQUEST_HEADER_BYTES = 28;
export const EXTENDED_REQUEST_HEADER_BYTES = 32;
export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;
export const EXTENDED_CHUNK_HEADER_BYTES = 32;

/** What stands between a chunk's header and the data of an OFFSET_DATA chunk. */
export const DATA_HEAD_BYTES = 8;
/** The whole of an OFFSET_HOLE chunk after its header. */
export const HOLE_BYTES = 12;
/** An ERROR chunk after its header, up to its message. */
export const ERROR_HEAD_BYTES = 6;
/** A BLOCK_STATUS chunk after its header, up to its first descriptor; then those of a BLOCK_STATUS_EXT chunk. */
export const STATUS_HEAD_BYTES = 4;
export const STATUS_DESCRIPTOR_BYTES = 8;
export const STATUS_EXT_HEAD_BYTES = 8;
export const STATUS_EXT_DESCRIPTOR_BYTES = 16;

/** The payload of a BLOCK_STATUS request that names contexts: the effect length, then an id for each. */
export const QUERY_HEAD_BYTES = 8;
export const QUERY_ID_BYTES = 4;

const TWO_TO_32 = 2 ** 32;

/** What a reply must say of the request it is to. */
export interface ReplyTarget {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offsetHigh: number;
  readonly offsetLow: number;
}

/** A request's header. One is kept per connection and refilled; whoever answers later keeps a copy. */
export class RequestHeader implements ReplyTarget {
  flags = 0;
  type = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offsetHigh = 0;
  offsetLow = 0;
  /** Exact up to 2^53; beyond that only known to be too large, which is all a caller needs. So is `length`. */
  offset = 0;
  /** How much of the device it is about. */
  length = 0;
  /** How many bytes follow the header. */
  payloadBytes = 0;
  /**
   * When the device was asked: see RequestStats. Not of the wire: whoever asks sets it. Begins as a fraction, so that the engine
   * keeps a double in place from the start.
   */
  startedMs = 0.5;

  copy(): RequestHeader {
    const copy = new RequestHeader();
    copy.flags = this.flags;
    copy.type = this.type;
    copy.cookieHigh = this.cookieHigh;
    copy.cookieLow = this.cookieLow;
    copy.offsetHigh = this.offsetHigh;
    copy.offsetLow = this.offsetLow;
    copy.offset = this.offset;
    copy.length = this.length;
    copy.payloadBytes = this.payloadBytes;
    copy.startedMs = this.startedMs;
    return copy;
  }
}

/** Decodes the compact header at `at`. False where the magic is wrong: the stream is then lost. */
export function decodeRequest(from: Buffer, at: number, into: RequestHeader): boolean {
  if (from.readUInt32BE(at) !== REQUEST_MAGIC) return false;
  decodeCommon(from, at, into);
  into.length = from.readUInt32BE(at + 24);
  into.payloadBytes = into.type === Command.WRITE ? into.length : 0;
  return true;
}

/**
 * The same of an extended header, where PAYLOAD_LEN tells whether a payload follows, whatever the command. A WRITE must have
 * the flag, but always has its payload: qemu (10.0) leaves the flag out.
 */
export function decodeExtendedRequest(from: Buffer, at: number, into: RequestHeader): boolean {
  if (from.readUInt32BE(at) !== EXTENDED_REQUEST_MAGIC) return false;
  decodeCommon(from, at, into);
  into.length = readUInt64(from, at + 24);
  const hasPayload = (into.flags & CommandFlag.PAYLOAD_LEN) !== 0 || into.type === Command.WRITE;
  into.payloadBytes = hasPayload ? into.length : 0;
  return true;
}

function decodeCommon(from: Buffer, at: number, into: RequestHeader): void {
  into.flags = from.readUInt16BE(at + 4);
  into.type = from.readUInt16BE(at + 6);
  into.cookieHigh = from.readUInt32BE(at + 8);
  into.cookieLow = from.readUInt32BE(at + 12);
  into.offsetHigh = from.readUInt32BE(at + 16);
  into.offsetLow = from.readUInt32BE(at + 20);
  into.offset = into.offsetHigh * TWO_TO_32 + into.offsetLow;
}

export function encodeSimpleReply(into: Buffer, at: number, error: NbdErrno, to: ReplyTarget): void {
  into.writeUInt32BE(SIMPLE_REPLY_MAGIC, at);
  into.writeUInt32BE(error, at + 4);
  into.writeUInt32BE(to.cookieHigh, at + 8);
  into.writeUInt32BE(to.cookieLow, at + 12);
}

/** Of a structured reply. `length` counts what follows this header. */
export function encodeChunkHeader(
  into: Buffer,
  at: number,
  type: number,
  done: boolean,
  to: ReplyTarget,
  length: number,
): void {
  into.writeUInt32BE(STRUCTURED_REPLY_MAGIC, at);
  into.writeUInt16BE(done ? CHUNK_DONE : 0, at + 4);
  into.writeUInt16BE(type, at + 6);
  into.writeUInt32BE(to.cookieHigh, at + 8);
  into.writeUInt32BE(to.cookieLow, at + 12);
  into.writeUInt32BE(length, at + 16);
}

/** Of an extended reply. `length` counts what follows this header, at most 2^32 - 1. */
export function encodeExtendedChunkHeader(
  into: Buffer,
  at: number,
  type: number,
  done: boolean,
  to: ReplyTarget,
  length: number,
): void {
  into.writeUInt32BE(EXTENDED_REPLY_MAGIC, at);
  into.writeUInt16BE(done ? CHUNK_DONE : 0, at + 4);
  into.writeUInt16BE(type, at + 6);
  into.writeUInt32BE(to.cookieHigh, at + 8);
  into.writeUInt32BE(to.cookieLow, at + 12);
  into.writeUInt32BE(to.offsetHigh, at + 16);
  into.writeUInt32BE(to.offsetLow, at + 20);
  into.writeUInt32BE(0, at + 24);
  into.writeUInt32BE(length, at + 28);
}

/** The data that follows begins where the request does. */
export function encodeDataHead(into: Buffer, at: number, to: ReplyTarget): void {
  into.writeUInt32BE(to.offsetHigh, at);
  into.writeUInt32BE(to.offsetLow, at + 4);
}

/** `holeLength` bytes from where the request begins read as zeros. */
export function encodeHole(into: Buffer, at: number, to: ReplyTarget, holeLength: number): void {
  encodeDataHead(into, at, to);
  into.writeUInt32BE(holeLength, at + DATA_HEAD_BYTES);
}

/** A message of `messageBytes` follows, in UTF-8. */
export function encodeErrorHead(into: Buffer, at: number, error: NbdErrno, messageBytes: number): void {
  into.writeUInt32BE(error, at);
  into.writeUInt16BE(messageBytes, at + 4);
}

/** A descriptor of a BLOCK_STATUS chunk. */
export function encodeStatusDescriptor(into: Buffer, at: number, length: number, status: number): void {
  into.writeUInt32BE(length, at);
  into.writeUInt32BE(status, at + 4);
}

/** A descriptor of a BLOCK_STATUS_EXT chunk. */
export function encodeStatusExtDescriptor(into: Buffer, at: number, length: number, status: number): void {
  writeUInt64(into, at, length);
  into.writeUInt32BE(0, at + 8);
  into.writeUInt32BE(status, at + 12);
}

/** Exact up to 2^53. */
export function readUInt64(from: Buffer, at: number): number {
  return from.readUInt32BE(at) * TWO_TO_32 + from.readUInt32BE(at + 4);
}

/** `value` is a whole number, at most 2^53. */
export function writeUInt64(into: Buffer, at: number, value: number): void {
  const high = Math.floor(value / TWO_TO_32);
  into.writeUInt32BE(high, at);
  into.writeUInt32BE(value - high * TWO_TO_32, at + 4);
}
