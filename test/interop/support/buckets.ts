/** Buckets to run an appliance on, each with a second way in, to see what it has stored. */

import { pathToFileURL } from 'node:url';
import { FileObjectStore } from '../../../src/object/file/file-object-store.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { S3ObjectStore } from '../../../src/object/s3/s3-object-store.ts';
import { type S3Address, s3OptionsFor } from '../../conformance/object-store/s3-options.ts';
import type { CephGateway } from '../../support/ceph.ts';
import { type Lifetime, onEnd } from '../../support/cleanup.ts';
import { type S3Server, startS3Server } from '../../support/s3-server/s3-server.ts';
import { tempDir } from '../../support/temp.ts';

export interface TestBucket {
  /** `store` of an appliance's configuration. */
  readonly section: Readonly<Record<string, unknown>>;
  /** `s3://bucket` or `file:///dir`. */
  readonly url: string;
  /** The bucket past the appliance. */
  readonly store: ObjectStore;
}

export interface TestS3Bucket extends TestBucket, S3Address {
  readonly bucket: string;
}

export async function fileBucket(lifetime: Lifetime): Promise<TestBucket> {
  const dir = await tempDir(lifetime, 'bucket');
  const store = await FileObjectStore.open(dir);
  onEnd(lifetime, () => store.close());
  const url = pathToFileURL(dir).href;
  return { url, section: { url }, store };
}

/** A bucket on a server of its own in this process, which can be made slow or faulty. */
export async function s3Bucket(
  lifetime: Lifetime,
  name = 'interop',
): Promise<TestS3Bucket & { readonly server: S3Server }> {
  const server = await startS3Server({ buckets: [name] });
  onEnd(lifetime, () => server.close());
  const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
  return { ...s3BucketAt(lifetime, { endpoint, region, accessKeyId, secretAccessKey }, name), server };
}

/** A new bucket on a Ceph gateway. */
export async function cephBucket(lifetime: Lifetime, gateway: CephGateway): Promise<TestS3Bucket> {
  return s3BucketAt(lifetime, gateway, await gateway.createBucket('interop'));
}

/** A bucket that is there on a server. */
export function s3BucketAt(lifetime: Lifetime, address: S3Address, bucket: string): TestS3Bucket {
  const store = new S3ObjectStore(s3OptionsFor(address, bucket));
  onEnd(lifetime, () => store.close());
  const { endpoint, region, accessKeyId, secretAccessKey } = address;
  const url = `s3://${bucket}`;
  const section = { url, endpoint, region, forcePathStyle: true, accessKeyId, secretAccessKey };
  return { endpoint, region, accessKeyId, secretAccessKey, bucket, url, section, store };
}

/** All keys below a prefix, in order. */
export async function keysOf(store: ObjectStore, prefix = ''): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.list(prefix)) keys.push(...page.map(({ key }) => key));
  return keys;
}

/** Ends of the keys of blocks, of any volume. */
export const BLOCK_KEY = /[/-][0-9a-f]{8}$/;

/** Those of a volume's blocks, plain or with a hash before the number. */
export async function blockKeysOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys = await keysOf(store, prefix);
  return keys.filter((key) => /^([0-9a-f]{8}-)?[0-9a-f]{8}$/.test(key.slice(prefix.length)));
}
