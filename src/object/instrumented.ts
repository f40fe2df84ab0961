/** Counts and times every attempt: stands below retrying, so that each one is seen. */
import type { Clock } from '../lib/clock.ts';
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
} from './object-store.ts';
import type { StoreMetrics, StoreOperation, StoreOutcome } from './store-metrics.ts';

export class InstrumentedObjectStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #metrics: StoreMetrics;
  readonly #clock: Clock;

  constructor(inner: ObjectStore, metrics: StoreMetrics, clock: Clock) {
    this.#inner = inner;
    this.#metrics = metrics;
    this.#clock = clock;
  }

  get description(): string {
    return this.#inner.description;
  }

  get bucket(): string {
    return this.#inner.bucket;
  }

  async get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    const object = await this.#measure('get', () => this.#inner.get(key, options), okOrAbsent);
    if (object !== null) this.#metrics.countBytes('down', object.body.length);
    return object;
  }

  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null> {
    return this.#measure('head', () => this.#inner.head(key, options), okOrAbsent);
  }

  async put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    const result = await this.#measure('put', () => this.#inner.put(key, body, options), ok);
    this.#metrics.countBytes('up', body.length);
    return result;
  }

  delete(keys: readonly string[], options?: RequestOptions): Promise<void> {
    return this.#measure('delete', () => this.#inner.delete(keys, options), ok);
  }

  /** Each page is an attempt; the time the consumer takes between pages is not counted. */
  async *list(prefix: string, options?: ListOptions): AsyncGenerator<readonly ListedObject[]> {
    const pages = this.#inner.list(prefix, options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const page = await this.#measure('list', () => pages.next(), ok);
        if (page.done) return;
        yield page.value;
      }
    } finally {
      await pages.return?.();
    }
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #measure<T>(
    operation: StoreOperation,
    attempt: () => Promise<T>,
    outcomeOf: (value: T) => StoreOutcome,
  ): Promise<T> {
    const startMs = this.#clock.now();
    let outcome: StoreOutcome = 'UNAVAILABLE';
    this.#metrics.begin();
    try {
      const value = await attempt();
      outcome = outcomeOf(value);
      return value;
    } catch (error) {
      if (error instanceof StorageError) outcome = error.code;
      throw error;
    } finally {
      this.#metrics.end(operation, outcome, this.#clock.now() - startMs);
    }
  }
}

const ok = (): StoreOutcome => 'ok';
const okOrAbsent = (value: unknown): StoreOutcome => (value === null ? 'absent' : 'ok');
