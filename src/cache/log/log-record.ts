/**
 * What the write log holds: records of one write or one zeroing each. A record is a header, a checksum for each page its
 * data touches, and the data; it says where in the log it stands and which one it is, so that neither a leftover of an
 * earlier lap nor one that follows a gap is taken for the next. All little-endian.
 *
 *     0  u32  magic                       40  f64  everything below this position was durable
 *     4  u32  CRC-32 of bytes 8 to the    48  u32  kind
 *             end of the checksums        52  u32  page checksums that follow
 *     8  f64  position in the log         56  u32  which opening of the log wrote it
 *    16  f64  number, counting from 0     60  u32  the CRC-32 of the record before it
 *    24  f64  offset in the volume, bytes
 *    32  f64  length in the volume, bytes
 *
 * The last two keep out what an earlier opening wrote behind the point from which a later one went on.
 */
import { crc32 } from 'node:zlib';
import { PAGE_BYTES, pageAfter, pageOf } from '../page.ts';

export const RECORD_HEADER_BYTES = 64;
const CHECKSUM_BYTES = 4;
/** 8 PiB: beyond it not every byte has an offset of its own. */
const VOLUME_BYTES_MAX = 2 ** 53;
const MAGIC = 0x31_4c_44_42; // "BDL1"

/** The data replaces what was in its range. */
export const DATA = 1;
/** The range reads as zeros from here on; there is no data. */
export const ZERO = 2;

export type RecordKind = typeof DATA | typeof ZERO;

/** A decoded header. One object is used again and again. */
export class RecordHeader {
  position = 0;
  number = 0;
  offset = 0;
  length = 0;
  durablePosition = 0;
  kind: RecordKind = DATA;
  checksumCount = 0;
  life = 0;
  previousChecksum = 0;
  /** Of the header itself. */
  checksum = 0;

  get dataBytes(): number {
    return this.kind === DATA ? this.length : 0;
  }

  /** Where in the log the data begins. */
  get dataPosition(): number {
    return this.position + RECORD_HEADER_BYTES + this.checksumCount * CHECKSUM_BYTES;
  }

  /** Where in the log the record ends. */
  get endPosition(): number {
    return this.dataPosition + this.dataBytes;
  }
}

/** Pages that `length` bytes from `offset` touch: each has a checksum of the part of it that is there. */
export function pagesTouched(offset: number, length: number): number {
  return pageAfter(offset + length) - pageOf(offset);
}

/** Log bytes of a record of `length` bytes of data at `offset`. */
export function dataRecordBytes(offset: number, length: number): number {
  return RECORD_HEADER_BYTES + pagesTouched(offset, length) * CHECKSUM_BYTES + length;
}

/** Writes the header at `at`, and sets its `checksum`. The page checksums must be in their place already. */
export function encodeRecordHeader(target: Buffer, at: number, header: RecordHeader, salt: number): void {
  target.writeUInt32LE(MAGIC, at);
  target.writeDoubleLE(header.position, at + 8);
  target.writeDoubleLE(header.number, at + 16);
  target.writeDoubleLE(header.offset, at + 24);
  target.writeDoubleLE(header.length, at + 32);
  target.writeDoubleLE(header.durablePosition, at + 40);
  target.writeUInt32LE(header.kind, at + 48);
  target.writeUInt32LE(header.checksumCount, at + 52);
  target.writeUInt32LE(header.life, at + 56);
  target.writeUInt32LE(header.previousChecksum, at + 60);
  const end = at + RECORD_HEADER_BYTES + header.checksumCount * CHECKSUM_BYTES;
  header.checksum = crc32(target.subarray(at + 8, end), salt);
  target.writeUInt32LE(header.checksum, at + 4);
}

/** Reads the record header at `at` into `header`. False where there is none, or not one of this log at this position. */
export function decodeRecordHeader(
  source: Buffer,
  at: number,
  position: number,
  salt: number,
  header: RecordHeader,
): boolean {
  if (at + RECORD_HEADER_BYTES > source.length || source.readUInt32LE(at) !== MAGIC) return false;
  const checksumCount = source.readUInt32LE(at + 52);
  const end = at + RECORD_HEADER_BYTES + checksumCount * CHECKSUM_BYTES;
  if (end > source.length) return false;
  header.checksum = source.readUInt32LE(at + 4);
  if (header.checksum !== crc32(source.subarray(at + 8, end), salt)) return false;
  const kind = source.readUInt32LE(at + 48);
  header.position = source.readDoubleLE(at + 8);
  header.number = source.readDoubleLE(at + 16);
  header.offset = source.readDoubleLE(at + 24);
  header.length = source.readDoubleLE(at + 32);
  header.durablePosition = source.readDoubleLE(at + 40);
  header.checksumCount = checksumCount;
  header.life = source.readUInt32LE(at + 56);
  header.previousChecksum = source.readUInt32LE(at + 60);
  if (kind !== DATA && kind !== ZERO) return false;
  header.kind = kind;
  if (header.position !== position || !saysWhatCanBe(header)) return false;
  return checksumCount === (kind === DATA ? pagesTouched(header.offset, header.length) : 0);
}

function saysWhatCanBe({ number, offset, length, durablePosition }: RecordHeader): boolean {
  const whole = Number.isSafeInteger(number) && Number.isSafeInteger(offset) && Number.isSafeInteger(durablePosition);
  return whole && number >= 0 && offset >= 0 && length > 0 && length % 1 === 0 && offset + length <= VOLUME_BYTES_MAX;
}

export function writeChecksum(target: Buffer, recordAt: number, index: number, checksum: number): void {
  target.writeUInt32LE(checksum, recordAt + RECORD_HEADER_BYTES + index * CHECKSUM_BYTES);
}

export function readChecksum(source: Buffer, recordAt: number, index: number): number {
  return source.readUInt32LE(recordAt + RECORD_HEADER_BYTES + index * CHECKSUM_BYTES);
}

/** The part of page `index` of a record, as [from, to) of its data. */
export function pagePart(offset: number, length: number, index: number): { from: number; to: number } {
  const lead = offset % PAGE_BYTES;
  return {
    from: Math.max(0, index * PAGE_BYTES - lead),
    to: Math.min(length, (index + 1) * PAGE_BYTES - lead),
  };
}
