/** GetObject, HeadObject, PutObject and DeleteObject. */
import type { Bucket, StoredObject } from './bucket.ts';
import { checkDigests } from './digests.ts';
import { notImplemented, S3Error } from './errors.ts';
import { emptyReply, type Reply } from './reply.ts';
import type { S3Request } from './request.ts';

/** How a server may fall short of the real one; faults set these. */
export interface Shortcomings {
  readonly ignoreConditions: boolean;
  readonly ignoreRange: boolean;
}

const ACLS = [
  'private',
  'public-read',
  'public-read-write',
  'authenticated-read',
  'aws-exec-read',
  'bucket-owner-read',
  'bucket-owner-full-control',
];
const STORAGE_CLASSES = [
  'STANDARD',
  'REDUCED_REDUNDANCY',
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER',
  'DEEP_ARCHIVE',
  'GLACIER_IR',
];
const ENCRYPTIONS = ['AES256', 'aws:kms', 'aws:kms:dsse'];
const KMS_KEY = 'x-amz-server-side-encryption-aws-kms-key-id';

/** What a PUT may say about the object, kept and given back as it was. */
const STORED_HEADERS = [
  'content-type',
  'content-encoding',
  'content-disposition',
  'content-language',
  'cache-control',
  'expires',
  'x-amz-acl',
  'x-amz-storage-class',
  'x-amz-server-side-encryption',
  KMS_KEY,
];
const METADATA_BYTES_MAX = 2048;

export function noSuchKey(key: string): S3Error {
  return new S3Error('NoSuchKey', 'The specified key does not exist.', { details: { Key: key } });
}

function preconditionFailed(condition: string): S3Error {
  return new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', {
    details: { Condition: condition },
  });
}

function etagsMatch(condition: string, etag: string): boolean {
  return condition.split(',').some((one) => one.trim() === '*' || one.trim().replace(/^(W\/)?"(.*)"$/, '$2') === etag);
}

/** GET and HEAD: the same answer, with and without its body. */
export function getObject(bucket: Bucket, key: string, request: S3Request, shortcomings: Shortcomings): Reply {
  const object = bucket.get(key);
  if (object === undefined) throw noSuchKey(key);
  const { headers } = request;
  for (const name of ['if-modified-since', 'if-unmodified-since', 'if-range']) {
    if (headers[name] !== undefined) throw notImplemented(`The header ${name}`);
  }
  const ifMatch = headers['if-match'];
  const ifNoneMatch = headers['if-none-match'];
  if (!shortcomings.ignoreConditions) {
    if (ifMatch !== undefined && !etagsMatch(ifMatch, object.etag)) throw preconditionFailed('If-Match');
    if (ifNoneMatch !== undefined && etagsMatch(ifNoneMatch, object.etag)) {
      return emptyReply(304, { etag: `"${object.etag}"`, 'last-modified': object.lastModified.toUTCString() });
    }
  }
  const storageClass = object.headers['x-amz-storage-class'];
  if (request.method === 'GET' && (storageClass === 'GLACIER' || storageClass === 'DEEP_ARCHIVE')) {
    throw new S3Error('InvalidObjectState', "The operation is not valid for the object's storage class");
  }
  const size = object.body.length;
  const range = headers.range === undefined || shortcomings.ignoreRange ? null : parseRange(headers.range, size);
  const answer = objectHeaders(object, headers['x-amz-checksum-mode'] === 'ENABLED' && range === null);
  if (range !== null) answer['content-range'] = `bytes ${range.start}-${range.end - 1}/${size}`;
  const body = range === null ? object.body : object.body.subarray(range.start, range.end);
  const reply = { status: range === null ? 200 : 206, headers: answer, body };
  return request.method === 'HEAD' ? { ...emptyReply(reply.status, answer), announcedBytes: body.length } : reply;
}

/** One range of bytes within `size`, end exclusive. Several ranges are not implemented, in S3 neither. */
function parseRange(header: string, size: number): { start: number; end: number } {
  const match = /^bytes=(?:(\d+)-(\d*)|-(\d+))$/.exec(header);
  if (match === null) {
    if (header.includes(',')) throw notImplemented('A Range of several parts');
    throw new S3Error('InvalidArgument', 'The Range header is malformed.', { details: { ArgumentValue: header } });
  }
  const [, first, last, suffix] = match;
  const start = first === undefined ? Math.max(0, size - Number(suffix)) : Number(first);
  const end = last === undefined || last === '' ? size : Math.min(size, Number(last) + 1);
  if (start >= size || start >= end) {
    throw new S3Error('InvalidRange', 'The requested range is not satisfiable', {
      details: { RangeRequested: header, ActualObjectSize: size },
      headers: { 'content-range': `bytes */${size}` },
    });
  }
  return { start, end };
}

