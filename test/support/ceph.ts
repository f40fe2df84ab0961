/** A Ceph RADOS gateway for tests: the one the test run has started, or where a file runs alone, one of its own. */
import { readFile } from 'node:fs/promises';
import { after, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { CEPH_STATE_ENV, CEPH_TOOLS, type CephAddress, type CephState, startCeph } from './ceph-cluster.ts';
import { requireFacilities, requireTools } from './tools.ts';

/** How long a gateway may take to come up on a busy machine. */
const UP_TIMEOUT_MS = 180_000;

export interface CephGateway extends CephAddress {
  /** A new bucket with a name no other test has. */
  createBucket(prefix?: string): Promise<string>;
}

/** The end of the test file: registered here, outside of any test, because a hook belongs to where it is made. */
const endOfFile: (() => void | Promise<void>)[] = [];
after(async () => {
  for (const end of endOfFile) await end();
});

let own: Promise<CephAddress> | null = null;
let bucketCount = 0;

/** The gateway, or null where there cannot be one and the test has been skipped with the reason. */
export async function cephGateway(t: TestContext): Promise<CephGateway | null> {
  if (!requireFacilities(t, ['root']) || !requireTools(t, CEPH_TOOLS)) return null;
  const stateFile = process.env[CEPH_STATE_ENV];
  own ??= stateFile === undefined ? startOwn() : announced(stateFile);
  const address = await own;
  return { ...address, createBucket: (prefix = 'test') => createBucket(address, prefix) };
}

async function startOwn(): Promise<CephAddress> {
  const cluster = await startCeph({ after: (end) => endOfFile.push(end) });
  return cluster.address;
}

async function announced(stateFile: string): Promise<CephAddress> {
  const deadline = performance.now() + UP_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const text = await readFile(stateFile, 'utf8').catch(() => '');
    if (text !== '') {
      const state = JSON.parse(text) as CephState;
      if ('error' in state) throw new Error(`the test run's Ceph gateway did not start: ${state.error}`);
      return state;
    }
    await delay(200);
  }
  throw new Error("the test run's Ceph gateway did not come up");
}

async function createBucket(address: CephAddress, prefix: string): Promise<string> {
  const { endpoint, region, accessKeyId, secretAccessKey } = address;
  const client = new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  try {
    const name = `${prefix}-${process.pid}-${++bucketCount}-${Date.now().toString(36)}`;
    await client.send(new CreateBucketCommand({ Bucket: name }));
    return name;
  } finally {
    client.destroy();
  }
}
