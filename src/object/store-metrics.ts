/** What is counted of a store's requests, attempt by attempt: for status and for the metrics endpoint. */
import type { ErrorCode } from '../lib/errors.ts';

export type StoreOperation = 'get' | 'head' | 'put' | 'delete' | 'list';

/** `ok`, `absent` (a key that does not exist: no failure), or the code of the error. */
export type StoreOutcome = 'ok' | 'absent' | ErrorCode;

/** Upper bounds of the latency buckets, in ms; one more bucket takes what is above the last. */
export const LATENCY_BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000] as const;

export interface OperationSnapshot {
  readonly attempts: number;
  readonly outcomes: Readonly<Partial<Record<StoreOutcome, number>>>;
  readonly latencySumMs: number;
  /** Attempts per bucket, not cumulative: one per LATENCY_BOUNDS_MS and one for those above. */
  readonly latencyCounts: readonly number[];
}

export interface StoreMetricsSnapshot {
  readonly operations: Readonly<Record<StoreOperation, OperationSnapshot>>;
  /** Attempts that were not the first one of their call. */
  readonly retries: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly inFlight: number;
  readonly inFlightMax: number;
}

class OperationMetrics {
  readonly outcomes: Partial<Record<StoreOutcome, number>> = {};
  readonly latencyCounts: number[] = new Array<number>(LATENCY_BOUNDS_MS.length + 1).fill(0);
  attempts = 0;
  latencySumMs = 0;

  record(outcome: StoreOutcome, durationMs: number): void {
    const bound = LATENCY_BOUNDS_MS.findIndex((ms) => durationMs <= ms);
    const bucket = bound === -1 ? LATENCY_BOUNDS_MS.length : bound;
    this.attempts += 1;
    this.latencySumMs += durationMs;
    this.latencyCounts[bucket] = (this.latencyCounts[bucket] ?? 0) + 1;
    this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1;
  }

  snapshot(): OperationSnapshot {
    const { attempts, latencySumMs } = this;
    return { attempts, latencySumMs, outcomes: { ...this.outcomes }, latencyCounts: [...this.latencyCounts] };
  }
}

/** Counters of fixed size. Filled by InstrumentedObjectStore, read by whoever shows them. */
export class StoreMetrics {
  readonly #operations = {
    get: new OperationMetrics(),
    head: new OperationMetrics(),
    put: new OperationMetrics(),
    delete: new OperationMetrics(),
    list: new OperationMetrics(),
  };
  #retries = 0;
  #bytesUp = 0;
  #bytesDown = 0;
  #inFlight = 0;
  #inFlightMax = 0;

  begin(): void {
    this.#inFlight += 1;
    this.#inFlightMax = Math.max(this.#inFlightMax, this.#inFlight);
  }

  end(operation: StoreOperation, outcome: StoreOutcome, durationMs: number): void {
    this.#inFlight -= 1;
    this.#operations[operation].record(outcome, durationMs);
  }

  countRetry(): void {
    this.#retries += 1;
  }

  countBytes(direction: 'up' | 'down', bytes: number): void {
    if (direction === 'up') this.#bytesUp += bytes;
    else this.#bytesDown += bytes;
  }

  snapshot(): StoreMetricsSnapshot {
    const { get, head, put, delete: deletes, list } = this.#operations;
    return {
      operations: {
        get: get.snapshot(),
        head: head.snapshot(),
        put: put.snapshot(),
        delete: deletes.snapshot(),
        list: list.snapshot(),
      },
      retries: this.#retries,
      bytesUp: this.#bytesUp,
      bytesDown: this.#bytesDown,
      inFlight: this.#inFlight,
      inFlightMax: this.#inFlightMax,
    };
  }
}
