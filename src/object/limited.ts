/** Bounds what a store is asked at once, and how many bytes a second go up and come down. */
import type { Clock } from '../lib/clock.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { TokenBucket } from '../lib/token-bucket.ts';
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

export interface StoreLimits {
  /** Requests under way at once. */
  readonly concurrency: number;
  /** Bytes of bodies per second; null: unlimited. */
  readonly uploadRateBytes: number | null;
  readonly downloadRateBytes: number | null;
}

/** The limits of one store, which several buckets of it may share. */
export class StoreThrottle {
  readonly places: Semaphore;
  readonly download: TokenBucket | null;
  readonly #clock: Clock;
  readonly #uploadRateBytes: number | null;
  readonly #uploadBound: () => number | null;
  #upload: TokenBucket | null = null;

  /** `uploadBound`: another bound on uploads, which may be another one each time; null: none. */
  constructor(
    { concurrency, uploadRateBytes, downloadRateBytes }: StoreLimits,
    clock: Clock,
    uploadBound: () => number | null = () => null,
  ) {
    this.places = new Semaphore(concurrency);
    this.download = downloadRateBytes === null ? null : new TokenBucket(clock, downloadRateBytes);
    this.#clock = clock;
    this.#uploadRateBytes = uploadRateBytes;
    this.#uploadBound = uploadBound;
  }

  /** Waits until so many bytes may be uploaded. */
  async reserveUpload(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const rate = this.#takeUploadRate();
    if (rate === null) return;
    this.#upload ??= new TokenBucket(this.#clock, rate);
    await this.#upload.reserve(bytes, signal);
  }

  /** To be called where the other bound has changed: those who wait for the former one wait for this one from now on. */
  noteBounds(): void {
    this.#takeUploadRate();
  }

  /** The rate of both bounds, which holds from now on; null: there is none. */
  #takeUploadRate(): number | null {
    const bounds = [this.#uploadRateBytes, this.#uploadBound()].filter((rate) => rate !== null);
    const rate = bounds.length === 0 ? null : Math.min(...bounds);
    this.#upload?.setRate(rate ?? Number.POSITIVE_INFINITY);
    return rate;
  }
}

/**
 * Requests wait in the order they came: first for their rate, holding nothing, then for a place. How many may wait is
 * bounded by the callers, each of which bounds its own requests.
 */
export class LimitedObjectStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #throttle: StoreThrottle;

  constructor(inner: ObjectStore, throttle: StoreThrottle) {
    this.#inner = inner;
    this.#throttle = throttle;
  }

  get description(): string {
    return this.#inner.description;
  }

  get bucket(): string {
    return this.#inner.bucket;
  }

  /** A download is charged once its size is known, so it is the next one that waits for it. */
  async get(key: string, options: GetOptions = {}): Promise<ObjectData | null> {
    const { places, download } = this.#throttle;
    await this.#enterToDownload(options.signal);
    try {
      const object = await this.#inner.get(key, options);
      if (object !== null) download?.charge(object.body.length);
      return object;
    } finally {
      places.release();
    }
  }

  head(key: string, options: RequestOptions = {}): Promise<ObjectInfo | null> {
    return this.#throttle.places.run(() => this.#inner.head(key, options), options.signal);
  }

  async put(key: string, body: Buffer, options: PutOptions = {}): Promise<PutResult> {
    await this.#throttle.reserveUpload(body.length, options.signal);
    return this.#throttle.places.run(() => this.#inner.put(key, body, options), options.signal);
  }

  delete(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    return this.#throttle.places.run(() => this.#inner.delete(keys, options), options.signal);
  }

  /** Holds a place while a page is fetched, not while the consumer works on it. */
  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    const pages = this.#inner.list(prefix, options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const page = await this.#throttle.places.run(() => pages.next(), options.signal);
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

  /** No more downloads run ahead of their rate than there are places, however many were waiting for it together. */
  async #enterToDownload(signal: AbortSignal | undefined): Promise<void> {
    const { places, download } = this.#throttle;
    for (;;) {
      await download?.settle(signal);
      await places.acquire(signal);
      if (!download?.inDebt) return;
      places.release(); // Others have downloaded while it waited for its place.
    }
  }
}
