/** The checks every ObjectStore makes of a request before it acts, so that all of them refuse the same things. */
import { StorageError } from '../lib/errors.ts';
import { checkKey } from './keys.ts';
import {
  type ByteRange,
  DELETE_KEYS_MAX,
  type GetOptions,
  type PutOptions,
  type RequestOptions,
} from './object-store.ts';

/** @throws StorageError CANCELLED where the signal has aborted */
export function checkNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new StorageError('CANCELLED', 'the request was cancelled', { cause: signal.reason });
}

/** @throws StorageError CANCELLED where the caller no longer wants the write to be made */
export function checkMayStart({ mayStart }: Pick<RequestOptions, 'mayStart'>): void {
  if (mayStart?.() === false) throw new StorageError('CANCELLED', 'called off right before it was sent');
}

/** @throws StorageError INVALID or CANCELLED */
export function checkGet(key: string, options: GetOptions): void {
  checkNotAborted(options.signal);
  checkKey(key);
  const range = options.range;
  if (range === undefined) return;
  const { offset, length } = range;
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 1) {
    throw new StorageError('INVALID', `${length} bytes from ${offset} of ${key} is not a range`);
  }
}

/** @throws StorageError INVALID where the range is not inside an object of `sizeBytes` */
export function checkRangeInside(key: string, range: ByteRange, sizeBytes: number): void {
  if (range.offset + range.length > sizeBytes) {
    throw new StorageError(
      'INVALID',
      `${range.length} bytes from ${range.offset} are not inside the object ${key} of ${sizeBytes} bytes`,
    );
  }
}

/** @throws StorageError INVALID or CANCELLED */
export function checkPut(key: string, options: Omit<PutOptions, 'mayStart'>): void {
  checkNotAborted(options.signal);
  checkKey(key);
  if (options.ifMatch !== undefined && options.ifNoneMatch !== undefined) {
    throw new StorageError('INVALID', `a put of ${key} cannot have both ifMatch and ifNoneMatch`);
  }
  if (options.ifMatch === '' || options.ifMatch?.includes('"')) {
    throw new StorageError('INVALID', `a put of ${key} names the ETag ${options.ifMatch}, which is empty or quoted`);
  }
  for (const [name, value] of Object.entries(options.headers?.metadata ?? {})) {
    if (!/^[a-z0-9!#$%&'*+.^_|~-]+$/.test(name)) {
      throw new StorageError('INVALID', `the metadata name ${JSON.stringify(name)} is not a lower-case header name`);
    }
    // What a header cannot carry unchanged is refused, instead of coming back as something else.
    if (!/^([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?$/.test(value)) {
      throw new StorageError('INVALID', `the metadata ${name} of ${key} is not plain ASCII without spaces around it`);
    }
  }
}

/** @throws StorageError INVALID or CANCELLED */
export function checkDelete(keys: readonly string[], options: Pick<RequestOptions, 'signal'>): void {
  checkNotAborted(options.signal);
  if (keys.length > DELETE_KEYS_MAX) {
    throw new StorageError('INVALID', `${keys.length} keys to delete at once are over ${DELETE_KEYS_MAX}`);
  }
  for (const key of keys) checkKey(key);
}

/** The most keys one page of a listing has (S3 API). */
export const LIST_PAGE_KEYS_MAX = 1000;

/** The largest body that is read into memory: far more than any block has. */
export const BODY_BYTES_MAX = 1024 ** 3;
