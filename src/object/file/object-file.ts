/**
 * One object as one file: what is known of it, then its body, so that both change together when the file is replaced.
 *
 *     bucketdisk-object-1 <length of the JSON, 8 hex digits> <crc32 of the JSON, 8 hex digits>\n
 *     {"etag":..,"sizeBytes":..,"bodyXxh64":..,"contentType":..,"contentEncoding":..,"metadata":{..}}\n
 *     <body>
 */
import { crc32 } from 'node:zlib';
import { longChecksumOf } from '../../lib/checksum.ts';
import { StorageError } from '../../lib/errors.ts';
import type { ObjectHeaders } from '../object-store.ts';

export interface FileHeader {
  readonly etag: string;
  readonly sizeBytes: number;
  /** XXH64, 16 hex digits. */
  readonly bodyXxh64?: string;
  /** What the first versions had in its place. */
  readonly bodyCrc32?: number;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface ParsedHeader {
  readonly header: FileHeader;
  /** Where the body begins in the file. */
  readonly bodyOffset: number;
}

const MAGIC = 'bucketdisk-object-1 ';
const FIRST_LINE_BYTES = MAGIC.length + 8 + 1 + 8 + 1;
/** S3 bounds an object's own headers to 8 KiB together; anything above this is not ours. */
const JSON_BYTES_MAX = 64 * 1024;

/** As much of a file as almost always holds the whole header. */
export const HEADER_READ_BYTES = 4096;

/** @throws StorageError INVALID where the headers are too large */
export function encodeHeader(etag: string, body: Buffer, headers: ObjectHeaders = {}): Buffer {
  const json = Buffer.from(
    JSON.stringify({
      etag,
      sizeBytes: body.length,
      bodyXxh64: longChecksumOf(body),
      contentType: headers.contentType,
      contentEncoding: headers.contentEncoding,
      metadata: headers.metadata ?? {},
    }),
  );
  if (json.length > JSON_BYTES_MAX) throw new StorageError('INVALID', "the object's headers are too large");
  return Buffer.concat([Buffer.from(`${MAGIC}${hex8(json.length)} ${hex8(crc32(json))}\n`), json, Buffer.from('\n')]);
}

/** Whether the body is the one that was stored with the header. */
export function isBodyOf({ bodyXxh64, bodyCrc32 }: FileHeader, body: Buffer): boolean {
  return bodyXxh64 === undefined ? crc32(body) === bodyCrc32 : longChecksumOf(body) === bodyXxh64;
}

/** How much of the file the header takes, told by its first line, or undefined where that is not one of ours. */
export function headerLength(start: Buffer): number | undefined {
  if (start.length < FIRST_LINE_BYTES) return undefined;
  const line = start.toString('latin1', 0, FIRST_LINE_BYTES);
  const match = /^bucketdisk-object-1 ([0-9a-f]{8}) [0-9a-f]{8}\n$/.exec(line);
  const jsonBytes = match?.[1] === undefined ? Number.NaN : Number.parseInt(match[1], 16);
  return jsonBytes <= JSON_BYTES_MAX ? FIRST_LINE_BYTES + jsonBytes + 1 : undefined;
}

/** Checks and parses the header at the start of `file`, or returns undefined where it is damaged or cut short. */
export function parseHeader(file: Buffer): ParsedHeader | undefined {
  const length = headerLength(file);
  if (length === undefined || file.length < length || file[length - 1] !== 0x0a) return undefined;
  const json = file.subarray(FIRST_LINE_BYTES, length - 1);
  if (file.toString('latin1', FIRST_LINE_BYTES - 9, FIRST_LINE_BYTES - 1) !== hex8(crc32(json))) return undefined;
  // The checksum holds, so this is what we wrote, and it parses.
  return { header: JSON.parse(json.toString()) as FileHeader, bodyOffset: length };
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0');
}
