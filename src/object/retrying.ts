/** Tries again what may succeed when tried again: with jittered, growing pauses, until a deadline. */
import type { Clock } from '../lib/clock.ts';
import { isStorageError, StorageError } from '../lib/errors.ts';
import { AmbiguousConflict } from './ambiguous-conflict.ts';
import { checkNotAborted } from './checks.ts';
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

export interface RetryPolicy {
  /** No attempt begins later than this after the call was made; for a listing, after the page was asked for. */
  readonly deadlineMs: number;
  /** The first pause is random between 0 and this; the bound doubles with each attempt. */
  readonly pauseInitialMs: number;
  readonly pauseMaxMs: number;
}

/** Told of every attempt, over all calls. StoreHealth is one. */
export interface AttemptListener {
  succeeded(): void;
  failed(error: unknown): void;
  /** An attempt that is not the first one of its call begins. */
  retried?(): void;
}

/**
 * Only errors marked `retryable` are tried again. A pause holds nothing: this wrapper stands above LimitedObjectStore. A
 * conditional put that is refused after an attempt whose effect is unknown rejects with AmbiguousConflict.
 */
export class RetryingObjectStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #policy: RetryPolicy;
  readonly #clock: Clock;
  readonly #listener: AttemptListener | undefined;
  readonly #random: () => number;

  constructor(
    inner: ObjectStore,
    policy: RetryPolicy,
    clock: Clock,
    listener?: AttemptListener,
    random: () => number = Math.random,
  ) {
    this.#inner = inner;
    this.#policy = policy;
    this.#clock = clock;
    this.#listener = listener;
    this.#random = random;
  }

  get description(): string {
    return this.#inner.description;
  }

  get bucket(): string {
    return this.#inner.bucket;
  }

  get(key: string, options?: GetOptions): Promise<ObjectData | null> {
    return this.#retry(() => this.#inner.get(key, options), options?.signal);
  }

  head(key: string, options?: RequestOptions): Promise<ObjectInfo | null> {
    return this.#retry(() => this.#inner.head(key, options), options?.signal);
  }

  put(key: string, body: Buffer, options?: PutOptions): Promise<PutResult> {
    const conditional = options?.ifMatch !== undefined || options?.ifNoneMatch !== undefined;
    const attempt = async (failedBefore: boolean): Promise<PutResult> => {
      try {
        return await this.#inner.put(key, body, options);
      } catch (cause) {
        if (!conditional || !failedBefore || !isStorageError(cause, 'CONFLICT')) throw cause;
        throw new AmbiguousConflict(
          `the conditional put of ${key} was refused, but an earlier attempt got no answer and may have succeeded`,
          { cause },
        );
      }
    };
    return this.#retry(attempt, options?.signal);
  }

  delete(keys: readonly string[], options?: RequestOptions): Promise<void> {
    return this.#retry(() => this.#inner.delete(keys, options), options?.signal);
  }

  /** A listing that fails goes on after the last key it delivered: no key twice, none left out. */
  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<readonly ListedObject[]> {
    let startAfter = options.startAfter;
    let pages: AsyncIterator<readonly ListedObject[]> | undefined;
    const nextPage = async (): Promise<IteratorResult<readonly ListedObject[], unknown>> => {
      pages ??= this.#inner
        .list(prefix, startAfter === undefined ? options : { ...options, startAfter })
        [Symbol.asyncIterator]();
      try {
        return await pages.next();
      } catch (error) {
        pages = undefined; // It has ended with its error.
        throw error;
      }
    };
    try {
      for (;;) {
        const page = await this.#retry(nextPage, options.signal);
        if (page.done) return;
        startAfter = page.value.at(-1)?.key ?? startAfter;
        yield page.value;
      }
    } finally {
      await pages?.return?.();
    }
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #retry<T>(attempt: (failedBefore: boolean) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const startMs = this.#clock.now();
    for (let failures = 0; ; ) {
      checkNotAborted(signal);
      if (failures > 0) this.#listener?.retried?.();
      try {
        const value = await attempt(failures > 0);
        this.#listener?.succeeded();
        return value;
      } catch (error) {
        this.#listener?.failed(error);
        if (!(error instanceof StorageError) || !error.retryable) throw error;
        failures += 1;
        const elapsedMs = this.#clock.now() - startMs;
        const leftMs = this.#policy.deadlineMs - elapsedMs;
        if (leftMs <= 0) throw gaveUp(error, failures, elapsedMs);
        const pauseMs = Math.max(error.retryAfterMs ?? 0, this.#jitteredMs(failures));
        // The last attempt is made at the deadline, not somewhere before it, also where we are asked to wait for longer:
        // the caller has that much patience, and a server that says "in an hour" is often back in a minute.
        await this.#clock.sleep(Math.min(leftMs, pauseMs), signal);
      }
    }
  }

  #jitteredMs(failures: number): number {
    const { pauseInitialMs, pauseMaxMs } = this.#policy;
    return this.#random() * Math.min(pauseMaxMs, pauseInitialMs * 2 ** (failures - 1));
  }
}

/** The last error, still marked retryable: a caller with more patience may try again. */
function gaveUp(error: StorageError, failures: number, elapsedMs: number): StorageError {
  if (failures === 1) return error;
  const seconds = (elapsedMs / 1000).toFixed(1);
  const { code, retryable, retryAfterMs } = error;
  return new StorageError(code, `${error.message}; gave up after ${failures} attempts in ${seconds} s`, {
    cause: error,
    retryable,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
