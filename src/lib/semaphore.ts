/** Lets a number of holders in at once, the others in the order they came. */
import { StorageError } from './errors.ts';

interface Waiter {
  readonly enter: () => void;
}

/** The queue is bounded by the callers: whoever waits has a request of its own that is bounded. */
export class Semaphore {
  readonly limit: number;
  #held = 0;
  readonly #waiters = new Set<Waiter>();

  constructor(limit: number) {
    if (!Number.isInteger(limit) || limit < 1)
      throw new RangeError(`a semaphore needs a limit of at least 1, not ${limit}`);
    this.limit = limit;
  }

  get held(): number {
    return this.#held;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /** Resolves once a place is free; it is the caller's until `release`. Rejects with CANCELLED when the signal aborts. */
  acquire(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(cancelled(signal));
    if (this.#held < this.limit) {
      this.#held++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.delete(waiter);
        reject(cancelled(signal));
      };
      const waiter: Waiter = {
        enter: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** Gives the place to the one who has waited longest. */
  release(): void {
    const [next] = this.#waiters;
    if (next === undefined) {
      this.#held--;
      return;
    }
    this.#waiters.delete(next);
    next.enter();
  }

  /** Runs `work` in a place of its own. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.acquire(signal);
    try {
      return await work();
    } finally {
      this.release();
    }
  }
}

function cancelled(signal: AbortSignal | undefined): StorageError {
  return new StorageError('CANCELLED', 'gave up waiting for a place', { cause: signal?.reason });
}
