/** Asks before each attempt of a write whether it may still be sent: the last thing before the bucket. */
import { StorageError } from '../lib/errors.ts';
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
} from '../object/object-store.ts';

/**
 * Stands below whatever keeps a write back: a pause between attempts, a queue, a limit on bytes. The permission may end
 * while it waits there, and on a machine that was suspended no timer has told so yet. Rejects with CANCELLED then. The
 * bucket asks once more when the request is signed and ready.
 */
export class GatedObjectStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #mayWrite: () => boolean;

  constructor(inner: ObjectStore, mayWrite: () => boolean) {
    this.#inner = inner;
    this.#mayWrite = mayWrite;
  }

  get description(): string {
    return this.#inner.description;
  }

  get bucket(): string {
    return this.#inner.bucket;
  }

  get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    return this.#inner.get(key, options);
  }

  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null> {
    return this.#inner.head(key, options);
  }

  async put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    this.#check();
    return this.#inner.put(key, body, { ...options, mayStart: this.#mayWrite });
  }

  async delete(keys: readonly string[], options?: RequestOptions): Promise<void> {
    this.#check();
    return this.#inner.delete(keys, { ...options, mayStart: this.#mayWrite });
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<readonly ListedObject[]> {
    return this.#inner.list(prefix, options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #check(): void {
    if (!this.#mayWrite()) throw new StorageError('CANCELLED', 'the right to write ended before the request was sent');
  }
}
