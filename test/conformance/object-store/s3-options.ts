/** Options of an S3 store on a test server. */
import type { S3StoreOptions } from '../../../src/object/s3/s3-options.ts';

export interface S3Address {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export function s3OptionsFor(
  address: S3Address,
  bucket: string,
  options: Partial<S3StoreOptions> = {},
): S3StoreOptions {
  const { endpoint, region, accessKeyId, secretAccessKey } = address;
  return {
    bucket,
    endpoint,
    region,
    forcePathStyle: true,
    caFile: null,
    insecure: false,
    credentials: { accessKeyId, secretAccessKey, sessionToken: null },
    profile: null,
    anonymous: false,
    acl: null,
    sse: 'none',
    sseKmsKeyId: null,
    storageClass: null,
    connectTimeoutMs: 5000,
    requestTimeoutMs: 20_000,
    concurrency: 16,
    ...options,
  };
}
