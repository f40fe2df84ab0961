/** What tests of a cache expect to be refused with. */
import { isStorageError } from '../../../../src/lib/errors.ts';

/** The cache has writes that cannot go to the bucket, and the message says what to do. */
export function isStale(error: unknown): boolean {
  return isStorageError(error, 'CONFLICT') && /another writer since.*cache export.*cache drop/s.test(error.message);
}
