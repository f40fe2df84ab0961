/** Samples of what is asked of the buckets. */
import type { StoreMetricsSnapshot } from '../../object/store-metrics.ts';
import { Rate } from './rate.ts';

/** Requests and bytes, so many a second; the means of what GET and PUT took, in ms. */
export const STORE_SERIES = ['requests', 'failures', 'sentBytes', 'receivedBytes', 'getMs', 'putMs'] as const;

export type StoreSample = Readonly<Record<(typeof STORE_SERIES)[number], number | null>>;

export class StoreSampler {
  readonly #requests = new Rate();
  readonly #failures = new Rate();
  readonly #sent = new Rate();
  readonly #received = new Rate();
  readonly #gets = new MeanLatency();
  readonly #puts = new MeanLatency();

  sample({ operations, bytesUp, bytesDown }: StoreMetricsSnapshot, elapsedMs: number): StoreSample {
    const all = Object.values(operations);
    const requests = all.reduce((sum, { attempts }) => sum + attempts, 0);
    const answered = all.reduce((sum, { outcomes }) => sum + (outcomes.ok ?? 0) + (outcomes.absent ?? 0), 0);
    return {
      requests: this.#requests.next(requests, elapsedMs),
      failures: this.#failures.next(requests - answered, elapsedMs),
      sentBytes: this.#sent.next(bytesUp, elapsedMs),
      receivedBytes: this.#received.next(bytesDown, elapsedMs),
      getMs: this.#gets.next(operations.get),
      putMs: this.#puts.next(operations.put),
    };
  }
}

class MeanLatency {
  readonly #count = new Rate();
  readonly #sum = new Rate();

  next({ attempts, latencySumMs }: { readonly attempts: number; readonly latencySumMs: number }): number | null {
    const count = this.#count.grown(attempts);
    const sum = this.#sum.grown(latencySumMs);
    return count === null || sum === null || count === 0 ? null : sum / count;
  }
}
