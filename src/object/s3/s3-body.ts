/** Takes a body from the wire, and proves that it is the one asked for: no byte missing, no byte of another place. */
import type { Readable } from 'node:stream';
import { StorageError } from '../../lib/errors.ts';
import type { ByteRange } from '../object-store.ts';

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
    if (answer.status === 200) return slice(await receiveWhole(answer, what), range, what);
    const objectBytes = checkContentRange(answer.contentRange, range, what);
    return { body: await readBody(answer.body, range.length, what), objectBytes };
  } finally {
    answer.body.destroy(); // Where it was not read to its end the connection must not be used again.
  }
}

async function receiveWhole(answer: Answer, what: string): Promise<Received> {
  const { contentLength, status } = answer;
  if (contentLength === undefined || status !== 200) {
    throw new StorageError('UNAVAILABLE', `${what} failed: answered ${status} with ${contentLength} bytes announced`);
  }
  return { body: await readBody(answer.body, contentLength, what), objectBytes: contentLength };
}

function slice({ body, objectBytes }: Received, range: ByteRange, what: string): Received {
  if (range.offset + range.length > objectBytes) throw outside(range, objectBytes, what);
  // A copy: the caller is to keep the range alone in memory.
  return { body: Buffer.from(body.subarray(range.offset, range.offset + range.length)), objectBytes };
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

async function readBody(body: Readable, bytes: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let received = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      received += chunk.length;
    }
  } catch (cause) {
    throw new StorageError('UNAVAILABLE', `${what} failed: the body was cut at ${received} of ${bytes} bytes`, {
      cause,
    });
  }
  if (received !== bytes) {
    throw new StorageError('UNAVAILABLE', `${what} failed: the body has ${received} of ${bytes} bytes`);
  }
  return Buffer.concat(chunks, received);
}

function outside(range: ByteRange, objectBytes: number, what: string): StorageError {
  const asked = `${range.length} bytes from ${range.offset}`;
  return new StorageError('INVALID', `${what} failed: ${asked} are not inside its ${objectBytes} bytes`);
}
