/** Checks of one bucket: reachable, conditional puts honoured, objects written, read and deleted. */
import { randomBytes } from 'node:crypto';
import { describeError, isStorageError, type StorageError } from '../../lib/errors.ts';
import type { ObjectStore } from '../../object/object-store.ts';
import { probeConditionalPuts } from '../../object/probe.ts';
import { fail, ok, type Result, warn } from '../finding.ts';

export interface BucketInput {
  /** A stack that retries, though not for long. */
  readonly store: ObjectStore;
  /** What our own keys begin with in it: probes are made there, under names that volumes pass over. */
  readonly reserved: string;
  /** Whether volumes in it are written. */
  readonly written: boolean;
  /** Whether volumes in it take a lease. */
  readonly leased: boolean;
}

/** Null where the bucket can be read; otherwise why not. Nothing else of it is worth asking then. */
export async function checkReachable({ store, reserved }: BucketInput, signal: AbortSignal): Promise<Result> {
  const startedAt = performance.now();
  try {
    for await (const _page of store.list(reserved, { signal })) break;
  } catch (error) {
    if (!isStorageError(error)) throw error;
    return fail(`${store.description}: ${describeError(error)}`, remedyOf(error));
  }
  return ok(`${store.description} answers; listing it took ${Math.round(performance.now() - startedAt)} ms`);
}

/** Writes an object of its own, reads it and deletes it: each is a permission of its own. */
export async function checkObjects({ store, reserved, written }: BucketInput, signal: AbortSignal): Promise<Result> {
  if (!written) return ok('no volume in it is written: writing was not tried');
  const key = `${reserved}doctor-${randomBytes(8).toString('hex')}`;
  const body = randomBytes(512);
  let step = 'written';
  try {
    await store.put(key, body, { signal });
    step = 'read';
    const object = await store.get(key, { signal });
    if (object === null || !object.body.equals(body)) {
      return fail(
        'an object that was written is not what is read',
        'do not use this service: it loses or changes data',
      );
    }
    step = 'deleted';
    await store.delete([key], { signal });
    step = 'looked for';
    if ((await store.head(key, { signal })) !== null) {
      return fail(
        'an object that was deleted is still there',
        'check the bucket for object lock, or a proxy that caches',
      );
    }
    return ok('objects can be written, read and deleted');
  } catch (error) {
    if (!isStorageError(error)) throw error;
    const actions = 's3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket';
    const remedy = isStorageError(error, 'ACCESS_DENIED') ? `allow ${actions} on the bucket` : remedyOf(error);
    return fail(`an object cannot be ${step}: ${describeError(error)}`, remedy);
  } finally {
    // Not under the caller's signal: what was made is removed also where the doctor is interrupted.
    await store.delete([key]).catch(() => {});
  }
}

export async function checkConditionalPuts(
  { store, reserved, written, leased }: BucketInput,
  signal: AbortSignal,
): Promise<Result> {
  if (!written || !leased) return ok('no volume in it takes a lease: they were not tried');
  const { ifNoneMatch, ifMatch } = await probeConditionalPuts(store, reserved, { signal });
  if (ifNoneMatch && ifMatch) return ok('honoured (If-None-Match and If-Match)');
  const ignored = [...(ifNoneMatch ? [] : ['If-None-Match']), ...(ifMatch ? [] : ['If-Match'])].join(' and ');
  return warn(
    `the service ignores ${ignored}: two appliances could open one volume at the same moment`,
    'see to it that only one appliance uses a volume, or use a service that honours conditions on PutObject',
  );
}

function remedyOf(error: StorageError): string {
  switch (error.code) {
    case 'NOT_FOUND':
      return 'create the bucket, or correct store.url';
    case 'ACCESS_DENIED':
      return 'correct the credentials, or allow s3:ListBucket on the bucket and the object actions in it';
    case 'TIMEOUT':
    case 'UNAVAILABLE':
      return 'check store.endpoint, the network on the way (DNS, firewall, TLS), and whether the service is up';
    case 'NO_SPACE':
      return 'make room there, or raise the quota';
    default:
      return 'correct the settings of the store that the message names';
  }
}
