/** A bucket in memory whose attempts go wrong as a test says, before their effect or after it. */
import { MemoryObjectStore } from '../../../src/object/memory.ts';
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
} from '../../../src/object/object-store.ts';

export interface Step {
  /** Runs before the effect; what it throws is the attempt's error. */
  readonly before?: () => void | Promise<void>;
  /** Runs after the effect. */
  readonly after?: () => void | Promise<void>;
}

export class ScriptedObjectStore implements ObjectStore {
  readonly description = 'memory:';
  readonly bucket = 'scripted';
  readonly inner = new MemoryObjectStore();
  /** One entry per attempt, in order; after them all goes well. */
  readonly script: Step[] = [];
  attempts = 0;

  get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    return this.#step(() => this.inner.get(key, options));
  }

  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null> {
    return this.#step(() => this.inner.head(key, options));
  }

  put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    return this.#step(() => this.inner.put(key, body, options));
  }

  delete(keys: readonly string[], options?: RequestOptions): Promise<void> {
    return this.#step(() => this.inner.delete(keys, options));
  }

  async *list(prefix: string, options?: ListOptions): AsyncGenerator<readonly ListedObject[]> {
    const pages = this.inner.list(prefix, options);
    for (;;) {
      const page = await this.#step(() => pages.next());
      if (page.done) return;
      yield page.value;
    }
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  async #step<T>(effect: () => Promise<T>): Promise<T> {
    this.attempts += 1;
    const step = this.script.shift();
    await step?.before?.();
    const value = await effect();
    await step?.after?.();
    return value;
  }
}

export function failing(error: Error): () => never {
  return () => {
    throw error;
  };
}
