/** Reads objects, and tells what is absent from what cannot be told: an absent key reads as zeros. */
import { Readable } from 'node:stream';
import {
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  type S3Client,
} from '@aws-sdk/client-s3';
import { StorageError } from '../../lib/errors.ts';
import type { ByteRange, ObjectData, ObjectInfo } from '../object-store.ts';
import { receive } from './s3-body.ts';
import { s3CodeOf, statusOf } from './s3-errors.ts';
import { unquoteEtag } from './s3-listing.ts';

/** One attempt at one object. */
export interface ObjectRequest {
  readonly client: S3Client;
  readonly bucket: string;
  readonly key: string;
  /** `reading the object k in s3://b`. */
  readonly what: string;
  readonly abortSignal: AbortSignal;
}

/** Rejects with StorageError or the SDK's errors. */
export async function getObject(request: ObjectRequest, range?: ByteRange): Promise<ObjectData | null> {
  const { client, bucket, key, what, abortSignal } = request;
  const rangeHeader = range === undefined ? {} : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` };
  let output: GetObjectCommandOutput;
  try {
    output = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key, ...rangeHeader }), { abortSignal });
  } catch (error) {
    if (s3CodeOf(error) === 'NoSuchKey' && statusOf(error) === 404) return null;
    throw error;
  }
  if (!(output.Body instanceof Readable)) {
    throw new StorageError('UNAVAILABLE', `${what} failed: answered without a body`);
  }
  const { body, objectBytes } = await receive(
    {
      status: output.$metadata.httpStatusCode,
      contentLength: output.ContentLength,
      contentRange: output.ContentRange,
      body: output.Body,
    },
    range,
    what,
  );
  return { ...infoOf(request, output, objectBytes), body };
}

/**
 * The answer to a HEAD has no body to tell a missing key from a missing bucket or a refusal's reason. That of a GET has,
 * and is one and the same answer for both questions. Rejects with StorageError or the SDK's errors.
 */
export async function headObject(request: ObjectRequest): Promise<ObjectInfo | null> {
  for (let i = 0; i < 2; i++) {
    const info = await headOnce(request);
    if (info !== 'unclear') return info;
    if (!(await exists(request))) return null;
  }
  throw new StorageError('UNAVAILABLE', `${request.what} failed: HEAD and GET do not agree on whether it exists`);
}

async function headOnce(request: ObjectRequest): Promise<ObjectInfo | 'unclear'> {
  const { client, bucket, key, abortSignal } = request;
  try {
    const output = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }), { abortSignal });
    return output.ContentLength === undefined ? 'unclear' : infoOf(request, output, output.ContentLength);
  } catch (error) {
    const status = statusOf(error);
    if (status !== undefined && status >= 300 && status < 500 && status !== 429) return 'unclear';
    throw error;
  }
}

/** Reads one byte of the object, for the sake of the error. */
async function exists(request: ObjectRequest): Promise<boolean> {
  try {
    return (await getObject(request, { offset: 0, length: 1 })) !== null;
  } catch (error) {
    // An empty object has no first byte.
    if (statusOf(error) === 416 || (error instanceof StorageError && error.code === 'INVALID')) return true;
    throw error;
  }
}

function infoOf(
  { key, what }: ObjectRequest,
  output: GetObjectCommandOutput | HeadObjectCommandOutput,
  sizeBytes: number,
): ObjectInfo {
  return {
    key,
    sizeBytes,
    etag: etagOf(output.ETag, what),
    contentType: output.ContentType,
    contentEncoding: output.ContentEncoding,
    metadata: output.Metadata ?? {},
    lastModified: output.LastModified,
  };
}

/** Every S3 server sends an ETag; what has none is somebody else's answer. */
export function etagOf(header: string | undefined, what: string): string {
  const etag = unquoteEtag(header ?? '');
  if (etag === '') throw new StorageError('UNAVAILABLE', `${what} failed: answered without an ETag`);
  return etag;
}
