/**
 * The transmission phase on the wire: requests in, replies out. Pure functions over a buffer the caller gives, all
 * big-endian. Cookies are opaque 64-bit numbers and travel as two 32-bit words, so that no BigInt is made per request.
 */
import {
  CHUNK_DONE,
  Chunk,
  type NbdErrno,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from './constants.ts';

export const REQUEST_HEADER_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;
/** A chunk header with the offset that data begins with. */
export const DATA_CHUNK_HEADER_BYTES = CHUNK_HEADER_BYTES + 8;
export const HOLE_CHUNK_BYTES = CHUNK_HEADER_BYTES + 12;
/** A BLOCK_STATUS chunk up to its first descriptor. */
export const STATUS_CHUNK_HEADER_BYTES = CHUNK_HEADER_BYTES + 4;
export const STATUS_DESCRIPTOR_BYTES = 8;
/** An ERROR chunk up to its message. */
export const ERROR_CHUNK_HEADER_BYTES = CHUNK_HEADER_BYTES + 6;

const TWO_TO_32 = 2 ** 32;

/** A request's header. One is kept per connection and refilled, as a request is either answered or captured at once. */
export class RequestHeader {
  flags = 0;
  type = 0;
  cookieHigh = 0;
  cookieLow = 0;
  /** Exact up to 2^53; beyond that only known to be too large, which is all a caller needs. */
  offset = 0;
  length = 0;
}

/** Decodes the header at `at`. False where the magic is wrong: the stream is then lost. */
export function decodeRequest(from: Buffer, at: number, into: RequestHeader): boolean {
  if (from.readUInt32BE(at) !== REQUEST_MAGIC) return false;
  into.flags = from.readUInt16BE(at + 4);
  into.type = from.readUInt16BE(at + 6);
  into.cookieHigh = from.readUInt32BE(at + 8);
  into.cookieLow = from.readUInt32BE(at + 12);
  into.offset = readUInt64(from, at + 16);
  into.length = from.readUInt32BE(at + 24);
  return true;
}

export function encodeSimpleReply(
  into: Buffer,
  at: number,
  error: NbdErrno,
  cookieHigh: number,
  cookieLow: number,
): void {
  into.writeUInt32BE(SIMPLE_REPLY_MAGIC, at);
  into.writeUInt32BE(error, at + 4);
  into.writeUInt32BE(cookieHigh, at + 8);
  into.writeUInt32BE(cookieLow, at + 12);
}

/** `length` counts what follows this header. */
export function encodeChunkHeader(
  into: Buffer,
  at: number,
  type: number,
  done: boolean,
  cookieHigh: number,
  cookieLow: number,
  length: number,
): void {
  into.writeUInt32BE(STRUCTURED_REPLY_MAGIC, at);
  into.writeUInt16BE(done ? CHUNK_DONE : 0, at + 4);
  into.writeUInt16BE(type, at + 6);
  into.writeUInt32BE(cookieHigh, at + 8);
  into.writeUInt32BE(cookieLow, at + 12);
  into.writeUInt32BE(length, at + 16);
}

/** The whole of a successful reply without data. */
export function encodeDoneChunk(into: Buffer, at: number, cookieHigh: number, cookieLow: number): void {
  encodeChunkHeader(into, at, Chunk.NONE, true, cookieHigh, cookieLow, 0);
}

/** The final OFFSET_DATA chunk up to its data, `dataLength` bytes that begin at `offset` of the device. */
export function encodeDataChunkHeader(
  into: Buffer,
  at: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  dataLength: number,
): void {
  encodeChunkHeader(into, at, Chunk.OFFSET_DATA, true, cookieHigh, cookieLow, 8 + dataLength);
  writeUInt64(into, at + CHUNK_HEADER_BYTES, offset);
}

/** The whole of a final OFFSET_HOLE chunk: `holeLength` bytes at `offset` read as zeros. */
export function encodeHoleChunk(
  into: Buffer,
  at: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  holeLength: number,
): void {
  encodeChunkHeader(into, at, Chunk.OFFSET_HOLE, true, cookieHigh, cookieLow, 12);
  writeUInt64(into, at + CHUNK_HEADER_BYTES, offset);
  into.writeUInt32BE(holeLength, at + CHUNK_HEADER_BYTES + 8);
}

/** A BLOCK_STATUS chunk up to its descriptors, of which `descriptors` follow. */
export function encodeStatusChunkHeader(
  into: Buffer,
  at: number,
  done: boolean,
  cookieHigh: number,
  cookieLow: number,
  contextId: number,
  descriptors: number,
): void {
  const length = 4 + descriptors * STATUS_DESCRIPTOR_BYTES;
  encodeChunkHeader(into, at, Chunk.BLOCK_STATUS, done, cookieHigh, cookieLow, length);
  into.writeUInt32BE(contextId, at + CHUNK_HEADER_BYTES);
}

export function encodeStatusDescriptor(into: Buffer, at: number, length: number, status: number): void {
  into.writeUInt32BE(length, at);
  into.writeUInt32BE(status, at + 4);
}

/** A final ERROR chunk up to its message, of which `messageBytes` follow in UTF-8. */
export function encodeErrorChunkHeader(
  into: Buffer,
  at: number,
  cookieHigh: number,
  cookieLow: number,
  error: NbdErrno,
  messageBytes: number,
): void {
  encodeChunkHeader(into, at, Chunk.ERROR, true, cookieHigh, cookieLow, 6 + messageBytes);
  into.writeUInt32BE(error, at + CHUNK_HEADER_BYTES);
  into.writeUInt16BE(messageBytes, at + CHUNK_HEADER_BYTES + 4);
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
