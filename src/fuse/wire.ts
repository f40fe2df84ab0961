/**
 * The kernel's FUSE protocol on the wire: requests as they are read from the device, replies as they are written to it.
 * Pure functions over a buffer the caller gives. The protocol is in the machine's byte order; this is the little-endian
 * one, and the channel refuses to start on another. The 64-bit identity of a request travels as two 32-bit words.
 */
import { ENTRY_TYPE_SHIFT, MAJOR_VERSION, MINOR_VERSION, Opcode } from './constants.ts';

/** The most that one READ or WRITE carries: the kernel's own bound, 256 pages of 4 KiB. */
export const TRANSFER_BYTES_MAX = 1024 * 1024;
export const REQUEST_HEADER_BYTES = 40;
export const REPLY_HEADER_BYTES = 16;
/** What a WRITE has before its data. */
export const WRITE_HEADER_BYTES = REQUEST_HEADER_BYTES + 40;
export const ATTRIBUTES_BYTES = 88;
export const ENTRY_REPLY_BYTES = 40 + ATTRIBUTES_BYTES;
export const ATTRIBUTES_REPLY_BYTES = 16 + ATTRIBUTES_BYTES;
export const OPEN_REPLY_BYTES = 16;
export const WRITE_REPLY_BYTES = 8;
export const SEEK_REPLY_BYTES = 8;
export const STATFS_REPLY_BYTES = 80;
export const INIT_REPLY_BYTES = 64;
const DIRECTORY_ENTRY_BYTES = 24;
/** The unit of an attribute's `blocks`, whatever the block size. */
export const SECTOR_BYTES = 512;

const TWO_TO_32 = 2 ** 32;

/** A request's header. One is kept and refilled, as a request is either answered or captured at once. */
export class RequestHeader {
  length = 0;
  opcode = 0;
  uniqueLow = 0;
  uniqueHigh = 0;
  node = 0;
}

/** The buffer holds at least a header. */
export function decodeHeader(from: Buffer, into: RequestHeader): void {
  into.length = from.readUInt32LE(0);
  into.opcode = from.readUInt32LE(4);
  into.uniqueLow = from.readUInt32LE(8);
  into.uniqueHigh = from.readUInt32LE(12);
  into.node = readUInt64(from, 16);
}

/** How long the fixed part of a request's body is at least, of those whose body is looked at. */
export function bodyBytesMin(opcode: number): number {
  return BODY_BYTES_MIN[opcode] ?? 0;
}

const BODY_BYTES_MIN: Readonly<Record<number, number>> = {
  [Opcode.LOOKUP]: 1,
  [Opcode.SETATTR]: 88,
  [Opcode.OPEN]: 8,
  [Opcode.READ]: 40,
  [Opcode.WRITE]: 40,
  [Opcode.FLUSH]: 24,
  [Opcode.INIT]: 16,
  [Opcode.READDIR]: 40,
  [Opcode.ACCESS]: 8,
  [Opcode.INTERRUPT]: 8,
  [Opcode.FALLOCATE]: 32,
  [Opcode.READDIRPLUS]: 40,
  [Opcode.LSEEK]: 24,
};

/** Of LOOKUP: the body without its closing NUL. Bytes that are no UTF-8 come out as a name that no volume has. */
export function decodeName(from: Buffer, end: number): string {
  const nul = from.indexOf(0, REQUEST_HEADER_BYTES);
  return from.toString('utf8', REQUEST_HEADER_BYTES, nul < 0 || nul > end ? end : nul);
}

export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  readonly readAheadBytesMax: number;
  readonly flags: number;
}

export function decodeInit(from: Buffer): InitRequest {
  const at = REQUEST_HEADER_BYTES;
  return {
    major: from.readUInt32LE(at),
    minor: from.readUInt32LE(at + 4),
    readAheadBytesMax: from.readUInt32LE(at + 8),
    flags: from.readUInt32LE(at + 12),
  };
}

/** READ, WRITE, READDIR. Kept and refilled like the header. Offsets beyond 2^53 are only known to be too large. */
export class TransferRequest {
  offset = 0;
  size = 0;
  /** open(2)'s flags of the file, with what the single call asked for. */
  openFlags = 0;
}

