/** From a request that has been checked to the operation that answers it. */
import { Bucket } from './bucket.ts';
import { bucketLocation, checkCreateBucket, deleteBucket, deleteObjects, listBuckets } from './bucket-operations.ts';
import { S3Error } from './errors.ts';
import type { FaultPlan } from './faults.ts';
import { listObjects, listObjectsV2 } from './listing.ts';
import { deleteObject, getObject, putObject } from './object-operations.ts';
import { emptyReply, type Reply } from './reply.ts';
import type { S3Request } from './request.ts';

/** All that requests work on. */
export interface Holdings {
  readonly region: string;
  readonly buckets: Map<string, Bucket>;
}

function bucketNamed(name: string, { buckets }: Holdings): Bucket {
  const bucket = buckets.get(name);
  if (bucket !== undefined) return bucket;
  throw new S3Error('NoSuchBucket', 'The specified bucket does not exist', { details: { BucketName: name } });
}

/** The owner may do everything; anyone else what the bucket, or the object's ACL, is open for. */
export function authorize(request: S3Request, accessKeyId: string | null, holdings: Holdings): void {
  const { op, bucket: name, key } = request;
  const bucket = name === null || op === 'CreateBucket' ? null : bucketNamed(name, holdings);
  if (accessKeyId !== null) return;
  if (bucket !== null) {
    const reads = op === 'GetObject' || op === 'HeadObject';
    const lists = op === 'ListObjects' || op === 'ListObjectsV2' || op === 'HeadBucket' || op === 'GetBucketLocation';
    const writes = op === 'PutObject' || op === 'DeleteObject' || op === 'DeleteObjects';
    const acl = key === null ? undefined : bucket.get(key)?.headers['x-amz-acl'];
    if (reads && acl?.startsWith('public-read')) return;
    if ((reads || lists) && bucket.access !== 'private') return;
    if (writes && bucket.access === 'public-read-write') return;
  }
  throw new S3Error('AccessDenied', 'Access Denied');
}

/** Does what the request asks, all in one turn, so that requests take effect one after the other. */
export function execute(request: S3Request, body: Buffer, plan: FaultPlan, holdings: Holdings): Reply {
  const { op, bucket: name, key } = request;
  if (name === null) return listBuckets(holdings.buckets);
  if (op === 'CreateBucket') return createBucket(name, body, holdings);
  // Looked up again: the bucket may have gone while the request waited.
  const bucket = bucketNamed(name, holdings);
  switch (op) {
    case 'HeadBucket':
      return emptyReply(200, { 'x-amz-bucket-region': holdings.region });
    case 'DeleteBucket': {
      const reply = deleteBucket(bucket);
      holdings.buckets.delete(name);
      return reply;
    }
    case 'GetBucketLocation':
      return bucketLocation(holdings.region);
    case 'ListObjects':
      return listObjects(bucket, request);
    case 'ListObjectsV2':
      return listObjectsV2(bucket, request);
    case 'DeleteObjects':
      return deleteObjects(bucket, body, request, plan.failingKeys);
    case 'GetObject':
    case 'HeadObject':
      return getObject(bucket, key ?? '', request, plan);
    case 'PutObject':
      return putObject(bucket, key ?? '', body, request, plan);
    case 'DeleteObject':
      return deleteObject(bucket, key ?? '', request, plan);
    default:
      throw new S3Error('MethodNotAllowed', 'The specified method is not allowed against this resource.');
  }
}

function createBucket(name: string, body: Buffer, { buckets, region }: Holdings): Reply {
  checkCreateBucket(name, body, region);
  if (buckets.has(name)) {
    throw new S3Error(
      'BucketAlreadyOwnedByYou',
      'Your previous request to create the named bucket succeeded and you already own it.',
    );
  }
  buckets.set(name, new Bucket(name, 'private'));
  return emptyReply(200, { location: `/${name}` });
}
