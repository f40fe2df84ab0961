/** ListObjects and ListObjectsV2. */
import { type Bucket, compareUtf8 } from './bucket.ts';
import { S3Error } from './errors.ts';
import { type Reply, xmlReply } from './reply.ts';
import type { S3Request } from './request.ts';
import { uriEncode } from './sigv4.ts';
import { element } from './xml.ts';

const PAGE_MAX = 1000;

/** Where a page begins: after a key, or after every key that begins with a common prefix. */
interface Position {
  readonly after: string;
  readonly wholePrefix: boolean;
}

interface Page {
  readonly keys: readonly string[];
  readonly commonPrefixes: readonly string[];
  /** Where the next page begins, or null where this is the last. */
  readonly next: Position | null;
}

export function listObjects(bucket: Bucket, request: S3Request): Reply {
  const common = commonParameters(request);
  const marker = request.query.get('marker') ?? '';
  // A marker that is itself a common prefix stands for all that it rolls up.
  const { prefix, delimiter } = common;
  const wholePrefix =
    delimiter !== '' &&
    marker.startsWith(prefix) &&
    marker.endsWith(delimiter) &&
    marker.indexOf(delimiter, prefix.length) === marker.length - delimiter.length;
  const page = takePage(bucket, common, { after: marker, wholePrefix });
  const { encode } = common;
  const nextMarker = page.next === null || delimiter === '' ? '' : element('NextMarker', encode(page.next.after));
  return xmlReply(
    'ListBucketResult',
    [
      element('Name', bucket.name),
      element('Marker', encode(marker)),
      nextMarker,
      pageXml(bucket, common, page, true),
    ].join(''),
  );
}

export function listObjectsV2(bucket: Bucket, request: S3Request): Reply {
  const common = commonParameters(request);
  const { query } = request;
  const token = query.get('continuation-token');
  const startAfter = query.get('start-after');
  const fetchOwner = query.get('fetch-owner') ?? 'false';
  if (fetchOwner !== 'true' && fetchOwner !== 'false') throw invalidArgument('fetch-owner', fetchOwner);
  const start = token === undefined ? { after: startAfter ?? '', wholePrefix: false } : decodeToken(token);
  const page = takePage(bucket, common, start);
  const { encode } = common;
  return xmlReply(
    'ListBucketResult',
    [
      element('Name', bucket.name),
      element('KeyCount', page.keys.length + page.commonPrefixes.length),
      token === undefined ? '' : element('ContinuationToken', token),
      startAfter === undefined ? '' : element('StartAfter', encode(startAfter)),
      page.next === null ? '' : element('NextContinuationToken', encodeToken(page.next)),
      pageXml(bucket, common, page, fetchOwner === 'true'),
    ].join(''),
  );
}

interface CommonParameters {
  readonly prefix: string;
  readonly delimiter: string;
  readonly maxKeys: number;
  readonly urlEncoded: boolean;
  encode(text: string): string;
}

function invalidArgument(name: string, value: string): S3Error {
  return new S3Error('InvalidArgument', `The value of ${name} is not valid`, {
    details: { ArgumentName: name, ArgumentValue: value },
  });
}

function commonParameters({ query }: S3Request): CommonParameters {
  const maxKeys = query.get('max-keys') || '1000';
  if (!/^\d{1,10}$/.test(maxKeys)) throw invalidArgument('max-keys', maxKeys);
  const encoding = query.get('encoding-type') ?? '';
  if (encoding !== '' && encoding !== 'url') throw invalidArgument('encoding-type', encoding);
  return {
    prefix: query.get('prefix') ?? '',
    delimiter: query.get('delimiter') ?? '',
    maxKeys: Math.min(Number(maxKeys), PAGE_MAX),
    urlEncoded: encoding === 'url',
    encode:
      encoding === 'url' ? (text) => uriEncode(text).replaceAll('%2F', '/').replaceAll('%20', '+') : (text) => text,
  };
}

function takePage(bucket: Bucket, { prefix, delimiter, maxKeys }: CommonParameters, start: Position): Page {
  const sorted = bucket.sortedKeys();
  const keys: string[] = [];
  const commonPrefixes: string[] = [];
  let last: Position = start;
  let skipped = start.wholePrefix ? start.after : null;
  const from = compareUtf8(start.after, prefix) > 0 ? start.after : prefix;
  for (let i = firstAtOrAfter(sorted, from); i < sorted.length; i++) {
    const key = sorted[i] as string;
    if (!key.startsWith(prefix)) break;
    if (start.after !== '' && compareUtf8(key, start.after) <= 0) continue;
    if (skipped !== null && key.startsWith(skipped)) continue;
    skipped = null;
    const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    if (keys.length + commonPrefixes.length >= maxKeys) {
      return { keys, commonPrefixes, next: maxKeys === 0 ? null : last };
    }
    if (at < 0) {
      keys.push(key);
      last = { after: key, wholePrefix: false };
    } else {
      skipped = key.slice(0, at + delimiter.length);
      commonPrefixes.push(skipped);
      last = { after: skipped, wholePrefix: true };
    }
  }
  return { keys, commonPrefixes, next: null };
}

function firstAtOrAfter(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareUtf8(sorted[middle] as string, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function encodeToken(next: Position): string {
  return Buffer.from(`${next.wholePrefix ? 'p' : 'k'}${next.after}`).toString('base64url');
}

function decodeToken(token: string): Position {
  const text = Buffer.from(token, 'base64url').toString();
  if (!/^[pk]./s.test(text)) {
    throw new S3Error('InvalidArgument', 'The continuation token provided is incorrect', {
      details: { ArgumentName: 'continuation-token' },
    });
  }
  return { after: text.slice(1), wholePrefix: text.startsWith('p') };
}

function pageXml(bucket: Bucket, common: CommonParameters, page: Page, withOwner: boolean): string {
  const { encode } = common;
  const parts = [
    element('Prefix', encode(common.prefix)),
    common.delimiter === '' ? '' : element('Delimiter', encode(common.delimiter)),
    element('MaxKeys', common.maxKeys),
    common.urlEncoded ? element('EncodingType', 'url') : '',
    element('IsTruncated', page.next !== null),
  ];
  const owner = withOwner ? '<Owner><ID>test</ID><DisplayName>test</DisplayName></Owner>' : '';
  for (const key of page.keys) {
    const object = bucket.get(key);
    if (object === undefined) continue;
    parts.push(
      `<Contents>${element('Key', encode(key))}`,
      element('LastModified', object.lastModified.toISOString()),
      element('ETag', `"${object.etag}"`),
      element('Size', object.body.length),
      `${owner}${element('StorageClass', object.headers['x-amz-storage-class'] ?? 'STANDARD')}</Contents>`,
    );
  }
  for (const one of page.commonPrefixes)
    parts.push(`<CommonPrefixes>${element('Prefix', encode(one))}</CommonPrefixes>`);
  return parts.join('');
}
