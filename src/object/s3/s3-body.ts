/** Takes a body from the wire, and proves that it is the one asked for: no byte missing, no byte of another place. */
import type { Readable } from 'node:stream';
import { isStorageError, StorageError } from '../../lib/errors.ts';
import { BODY_BYTES_MAX } from '../checks.ts';
import type { ByteRange } from '../object-store.ts';
import { checkKept } from './s3-agents.ts';

/** What a GET was answered with. */
export interface Answer {
  readonly status: number | undefined;
  readonly contentLength: number | undefined;
  readonly contentRange: string | undefined;
  readonly body: Readable;
}

export interface Received {
  readonly body: Buffer;
  readonly objectBytes: number;
}

/** Rejects with UNAVAILABLE where the body is cut short or not what was asked for, and INVALID for a range outside. */
export async function receive(answer: Answer, range: ByteRange | undefined, what: string): Promise<Received> {
  try {
    if (range === undefined) return await receiveWhole(answer, what);
    // A server that does not know ranges sends everything, and says so by its status.
    if (answer.status === 200) return await receivePart(answer, range, what);
    const objectBytes = checkContentRange(answer.contentRange, range, what);
    return { body: await readBody(answer.body, 0, range.length, range.length, what), objectBytes };
  } finally {
    answer.body.destroy(); // Where it was not read to its end the connection must not be used again.
  }
}

async function receiveWhole(answer: Answer, what: string): Promise<Received> {
  const objectBytes = announcedBytes(answer, what);
  if (objectBytes > BODY_BYTES_MAX) {
    throw new StorageError('CORRUPT', `${what} failed: its ${objectBytes} bytes are more than any of our objects has`);
  }
  return { body: await readBody(answer.body, 0, objectBytes, objectBytes, what), objectBytes };
}

async function receivePart(answer: Answer, range: ByteRange, what: string): Promise<Received> {
  const objectBytes = announcedBytes(answer, what);
  const end = range.offset + range.length;
  if (end > objectBytes) throw outside(range, objectBytes, what);
  return { body: await readBody(answer.body, range.offset, end, objectBytes, what), objectBytes };
}

function announcedBytes({ contentLength, status }: Answer, what: string): number {
  if (contentLength === undefined || status !== 200) {
    throw new StorageError('UNAVAILABLE', `${what} failed: answered ${status} with ${contentLength} bytes announced`);
  }
  return contentLength;
}

/** The size of the whole object, told by the Content-Range of exactly the range asked for. */
function checkContentRange(contentRange: string | undefined, range: ByteRange, what: string): number {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(contentRange ?? '');
  const [first, last, total] = (match ?? []).slice(1).map(Number);
  if (first === undefined || last === undefined || total === undefined) {
    throw new StorageError('UNAVAILABLE', `${what} failed: answered with the Content-Range ${contentRange}`);
  }
  if (range.offset + range.length > total) throw outside(range, total, what);
  if (first !== range.offset || last !== range.offset + range.length - 1) {
    const asked = `${range.length} bytes from ${range.offset}`;
    throw new StorageError('UNAVAILABLE', `${what} failed: asked for ${asked}, answered with ${contentRange}`);
  }
  return total;
}

/** The bytes [start, end) of a body that is to have `total`; no more of it than that is kept, or read after `end`. */
async function readBody(body: Readable, start: number, end: number, total: number, what: string): Promise<Buffer> {
  const kept = Buffer.allocUnsafeSlow(end - start);
  let received = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      const part = checkKept(chunk, what).subarray(Math.max(0, start - received), Math.max(0, end - received));
      part.copy(kept, Math.max(0, received - start));
      received += chunk.length;
      if (received > total || (received >= end && end < total)) break;
    }
  } catch (cause) {
    if (isStorageError(cause)) throw cause;
    throw new StorageError('UNAVAILABLE', `${what} failed: the body was cut at ${received} of ${total} bytes`, {
      cause,
    });
  }
  if (received < end || received > total) {
    throw new StorageError('UNAVAILABLE', `${what} failed: the body has ${received} of ${total} bytes`);
  }
  return kept;
}

function outside(range: ByteRange, objectBytes: number, what: string): StorageError {
  const asked = `${range.length} bytes from ${range.offset}`;
  return new StorageError('INVALID', `${what} failed: ${asked} are not inside its ${objectBytes} bytes`);
}
