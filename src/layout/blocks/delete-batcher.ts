/** Gathers deletes of single keys into requests of up to 1000, so that trimming costs requests by the thousand blocks. */
import { DELETE_KEYS_MAX, type ObjectStore } from '../../object/object-store.ts';

interface Waiting {
  readonly key: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Deletes that are asked for in one turn, or while `requestsMax` requests are under way, travel together. The queue is
 * bounded by its callers: each waits for its delete.
 */
export class DeleteBatcher {
  readonly #store: ObjectStore;
  readonly #requestsMax: number;
  readonly #waiting: Waiting[] = [];
  #requests = 0;
  #scheduled = false;

  constructor(store: ObjectStore, requestsMax = 4) {
    this.#store = store;
    this.#requestsMax = requestsMax;
  }

  delete(key: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.#send();
      });
    });
  }

  #send(): void {
    while (this.#requests < this.#requestsMax && this.#waiting.length > 0) {
      void this.#request(this.#waiting.splice(0, DELETE_KEYS_MAX));
    }
  }

  /** Never rejects: errors go to those who wait. */
  async #request(batch: readonly Waiting[]): Promise<void> {
    this.#requests++;
    try {
      await this.#store.delete(batch.map((waiting) => waiting.key));
      for (const waiting of batch) waiting.resolve();
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    }
    this.#requests--;
    this.#send();
  }
}
