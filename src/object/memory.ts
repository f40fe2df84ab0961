/** A bucket in memory: for tests, and the plainest statement of what an ObjectStore does. */
import { StorageError } from '../lib/errors.ts';
import {
  checkDelete,
  checkGet,
  checkMayStart,
  checkNotAborted,
  checkPut,
  checkRangeInside,
  LIST_PAGE_KEYS_MAX,
} from './checks.ts';
import { compareKeys } from './keys.ts';
import type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectData,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  PutResult,
  RequestOptions,
} from './object-store.ts';

interface StoredObject {
  readonly info: ObjectInfo;
  readonly body: Buffer;
}

export class MemoryObjectStore implements ObjectStore {
  readonly description = 'memory:';
  readonly bucket: string;
  readonly #objects = new Map<string, StoredObject>();
  #puts = 0;

  constructor(bucket = 'memory') {
    this.bucket = bucket;
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectData | null> {
    checkGet(key, options);
    const object = this.#objects.get(key);
    if (object === undefined) return null;
    const range = options.range;
    if (range !== undefined) checkRangeInside(key, range, object.body.length);
    const part = range === undefined ? object.body : object.body.subarray(range.offset, range.offset + range.length);
    return { ...object.info, body: Buffer.from(part) };
  }

  async head(key: string, options: RequestOptions = {}): Promise<ObjectInfo | null> {
    checkGet(key, options);
    return this.#objects.get(key)?.info ?? null;
  }

  async put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    checkPut(key, options);
    checkMayStart(options);
    const current = this.#objects.get(key);
    if (options.ifNoneMatch === '*' && current !== undefined) {
      throw new StorageError('CONFLICT', `the object ${key} exists already`);
    }
    if (options.ifMatch !== undefined && current?.info.etag !== options.ifMatch) {
      throw new StorageError('CONFLICT', `the object ${key} has changed: its ETag is not ${options.ifMatch}`);
    }
    this.#puts += 1;
    const etag = this.#puts.toString(16).padStart(16, '0');
    const info = Object.freeze({
      key,
      sizeBytes: body.length,
      etag,
      contentType: options.headers?.contentType,
      contentEncoding: options.headers?.contentEncoding,
      metadata: Object.freeze({ ...options.headers?.metadata }),
      lastModified: new Date(),
    });
    this.#objects.set(key, { info, body: Buffer.from(body) });
    return { etag };
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    checkDelete(keys, options);
    checkMayStart(options);
    for (const key of keys) this.#objects.delete(key);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    const after = options.startAfter;
    const keys = [...this.#objects.keys()]
      .filter((key) => key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0))
      .sort(compareKeys);
    for (let i = 0; i < keys.length; i += LIST_PAGE_KEYS_MAX) {
      checkNotAborted(options.signal);
      const page = this.#listed(keys.slice(i, i + LIST_PAGE_KEYS_MAX));
      if (page.length > 0) yield page;
    }
  }

  async close(): Promise<void> {}

  /** What is left of the keys: some may have been deleted since the listing began. */
  #listed(keys: readonly string[]): ListedObject[] {
    const page: ListedObject[] = [];
    for (const key of keys) {
      const object = this.#objects.get(key);
      if (object !== undefined)
        page.push({
          key,
          sizeBytes: object.body.length,
          etag: object.info.etag,
          lastModified: object.info.lastModified,
        });
    }
    return page;
  }
}
