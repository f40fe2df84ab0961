/** DeleteObjects and the operations on buckets themselves. */
import type { Bucket } from './bucket.ts';
import { checkDigests } from './digests.ts';
import { notImplemented, S3Error } from './errors.ts';
import { parseXml } from './parse-xml.ts';
import { emptyReply, type Reply, xmlReply } from './reply.ts';
import type { S3Request } from './request.ts';
import { element } from './xml.ts';

const DELETE_KEYS_MAX = 1000;

/** A multi-delete. `failing` are keys that stay, with an error in the answer. */
export function deleteObjects(bucket: Bucket, body: Buffer, request: S3Request, failing: ReadonlySet<string>): Reply {
  if (!checkDigests(body, request.headers).any) {
    throw new S3Error('InvalidRequest', 'Missing required header for this request: Content-MD5 OR x-amz-checksum-*');
  }
  const { keys, quiet } = readDelete(body);
  const parts: string[] = [];
  for (const key of keys) {
    if (failing.has(key)) {
      const error = [
        element('Key', key),
        element('Code', 'InternalError'),
        element('Message', 'We encountered an internal error.'),
      ];
      parts.push(`<Error>${error.join('')}</Error>`);
    } else {
      bucket.delete(key);
      if (!quiet) parts.push(`<Deleted>${element('Key', key)}</Deleted>`);
    }
  }
  return xmlReply('DeleteResult', parts.join(''));
}

function readDelete(body: Buffer): { keys: string[]; quiet: boolean } {
  const malformed = new S3Error('MalformedXML', 'The XML you provided was not well-formed or did not validate');
  const root = parseXml(body.toString());
  if (root.name !== 'Delete') throw malformed;
  const keys: string[] = [];
  let quiet = false;
  for (const child of root.children) {
    if (child.name === 'Quiet') {
      if (child.text.trim() !== 'true' && child.text.trim() !== 'false') throw malformed;
      quiet = child.text.trim() === 'true';
    } else if (child.name === 'Object') {
      const unknown = child.children.find((part) => part.name !== 'Key');
      if (unknown !== undefined) throw notImplemented(`${unknown.name} in a DeleteObjects request`);
      const [key, ...more] = child.children;
      if (key === undefined || key.text === '' || more.length > 0) throw malformed;
      keys.push(key.text);
    } else {
      throw malformed;
    }
  }
  if (keys.length === 0 || keys.length > DELETE_KEYS_MAX) throw malformed;
  return { keys, quiet };
}

export function listBuckets(buckets: ReadonlyMap<string, Bucket>): Reply {
  const entries = [...buckets.values()].map(
    (bucket) =>
      `<Bucket>${element('Name', bucket.name)}${element('CreationDate', bucket.created.toISOString())}</Bucket>`,
  );
  const owner = '<Owner><ID>test</ID><DisplayName>test</DisplayName></Owner>';
  return xmlReply('ListAllMyBucketsResult', `${owner}<Buckets>${entries.join('')}</Buckets>`);
}

/** The region's constraint; us-east-1 has none, which S3 tells by an empty element. */
export function bucketLocation(region: string): Reply {
  return xmlReply('LocationConstraint', region === 'us-east-1' ? '' : region);
}

/** Checks a new bucket's name and the region its body asks for. */
export function checkCreateBucket(name: string, body: Buffer, region: string): void {
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) || name.includes('..')) {
    throw new S3Error('InvalidBucketName', 'The specified bucket is not valid.', { details: { BucketName: name } });
  }
  if (body.length === 0) return;
  const root = parseXml(body.toString());
  const constraint = root.children.find((child) => child.name === 'LocationConstraint')?.text;
  if (root.name !== 'CreateBucketConfiguration' || (constraint !== undefined && constraint !== region)) {
    throw new S3Error('InvalidArgument', 'The specified location-constraint is not valid', {
      details: { LocationConstraint: constraint ?? '' },
    });
  }
}

export function deleteBucket(bucket: Bucket): Reply {
  if (bucket.size > 0) throw new S3Error('BucketNotEmpty', 'The bucket you tried to delete is not empty');
  return emptyReply(204);
}
