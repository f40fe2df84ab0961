/** What a request asks for, read from its request line and headers alone. */
import type { IncomingMessage } from 'node:http';
import { notImplemented, S3Error } from './errors.ts';
import { parseQuery, type SignedMessage, uriDecode } from './sigv4.ts';

export type Operation =
  | 'ListBuckets'
  | 'CreateBucket'
  | 'HeadBucket'
  | 'DeleteBucket'
  | 'GetBucketLocation'
  | 'ListObjects'
  | 'ListObjectsV2'
  | 'DeleteObjects'
  | 'GetObject'
  | 'HeadObject'
  | 'PutObject'
  | 'DeleteObject'
  | 'Unknown';

export interface S3Request {
  readonly op: Operation;
  readonly method: string;
  readonly bucket: string | null;
  readonly key: string | null;
  readonly query: ReadonlyMap<string, string>;
  /** Names lower case; a repeated header's values joined with `,`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly message: SignedMessage;
}

const LISTING = ['prefix', 'delimiter', 'max-keys', 'encoding-type'] as const;

/** The query parameters each operation knows. `x-id` is how the AWS SDK labels its requests; S3 passes over it. */
const QUERY_PARAMETERS: Readonly<Record<Operation, readonly string[]>> = {
  ListBuckets: ['x-id'],
  CreateBucket: ['x-id'],
  HeadBucket: ['x-id'],
  DeleteBucket: ['x-id'],
  GetBucketLocation: ['location', 'x-id'],
  ListObjects: [...LISTING, 'marker', 'x-id'],
  ListObjectsV2: [...LISTING, 'list-type', 'start-after', 'continuation-token', 'fetch-owner', 'x-id'],
  DeleteObjects: ['delete', 'x-id'],
  GetObject: ['x-id'],
  HeadObject: ['x-id'],
  PutObject: ['x-id'],
  DeleteObject: ['x-id'],
  Unknown: [],
};

const CHECKSUMS = ['x-amz-checksum-crc32', 'x-amz-checksum-sha1', 'x-amz-checksum-sha256'];
const ON_EVERY_REQUEST = ['x-amz-date', 'x-amz-content-sha256', 'x-amz-security-token', 'x-amz-user-agent'];

/** The x-amz- headers each operation knows, besides those of every request. */
const AMZ_HEADERS: Readonly<Partial<Record<Operation, readonly string[]>>> = {
  GetObject: ['x-amz-checksum-mode'],
  HeadObject: ['x-amz-checksum-mode'],
  CreateBucket: ['x-amz-acl'],
  DeleteObjects: ['x-amz-sdk-checksum-algorithm', ...CHECKSUMS],
  PutObject: [
    'x-amz-acl',
    'x-amz-storage-class',
    'x-amz-server-side-encryption',
    'x-amz-server-side-encryption-aws-kms-key-id',
    'x-amz-sdk-checksum-algorithm',
    ...CHECKSUMS,
  ],
};

/** The most bytes of a key's UTF-8 form. */
const KEY_BYTES_MAX = 1024;

/**
 * Reads a request. `domain` is the host name below which buckets are found (virtual-host style); path style works always.
 * Throws what S3 would answer to a path that cannot be read.
 */
export function readRequest(incoming: IncomingMessage, domain: string | null): S3Request {
  const message = signedMessage(incoming);
  const { bucket, key } = readPath(message, domain);
  const query = new Map<string, string>();
  for (const [name, value] of parseQuery(message.rawQuery)) {
    if (query.has(name)) throw new S3Error('InvalidArgument', `The parameter ${name} is given more than once.`);
    query.set(name, value);
  }
  const headers: Record<string, string> = {};
  for (const [name, values] of message.headers) headers[name] = values.join(',');
  return {
    op: operationOf(message.method, bucket, key, query),
    method: message.method,
    bucket,
    key,
    query,
    headers,
    message,
  };
}

/** Throws NotImplemented for anything this server would otherwise pass over in silence. */
export function refuseUnknown(request: S3Request): void {
  const { op, query, headers } = request;
  if (op === 'Unknown') {
    if (query.size > 0) throw notImplemented(`${request.method} with the parameter ${[...query.keys()].join(', ')}`);
    throw new S3Error('MethodNotAllowed', 'The specified method is not allowed against this resource.');
  }
  for (const name of query.keys()) {
    if (!QUERY_PARAMETERS[op].includes(name)) throw notImplemented(`The parameter ${name} of ${op}`);
  }
  const known = AMZ_HEADERS[op] ?? [];
  for (const name of Object.keys(headers)) {
    if (!name.startsWith('x-amz-') || ON_EVERY_REQUEST.includes(name) || known.includes(name)) continue;
    if (op === 'PutObject' && name.startsWith('x-amz-meta-')) continue;
    throw notImplemented(`The header ${name} of ${op}`);
  }
}

function signedMessage(incoming: IncomingMessage): SignedMessage {
  const url = incoming.url ?? '/';
  const question = url.indexOf('?');
  const headers = new Map<string, string[]>();
  for (let i = 0; i + 1 < incoming.rawHeaders.length; i += 2) {
    const name = (incoming.rawHeaders[i] ?? '').toLowerCase();
    const value = incoming.rawHeaders[i + 1] ?? '';
    const values = headers.get(name);
    if (values === undefined) headers.set(name, [value]);
    else values.push(value);
  }
  return {
    method: incoming.method ?? '',
    rawPath: question < 0 ? url : url.slice(0, question),
    rawQuery: question < 0 ? '' : url.slice(question + 1),
    headers,
  };
}

function readPath(message: SignedMessage, domain: string | null): { bucket: string | null; key: string | null } {
  if (!message.rawPath.startsWith('/')) throw new S3Error('InvalidURI', "Couldn't parse the specified URI.");
  let path = message.rawPath.slice(1);
  const host = (message.headers.get('host')?.[0] ?? '').replace(/:\d+$/, '').toLowerCase();
  let bucket: string | null = null;
  if (domain !== null && host.endsWith(`.${domain}`)) {
    bucket = host.slice(0, -domain.length - 1);
  } else {
    const slash = path.indexOf('/');
    bucket = uriDecode(slash < 0 ? path : path.slice(0, slash)) || null;
    path = slash < 0 ? '' : path.slice(slash + 1);
  }
  const key = uriDecode(path) || null;
  if (key !== null && Buffer.byteLength(key) > KEY_BYTES_MAX) {
    throw new S3Error('KeyTooLongError', 'Your key is too long', {
      details: { Size: Buffer.byteLength(key), MaxSizeAllowed: KEY_BYTES_MAX },
    });
  }
  return { bucket, key };
}

function operationOf(
  method: string,
  bucket: string | null,
  key: string | null,
  query: ReadonlyMap<string, string>,
): Operation {
  if (bucket === null) return method === 'GET' ? 'ListBuckets' : 'Unknown';
  if (key === null) {
    switch (method) {
      case 'GET':
        if (query.has('location')) return 'GetBucketLocation';
        return query.get('list-type') === '2' ? 'ListObjectsV2' : 'ListObjects';
      case 'HEAD':
        return 'HeadBucket';
      case 'PUT':
        return 'CreateBucket';
      case 'DELETE':
        return 'DeleteBucket';
      case 'POST':
        return query.has('delete') ? 'DeleteObjects' : 'Unknown';
      default:
        return 'Unknown';
    }
  }
  switch (method) {
    case 'GET':
      return 'GetObject';
    case 'HEAD':
      return 'HeadObject';
    case 'PUT':
      return 'PutObject';
    case 'DELETE':
      return 'DeleteObject';
    default:
      return 'Unknown';
  }
}
