/** Reads objects back from their files, and says which file is damaged where one is. */
import { closeSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { StorageError } from '../../lib/errors.ts';
import { BODY_BYTES_MAX, checkRangeInside } from '../checks.ts';
import type { ByteRange, ListedObject, ObjectData, ObjectInfo } from '../object-store.ts';
import { errnoOf } from './fs-errors.ts';
import { HEADER_READ_BYTES, headerLength, isBodyOf, type ParsedHeader, parseHeader } from './object-file.ts';

/** The ETag a listing gives an object whose header is damaged: it is there, and reading it says CORRUPT. */
const DAMAGED_ETAG = 'damaged';

/** The object with its whole body, checked against its checksum. Rejects with CORRUPT or the system's error. */
export async function readWhole(path: string, key: string): Promise<ObjectData> {
  return withFile(path, async (file) => {
    const { size, mtime } = await file.stat();
    if (size > BODY_BYTES_MAX) throw corrupt(path, key, `its ${size} bytes are more than any of our objects has`);
    const bytes = await readAt(file, 0, size);
    const parsed = parseHeader(bytes);
    if (parsed === undefined) throw corrupt(path, key, 'its header is damaged');
    checkLength(path, key, parsed, bytes.length);
    const body = bytes.subarray(parsed.bodyOffset);
    if (!isBodyOf(parsed.header, body)) throw corrupt(path, key, 'its body does not match its checksum');
    return { ...toInfo(key, parsed, mtime), body };
  });
}

/** The object with the bytes of the range alone, which no checksum covers. Rejects as `readWhole`, and with INVALID. */
export async function readRange(path: string, key: string, range: ByteRange): Promise<ObjectData> {
  return withFile(path, async (file) => {
    const { info, parsed } = await readInfoFrom(file, path, key);
    checkRangeInside(key, range, info.sizeBytes);
    const body = await readAt(file, parsed.bodyOffset + range.offset, range.length);
    if (body.length !== range.length) throw corrupt(path, key, 'it is cut short');
    return { ...info, body };
  });
}

export async function readInfo(path: string, key: string): Promise<ObjectInfo> {
  return withFile(path, async (file) => (await readInfoFrom(file, path, key)).info);
}

/** The ETag, or null where there is no object: for the moment between taking the lock and renaming. */
export function readEtagSync(path: string, key: string): string | null {
  const parsed = readHeaderSync(path);
  if (parsed === null) return null;
  if (parsed === undefined) throw corrupt(path, key, 'its header is damaged');
  return parsed.header.etag;
}

/** An entry of a listing, or null where the object is gone by now. Rejects with the system's errors. */
export async function readListedObject(path: string, key: string): Promise<ListedObject | null> {
  try {
    return await withFile(path, async (file) => {
      const { size, mtime: lastModified } = await file.stat();
      const parsed = await readHeader(file, size);
      if (parsed === undefined) return { key, sizeBytes: size, etag: DAMAGED_ETAG, lastModified };
      return { key, sizeBytes: parsed.header.sizeBytes, etag: parsed.header.etag, lastModified };
    });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

async function withFile<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, 'r');
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

async function readInfoFrom(
  file: FileHandle,
  path: string,
  key: string,
): Promise<{ info: ObjectInfo; parsed: ParsedHeader }> {
  const { size, mtime } = await file.stat();
  const parsed = await readHeader(file, size);
  if (parsed === undefined) throw corrupt(path, key, 'its header is damaged');
  checkLength(path, key, parsed, size);
  return { info: toInfo(key, parsed, mtime), parsed };
}

async function readHeader(file: FileHandle, fileBytes: number): Promise<ParsedHeader | undefined> {
  let start = await readAt(file, 0, Math.min(fileBytes, HEADER_READ_BYTES));
  const length = headerLength(start);
  if (length !== undefined && length > start.length) start = await readAt(file, 0, Math.min(fileBytes, length));
  return parseHeader(start);
}

/** Up to `length` bytes from `offset`: fewer where the file ends before. */
async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(buffer, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

/** Null where there is no file, undefined where its header is damaged. */
function readHeaderSync(path: string): ParsedHeader | null | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    let start = readAtStartSync(fd, HEADER_READ_BYTES);
    const length = headerLength(start);
    if (length !== undefined && length > start.length) start = readAtStartSync(fd, length);
    return parseHeader(start);
  } finally {
    closeSync(fd);
  }
}

function readAtStartSync(fd: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const bytesRead = readSync(fd, buffer, done, length - done, done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

function checkLength(path: string, key: string, parsed: ParsedHeader, fileBytes: number): void {
  if (fileBytes !== parsed.bodyOffset + parsed.header.sizeBytes) {
    throw corrupt(path, key, `it has ${fileBytes - parsed.bodyOffset} of ${parsed.header.sizeBytes} bytes`);
  }
}

function toInfo(key: string, parsed: ParsedHeader, mtime: Date): ObjectInfo {
  const { etag, sizeBytes, contentType, contentEncoding, metadata } = parsed.header;
  return { key, sizeBytes, etag, contentType, contentEncoding, metadata, lastModified: mtime };
}

function corrupt(path: string, key: string, why: string): StorageError {
  return new StorageError('CORRUPT', `the object ${key} is damaged: ${why} (file ${path})`);
}