export function decodeTransfer(from: Buffer, into: TransferRequest): void {
  const at = REQUEST_HEADER_BYTES;
  into.offset = readUInt64(from, at + 8);
  into.size = from.readUInt32LE(at + 16);
  into.openFlags = from.readUInt32LE(at + 32);
}

/** The 64-bit number that begins the bodies of FLUSH (the handle that OPEN has given) and INTERRUPT (a request's identity). */
export function decodeFirstNumber(from: Buffer): number {
  return readUInt64(from, REQUEST_HEADER_BYTES);
}

/** The 32-bit word that begins the bodies of OPEN (flags), SETATTR (what is set) and ACCESS (what is asked). */
export function decodeFirstWord(from: Buffer): number {
  return from.readUInt32LE(REQUEST_HEADER_BYTES);
}

/** What SETATTR sets; only what `valid` names means anything. */
export interface SetAttributesRequest {
  readonly valid: number;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export function decodeSetAttributes(from: Buffer): SetAttributesRequest {
  const at = REQUEST_HEADER_BYTES;
  return {
    valid: from.readUInt32LE(at),
    size: readUInt64(from, at + 16),
    mode: from.readUInt32LE(at + 68),
    uid: from.readUInt32LE(at + 76),
    gid: from.readUInt32LE(at + 80),
  };
}

export interface FallocateRequest {
  readonly offset: number;
  readonly length: number;
  readonly mode: number;
}

export function decodeFallocate(from: Buffer): FallocateRequest {
  const at = REQUEST_HEADER_BYTES;
  return { offset: readUInt64(from, at + 8), length: readUInt64(from, at + 16), mode: from.readUInt32LE(at + 24) };
}

export interface SeekRequest {
  readonly offset: number;
  readonly whence: number;
}

export function decodeSeek(from: Buffer): SeekRequest {
  const at = REQUEST_HEADER_BYTES;
  return { offset: readUInt64(from, at + 8), whence: from.readUInt32LE(at + 16) };
}

/** `length` counts the header too; `errno` is 0 or more. */
export function encodeReplyHeader(
  into: Buffer,
  length: number,
  errno: number,
  uniqueLow: number,
  uniqueHigh: number,
): void {
  into.writeUInt32LE(length, 0);
  into.writeInt32LE(-errno, 4);
  into.writeUInt32LE(uniqueLow, 8);
  into.writeUInt32LE(uniqueHigh, 12);
}

export interface InitReply {
  readonly readAheadBytesMax: number;
  readonly flags: number;
  readonly backgroundMax: number;
  readonly congestionThreshold: number;
  readonly writeBytesMax: number;
  readonly pagesMax: number;
}

export function encodeInit(into: Buffer, at: number, reply: InitReply): void {
  into.fill(0, at, at + INIT_REPLY_BYTES);
  into.writeUInt32LE(MAJOR_VERSION, at);
  into.writeUInt32LE(MINOR_VERSION, at + 4);
  into.writeUInt32LE(reply.readAheadBytesMax, at + 8);
  into.writeUInt32LE(reply.flags, at + 12);
  into.writeUInt16LE(reply.backgroundMax, at + 16);
  into.writeUInt16LE(reply.congestionThreshold, at + 18);
  into.writeUInt32LE(reply.writeBytesMax, at + 20);
  // The granularity of times: 1 ns.
  into.writeUInt32LE(1, at + 24);
  into.writeUInt16LE(reply.pagesMax, at + 28);
}

/** What stat(2) tells of a file. Sizes in bytes; times are one for all three. */
export interface Attributes {
  readonly node: number;
  readonly sizeBytes: number;
  /** In sectors of 512 bytes. */
  readonly blocks: number;
  readonly timeMs: number;
  /** File type and permissions. */
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly blockSizeBytes: number;
}

export function encodeAttributes(into: Buffer, at: number, attributes: Attributes): void {
  into.fill(0, at, at + ATTRIBUTES_BYTES);
  writeUInt64(into, at, attributes.node);
  writeUInt64(into, at + 8, attributes.sizeBytes);
  writeUInt64(into, at + 16, attributes.blocks);
  const seconds = Math.floor(attributes.timeMs / 1000);
  const nanoseconds = Math.floor((attributes.timeMs - seconds * 1000) * 1e6);
  for (let i = 0; i < 3; i++) {
    writeUInt64(into, at + 24 + 8 * i, seconds);
    into.writeUInt32LE(nanoseconds, at + 48 + 4 * i);
  }
  into.writeUInt32LE(attributes.mode, at + 60);
  into.writeUInt32LE(attributes.links, at + 64);
  into.writeUInt32LE(attributes.uid, at + 68);
  into.writeUInt32LE(attributes.gid, at + 72);
  into.writeUInt32LE(attributes.blockSizeBytes, at + 80);
}

/** The reply to GETATTR and SETATTR; `validMs`: how long the kernel need not ask again. */
export function encodeAttributesReply(into: Buffer, at: number, attributes: Attributes, validMs: number): void {
  writeDuration(into, at, at + 8, validMs);
  into.writeUInt32LE(0, at + 12);
  encodeAttributes(into, at + 16, attributes);
}

/** The reply to LOOKUP, and the first part of an entry of READDIRPLUS. Null: an entry that is not to be remembered. */
export function encodeEntry(into: Buffer, at: number, attributes: Attributes | null, validMs: number): void {
  into.fill(0, at, at + ENTRY_REPLY_BYTES);
  if (attributes === null) return;
  writeUInt64(into, at, attributes.node);
  writeDuration(into, at + 16, at + 32, validMs);
  writeDuration(into, at + 24, at + 36, validMs);
  encodeAttributes(into, at + 40, attributes);
}

/** How long an entry of a directory is, without what READDIRPLUS puts before it. */
export function directoryEntryBytes(nameBytes: number): number {
  return DIRECTORY_ENTRY_BYTES + ((nameBytes + 7) & ~7);
}

/** `next` is the offset that reading goes on at after this entry. */
export function encodeDirectoryEntry(
  into: Buffer,
  at: number,
  node: number,
  next: number,
  name: string,
  nameBytes: number,
  mode: number,
): void {
  into.fill(0, at, at + directoryEntryBytes(nameBytes));
  writeUInt64(into, at, node);
  writeUInt64(into, at + 8, next);
  into.writeUInt32LE(nameBytes, at + 16);
  into.writeUInt32LE(mode >>> ENTRY_TYPE_SHIFT, at + 20);
  into.write(name, at + DIRECTORY_ENTRY_BYTES, nameBytes, 'utf8');
}

export function encodeOpen(into: Buffer, at: number, handle: number, flags: number): void {
  writeUInt64(into, at, handle);
  into.writeUInt32LE(flags, at + 8);
  into.writeUInt32LE(0, at + 12);
}

export function encodeWritten(into: Buffer, at: number, bytes: number): void {
  into.writeUInt32LE(bytes, at);
  into.writeUInt32LE(0, at + 4);
}

export interface FilesystemTotals {
  readonly blockSizeBytes: number;
  readonly blocks: number;
  readonly files: number;
  readonly nameBytesMax: number;
}

/** A filesystem that is full: there is nothing to be made in it. */
export function encodeTotals(into: Buffer, at: number, totals: FilesystemTotals): void {
  into.fill(0, at, at + STATFS_REPLY_BYTES);
  writeUInt64(into, at, totals.blocks);
  writeUInt64(into, at + 24, totals.files);
  into.writeUInt32LE(totals.blockSizeBytes, at + 40);
  into.writeUInt32LE(totals.nameBytesMax, at + 44);
  into.writeUInt32LE(totals.blockSizeBytes, at + 48);
}

/** Exact up to 2^53. */
export function readUInt64(from: Buffer, at: number): number {
  return from.readUInt32LE(at) + from.readUInt32LE(at + 4) * TWO_TO_32;
}

/** `value` is a whole number, at most 2^53. */
export function writeUInt64(into: Buffer, at: number, value: number): void {
  const high = Math.floor(value / TWO_TO_32);
  into.writeUInt32LE(value - high * TWO_TO_32, at);
  into.writeUInt32LE(high, at + 4);
}

function writeDuration(into: Buffer, secondsAt: number, nanosecondsAt: number, ms: number): void {
  const seconds = Math.floor(ms / 1000);
  writeUInt64(into, secondsAt, seconds);
  into.writeUInt32LE((ms - seconds * 1000) * 1e6, nanosecondsAt);
}