function objectHeaders(object: StoredObject, withChecksums: boolean): Record<string, string> {
  const answer: Record<string, string> = {
    etag: `"${object.etag}"`,
    'last-modified': object.lastModified.toUTCString(),
    'accept-ranges': 'bytes',
  };
  for (const [name, value] of Object.entries(object.headers)) {
    if (name === 'x-amz-acl' || (name === 'x-amz-storage-class' && value === 'STANDARD')) continue;
    if (name.startsWith('x-amz-checksum-') && !withChecksums) continue;
    answer[name] = value;
  }
  for (const [name, value] of Object.entries(object.metadata)) answer[`x-amz-meta-${name}`] = value;
  return answer;
}

export function putObject(
  bucket: Bucket,
  key: string,
  body: Buffer,
  request: S3Request,
  shortcomings: Shortcomings,
): Reply {
  const { headers } = request;
  const stored: Record<string, string> = {};
  for (const name of STORED_HEADERS) {
    const value = headers[name];
    if (value !== undefined && value !== '') stored[name] = value;
  }
  validateHeaders(stored);
  const { checksums, md5 } = checkDigests(body, headers);
  Object.assign(stored, checksums);
  const metadata = readMetadata(headers);
  if (!shortcomings.ignoreConditions) checkWriteConditions(bucket.get(key), key, headers);
  const object = bucket.put(key, body, { headers: stored, metadata, ...(md5 === undefined ? {} : { md5 }) });
  const answer: Record<string, string> = { etag: `"${object.etag}"` };
  for (const [name, value] of Object.entries(object.headers)) {
    if (name.startsWith('x-amz-server-side-encryption') || name.startsWith('x-amz-checksum-')) answer[name] = value;
  }
  return emptyReply(200, answer);
}

function validateHeaders(stored: Readonly<Record<string, string>>): void {
  const invalid = (name: string): S3Error =>
    new S3Error('InvalidArgument', `The value of ${name} is not valid.`, {
      details: { ArgumentName: name, ArgumentValue: stored[name] ?? '' },
    });
  const acl = stored['x-amz-acl'];
  if (acl !== undefined && !ACLS.includes(acl)) throw invalid('x-amz-acl');
  const storageClass = stored['x-amz-storage-class'];
  if (storageClass !== undefined && !STORAGE_CLASSES.includes(storageClass)) {
    throw new S3Error('InvalidStorageClass', 'The storage class you specified is not valid');
  }
  const encryption = stored['x-amz-server-side-encryption'];
  if (encryption !== undefined && !ENCRYPTIONS.includes(encryption)) throw invalid('x-amz-server-side-encryption');
  if (stored[KMS_KEY] !== undefined && !encryption?.startsWith('aws:kms')) throw invalid(KMS_KEY);
  if (stored['content-encoding']?.split(',').some((one) => one.trim() === 'aws-chunked')) {
    throw notImplemented('Content-Encoding: aws-chunked');
  }
}

function readMetadata(headers: Readonly<Record<string, string>>): Record<string, string> {
  const metadata: Record<string, string> = {};
  let bytes = 0;
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith('x-amz-meta-')) continue;
    const short = name.slice('x-amz-meta-'.length);
    metadata[short] = value;
    bytes += Buffer.byteLength(short) + Buffer.byteLength(value);
  }
  if (bytes > METADATA_BYTES_MAX) {
    throw new S3Error('MetadataTooLarge', 'Your metadata headers exceed the maximum allowed metadata size');
  }
  return metadata;
}

/** Conditional writes. Check and effect happen in one turn, so of several racers one wins. */
function checkWriteConditions(
  existing: StoredObject | undefined,
  key: string,
  headers: Readonly<Record<string, string>>,
): void {
  const ifMatch = headers['if-match'];
  const ifNoneMatch = headers['if-none-match'];
  if (ifMatch !== undefined && ifNoneMatch !== undefined) throw notImplemented('If-Match together with If-None-Match');
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch !== '*') throw notImplemented('If-None-Match other than * on a write');
    if (existing !== undefined) throw preconditionFailed('If-None-Match');
  }
  if (ifMatch !== undefined) {
    if (existing === undefined) throw noSuchKey(key);
    if (!etagsMatch(ifMatch, existing.etag)) throw preconditionFailed('If-Match');
  }
}

/** 204 also for a key that is not there. */
export function deleteObject(bucket: Bucket, key: string, request: S3Request, shortcomings: Shortcomings): Reply {
  if (!shortcomings.ignoreConditions) {
    if (request.headers['if-none-match'] !== undefined) throw notImplemented('If-None-Match on a delete');
    checkWriteConditions(bucket.get(key), key, request.headers);
  }
  bucket.delete(key);
  return emptyReply(204);
}
