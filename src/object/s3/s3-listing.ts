/** Reads one page of a listing, and refuses one that would lose keys or never end. */
import type { ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';
import { StorageError } from '../../lib/errors.ts';
import { compareKeys } from '../keys.ts';
import type { ListedObject } from '../object-store.ts';

/** Pages without a key in a row after which a server is taken to list for ever. */
const EMPTY_PAGES_MAX = 100;

/** Follows a listing from page to page. */
export class S3ListingCheck {
  readonly #prefix: string;
  readonly #what: string;
  #last: string | undefined;
  #token: string | undefined;
  #emptyPages = 0;

  constructor(prefix: string, startAfter: string | undefined, what: string) {
    this.#prefix = prefix;
    this.#what = what;
    this.#last = startAfter;
  }

  /** Where the next page begins, as the server calls it; undefined before the first page and after the last. */
  get token(): string | undefined {
    return this.#token;
  }

  /**
   * The objects of the page.
   * @throws StorageError UNSUPPORTED for keys out of order or an endless listing, UNAVAILABLE for an incomplete page
   */
  page(output: ListObjectsV2CommandOutput): ListedObject[] {
    const contents = output.Contents ?? [];
    if (output.KeyCount !== undefined && output.KeyCount !== contents.length + (output.CommonPrefixes?.length ?? 0)) {
      throw new StorageError('UNAVAILABLE', `${this.#what} failed: ${contents.length} of ${output.KeyCount} keys came`);
    }
    if (output.IsTruncated === undefined) {
      throw new StorageError('UNAVAILABLE', `${this.#what} failed: the answer does not say whether it is complete`);
    }
    const encoded = output.EncodingType === 'url';
    const objects: ListedObject[] = [];
    for (const { Key, Size, ETag, LastModified } of contents) {
      if (Key === undefined || Size === undefined) throw this.#refused('an object without a key or a size');
      const key = encoded ? this.#decode(Key) : Key;
      this.#checkNext(key);
      objects.push({ key, sizeBytes: Size, etag: unquoteEtag(ETag ?? ''), lastModified: LastModified });
    }
    this.#advance(output, objects.length);
    return objects;
  }

  #checkNext(key: string): void {
    if (!key.startsWith(this.#prefix)) throw this.#refused(`the key ${key}, which was not asked for`);
    if (this.#last !== undefined && compareKeys(key, this.#last) <= 0) {
      throw this.#refused(`the key ${key} after ${this.#last}, out of order`);
    }
    this.#last = key;
  }

  #advance(output: ListObjectsV2CommandOutput, count: number): void {
    this.#emptyPages = count === 0 ? this.#emptyPages + 1 : 0;
    const next = output.NextContinuationToken ?? '';
    // Whatever is not the word "true" comes to us as false. Where there is a token all the same, there may be more behind it.
    if (!output.IsTruncated && (next === '' || next === this.#token || count === 0)) {
      this.#token = undefined;
      return;
    }
    if (next === '') throw this.#refused('a truncated page without a continuation token');
    if (next === this.#token) throw this.#refused('the same continuation token twice');
    if (this.#emptyPages > EMPTY_PAGES_MAX) throw this.#refused(`${this.#emptyPages} pages without a key`);
    this.#token = next;
  }

  /** Spaces come as `+` from some servers and `%20` from others; a plus sign is always `%2B`. */
  #decode(key: string): string {
    try {
      return decodeURIComponent(key.replaceAll('+', ' '));
    } catch {
      throw this.#refused(`the key ${key}, which is not UTF-8`);
    }
  }

  #refused(what: string): StorageError {
    return new StorageError('UNSUPPORTED', `${this.#what} failed: the server listed ${what}`);
  }
}

export function unquoteEtag(etag: string): string {
  return etag.replace(/^W\//, '').replace(/^"(.*)"$/, '$1');
}
