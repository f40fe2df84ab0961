/** Lets writes through only while the volume is ours. */
import { isStorageError } from '../lib/errors.ts';
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
import { permitted, type WriteFence } from './fence.ts';

/**
 * A write waits while the lease has lapsed, is cut off when it lapses under way, and is made again once the lease is known
 * to be still ours: a PUT of a block and a DELETE may be repeated. The bucket asks once more right before it sends it: wherever it
 * has waited, for a pause between attempts, a place or a limit on bytes, the lease may have lapsed, and on a machine that was
 * suspended no timer has told so yet. After another writer has taken the volume it rejects with FENCED. Reads pass: who may read stale bytes is
 * for the device to say.
 */
export class FencedObjectStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #fence: WriteFence;

  constructor(inner: ObjectStore, fence: WriteFence) {
    this.#inner = inner;
    this.#fence = fence;
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

  put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    return this.#whilePermitted(options, (fenced) => this.#inner.put(key, body, { ...options, ...fenced }));
  }

  delete(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    return this.#whilePermitted(options, (fenced) => this.#inner.delete(keys, { ...options, ...fenced }));
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<readonly ListedObject[]> {
    return this.#inner.list(prefix, options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #whilePermitted<T>(
    { signal: caller, mayStart: mayStartFor }: RequestOptions,
    write: (fenced: Required<RequestOptions>) => Promise<T>,
  ): Promise<T> {
    const mayStart = (): boolean => this.#fence.valid && mayStartFor?.() !== false;
    for (;;) {
      if (!this.#fence.valid) await permitted(this.#fence, caller);
      const { lapse } = this.#fence;
      try {
        const signal = caller === undefined ? lapse : AbortSignal.any([lapse, caller]);
        return await write({ signal, mayStart });
      } catch (error) {
        if (isStorageError(error, 'TIMEOUT', 'UNAVAILABLE', 'CANCELLED')) this.#fence.noteUnsettled();
        const cutOff = isStorageError(error, 'CANCELLED') && (lapse.aborted || !this.#fence.valid);
        if (!cutOff || caller?.aborted) throw error;
      }
    }
  }
}
