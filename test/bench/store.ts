/** An S3 store in a process of its own, near or far. */
import { fileURLToPath } from 'node:url';
import type { S3Address } from '../conformance/object-store/s3-options.ts';
import { blockKeysOf, keysOf, s3BucketAt, type TestS3Bucket } from '../interop/support/buckets.ts';
import type { Lifetime } from '../support/cleanup.ts';
import { startProcess } from '../support/run-command.ts';

export interface StoreLatency {
  readonly getMs: number;
  readonly putMs: number;
}

const S3_PROCESS = fileURLToPath(new URL('s3-process.ts', import.meta.url));
const BUCKET = 'bench';
const UP_TIMEOUT_MS = 20_000;
const OBJECTS_AT_ONCE = 16;
const KEYS_PER_DELETE = 1000;

export async function startStore(lifetime: Lifetime, { getMs, putMs }: StoreLatency): Promise<TestS3Bucket> {
  const args = [S3_PROCESS, '--bucket', BUCKET, '--get-ms', String(getMs), '--put-ms', String(putMs)];
  const server = startProcess(lifetime, process.execPath, args);
  const line = await server.until('it tells where it is', () => /^\{.*\}$/m.exec(server.stdout)?.[0], UP_TIMEOUT_MS);
  return s3BucketAt(lifetime, JSON.parse(line) as S3Address, BUCKET);
}

/**
 * Compares the blocks below a prefix with an image, each object with the bytes it must hold.
 * @throws Error where an object is missing, too many, or of other bytes
 */
export async function checkObjects(
  { store }: TestS3Bucket,
  prefix: string,
  image: Buffer,
  blockBytes: number,
): Promise<void> {
  const keys = await blockKeysOf(store, prefix);
  const blocks = image.length / blockBytes;
  if (keys.length !== blocks) throw new Error(`${keys.length} objects below ${prefix}, not ${blocks}`);
  const pending = [...keys];
  const work = async (): Promise<void> => {
    for (let key = pending.pop(); key !== undefined; key = pending.pop()) {
      const found = await store.get(key);
      const block = Number.parseInt(key.slice(-8), 16);
      const expected = image.subarray(block * blockBytes, (block + 1) * blockBytes);
      if (!found?.body.equals(expected)) throw new Error(`${key} does not hold what was written`);
    }
  };
  await Promise.all(Array.from({ length: OBJECTS_AT_ONCE }, work));
}

/** Takes away all that is below a prefix: the server holds it in memory. */
export async function clearPrefix({ store }: TestS3Bucket, prefix: string): Promise<void> {
  const keys = await keysOf(store, prefix);
  for (let at = 0; at < keys.length; at += KEYS_PER_DELETE) await store.delete(keys.slice(at, at + KEYS_PER_DELETE));
}
